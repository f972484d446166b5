from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_findings_of_a_file_come_with_the_argument_to_set(
    lt_trainer: Callable[..., Any], rows: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"task: text-classification\nmodel: some/bert\ndata: {{train: {rows['train']}}}\n"
        "args: {output_dir: x, learning_rate: 0.01, num_train_epochs: 9, save_strategy: epoch}\n"
    )
    answer = lt_trainer("doctor", config)
    assert (answer.code, answer.err) == (0, "")
    for advice in ("learning_rate=2e-5", "warmup_steps=0.1", "eval_strategy='epoch'", "save_total_limit=2"):
        assert f"set  {advice}" in answer.out
    assert "load_best_model_at_end=True" in answer.out
    assert "all 9 checkpoints" in answer.out
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "task",
    ["text-classification", "token-classification", "question-answering", "causal-lm", "masked-lm", "seq2seq"],
)
def test_the_ready_configurations_are_sound(lt_trainer: Callable[..., Any], task: str) -> None:
    answer = lt_trainer(
        "doctor", task, "-c", task, "--train_file", "some/dataset", "--validation_file", "other", "--use_cpu"
    )
    assert answer.code == 0, answer.err
    assert answer.out.startswith("nothing to advise\n(for 10,000 training rows"), answer.out


def test_a_model_from_scratch_takes_any_rate(lt_trainer: Callable[..., Any]) -> None:
    argv = ["doctor", "text-classification", "--learning_rate", "1e-2", "--num_rows", 100]
    assert "learning_rate" in lt_trainer(*argv).out
    assert "learning_rate" not in lt_trainer(*argv, "--model", "scratch").out


def test_arguments_alone_are_enough(lt_trainer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text('{"output_dir": "x", "warmup_steps": 0, "num_train_epochs": 1}')
    answer = lt_trainer("doctor", tmp_path / "args.json")
    assert answer.code == 0, answer.err
    assert "no warm-up" in answer.out
