"""A Lightning logger for Trackio, which has none there."""

from __future__ import annotations

import importlib
from typing import Any

from lightning.pytorch.loggers.logger import Logger


class TrackioLogger(Logger):
    """Hands numbers to Trackio; the package is imported when a logger is made.

    Args:
        project: a run belongs to one.
        run_name: None: Trackio makes one up.
        space_id: a space of the hub; None: this machine.
    """

    def __init__(self, project: str, run_name: str | None = None, space_id: str | None = None) -> None:
        super().__init__()
        trackio = importlib.import_module("trackio")
        self._run = trackio.init(project=project, name=run_name, space_id=space_id, resume="allow")

    @property
    def name(self) -> str:
        """Of the service."""
        return "trackio"

    @property
    def version(self) -> None:
        """It has none."""
        return None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Enters the settings of the run."""
        self._run.config.update(dict(params))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Enters numbers at a step."""
        self._run.log(metrics, step=step)

    def finalize(self, status: str) -> None:
        """Ends the run."""
        self._run.finish()
