"""A signal to the whole process group, as Ctrl-C and `timeout` send it, finds workers too; the step is still saved."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lt_trainer.checkpoint.find import list_checkpoints, verify
from tests.faults import runs

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys, time
from pathlib import Path
from lt_trainer import TrainerCallback
from tests.faults import runs

class Slow(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        print("STEP", state.global_step, flush=True)
        time.sleep(0.3)

if __name__ == "__main__":
    runs.build(
        Path(sys.argv[1]), max_steps=200, save_steps=1000, dataloader_num_workers=int(sys.argv[2]), callbacks=[Slow()]
    ).train()
"""


@functools.cache
def interrupted() -> int:
    """The status of any process that ends by KeyboardInterrupt: SIGINT's own, or 1 by what Lightning imports here."""
    command = [sys.executable, "-c", "import lightning.pytorch; raise KeyboardInterrupt"]
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_to_the_group_saves_the_step(tmp_path: Path, number: int, code: int, workers: int) -> None:
    script, output_dir = tmp_path / "train.py", tmp_path / "run"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(output_dir), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line == "STEP 6\n")  # in the second epoch
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (code if number == signal.SIGTERM else interrupted()), errors
    (saved,) = list_checkpoints(output_dir)
    assert saved.name == "checkpoint-7"
    assert verify(saved) is None
    assert [path.name for path in output_dir.glob("checkpoint-*")] == ["checkpoint-7"]
    resumed = runs.build(output_dir, max_steps=8, save_steps=1000)
    assert resumed.train(resume_from_checkpoint=True).global_step == 8
