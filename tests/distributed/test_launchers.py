"""One process and several see the same rows, losses, gradients, metrics and files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from lt_trainer import AutoTokenizer

SCRIPT = str(Path(__file__).with_name("train_script.py"))
TEXTS = ["a good film", "the plot was dull and slow", "very great", "never good", "it is bad", "a great actor"] * 4


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def start(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=240, check=False, env=env)


def run(command: list[str], **environment: str) -> dict[str, object]:
    done = start(command, **environment)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(results) == 1, done.stdout
    return json.loads(results[0].removeprefix("RESULT "))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from tests.support import write_bert

    folder = tmp_path_factory.mktemp("world")
    write_bert(folder / "model", head="masked")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = Dataset.from_dict({**tokenizer(TEXTS[:21]), "label": [i % 2 for i in range(21)]})
    rows.save_to_disk(str(folder / "rows"))
    return folder


@pytest.fixture(scope="module")
def alone(world):
    return run([SCRIPT, str(world), str(world / "alone"), "4"])


def assert_same(world, alone, name, found, reference="alone"):
    assert len(found["history"]) == len(alone["history"])
    for expected, entry in zip(alone["history"], found["history"], strict=True):
        flops = entry.pop("total_flos", None)  # counts the padding of batches, which are other ones
        assert (flops is None) == ("total_flos" not in expected)
        assert entry == pytest.approx({k: v for k, v in expected.items() if k != "total_flos"}, rel=1e-4), entry
    torch.testing.assert_close(
        torch.tensor(found["predictions"]), torch.tensor(alone["predictions"]), rtol=1e-3, atol=1e-5
    )
    assert_weights(world, name, reference)
    names, expected = ({p.name for p in (world / n).iterdir()} - {"metrics.jsonl"} for n in (name, reference))
    assert names == expected


def assert_weights(world, name, reference="alone"):
    ours, theirs = (load_file(world / n / "final" / "model.safetensors") for n in (name, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_two_processes_of_torchrun_equal_one(world, alone):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    found = run([*launcher, SCRIPT, str(world), str(world / "torchrun"), "2"])
    assert_same(world, alone, "torchrun", found)


@pytest.mark.slow
def test_two_devices_of_plain_python_equal_one(world, alone):
    assert_same(world, alone, "plain", run([SCRIPT, str(world), str(world / "plain"), "2", "2"]))


@pytest.mark.slow
def test_three_processes_equal_one_although_nothing_divides(world):
    alone = run([SCRIPT, str(world), str(world / "six"), "6"])
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=3", f"--master_port={free_port()}"]
    found = run([*launcher, SCRIPT, str(world), str(world / "three"), "2"])
    assert_same(world, alone, "three", found, reference="six")


@pytest.mark.slow
def test_torch_distributed_launch_equals_one(world, alone):
    pytest.importorskip("torch.distributed.launch")
    launcher = ["-m", "torch.distributed.launch", "--nproc_per_node=2", "--use-env", f"--master_port={free_port()}"]
    assert_same(world, alone, "launch", run([*launcher, SCRIPT, str(world), str(world / "launch"), "2"]))


@pytest.mark.slow
def test_a_signal_to_one_process_saves_on_all_and_the_run_goes_on(world, alone):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    stopped = start([*launcher, SCRIPT, str(world), str(world / "signal"), "2"], SIGNAL_RANK="1")
    assert stopped.returncode != 0
    assert "RESULT" not in stopped.stdout
    assert (world / "signal" / "checkpoint-2").is_dir()
    found = run([*launcher, SCRIPT, str(world), str(world / "signal"), "2"], RESUME="1")
    for step in (world / "signal", world / "alone"):
        assert (step / "final").is_dir()
    ours, theirs = (load_file(world / n / "final" / "model.safetensors") for n in ("signal", "alone"))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    losses = [[e["loss"] for e in r["history"] if "loss" in e] for r in (found, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_srun_starts_processes_by_its_variables(world, alone):
    said = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    said |= {"SLURM_JOB_ID": "12", "SLURM_JOB_NAME": "train", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, SCRIPT, str(world), str(world / "slurm"), "2"]
    tasks = [
        subprocess.Popen(
            command,
            env={**os.environ, **said, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    texts = [task.communicate(timeout=240) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], texts
    [result] = [line for out, _ in texts for line in out.splitlines() if line.startswith("RESULT ")]
    assert_same(world, alone, "slurm", json.loads(result.removeprefix("RESULT ")))


@pytest.mark.slow
def test_other_rows_on_one_process_end_all_with_a_message(world):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    done = start([*launcher, SCRIPT, str(world), str(world / "differ"), "2"], FEWER_ROWS_ON="1")
    assert done.returncode != 0
    assert "the processes of this run differ" in done.stderr
    assert "train_dataset: 21 rows" in done.stderr


@pytest.mark.slow
def test_a_killed_process_ends_the_others_within_a_minute(world):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    begin = time.monotonic()
    done = start([*launcher, SCRIPT, str(world), str(world / "killed"), "2"], SIGNAL_RANK="1", SIGNAL="9")
    assert done.returncode != 0
    assert time.monotonic() - begin < 90  # of which up to 30 are the start
    assert "SIGKILL" in done.stderr
    plain = start([SCRIPT, str(world), str(world / "killed"), "2", "2"], SIGNAL_RANK="1", SIGNAL="9")
    assert plain.returncode != 0
