"""Checkpoints pass both ways between `transformers.Trainer` and this format."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lt_trainer.checkpoint.find import newest_valid, verify
from lt_trainer.checkpoint.format import read_checkpoint, write_checkpoint
from lt_trainer.checkpoint.rng import rng_state
from lt_trainer.files import AtomicFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")


@pytest.fixture
def train(tiny_bert: Callable[..., Path]) -> Callable[..., Any]:
    """Trains a tiny classifier with `transformers` for four steps, saving every second; returns its Trainer."""
    source = tiny_bert()
    rows = [
        {"input_ids": torch.randint(5, 40, (6,)), "attention_mask": torch.ones(6), "labels": i % 2} for i in range(16)
    ]

    def run(output_dir: Path, resume: Path | None = None) -> Any:
        torch.manual_seed(1 if resume else 0)  # another head, which the checkpoint replaces
        model = transformers.BertForSequenceClassification.from_pretrained(source)
        arguments = transformers.TrainingArguments(
            str(output_dir), max_steps=4, save_steps=2, per_device_train_batch_size=4, learning_rate=1e-3,
            logging_steps=1, report_to="none", disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        trainer = transformers.Trainer(model, arguments, train_dataset=rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about pinned memory
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        return trainer

    return run


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_theirs_is_read_and_ours_goes_on_there_to_equal_weights(tmp_path: Path, train: Callable[..., Any]) -> None:
    whole = train(tmp_path / "theirs")
    theirs = tmp_path / "theirs" / "checkpoint-2"
    assert verify(theirs) is None
    assert newest_valid(tmp_path / "theirs")[0].name == "checkpoint-4"

    state = read_checkpoint(theirs)
    assert state.trainer_state["global_step"] == 2
    assert state.optimizer is not None
    assert len(state.optimizer["param_groups"]) == 2  # with weight decay and without
    assert state.scheduler is not None
    assert state.scheduler["last_epoch"] == 2
    assert state.rng == []
    assert "rng_state.pth" in state.notes[0]

    state.rng = [rng_state()]
    ours = tmp_path / "ours" / "checkpoint-2"
    with AtomicFolder(ours) as folder:
        write_checkpoint(folder, state)
    assert verify(ours) is None
    resumed = train(tmp_path / "ours", resume=ours)
    assert losses(resumed) == losses(whole)
    expected = whole.model.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in resumed.model.state_dict().items())
