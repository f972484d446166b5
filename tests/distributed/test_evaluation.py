"""Evaluation on two processes: every row once, in order, and the caller's function called on one of them alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.test_launchers import free_port, run

pytestmark = pytest.mark.slow
SCRIPT = str(Path(__file__).with_name("evaluation_script.py"))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("run"))
    [alone] = run([SCRIPT, folder])
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    return alone, run([*launcher, SCRIPT, folder])


@pytest.mark.parametrize("way", ["whole", "batches", "stream", "own"])
@pytest.mark.parametrize("count", range(1, 10))
def test_every_row_counts_once_and_metrics_are_made_once(found, way, count):
    alone, (first, second) = found
    expected, rows = alone[f"{way} {count}"]
    assert rows == count
    for metrics, _ in (first[f"{way} {count}"], second[f"{way} {count}"]):
        assert metrics.pop("eval_loss") == pytest.approx(expected["eval_loss"], rel=1e-6)
        ids, wanted = metrics.pop("eval_ids"), expected["eval_ids"]
        assert ids == wanted or way == "batches"  # there the ids are those of the last batch
        assert metrics == {name: expected[name] for name in metrics}
    assert first[f"{way} {count}"][1] == count  # on the first process alone
    assert second[f"{way} {count}"][1] == 0


@pytest.mark.parametrize("count", range(1, 10))
def test_predictions_come_in_row_order_on_every_process(found, count):
    alone, both = found
    logits, labels = alone[f"predict {count}"]
    for theirs in both:
        assert theirs[f"predict {count}"][1] == labels
        for row, expected in zip(theirs[f"predict {count}"][0], logits, strict=True):
            assert row == pytest.approx(expected, rel=1e-6)


def test_batches_that_are_not_put_together_are_those_of_all_processes(found):
    for theirs in found[1]:
        assert theirs["list"]["eval_rows"] == 9
        assert theirs["list"]["eval_batches"] == 3


def test_a_failure_on_the_first_process_ends_all(found):
    assert [theirs["failure"] for theirs in found[1]] == [["ZeroDivisionError", True], ["RuntimeError", True]]
