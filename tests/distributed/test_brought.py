"""Strategies and machines that Lightning is told of by its own flags: the same numbers as on one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributed.test_launchers import free_port, run, start

SCRIPT = str(Path(__file__).with_name("brought_script.py"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run([SCRIPT, str(tmp_path_factory.mktemp("alone")), "1"])


def assert_same(found, alone):
    assert found["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert found["eval_loss"] == pytest.approx(alone["eval_loss"], rel=1e-5)
    assert found["weights"] == pytest.approx(alone["weights"], rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_ddp_as_an_object_on_two_devices_equals_one_process(tmp_path, alone):
    assert_same(run([SCRIPT, str(tmp_path), "2", "2", "1"]), alone)


@pytest.mark.slow
def test_two_machines_that_num_nodes_tells_of_equal_one_process(tmp_path, alone):
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [SCRIPT, str(tmp_path), "2", "1", "2"]
    second = subprocess.Popen([sys.executable, *command], env={**os.environ, **meet, "NODE_RANK": "1"})
    try:
        assert_same(run(command, **meet, NODE_RANK="0"), alone)
        assert second.wait(60) == 0
    finally:
        second.kill()


@pytest.mark.slow
def test_gradients_that_are_not_exchanged_end_the_run_in_its_first_step(tmp_path):
    ended = start([SCRIPT, str(tmp_path), "2", "2", "1"], NO_EXCHANGE="1")
    assert ended.returncode != 0
    assert "the gradients of the first step have another norm on each process" in ended.stderr
