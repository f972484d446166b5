"""Memory over the trials of a search."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = str(Path(__file__).with_name("memory_script.py"))
WARM_UP = 5  # trials, in which libraries are imported and pools filled


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs Linux's /proc")
def test_what_a_process_holds_grows_by_less_than_a_megabyte_a_trial(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path / "out"), "30"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    held = json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))
    trials = held[1 + WARM_UP : 31]  # the first is the trainer's own, the last the best one
    slope = np.polyfit(range(len(trials)), trials, 1)[0]
    assert slope < 1, f"{slope:.2f} MB a trial: {held}"
