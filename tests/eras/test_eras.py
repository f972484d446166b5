"""Scripts in the manner of the releases from 4.20 to 5.23 run after one change, the import."""

from __future__ import annotations

import math
import runpy
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = sorted(Path(__file__).parent.glob("era_*.py"))
OLD = ("era_4_20", "era_4_30", "era_4_40")  # they use names that are gone


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_construct_and_train(
    script: Path, tiny_bert: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), str(tiny_bert(head="masked")), str(tmp_path / "run")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", DeprecationWarning)
        trainer = runpy.run_path(str(script), run_name="__main__")["trainer"]
    told = [str(warning.message) for warning in caught if " now" in str(warning.message)]
    assert bool(told) is (script.stem in OLD)
    history = trainer.state.log_history
    assert trainer.state.global_step == trainer.state.max_steps > 0
    assert all(math.isfinite(entry["loss"]) for entry in history if "loss" in entry)
    assert any(key.endswith("loss") and key.startswith("eval") for entry in history for key in entry)


def test_there_is_one_for_each_era() -> None:
    assert [path.stem for path in SCRIPTS] == [
        *("era_4_20", "era_4_30", "era_4_40", "era_4_46", "era_4_57", "era_5_0", "era_5_23"),
    ]
