"""ZeRO on two processes of the CPU equals one process: losses, norms, evaluations, folders; also over a resume."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.test_launchers import (  # noqa: F401  (fixtures)
    SCRIPT,
    alone,
    assert_same,
    assert_weights,
    free_port,
    run,
    start,
    world,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs the extra deepspeed"),
]


def zero(stage: int, processes: int = 2, **environment: str) -> dict[str, object]:
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={free_port()}"]
    return {"command": launcher, "environment": {"ZERO": str(stage), **environment}}


def train(world, name, stage, processes=2, **environment):  # noqa: F811
    launched = zero(stage, processes, **environment)
    rows = str(4 // processes)
    return run([*launched["command"], SCRIPT, str(world), str(world / name), rows], **launched["environment"])


@pytest.fixture(scope="module")
def whole(world):  # noqa: F811
    """A run of stage 2 on two processes that was never stopped."""
    return train(world, "zero2", 2)


@pytest.mark.parametrize("stage", [1, 3])
def test_two_processes_equal_one(world, alone, stage):  # noqa: F811
    assert_same(world, alone, f"zero{stage}", train(world, f"zero{stage}", stage))


def test_two_processes_of_stage_two_equal_one(world, alone, whole):  # noqa: F811
    assert_same(world, alone, "zero2", whole)


def test_one_process_of_plain_python_equals_a_run_without(world, alone):  # noqa: F811
    assert_same(world, alone, "single", run([SCRIPT, str(world), str(world / "single"), "4"], ZERO="2"))


@pytest.fixture(scope="module")
def stopped(world):  # noqa: F811
    """A run of stage 2 that was stopped after its second step, with what Adam knew then."""
    launched = zero(2, SIGNAL_RANK="1")
    done = start([*launched["command"], SCRIPT, str(world), str(world / "stopped"), "2"], **launched["environment"])
    assert "RESULT" not in done.stdout
    assert (world / "stopped" / "checkpoint-2").is_dir(), done.stderr[-2000:]
    return world / "stopped"


@pytest.mark.parametrize(("stage", "processes"), [(2, 2), (3, 2), (1, 1), (0, 1)])
def test_a_stopped_run_goes_on_in_any_stage_and_on_any_number(world, alone, whole, stopped, stage, processes):  # noqa: F811
    name = f"resumed-{stage}-{processes}"
    shutil.copytree(stopped, world / name)
    shutil.copy(f"{stopped}.made", world / f"{name}.made")
    if stage:
        found = train(world, name, stage, processes, RESUME="1")
    else:
        found = run([SCRIPT, str(world), str(world / name), "4"], RESUME="1")
    assert found["history"][-1] == pytest.approx(alone["history"][-1], rel=1e-4)
    assert_weights(world, name)
    if (stage, processes) == (2, 2):  # as if it had never been stopped, bit for bit
        assert found["history"][-1] == pytest.approx(whole["history"][-1], rel=0, abs=0)
        ours, theirs = (load_file(world / n / "final" / "model.safetensors") for n in (name, "zero2"))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("stage", [2, 3])
def test_bf16_saves_the_float32_weights_that_are_trained(world, stage):  # noqa: F811
    train(world, f"bf16-{stage}", stage, BF16="1")
    weights = load_file(world / f"bf16-{stage}" / "final" / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float32}
    assert any((w != w.bfloat16().float()).any() for w in weights.values())  # more than bf16 can hold
    saved = load_file(world / f"bf16-{stage}" / "checkpoint-3" / "model.safetensors")
    assert any((w != w.bfloat16().float()).any() for w in saved.values())


def test_a_missing_package_is_named(tmp_path):
    code = (
        "import sys; sys.modules['deepspeed'] = None\n"
        "from lt_trainer.drivers.deepspeed import import_deepspeed\n"
        "import_deepspeed(on_cpu=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'lt-trainer[deepspeed]'" in done.stderr
