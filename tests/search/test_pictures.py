"""History and importance as files."""

from __future__ import annotations

import sys

import optuna
import pytest

from lt_trainer import ConfigurationError
from lt_trainer.search import save_pictures


@pytest.fixture
def study():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    made.optimize(lambda t: t.suggest_float("x", 0, 1) + 0.1 * t.suggest_float("y", 0, 1), n_trials=12)
    return made


def test_pictures_of_matplotlib_are_written(study, tmp_path):
    pytest.importorskip("matplotlib")
    assert save_pictures(study, tmp_path) == ["history.png", "importance.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("history.png", "importance.png"))


def test_pages_of_plotly_are_written(study, tmp_path):
    pytest.importorskip("plotly")
    assert save_pictures(study, tmp_path, "html") == ["history.html", "importance.html"]
    assert b"plotly" in (tmp_path / "importance.html").read_bytes().lower()


@pytest.mark.parametrize(("kind", "package"), [("png", "matplotlib"), ("html", "plotly")])
def test_the_package_that_is_missing_is_named(study, tmp_path, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs {package}: pip install {package}"):
        save_pictures(study, tmp_path, kind)


def test_another_kind_is_refused(study, tmp_path):
    with pytest.raises(ConfigurationError, match="expected one of png, html; did you mean 'png'"):
        save_pictures(study, tmp_path, "pngs")
