from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from lt_trainer import AutoModelForSequenceClassification, Trainer, TrainingArguments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = [{"input_ids": [2, 5, 6, 3], "labels": number % 2} for number in range(8)]


@pytest.fixture
def advice(
    tiny_bert: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Callable[..., list[str]]:
    """Trains for two steps, so many times, and returns the lines of advice."""
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert())

    def run(*, trains: int = 1, **arguments: Any) -> list[str]:
        args = TrainingArguments(str(tmp_path), max_steps=2, save_strategy="no", report_to="none", **arguments)
        trainer = Trainer(model, args, train_dataset=ROWS)
        with caplog.at_level(logging.WARNING):
            for _ in range(trains):
                trainer.train()
        return [record.getMessage() for record in caplog.records if record.name == "lt_trainer.advice.start"]

    return run


def test_a_rate_that_spoils_a_pretrained_model_is_told_in_one_line(advice: Callable[..., list[str]]) -> None:
    (line,) = advice(learning_rate=0.1)
    assert line.startswith("advice: learning_rate=0.1 is above 1e-06 to 0.0001")
    assert "lt-trainer doctor" in line


def test_a_trainer_is_told_once(advice: Callable[..., list[str]]) -> None:
    assert len(advice(learning_rate=0.1, trains=2)) == 1


def test_a_short_run_with_usual_arguments_is_told_nothing(advice: Callable[..., list[str]]) -> None:
    assert advice() == []


def test_arguments_without_effect_are_told(advice: Callable[..., list[str]]) -> None:
    assert advice(gradient_checkpointing_kwargs={"every": 2}) == [
        "gradient_checkpointing_kwargs has no effect without gradient_checkpointing=True"
    ]
