"""The HTML that shows a run: a bar, the curve of the loss, a table. Functions of the log alone, without state."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lt_trainer.state import TrainerState

Point = tuple[float, float]  # an optimizer step and a loss

ROWS, POINTS = 10, 200  # that are shown at most: a long run may log thousands of times
WIDTH, HEIGHT, LEFT, BOTTOM = 460, 150, 44, 18  # of the curve, in pixels
TRAINING, EVALUATION = "#3b82c4", "#e07b28"  # readable on white and on black
SPEEDS = ("_runtime", "_samples_per_second", "_steps_per_second", "_model_preparation_time")


def bar(done: int, total: int | None, text: str) -> str:
    """A progress bar with a text behind it; without an end where `total` is None."""
    share = "" if total is None else f' value="{done}" max="{max(total, 1)}"'
    return f'<div><progress{share} style="width: 20em; vertical-align: middle"></progress> {escape(text)}</div>'


def run_table(state: TrainerState) -> str:
    """A row for each evaluation; one for each log where there are none."""
    shown: dict[float, dict[str, Any]] = {}
    loss: float | None = None
    evaluated = any(_is_evaluation(entry) for entry in state.log_history)
    for entry in state.log_history:
        loss = entry.get("loss", loss)
        if _is_evaluation(entry) or ("loss" in entry and not evaluated):
            row = shown.setdefault(entry["step"], {"step": entry["step"], "epoch": f"{entry.get('epoch') or 0:.2f}"})
            row["training loss"] = "" if loss is None else loss
            row |= {_title(name): value for name, value in metrics_of(entry).items() if name != "loss"}
    rows = list(shown.values())
    note = f"<div>the last {ROWS} of {len(rows)} rows; all are in trainer.state.log_history</div>"
    return table(rows[-ROWS:]) + (note if len(rows) > ROWS else "")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of columns by name; "" without any."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        return ""
    cell = 'style="text-align: right; padding: 2px 10px"'
    lines = [[f"<th {cell}>{escape(name)}</th>" for name in columns]]
    lines += [[f"<td {cell}>{escape(_value(row.get(name, '')))}</td>" for name in columns] for row in rows]
    return "<table>" + "".join(f"<tr>{''.join(line)}</tr>" for line in lines) + "</table>"


def metrics_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a log holds but for its place, its speed and what the optimizer did."""
    aside = ("step", "epoch", "grad_norm", "learning_rate", "total_flos", "num_input_tokens_seen")
    return {name: value for name, value in entry.items() if name not in aside and not name.endswith(SPEEDS)}


def curve(state: TrainerState) -> str:
    """The losses of training and evaluation over the steps, as SVG; "" before there are two of either."""
    training = _points(state.log_history, "loss")
    evaluation = _points(state.log_history, "eval_loss")
    if max(len(training), len(evaluation)) < 2:
        return ""
    both = [*training, *evaluation]
    last, low, high = max(x for x, _ in both), min(y for _, y in both), max(y for _, y in both)
    height = (high - low) or 1.0

    def place(point: Point) -> Point:
        x, y = point
        return LEFT + (WIDTH - LEFT - 8) * x / max(last, 1), 8 + (HEIGHT - BOTTOM - 16) * (high - y) / height

    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    lines = [
        f'<svg {size} role="img" aria-label="losses" font-size="11" fill="currentColor">',
        f'<path d="M {LEFT} 4 V {HEIGHT - BOTTOM} H {WIDTH - 4}" fill="none" stroke="currentColor" opacity="0.4"/>',
        _label(LEFT - 5, 12, f"{high:.3g}", "end"),
        _label(LEFT - 5, HEIGHT - BOTTOM - 4, f"{low:.3g}", "end"),
        _label(WIDTH - 8, HEIGHT - 4, f"step {last:.0f}", "end"),
        _line(map(place, _thinned(training)), TRAINING),
        _line(map(place, _thinned(evaluation)), EVALUATION, dots=True),
        _label(WIDTH - 120, 14, "training loss", "start", TRAINING),
        _label(WIDTH - 120, 28, "evaluation loss", "start", EVALUATION) if evaluation else "",
        "</svg>",
    ]
    return f"<div>{''.join(lines)}</div>"


def clock(seconds: float) -> str:
    """Seconds as 1:05 or 2:00:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_evaluation(entry: Mapping[str, Any]) -> bool:
    return any(name.startswith("eval_") for name in entry)


def _title(name: str) -> str:
    return "evaluation loss" if name == "eval_loss" else name.removeprefix("eval_").replace("_", " ")


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _points(history: Iterable[Mapping[str, Any]], name: str) -> list[Point]:
    return [(entry["step"], entry[name]) for entry in history if name in entry and math.isfinite(entry[name])]


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most about POINTS of them, the last among them."""
    every = 1 + len(points) // POINTS
    return [*points[:-1:every], *points[-1:]]


def _line(points: Iterable[Point], colour: str, *, dots: bool = False) -> str:
    places = [f"{x:.1f},{y:.1f}" for x, y in points]
    line = f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    circles = (place.split(",") for place in places if dots)
    return line + "".join(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in circles)


def _label(x: float, y: float, text: str, anchor: str, colour: str = "currentColor") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
