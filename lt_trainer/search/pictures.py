"""How a search went, as pictures: the objective over trials, and which argument mattered."""

from __future__ import annotations

import importlib
import io
import warnings
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import ConfigurationError, near
from lt_trainer.files import update_folder
from lt_trainer.search_options import PICTURES

if TYPE_CHECKING:
    from pathlib import Path

    import optuna


def save_pictures(study: optuna.Study, folder: str | Path, kind: str = "png") -> list[str]:
    """Writes history and, from two complete trials on, importance of a study with one objective.

    Args:
        study: `run_summary` of the best run.
        folder: made where it is not there.
        kind: "png" (matplotlib), or "html" (plotly), which shows the arguments of a trial under the mouse.

    Returns:
        Names of the files.

    Raises:
        ConfigurationError: another kind, or a study with several objectives.
        ImportError: the package that draws is not installed (names it).
    """
    if kind not in PICTURES:
        raise ConfigurationError([f"kind={kind!r}: expected one of {', '.join(PICTURES)}{near(kind, PICTURES)}"])
    if len(study.directions) > 1:
        raise ConfigurationError(
            [f"save_pictures: expected a study with one objective, received {len(study.directions)}: see best_trials"]
        )
    try:
        importlib.import_module(PICTURES[kind])
    except ImportError as error:
        raise ImportError(
            f"save_pictures(kind={kind!r}) needs {PICTURES[kind]}: pip install {PICTURES[kind]}"
        ) from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is experimental")  # which Optuna says of all of its pictures
        warnings.filterwarnings("ignore", "Target and region quantiles")  # equal trials: equal bars show it
        drawn = {"history": _draw(study, kind, "plot_optimization_history")}
        if sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) > 1:
            drawn["importance"] = _draw(study, kind, "plot_param_importances")
    with update_folder(folder) as files:
        for name, data in drawn.items():
            files.write_bytes(f"{name}.{kind}", data)
    return [f"{name}.{kind}" for name in drawn]


def _draw(study: optuna.Study, kind: str, plot: str) -> bytes:
    import optuna

    # PED-ANOVA needs no further package; optuna's default needs scikit-learn in some of its releases
    options: dict[str, Any] = {}
    if plot == "plot_param_importances":
        options["evaluator"] = optuna.importance.PedAnovaImportanceEvaluator()
    if kind == "html":
        figure = getattr(optuna.visualization, plot)(study, **options)
        return str(figure.to_html(include_plotlyjs=True)).encode()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context({"figure.max_open_warning": 0}):
        axes = getattr(importlib.import_module("optuna.visualization.matplotlib"), plot)(study, **options)
    figure = axes.figure
    data = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(data, format="png", bbox_inches="tight")  # names of arguments are longer than the margin
    importlib.import_module("matplotlib.pyplot").close(figure)
    return data.getvalue()
