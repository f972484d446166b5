from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Run = Callable[..., Any]
Rows = dict[str, Path]

WITNESS = """
from pathlib import Path
from lightning.pytorch import Callback

class Witness(Callback):
    def __init__(self, file: str):
        self.file = file

    def on_fit_start(self, trainer, pl_module):
        Path(self.file).write_text(f"limit_train_batches={trainer.limit_train_batches}")
"""


@pytest.fixture
def fit(lt_trainer: Run, rows: Rows, tiny_bert: Callable[..., Path], tmp_path: Path) -> Run:
    """Runs `fit` on a tiny model; options may be added."""
    model = tiny_bert()

    def run(*argv: object, output: str = "run") -> Any:
        options = ["--model", model, "--train_file", rows["train"], "--validation_file", rows["dev"]]
        options += ["--output_dir", tmp_path / output, "--learning_rate", "5e-3", "--num_train_epochs", 1]
        return lt_trainer("fit", "text-classification", *options, *argv)

    return run


def test_fit_saves_a_model_its_metrics_and_its_configuration(fit: Run, tmp_path: Path) -> None:
    answer = fit()
    assert answer.code == 0, answer.err
    assert "eval_accuracy" in answer.out
    run = tmp_path / "run"
    assert json.loads((run / "config.json").read_text())["id2label"] == {"0": "neg", "1": "pos"}
    assert {"eval_accuracy", "eval_loss", "train_loss"} <= json.loads((run / "all_results.json").read_text()).keys()
    assert yaml.safe_load((run / "config.yaml").read_text())["args"]["learning_rate"] == 5e-3
    assert (run / "tokenizer_config.json").is_file()


def test_saved_configuration_gives_the_same_weights(fit: Run, lt_trainer: Run, tmp_path: Path) -> None:
    assert fit("--seed", 3).code == 0
    again = lt_trainer("fit", "-c", tmp_path / "run" / "config.yaml", "--output_dir", tmp_path / "again")
    assert again.code == 0, again.err
    first, second = (tmp_path / name / "model.safetensors" for name in ("run", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_seed_draws_the_head(fit: Run, tmp_path: Path) -> None:
    for seed in (1, 2):
        assert fit("--seed", seed, "--learning_rate", 0, output=f"run{seed}").code == 0
    first, second = (tmp_path / f"run{seed}" / "model.safetensors" for seed in (1, 2))
    assert first.read_bytes() != second.read_bytes()


def test_trained_model_is_measured_and_predicts(fit: Run, lt_trainer: Run, rows: Rows, tmp_path: Path) -> None:
    assert fit("--num_train_epochs", 8).code == 0
    config = tmp_path / "run" / "config.yaml"
    validated = lt_trainer("validate", "-c", config)
    assert re.search(r"eval_accuracy +1\n", validated.out), validated.err
    tested = lt_trainer("test", "-c", config, "--test_file", rows["dev"])
    assert re.search(r"test_accuracy +1\n", tested.out), tested.err
    predicted = lt_trainer("predict", "-c", config, "--test_file", rows["dev"])
    records = [json.loads(line) for line in predicted.out.splitlines()]
    assert [record["label"] for record in records] == ["pos", "neg", "pos", "neg"]
    assert [record["row"] for record in records] == [0, 1, 2, 3]
    assert all(0.5 < record["score"] <= 1 for record in records)


def test_rows_without_labels_are_predicted_into_a_file(fit: Run, lt_trainer: Run, rows: Rows, tmp_path: Path) -> None:
    assert fit().code == 0
    argv = ["--model", tmp_path / "run", "--test_file", rows["new"], "--output", tmp_path / "out.jsonl"]
    answer = lt_trainer("predict", "text-classification", *argv)
    assert answer.code == 0, answer.err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
    assert "4 predictions are in" in answer.out


def test_raw_flags_and_callbacks_reach_lightning(fit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "witness.py").write_text(WITNESS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raw.yaml").write_text(
        f"trainer:\n  callbacks:\n    - class_path: witness.Witness\n      init_args: {{file: {tmp_path}/seen}}\n"
    )
    answer = fit("-c", tmp_path / "raw.yaml", "--trainer.limit_train_batches", "0.5")
    assert answer.code == 0, answer.err
    assert (tmp_path / "seen").read_text() == "limit_train_batches=0.5"


def test_strategy_and_precision_objects_stand_in_the_section_of_lightning(fit: Run, tmp_path: Path) -> None:
    (tmp_path / "raw.yaml").write_text(
        "trainer:\n  num_nodes: 1\n  strategy:\n    class_path: lightning.pytorch.strategies.SingleDeviceStrategy\n"
        "    init_args: {device: cpu}\n"
        "  plugins:\n    - class_path: lightning.pytorch.plugins.precision.HalfPrecision\n"
        "      init_args: {precision: bf16-true}\n"
    )
    answer = fit("-c", tmp_path / "raw.yaml", "--use_cpu")
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["dtype"] == "bfloat16"
    refused = fit("--trainer.strategy", "fsdp", output="refused")
    assert refused.code != 0
    assert "set fsdp='full_shard'" in refused.err


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--trainer.limit_train_batches", "many"], "limit_train_batches"),
        (["--model.class_path", "no.such.Class"], "no.such.Class"),
        (["--label_column", "lable"], "lable"),
        (["--text_column", "txt"], "txt"),
        (["--model", "no/such/folder"], "no/such/folder"),
    ],
)
def test_what_only_a_run_can_find_is_one_message(fit: Run, tmp_path: Path, argv: list[str], problem: str) -> None:
    answer = fit(*argv)
    assert answer.code == 2
    assert problem in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_module_runs_as_a_program(rows: Rows, tiny_bert: Callable[..., Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lt_trainer", "fit", "text-classification", "--model", str(tiny_bert())]
    command += ["--train_file", str(rows["train"]), "--output_dir", str(tmp_path / "run"), "--max_steps", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()
