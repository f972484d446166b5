"""A Lightning logger for Trackio, which has none there."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from lightning.pytorch.loggers.logger import Logger

logger = logging.getLogger(__name__)


class TrackioLogger(Logger):
    """Hands numbers to Trackio; the package is imported when a logger is made.

    Args:
        project: a run belongs to one.
        run_name: None: Trackio makes one up.
        space_id: a space of the hub; None: this machine.
        bucket_id: where that space keeps its data; None: Trackio makes one.
        private: whether a space that is made is private; None: as the owner's default is.
        static_space_id: a read-only space that is made of `space_id` at the end; it is public.
    """

    def __init__(
        self,
        project: str,
        run_name: str | None = None,
        space_id: str | None = None,
        *,
        bucket_id: str | None = None,
        private: bool | None = None,
        static_space_id: str | None = None,
    ) -> None:
        super().__init__()
        self._trackio = importlib.import_module("trackio")
        self._frozen = {"space_id": space_id, "project": project, "new_space_id": static_space_id}
        where = {"space_id": space_id, "bucket_id": bucket_id, "private": private}
        self._run = self._trackio.init(project=project, name=run_name, resume="allow", **where)

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
        """Ends the run; a hub that makes no read-only space of it is told, and ends nothing."""
        self._run.finish()
        if self._frozen["new_space_id"] is not None:
            try:
                self._trackio.freeze(**self._frozen)
            except Exception as error:  # of the hub's client, whose kinds have no common base
                logger.warning("trackio_static_space_id=%r was not made: %s", self._frozen["new_space_id"], error)
