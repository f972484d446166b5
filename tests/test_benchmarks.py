"""The benchmark that compares all tasks runs, and its table says what was found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EQUAL = ("accuracy", "f1", "exact_match", "bleu", "chrf", "loss")


@pytest.fixture
def six_tasks(monkeypatch):
    """The script, with the modules beside it, which are forgotten again: their names are anybody's."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import six_tasks

    yield six_tasks
    for name in ("six_tasks", "starts", "recipes", "common"):
        sys.modules.pop(name, None)


def write_data(folder):
    """A few rows for each task, in the files of the shared data."""
    words = ["red", "green", "blue", "grey", "pink", "gold"]
    pairs = [(a, b) for a in words for b in words]
    kinds = {name: folder / name for name in ("sst2", "wnut17", "xquad", "multi30k", "wikitext2")}
    for path in kinds.values():
        path.mkdir(parents=True)
    for split in ("train", "dev"):
        rows = [f"a {a} and {b} day\t{int(a < b)}\n" for a, b in pairs]
        (kinds["sst2"] / f"{split}.tsv").write_text("".join(rows))
        rows = [f"in\tO\n{a}\tB-place\n{b}\tI-place\nhere\tO\n\n" for a, b in pairs]
        (kinds["wnut17"] / f"{split}.conll").write_text("".join(rows))
    for split in ("train", "val"):
        for end, text in (("en", "the {} {}"), ("de", "die {} {}")):
            (kinds["multi30k"] / f"{split}.{end}").write_text("".join(text.format(*pair) + "\n" for pair in pairs))
    for split in ("valid", "test"):
        (kinds["wikitext2"] / f"{split}.txt").write_text(
            "".join(f"the {a} and the {b} one " * 12 + "\n\n" for a, b in pairs)
        )
    contexts = [
        {"context": f"It was {a} then .", "qas": [qa(f"{a}{number}", a, b) for number, b in enumerate(words)]}
        for a in words
    ]
    data = {"version": "1.1", "data": [{"title": "colours", "paragraphs": contexts}]}
    (kinds["xquad"] / "xquad.en.json").write_text(json.dumps(data))


def qa(name, answer, other):
    answers = [{"text": answer, "answer_start": len("It was ")}]
    return {"id": name, "question": f"What was it , {other} ?", "answers": answers}


@pytest.mark.slow
def test_one_command_trains_every_task_in_three_ways_that_agree(tmp_path):
    pytest.importorskip("transformers")
    write_data(tmp_path)
    command = [sys.executable, "benchmarks/six_tasks.py", "--steps", "3", "--rows", "24", "--scratch"]
    environment = os.environ | {"LT_TRAINER_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ran.stdout.splitlines() if "|" in line][2:]
    tasks = [line[0] for line in lines if line[0]]
    assert tasks == [
        "text-classification",
        "token-classification",
        "question-answering",
        "seq2seq",
        "causal-lm",
        "masked-lm",
    ]
    for line in lines:
        facade, lightning, recipe = (float(value) for value in line[5:8])
        assert facade == pytest.approx(lightning, rel=1e-3)
        if line[4] in EQUAL:
            assert facade == pytest.approx(recipe, rel=1e-3)


def test_the_table_is_put_between_its_markers_alone(six_tasks):
    page = f"before\n{six_tasks.BEGIN}\nold\n{six_tasks.END}\nafter\n"
    once = six_tasks.put(page, "| new |")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert six_tasks.put(once, "| new |") == once
    with pytest.raises(ValueError, match="received one without"):
        six_tasks.put("no markers", "| new |")


def test_the_page_has_the_markers(six_tasks):
    page = six_tasks.PAGE.read_text(encoding="utf-8")
    assert page.index(six_tasks.BEGIN) < page.index(six_tasks.END)


@pytest.mark.parametrize(
    ("metric", "values", "far"),
    [
        ("accuracy", (80.0, 80.0, 80.9), False),
        ("accuracy", (80.0, 80.0, 81.1), True),
        ("loss", (1.000, 1.000, 1.009), False),
        ("loss", (1.000, 1.000, 1.011), True),
        ("perplexity", (104.0, 100.0, 100.0), False),
        ("perplexity", (106.0, 100.0, 100.0), True),
    ],
)
def test_values_that_are_too_far_apart_are_told(six_tasks, metric, values, far):
    line = ["task", "data", "start", "steps", metric, *map(str, values), "seconds"]
    assert (six_tasks.apart(line) > 1) is far
