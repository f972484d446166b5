"""Where memory runs out the micro-batches get smaller, and nothing else changes."""

from __future__ import annotations

import logging

import pytest
import torch

from lt_trainer import ConfigurationError, Trainer, TrainingArguments
from lt_trainer.data.windows import Window
from tests.faults import runs


class Small(runs.Toy):
    """Takes five rows at a time, on a machine that holds no more."""

    def __init__(self, room: int = 10**9) -> None:
        super().__init__()
        self.dropout.p, self.room, self.seen = 0.0, room, []

    def forward(self, x, labels):
        if len(x) > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.training:
            self.seen.append(len(x))
        return super().forward(x, labels)


def train(folder, model, resume=None, **options):
    settings = {"max_steps": 4, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "save_steps": 2}
    settings |= {"learning_rate": 0.1, "logging_steps": 1, "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    arguments = TrainingArguments(str(folder), **{"auto_find_batch_size": True, **settings, **options})
    trainer = Trainer(model, arguments, train_dataset=runs.rows(40))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def model(room: int = 10**9) -> Small:
    torch.manual_seed(0)
    return Small(room)


def test_rows_steps_and_losses_stay_where_memory_runs_out(tmp_path, caplog) -> None:
    whole = train(tmp_path / "whole", model())
    with caplog.at_level(logging.WARNING):
        small = train(tmp_path / "small", model(5))
    assert small.state.global_step == 4
    assert runs.losses(small) == pytest.approx(runs.losses(whole), rel=1e-6)
    assert runs.weights(small) == pytest.approx(runs.weights(whole), rel=1e-5)
    assert small.model.seen[:4] == [4, 4, 4, 4]
    assert sum(small.model.seen) == sum(whole.model.seen)  # no row is lost or repeated
    [said] = [r.getMessage() for r in caplog.records if "memory ran out" in r.getMessage()]
    assert said.startswith("memory ran out at 8 rows a micro-batch: the step is done again")
    assert said.endswith("micro-batches of at most 4; the rows of a step stay the same")


def test_a_resumed_run_knows_what_fits(tmp_path) -> None:
    train(tmp_path, model(5), max_steps=2)
    again = model()
    train(tmp_path, again, resume=True)
    assert max(again.seen) == 4


def test_one_row_that_does_not_fit_is_the_error_itself(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="Tried to allocate"):
        train(tmp_path, model(0))


def test_without_the_argument_memory_that_runs_out_ends_the_run(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="Tried to allocate"):
        train(tmp_path, model(5), auto_find_batch_size=False)


def test_several_processes_are_refused(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="auto_find_batch_size=True with 2 processes"):
        train(tmp_path, model(), devices=2)


def test_cutting_leaves_what_has_no_value_a_row() -> None:
    x, weights, names = torch.arange(6).view(3, 2), torch.ones(4), ["a", "b", "c"]
    cut = Window([{"x": x, "weights": weights, "names": names, "scale": 2.0}], [[7, 8, 9]]).cut(2)
    assert cut.rows == [[7, 8], [9]]
    assert [batch["x"].tolist() for batch in cut.batches] == [[[0, 1], [2, 3]], [[4, 5]]]
    assert [batch["names"] for batch in cut.batches] == [["a", "b"], ["c"]]
    assert all(batch["weights"] is weights for batch in cut.batches)
    assert all(batch["scale"] == 2.0 for batch in cut.batches)
