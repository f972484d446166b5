"""A new user's ways: from a CSV to a trained, saved and loaded model; another head; the same run again by torchrun."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lt_trainer as lt

Run = Callable[..., Any]
QUIET = ("--report_to", "none", "--disable_tqdm", "--use_cpu")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a CSV of a user's own, and nothing else."""
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        rows = [("lovely, warm and kind", "happy"), ("cold, grey and sad", "sorry"), ("a kind word", "happy")]
        csv.writer(file).writerows([("sentence", "mood"), *rows * 8, *[("a sad, grey day", "sorry")] * 8])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine.csv"


def test_a_csv_becomes_a_model_in_ten_lines_of_python(mine: Path) -> None:
    columns = {"text_column": "sentence", "label_column": "mood"}
    args = lt.TrainingArguments("run", num_train_epochs=15, learning_rate=1e-3, report_to="none", disable_tqdm=True)
    trainer = lt.Trainer("scratch", args, task="text-classification", data=columns, train_dataset="mine.csv")
    trainer.train()
    trainer.save_model()
    tokenizer = lt.AutoTokenizer.from_pretrained("run")
    model = lt.AutoModelForSequenceClassification.from_pretrained("run")
    answers = model(**tokenizer(["warm and kind", "grey and sad"], padding=True, return_tensors="pt")).logits.argmax(-1)
    assert [model.config.id2label[number] for number in answers.tolist()] == ["happy", "sorry"]


def test_a_csv_becomes_a_model_in_two_commands(mine: Path, lt_trainer: Run) -> None:
    argv = ["--model", "scratch", "--train_file", "mine.csv", "--text_column", "sentence", "--label_column", "mood"]
    fitted = lt_trainer("fit", "text-classification", *argv, "--output_dir", "run", "--learning_rate", "1e-3", *QUIET)
    assert fitted.code == 0, fitted.err
    predicted = lt_trainer("predict", "-c", "run/config.yaml", "--test_file", "mine.csv", "--output", "out.jsonl")
    assert predicted.code == 0, predicted.err
    records = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [record["row"] for record in records] == list(range(32))
    assert {record["label"] for record in records} <= {"happy", "sorry"}


def test_a_head_of_other_classes_is_drawn_anew_where_that_is_asked_for(mine: Path, lt_trainer: Run) -> None:
    columns = ["--train_file", "mine.csv", "--text_column", "sentence", "--max_steps", "1", *QUIET]
    first = ["fit", "text-classification", "--model", "scratch", "--label_column", "mood", "--output_dir", "two"]
    assert lt_trainer(*first, *columns).code == 0
    text = mine.read_text().replace("a kind word,happy", "a kind word,so so")
    mine.write_text(text)
    second = ["fit", "text-classification", "--model", "two", "--label_column", "mood", "--output_dir", "three"]
    refused = lt_trainer(*second, *columns)
    assert refused.code == 2
    assert "ignore_mismatched_sizes" in refused.err
    accepted = lt_trainer(*second, *columns, "--ignore_mismatched_sizes")
    assert accepted.code == 0, accepted.err
    assert len(json.loads(Path("three/config.json").read_text())["id2label"]) == 3


@pytest.mark.slow
def test_a_saved_configuration_gives_the_same_weights_by_torchrun(mine: Path) -> None:
    argv = ["-m", "lt_trainer", "fit", "-c", "first.yaml", *QUIET]
    Path("first.yaml").write_text(
        "task: text-classification\nmodel: scratch\n"
        "data: {train: mine.csv, text_column: sentence, label_column: mood}\nargs: {output_dir: first, max_steps: 4}\n"
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(lt.__file__).parents[1]), *sys.path])}
    for call in (
        [*launcher, *argv],
        [*launcher, *argv[:3], "-c", "first/config.yaml", "--output_dir", "second", *QUIET],
        [*launcher, *argv[:3], "-c", "first.yaml", "--output_dir", "third", *QUIET],
    ):
        ended = subprocess.run([sys.executable, *call], capture_output=True, text=True, check=False, env=environment)
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr
    weights = [Path(name, "model.safetensors").read_bytes() for name in ("first", "second", "third")]
    assert weights[0] == weights[1] == weights[2]
