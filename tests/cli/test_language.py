"""The tasks of language modelling from the command line, with their ready configurations and built-in texts."""

from __future__ import annotations

import json

import pytest

QUIET = ["--report_to", "none", "--use_cpu", "--disable_tqdm", "--logging_steps", "1"]
SMALL = ["--model", "scratch", "--dataset", "builtin", "--learning_rate", "1e-3", "--max_steps", "3"]


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm"])
def test_a_ready_configuration_trains_and_measures_built_in_texts(lt_trainer, tmp_path, task):
    out = tmp_path / "run"
    answer = lt_trainer("fit", "-c", task, *SMALL, *QUIET, "--output_dir", out, "--per_device_train_batch_size", "4")
    assert answer.code == 0, answer.err
    results = json.loads((out / "all_results.json").read_text())
    assert results["eval_perplexity"] > 1
    assert (out / "model.safetensors").is_file()
    again = lt_trainer("validate", "-c", out / "config.yaml", *QUIET)
    assert again.code == 0, again.err
    assert f"{results['eval_perplexity']:.6g}" in again.out
    column, text = ("prompt", "The night train is") if task == "causal-lm" else ("text", "The night [MASK] is slow.")
    (tmp_path / "new.jsonl").write_text(json.dumps({column: text}) + "\n")
    predicted = lt_trainer("predict", "--task", task, "--model", out, "--test_file", tmp_path / "new.jsonl", *QUIET)
    assert predicted.code == 0, predicted.err
    record = json.loads(predicted.out)
    assert record.keys() == {"row", *(("prompt", "completion") if task == "causal-lm" else ("text", "tokens"))}


def test_plain_text_files_train_a_causal_model(lt_trainer, tmp_path):
    (tmp_path / "a.txt").write_text(" = Title = \n\n the old ship sails \n" * 40)
    answer = lt_trainer(
        *("fit", "causal-lm", "--model", "scratch", "--train_file", tmp_path / "a.txt", "--block_size", "64"),
        *("--max_steps", "2", "--output_dir", tmp_path / "run", "--sample_by", "paragraph", *QUIET),
    )
    assert answer.code == 0, answer.err
    assert "train_loss" in answer.out
