"""What the README says is so: its code and commands run, its links and targets are there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from lt_trainer import cli
from tests.pages import LABELS, blocks, commands, write_csv

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder with an untrained `runs/demo` and the files that the commands name."""
    from lt_trainer.data.builtin import preferences
    from lt_trainer.demo import build_model

    monkeypatch.chdir(tmp_path)
    rows = [(text, LABELS[label]) for text, label in preferences(120)]
    for name, part in {"rows.csv": rows[:96], "dev.csv": rows[96:], "new.csv": rows[:5]}.items():
        write_csv(tmp_path / name, ("text", "label"), part)
    model, tokenizer = build_model([text for text, _ in rows], list(LABELS))
    model.save_pretrained("runs/demo")
    tokenizer.save_pretrained("runs/demo")
    return tmp_path


def test_code_comes_early():
    assert README[: README.index("```python")].count("\n") < 25


def test_the_code_runs(workplace):
    assert blocks(README, "python")
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    assert (workplace / "runs" / "mine" / "model.safetensors").is_file()


def test_the_commands_run_one_after_another(workplace, capsys):
    assert [shlex.split(line)[1] for line in commands(README, "lt-trainer")] == ["demo", "fit", "predict"]
    for line in commands(README, "lt-trainer"):
        assert cli.main(shlex.split(line)[1:]) == 0, f"{line}: {capsys.readouterr().err}"
    predictions = capsys.readouterr().out.strip().splitlines()[-5:]
    assert {json.loads(line)["label"] for line in predictions} <= {"first", "second", "undecided"}


def test_the_make_targets_are_there():
    targets = {shlex.split(line)[1] for line in commands(README, "make")}
    assert targets == {"demo", "test"}
    assert all(re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE) for target in targets)


def test_the_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_order_of_a_step_is_two_hops_away():
    assert "lt_trainer/module.py" in README
    docstring = (ROOT / "lt_trainer" / "module.py").read_text(encoding="utf-8").split('"""')[1]
    words = ["zero_grad", "backward", "optimizer.step", "scheduler.step"]
    places = [docstring.index(word) for word in words]
    assert places == sorted(places)
