"""RoBERTa against `transformers` with the same tiny random weights: whole tensors, gradients and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import families

transformers = pytest.importorskip("transformers")

Write = Callable[..., Path]
HEADS = ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    def build(head: str | None = "MaskedLM", **settings: Any) -> Path:
        return families.write(tmp_path / "tiny", transformers.RobertaConfig(**{**SETTINGS, **settings}), head)

    return build


SETTINGS: dict[str, Any] = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "type_vocab_size": 1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("head", HEADS)
def test_loss_logits_and_every_gradient_are_equal(folder: Write, head: str, side: str) -> None:
    ours, theirs = families.pair(folder(), head, **families.options_of(head))
    batch = families.batch_of(head, side, pad=1)
    out = ours(**batch)
    by_first = side == "left" and head == "SequenceClassification"
    expected = families.rows_alone(theirs, batch, columns=False) if by_first else theirs(**batch)
    families.assert_equal_outputs(out, expected, batch["attention_mask"] == 1)
    families.assert_equal_gradients(ours, theirs, out["loss"], expected["loss"])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("head", HEADS)
def test_rows_of_a_batch_do_not_meet(folder: Write, head: str, side: str) -> None:
    ours, _ = families.pair(folder(), head, **families.options_of(head))
    families.assert_rows_do_not_meet(ours, families.padded(side=side, pad=1), head)


@pytest.mark.parametrize("head", [None, *HEADS])
def test_names_and_freshly_drawn_heads_are_equal(folder: Write, head: str | None) -> None:
    """From the same seed even a new head has the values that `transformers` gives it."""
    families.assert_equal_names(*families.pair(folder(), head, **families.options_of(head)))


@pytest.mark.parametrize("head", [None, *HEADS])
def test_a_folder_goes_there_and_back_byte_for_byte(folder: Write, tmp_path: Path, head: str | None) -> None:
    ours, _ = families.pair(folder(), head, **families.options_of(head))
    families.assert_folder_goes_there_and_back(ours, head, tmp_path)
