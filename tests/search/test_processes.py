"""Searches by several processes: together at one trial, or each at trials of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from safetensors.torch import load_file

SCRIPT = str(Path(__file__).with_name("search_script.py"))


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )


def result(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    lines = [line for line in out.splitlines() if line.startswith("RESULT ")]
    assert len(lines) == 1, out
    return json.loads(lines[0].removeprefix("RESULT "))


@pytest.mark.slow
def test_two_processes_of_a_trial_prune_it_together_and_go_on(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}")
    found = result(start(*launcher, SCRIPT, str(tmp_path / "out"), "4"))
    assert found["states"] == ["COMPLETE", "PRUNED", "COMPLETE", "COMPLETE"]
    assert (tmp_path / "out" / f"run-{found['best']}" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_search_that_was_killed_in_its_fourth_trial_goes_on_to_the_same_total(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    killed = start(SCRIPT, str(tmp_path / "out"), "6", storage, "4")
    assert killed.wait(timeout=240) == -9
    killed.communicate()
    states = [trial.state.name for trial in optuna.load_study(study_name="s", storage=storage).trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE", "RUNNING"]
    found = result(start(SCRIPT, str(tmp_path / "out"), "6", storage))
    assert found["states"] == ["COMPLETE", "PRUNED", *["COMPLETE"] * 4]
    saved = load_file(tmp_path / "out" / f"run-{found['best']}" / "model.safetensors")
    assert saved["weight"].item() == found["weight"]


@pytest.mark.slow
def test_the_total_is_exact_where_two_processes_share_a_study_and_one_is_killed_and_started_again(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    lasting, killed = (start(SCRIPT, str(tmp_path / "out"), "8", storage, kill_at) for kill_at in ("0", "2"))
    assert killed.wait(timeout=240) == -9
    killed.communicate()
    again = start(SCRIPT, str(tmp_path / "out"), "8", storage)
    found = [result(lasting), result(again)]
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert len(trials) == 8
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert found[0] == found[1]
    folders = [path.parent.name for path in (tmp_path / "out").rglob("model.safetensors")]
    assert folders == [f"run-{found[0]['best']}"]
