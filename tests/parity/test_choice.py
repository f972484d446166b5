"""Multiple choice and next sentences against `transformers`: losses, logits, every gradient, names and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

import lt_trainer
from tests import families

transformers = pytest.importorskip("transformers")

if TYPE_CHECKING:
    from pathlib import Path

BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**BERT, **OFF},
    "roberta": {**BERT, **OFF, "type_vocab_size": 1},
    "distilbert": {
        **{"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
        **{"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
    },
}
CASES = [*((name, "MultipleChoice") for name in CONFIGS), ("bert", "NextSentencePrediction")]


def pair(name: str, head: str, tmp_path: Path) -> tuple[Any, Any]:
    config = transformers.AutoConfig.for_model(name, vocab_size=80, **CONFIGS[name])
    return families.pair(families.write(tmp_path / "tiny", config, head), head)


def batch_of(name: str, head: str) -> dict[str, Any]:
    batch = families.padded(pad=1 if name == "roberta" else 0)
    if head == "NextSentencePrediction":
        return {**batch, "labels": torch.tensor([0, 1, 1, 0])}
    return {**{key: x.view(2, 2, -1) for key, x in batch.items()}, "labels": torch.tensor([1, 0])}


@pytest.mark.parametrize(("name", "head"), CASES)
def test_loss_logits_and_every_gradient_are_equal(tmp_path: Path, name: str, head: str) -> None:
    ours, theirs = pair(name, head, tmp_path)
    batch = batch_of(name, head)
    out, expected = ours(**batch), theirs(**batch)
    torch.testing.assert_close(out.loss, expected.loss, **families.TOLERANCE)
    torch.testing.assert_close(out.logits, expected.logits, **families.TOLERANCE)
    families.assert_equal_gradients(ours, theirs, out.loss, expected.loss)
    families.assert_equal_names(ours, theirs)
    families.assert_folder_goes_there_and_back(ours, head, tmp_path)


def test_the_targets_of_a_step_divide_the_sum(tmp_path: Path) -> None:
    ours, _ = pair("bert", "MultipleChoice", tmp_path)
    batch = batch_of("bert", "MultipleChoice")
    assert ours.count_targets(batch) == 2
    torch.testing.assert_close(ours(**batch, num_items_in_batch=torch.tensor(8)).loss, ours(**batch).loss / 4)
    batch["labels"][0] = -100
    assert ours.count_targets(batch) == 1


def test_it_trains_through_the_facade(tmp_path: Path) -> None:
    ours, _ = pair("bert", "MultipleChoice", tmp_path)
    batch = batch_of("bert", "MultipleChoice")
    rows = [{key: x[row] for key, x in batch.items()} for row in (0, 1, 0, 1)]
    args = lt_trainer.TrainingArguments(
        str(tmp_path / "run"), max_steps=8, learning_rate=1e-2, report_to="none", save_strategy="no", disable_tqdm=True
    )
    trainer = lt_trainer.Trainer(ours, args, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before / 2
    assert trainer.predict(rows).predictions.shape == (4, 2)


def test_bad_shapes_and_labels_are_named(tmp_path: Path) -> None:
    ours, _ = pair("bert", "MultipleChoice", tmp_path)
    batch = batch_of("bert", "MultipleChoice")
    with pytest.raises(ValueError, match=r"expected the shape \(rows, choices, length\), received \(4, 19\)"):
        ours(batch["input_ids"].flatten(0, 1))
    with pytest.raises(ValueError, match="received 2 in row 1"):
        ours(**{**batch, "labels": torch.tensor([0, 2])})
    follows, _ = pair("bert", "NextSentencePrediction", tmp_path)
    with pytest.raises(ValueError, match=r"expected 0\.\.1 .*received 2 in row 3"):
        follows(**{**batch_of("bert", "NextSentencePrediction"), "labels": torch.tensor([0, 1, 1, 2])})
