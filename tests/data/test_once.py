"""Data sets that only iterate are evaluated row by row, once each."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import IterableDataset

from lt_trainer.data.collators import default_data_collator
from lt_trainer.data.once import OnceLoader, OnceWindows
from tests.faults import runs
from tests.test_scoring import build, share


class Stream(IterableDataset):
    """Rows without a length."""

    def __init__(self, rows):
        self.rows, self.passes = rows, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.rows)


def windows(count, rank=0, world_size=1):
    return OnceWindows([{"n": i} for i in range(count)], default_data_collator, 2, rank=rank, world_size=world_size)


@pytest.mark.parametrize("count", range(10))
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_row_comes_once_and_every_process_has_as_many_windows(count, world_size):
    shares = [list(windows(count, rank, world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    rows = [row for step in zip(*shares, strict=True) for window in step for rows in window.rows for row in rows]
    values = [n for step in zip(*shares, strict=True) for w in step for b in w.batches for n in b["n"].tolist()]
    assert rows == values == list(range(count))


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_a_loader_yields_the_batches_of_the_stream_in_order(num_workers):
    loader = OnceLoader(None, windows(5), num_workers=num_workers)
    assert [batch["n"].tolist() for batch in loader] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_and_prediction_of_a_stream_equal_those_of_its_rows(tmp_path, num_workers):
    rows = runs.rows(10)
    options = {"compute_metrics": lambda p: {"share": share(p), "rows": len(p.label_ids)}}
    options["dataloader_num_workers"] = num_workers
    whole, streamed = build(tmp_path, rows, **options), build(tmp_path, Stream(rows), **options)
    a, b = whole.evaluate(), streamed.evaluate()
    assert a.keys() == b.keys()
    for name in ("eval_loss", "eval_share", "eval_rows"):
        assert b[name] == pytest.approx(a[name])
    predicted = streamed.predict(Stream(rows))
    np.testing.assert_allclose(predicted.predictions, whole.predict(rows).predictions, rtol=1e-6)
    assert predicted.label_ids.tolist() == [row["labels"] for row in rows]


def test_a_stream_of_datasets_is_evaluated(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"x": row["x"].tolist(), "labels": row["labels"]} for row in runs.rows(7)]
    stream = datasets.IterableDataset.from_generator(lambda: iter(rows))
    found = build(tmp_path, stream, compute_metrics=lambda p: {"rows": len(p.label_ids)}).evaluate()
    assert found["eval_rows"] == 7


def test_training_evaluates_a_stream_and_tries_two_batches_of_it_first(tmp_path):
    stream = Stream(runs.rows(10))
    trainer = runs.build(
        tmp_path,
        eval_dataset={"a": stream},
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=3,
        max_steps=4,
        compute_metrics=lambda p: {"rows": len(p.label_ids)},
    )
    trainer.train()
    assert [e["eval_a_rows"] for e in trainer.state.log_history if "eval_a_rows" in e] == [10, 10]
    assert stream.passes == 3
