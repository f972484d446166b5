from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from lt_trainer.callbacks import page
from lt_trainer.state import TrainerState


def state(*history: dict[str, float]) -> TrainerState:
    return TrainerState(log_history=list(history))


def cells(html: str) -> list[list[str]]:
    """The texts of a table, a list for each row, the head first."""
    (table,) = ElementTree.fromstring(f"<p>{html}</p>").findall("table")
    return [[cell.text or "" for cell in row] for row in table]


TWO_EVALUATIONS = (
    {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.1, "step": 5, "epoch": 0.5},
    {"eval_loss": 1.5, "eval_accuracy": 0.25, "eval_runtime": 3.0, "step": 5, "epoch": 0.5},
    {"loss": 1.0, "grad_norm": 1.0, "learning_rate": 0.1, "step": 10, "epoch": 1.0},
    {"eval_loss": 1.25, "eval_accuracy": 0.75, "eval_samples_per_second": 9.0, "step": 10, "epoch": 1.0},
    {"train_runtime": 1.0, "train_loss": 1.5, "step": 10, "epoch": 1.0},
)


def test_each_evaluation_is_a_row_with_the_last_training_loss() -> None:
    assert cells(page.run_table(state(*TWO_EVALUATIONS))) == [
        ["step", "epoch", "training loss", "evaluation loss", "accuracy"],
        ["5", "0.50", "2", "1.5", "0.25"],
        ["10", "1.00", "1", "1.25", "0.75"],
    ]


def test_without_evaluations_each_log_is_a_row() -> None:
    losses = [entry for entry in TWO_EVALUATIONS if "loss" in entry]
    assert cells(page.run_table(state(*losses))) == [
        ["step", "epoch", "training loss"],
        ["5", "0.50", "2"],
        ["10", "1.00", "1"],
    ]


def test_several_evaluation_sets_share_a_row() -> None:
    html = page.run_table(state({"eval_a_loss": 1.0, "step": 1, "epoch": 1}, {"eval_b_loss": 2.0, "step": 1}))
    assert cells(html) == [["step", "epoch", "training loss", "a loss", "b loss"], ["1", "1.00", "", "1", "2"]]


def test_a_long_run_shows_its_last_rows_and_says_so() -> None:
    html = page.run_table(state(*({"loss": 1.0, "step": step} for step in range(1, 101))))
    assert [row[0] for row in cells(html)[1:]] == [str(step) for step in range(91, 101)]
    assert "the last 10 of 100 rows" in html


def test_the_curve_goes_through_both_losses() -> None:
    svg = page.curve(state(*TWO_EVALUATIONS))
    training, evaluation = re.findall(r'<polyline points="([^"]*)"', svg)
    (x1, high), (x2, low) = (map(float, place.split(",")) for place in training.split())
    assert x1 < x2
    assert high < low  # pixels are counted from above: the first loss, 2.0, is the higher one
    assert [place.split(",")[0] for place in evaluation.split()] == [f"{x1}", f"{x2}"]
    assert "step 10" in svg
    ElementTree.fromstring(svg)


def test_a_curve_needs_two_points() -> None:
    assert page.curve(state({"loss": 2.0, "step": 5})) == ""


def test_losses_that_are_not_finite_stay_out_of_the_curve() -> None:
    history = [{"loss": loss, "step": step} for step, loss in enumerate([3.0, float("nan"), 2.0, float("inf")], 1)]
    svg = page.curve(state(*history))
    assert "nan" not in svg
    assert "step 3" in svg


def test_a_long_curve_is_thinned_and_keeps_its_last_point() -> None:
    svg = page.curve(state(*({"loss": 1 / step, "step": step} for step in range(1, 5001))))
    points = re.findall(r'<polyline points="([^"]*)"', svg)[0].split()
    assert 150 < len(points) <= page.POINTS + 1
    assert points[-1].startswith(f"{page.WIDTH - 8:.1f},")


def test_names_of_metrics_are_shown_as_text() -> None:
    assert "<b>" not in page.table([{"<b>": "<i>"}])
    assert "&lt;b&gt;" in page.table([{"<b>": "<i>"}])


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (7205, "2:00:05")])
def test_time_is_hours_minutes_seconds(seconds: float, text: str) -> None:
    assert page.clock(seconds) == text


def test_a_bar_without_an_end_has_no_value() -> None:
    assert "value=" not in page.bar(3, None, "batch 3")
    assert 'value="3" max="10"' in page.bar(3, 10, "step 3")
