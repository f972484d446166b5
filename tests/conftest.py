"""Guards around every test, and the fixtures that all tests may use.

The guards: no network, no hub, one thread, fixed seeds, no file left in the working folder, no thread or process left
behind. The environment is set before anything else is imported, since torch and huggingface_hub read it only once.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
GUARD = ROOT / "tests" / "guard"

_HF_HOME = tempfile.mkdtemp(prefix="lt-trainer-tests-")
atexit.register(shutil.rmtree, _HF_HOME, ignore_errors=True)
os.environ |= {
    "HF_HOME": _HF_HOME,
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "LT_TRAINER_CACHE": f"{_HF_HOME}/tokenized",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(GUARD), str(ROOT), os.environ.get("PYTHONPATH")])),
}
for name in ("HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)

from tests.guard import sitecustomize as network  # noqa: E402  (after the environment)
from tests.hub_server import Hub, running_hub  # noqa: E402
from tests.support import write_bert  # noqa: E402

network.close_network()

# tqdm keeps one monitor for the life of the process.
_THREADS_THAT_MAY_STAY = {"tqdm_monitor", "TMonitor"}
_PROCESSES_THAT_MAY_STAY = ("resource_tracker", "forkserver")


@pytest.fixture(autouse=True)
def _seeds_and_threads() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:  # where it is not imported yet, its seed is the fixed one that it starts with
        sys.modules["torch"].manual_seed(0)
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    folder, files = Path.cwd(), _visible_names(Path.cwd())
    threads, children = set(threading.enumerate()), _child_processes()
    yield
    problems = []
    if left := _visible_names(folder) - files:
        problems.append(f"files in the working folder {folder}: {sorted(left)}")
    if alive := _wait_until_empty(lambda: [t.name for t in threading.enumerate() if _is_leak(t, threads)]):
        problems.append(f"threads: {alive}")
    if alive := _wait_until_empty(lambda: sorted(_child_processes() - children)):
        problems.append(f"child processes: {alive}")
    if "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized():
        problems.append("a process group, which tests after it take for a launcher's")
    if problems:
        pytest.fail("the test left behind " + "; ".join(problems), pytrace=False)


def _visible_names(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if not name.startswith((".", "__pycache__"))}


def _is_leak(thread: threading.Thread, before: set[threading.Thread]) -> bool:
    return thread not in before and thread.is_alive() and type(thread).__name__ not in _THREADS_THAT_MAY_STAY


def _child_processes() -> set[str]:
    """Returns `pid command line` of the children of this process; reads /proc, so only on Linux."""
    found = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids = listing.read_text().split()
        except OSError:  # that thread has just ended
            continue
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # that process has just ended
                continue
            if command and not any(word in command for word in _PROCESSES_THAT_MAY_STAY):
                found.add(f"{pid} {command.strip()}")
    return found


def _wait_until_empty(read: Callable[[], list[str]], seconds: float = 5.0) -> list[str]:
    """Gives what is on its way out a moment; collects garbage, since loaders end in `__del__`."""
    deadline = time.monotonic() + seconds
    while left := read():
        if time.monotonic() > deadline:
            return left
        gc.collect()
        time.sleep(0.05)
    return []


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with SST-2 and the other public data sets, from LT_TRAINER_DATA."""
    folder = os.environ.get("LT_TRAINER_DATA")
    if not folder:
        pytest.skip("set LT_TRAINER_DATA to a folder with sst2/ and the other data sets to run this test")
    if not Path(folder).is_dir():
        pytest.fail(f"LT_TRAINER_DATA={folder!r} is not a folder")
    return Path(folder)


@pytest.fixture
def tiny_bert(tmp_path: Path) -> Callable[..., Path]:
    """Builds a checkpoint folder of a tiny BERT with random weights: see `tests.support.write_bert`."""

    def build(name: str = "tiny-bert", **overrides: object) -> Path:
        return write_bert(tmp_path / name, **overrides)  # type: ignore[arg-type]

    return build


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback, which the real client talks to: see `tests.hub_server`. Waits between tries are left out."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None, time=time.time))
    monkeypatch.setattr("lt_trainer.hub.WAITS", (0.0, 0.0))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        url = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        yield hub
