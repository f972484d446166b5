"""Events, their arguments, learning rates and the keys of every log, against what `transformers` did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lt_trainer
from tests.traces.scripts import SCRIPTS, run

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text())


def same(found, expected, where=""):
    """Compares nests; numbers to 1e-12."""
    if isinstance(expected, dict):
        assert list(found) == list(expected) or found.keys() == expected.keys(), (where, found, expected)
        for key, value in expected.items():
            same(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), (where, found, expected)
        for i, value in enumerate(expected):
            same(found[i], value, f"{where}/{i}")
    elif isinstance(expected, float) and isinstance(found, int | float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12), where
    else:
        assert found == expected, where


def test_every_script_was_recorded():
    assert [*RECORDED][1:] == [*SCRIPTS]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_what_transformers_does(name, tmp_path):
    found, expected = json.loads(json.dumps(run(name, lt_trainer, tmp_path))), RECORDED[name]
    assert [event for event, _ in found["events"]] == [event for event, _ in expected["events"]]
    same(found, expected)


@pytest.mark.parametrize("name", ["ragged_window", "flags_in_step_end"])
def test_the_recordings_are_those_of_the_installed_version(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    if transformers.__version__ != RECORDED["version"]:
        pytest.skip(f"recorded with {RECORDED['version']}")
    assert json.loads(json.dumps(run(name, transformers, tmp_path))) == RECORDED[name]
