"""The best model is there at the end, whatever the metric did and whenever checkpoints were due."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lt_trainer import TrainerCallback
from lt_trainer.checkpoint.find import list_checkpoints
from tests.faults import runs

if TYPE_CHECKING:
    from pathlib import Path

    from lt_trainer import Trainer

EVALUATIONS = 5
SCORES = [0.1, 0.2, 0.3, 0.3, math.nan]  # ties and NaN are as likely as anything else


class Watch(TrainerCallback):
    """Keeps the weights of each evaluation, and the largest number of checkpoints that were ever there."""

    def __init__(self, output_dir: Path) -> None:
        self.output_dir, self.weights, self.most = output_dir, [], 0

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        self.weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).tolist())

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.most = max(self.most, len(list_checkpoints(self.output_dir)))


def train(output_dir: Path, scores: list[float], **options: Any) -> tuple[Trainer, Watch]:
    """Evaluates at every third step, where `scores` are what the evaluations find, and saves at every fifth."""
    watch, left = Watch(output_dir), iter(scores)
    settings = {
        "max_steps": 3 * len(scores),
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_steps": 5,
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "score",
        "greater_is_better": True,
        "logging_steps": 100,
    }
    trainer = runs.build(
        output_dir,
        callbacks=[watch],
        eval_dataset=runs.rows(4),
        compute_metrics=lambda prediction: {"score": next(left)},
        **{**settings, **options},
    )
    trainer.train()
    return trainer, watch


def best_of(scores: list[float], greater: bool) -> int | None:
    """The evaluation that a plain loop finds best: the first of equals, NaN never."""
    best = None
    for i, score in enumerate(scores):
        if not math.isnan(score) and (best is None or (score > scores[best] if greater else score < scores[best])):
            best = i
    return best


@pytest.mark.parametrize("seed", [pytest.param(i, marks=pytest.mark.slow if i >= 20 else ()) for i in range(100)])
def test_the_weights_at_the_end_are_those_of_the_best_evaluation(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    scores, greater = [draw.choice(SCORES) for _ in range(EVALUATIONS)], seed % 2 == 0
    trainer, watch = train(tmp_path, scores, greater_is_better=greater)
    best = best_of(scores, greater)
    if best is None:
        assert trainer.state.best_model_checkpoint is None
    else:
        assert runs.weights(trainer) == watch.weights[best], scores
        assert trainer.state.best_global_step == 3 * (best + 1)
    kept = [path.name for path in list_checkpoints(tmp_path)]
    others = {path.name for path in tmp_path.iterdir()} - set(kept)
    assert others <= {"best", "metrics.jsonl"}
    is_checkpoint = best is not None and (3 * (best + 1)) % 5 == 0  # then it stays beside the last one
    assert len(kept) <= 1 + is_checkpoint
    assert watch.most <= 1 + any(3 * (i + 1) % 5 == 0 for i in range(EVALUATIONS))


@pytest.mark.parametrize("large", [False, True])
def test_a_best_model_counts_as_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    """`on_save` is told of checkpoints alone, and never before one is complete."""
    if large:
        monkeypatch.setattr("lt_trainer.saves.SMALL_STATE", 0)
    told = []

    class Told(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            told.append((state.global_step, (tmp_path / f"checkpoint-{state.global_step}").is_dir()))

    trainer = runs.build(
        tmp_path,
        callbacks=[Told()],
        eval_dataset=runs.rows(4),
        max_steps=9,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=4,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        learning_rate=1e-3,
    )
    trainer.train()
    assert told == [(4, True), (8, True), (9, True)]


@pytest.mark.parametrize("large", [False, True])
def test_a_step_that_ends_an_epoch_is_saved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    from lt_trainer.checkpoint import saver

    if large:
        monkeypatch.setattr("lt_trainer.saves.SMALL_STATE", 0)
    steps, write = [], saver.write_checkpoint
    monkeypatch.setattr(
        saver,
        "write_checkpoint",
        lambda folder, state: (steps.append(state.trainer_state["global_step"]), write(folder, state)),
    )
    runs.build(tmp_path, max_steps=8).train()  # epochs of four steps
    assert steps == [2, 4, 6, 8]
