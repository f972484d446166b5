"""No write under `output_dir` passes `lt_trainer/files` by; the folder of TensorBoard is the one exception."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = """
import sys
from pathlib import Path
from tests.faults import runs

def train(output_dir, **options):
    scores = iter([0.1, 0.3, 0.2])
    trainer = runs.build(
        Path(output_dir), max_steps=9, save_steps=2, save_total_limit=1, eval_strategy="steps", eval_steps=3,
        load_best_model_at_end=True, metric_for_best_model="score", greater_is_better=True,
        eval_dataset=runs.rows(4), compute_metrics=lambda prediction: {"score": next(scores)}, **options,
    )
    trainer.train()
    trainer.save_model()
"""

AUDITED = (
    TRAIN
    + """
import json, os
import torch, lightning, datasets  # what they write while they are imported is theirs

OUTPUT, FILES, found, seen = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), [], set()
NAMES = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.truncate": 1, "os.link": 2, "os.symlink": 2,
         "os.chmod": 1, "os.utime": 1, "shutil.rmtree": 1, "shutil.move": 2, "shutil.copyfile": 2}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def inside(path):
    return isinstance(path, (str, bytes, os.PathLike)) and os.path.abspath(os.fsdecode(path)).startswith(OUTPUT)

def ours():
    frame = sys._getframe(2)
    while frame is not None and not os.path.abspath(frame.f_code.co_filename).startswith(FILES):
        frame = frame.f_back
    return frame is not None

def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        paths = [path] if set(mode or "") & set("wax+") or (flags or 0) & WRITES else []
    else:
        paths = arguments[:NAMES.get(event, 0)]
    if any(inside(path) for path in paths):
        seen.add(event)
        if not ours():
            found.append([event, *map(os.fsdecode, paths)])

sys.addaudithook(hook)
train(OUTPUT, report_to=sys.argv[3])
print(json.dumps({"found": found, "seen": sorted(seen)}))
"""
)

TRACED = (
    TRAIN
    + """
import json
from lt_trainer.files.ops import OPS
from tests.faults.shim import Shim, installed

with installed(Shim(sync=True)) as shim:
    train(sys.argv[1])
print(json.dumps([[name, *map(str, arguments)] for name, arguments in shim.calls if name not in ("write", "close")]))
"""
)

CALLS = "openat,open,creat,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,truncate,link,linkat,symlink"
LINE = re.compile(r"\b(?P<call>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")


def audited(output_dir: Path, report_to: str) -> dict[str, list]:
    files = Path(__file__).parents[2] / "lt_trainer" / "files"
    command = [sys.executable, "-c", AUDITED, str(output_dir), str(files), report_to]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_everything_that_python_writes_there_is_written_by_files(tmp_path: Path) -> None:
    result = audited(tmp_path / "run", "none")
    assert result["found"] == []
    assert {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"} <= set(result["seen"])  # the hook sees them


def test_tensorboard_alone_writes_there_by_itself(tmp_path: Path) -> None:
    found = audited(tmp_path / "run", "tensorboard")["found"]
    logs = tmp_path / "run" / "runs"
    assert found
    assert all(Path(path).is_relative_to(logs) for _, *paths in found for path in paths)
    opened = {Path(path).name.partition(".")[0] for event, path in found if event == "open"}
    assert opened == {"events", "hparams"}


def changes(trace: str, output_dir: Path) -> set[tuple[str, ...]]:
    """(call, paths) of every successful system call that changed something under `output_dir`."""
    found = set()
    for line in trace.splitlines():
        match = LINE.search(line)
        if match is None or int(match["result"]) < 0:
            continue
        call, arguments = match["call"], match["arguments"]
        paths = [path for path in re.findall(r'"([^"]*)"', arguments) if path.startswith(str(output_dir))]
        reads = call in ("open", "openat") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT", arguments)
        if paths and not reads:
            found.add((call, *paths))
    return found


def test_everything_that_the_system_writes_there_is_written_by_files(tmp_path: Path) -> None:
    """System calls of the whole process, C++ included, are those that went through `OPS`."""
    log, output_dir = tmp_path / "trace", tmp_path / "run"
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", str(log), "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets no process trace another")
    command = ["strace", "-f", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log), sys.executable, "-c", TRACED]
    done = subprocess.run([*command, str(output_dir)], check=True, capture_output=True, text=True)
    ours = {
        tuple(path for path in call[1:] if path.startswith("/")) for call in json.loads(done.stdout.splitlines()[-1])
    }
    traced = changes(log.read_text(), output_dir)
    assert {call for call, *_ in traced} >= {"openat", "mkdir", "rename", "unlink", "rmdir"}
    assert [call for call in traced if call[1:] not in ours] == []
