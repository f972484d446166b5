"""The ready configurations of tasks with answers in words, run as they stand: built-in rows, a model from scratch."""

from __future__ import annotations

import json

import pytest

from lt_trainer.cli import main

QUIET = ["--report_to", "none", "--disable_tqdm", "--use_cpu"]
NAMES = {
    "token-classification": ("f1", {"words", "tags"}),
    "question-answering": ("exact_match", {"id", "answer", "n_best"}),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_trains_measures_and_predicts(name, tmp_path, capsys):
    metric, keys = NAMES[name]
    options = ["-c", name, "--output_dir", str(tmp_path / "run"), *QUIET]
    short = ["--max_steps", "6", "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    assert main(["fit", *options, *short, "--metric_for_best_model", "loss"]) == 0
    said = capsys.readouterr()
    assert f"eval_{metric}" in said.out
    assert "train: 1,200 rows" in said.err
    assert main(["validate", *options]) == 0
    assert f"eval_{metric}" in capsys.readouterr().out
    assert main(["predict", *options]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 200
    assert keys <= set(records[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_learns_its_task(name, tmp_path, capsys):
    assert main(["fit", "-c", name, "--output_dir", str(tmp_path / "run"), *QUIET]) == 0
    capsys.readouterr()
    results = json.loads((tmp_path / "run/all_results.json").read_text())
    assert results[f"eval_{NAMES[name][0]}"] >= (95 if name == "question-answering" else 0.95)
