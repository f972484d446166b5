from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest

from lt_trainer.args.check import ConfigurationError, raise_if
from lt_trainer.args.duration import Duration, plan_duration
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.hardware import Facts

GRID = list(itertools.product(range(1, 41), range(1, 6), range(1, 6)))


def duration(rows: int | None, world_size: int = 1, batches: int | None = None, **arguments: object) -> Duration:
    args = TrainingArguments(**{"output_dir": "out", **arguments})  # type: ignore[arg-type]
    found, problems = plan_duration(args, Facts(num_train_rows=rows, num_train_batches=batches), world_size)
    raise_if(problems)
    return found


def test_a_short_last_batch_and_a_short_last_window_count() -> None:
    # 10 rows in batches of 4: 4 4 2; in windows of 2: (4 4) (2)
    found = duration(10, per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=3)
    assert found == Duration(
        max_steps=6,
        max_epochs=3,
        num_epochs=3,
        steps_per_epoch=2,
        warmup_steps=0,
        effective_batch_size=8,
        stop_by_steps=False,
    )


def test_fractions_of_an_epoch_round_up_to_a_step() -> None:
    found = duration(20, per_device_train_batch_size=4, num_train_epochs=2.5)
    assert (found.max_steps, found.max_epochs, found.num_epochs) == (13, 3, 2.5)


def test_max_steps_overrides_epochs() -> None:
    found = duration(20, per_device_train_batch_size=4, num_train_epochs=1, max_steps=12)
    assert (found.max_steps, found.max_epochs, found.num_epochs, found.stop_by_steps) == (12, 3, 2.4, True)


def test_drop_last_leaves_out_the_short_batch() -> None:
    assert duration(10, per_device_train_batch_size=4, num_train_epochs=1, dataloader_drop_last=True).max_steps == 2


def test_processes_share_the_rows() -> None:
    found = duration(
        100, world_size=2, per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=1
    )
    assert (found.effective_batch_size, found.max_steps) == (16, 7)


@pytest.mark.parametrize(("steps", "ratio", "expected"), [(5, 0.5, 5), (0.1, 0.5, 10), (0, 0.055, 6), (0, 0, 0)])
def test_warmup_is_steps_or_a_share_rounded_up(steps: float, ratio: float, expected: int) -> None:
    found = duration(100, per_device_train_batch_size=1, num_train_epochs=1, warmup_steps=steps, warmup_ratio=ratio)
    assert found.warmup_steps == expected


def test_a_loader_of_the_user_tells_its_length() -> None:
    assert duration(None, batches=7, gradient_accumulation_steps=2, num_train_epochs=2).max_steps == 8


def test_data_without_length_needs_max_steps() -> None:
    assert duration(None, max_steps=9).max_steps == 9
    with pytest.raises(ConfigurationError, match="max_steps=-1: the training data has no length"):
        duration(None)


def test_without_training_data_there_are_no_steps() -> None:
    assert plan_duration(TrainingArguments("out"), Facts(has_train=False), 1)[0].max_steps == 0


def test_no_rows_and_no_batch_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="the training data set is empty"):
        duration(0)
    with pytest.raises(
        ConfigurationError, match="dataloader_drop_last=True leaves no batch: 7 rows where a batch takes 8"
    ):
        duration(7, dataloader_drop_last=True)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("epochs", [1, 2.5, 3])
def test_steps_are_those_of_cutting_rows_by_hand(epochs: float, drop_last: bool) -> None:
    for rows, batch, accumulation in GRID:
        sizes = [min(batch, rows - start) for start in range(0, rows, batch)]
        sizes = [size for size in sizes if size == batch or not drop_last]
        windows = [sizes[i : i + accumulation] for i in range(0, len(sizes), accumulation)]
        if not windows:
            continue
        found = duration(
            rows,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=epochs,
            dataloader_drop_last=drop_last,
        )
        assert found.steps_per_epoch == len(windows)
        assert found.max_steps == math.ceil(epochs * len(windows))
        assert found.max_epochs == math.ceil(epochs)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("epochs", "max_steps"), [(1, -1), (2.5, -1), (3, -1), (3, 7)])
def test_steps_and_epochs_equal_those_of_transformers(epochs: float, max_steps: int, drop_last: bool) -> None:
    trainer = pytest.importorskip("transformers").Trainer
    loader_of = pytest.importorskip("torch.utils.data").DataLoader
    for rows, batch, accumulation in GRID:
        loader = loader_of(range(rows), batch_size=batch, drop_last=drop_last)
        if not len(loader):
            continue
        given = {
            "num_train_epochs": epochs,
            "max_steps": max_steps,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": accumulation,
        }
        facade = SimpleNamespace(
            get_total_train_batch_size=lambda args: 0, get_sp_size=lambda: 1, num_examples=lambda loader: 0
        )
        theirs = trainer.set_initial_training_values(facade, SimpleNamespace(**given), loader)
        ours = duration(rows, dataloader_drop_last=drop_last, **given)
        assert (ours.max_epochs, ours.steps_per_epoch, ours.max_steps) == (theirs[0], theirs[1], theirs[6])


@pytest.mark.parametrize("warmup", [0, 0.05, 0.5, 1, 3, 10])
def test_warmup_equals_that_of_transformers(warmup: float) -> None:
    theirs = pytest.importorskip("transformers").TrainingArguments.get_warmup_steps
    args = TrainingArguments("out", warmup_steps=warmup)
    assert [args.get_warmup_steps(n) for n in range(1, 50)] == [theirs(args, n) for n in range(1, 50)]
