"""The scores of tasks, and what users override, on two processes as on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import writers
from tests.distributed.test_launchers import free_port, run
from tests.support import write_bert

pytestmark = pytest.mark.slow
SCRIPT = str(Path(__file__).with_name("tasks_script.py"))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    write_bert(folder / "bert")
    writers.write_t5(folder / "t5")
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    return run([SCRIPT, str(folder), "1"]), run([*launcher, SCRIPT, str(folder), "2"])


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "seq2seq"])
def test_scores_of_a_task_are_those_of_one_process(found, task):
    alone, both = (one[task] for one in found)
    assert both["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert both["metrics"].keys() == alone["metrics"].keys()
    assert both["metrics"] == pytest.approx(alone["metrics"], rel=1e-4)


def test_overrides_do_on_two_processes_what_they_do_on_one(found):
    alone, both = (one["overrides"] for one in found)
    assert both["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert both["weights"] == pytest.approx(alone["weights"], rel=1e-4, abs=1e-6)
    assert both["metrics"] == pytest.approx(alone["metrics"], rel=1e-5)
    assert [one["calls"] for one in found] == [[7], [7]]
