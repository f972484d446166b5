"""GPT-2 against `transformers` with the same tiny random weights: whole tensors, gradients and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import families

transformers = pytest.importorskip("transformers")

Write = Callable[..., Path]
HEADS = ["CausalLM", "SequenceClassification", "TokenClassification", "QuestionAnswering"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    def build(head: str | None = "CausalLM", **settings: Any) -> Path:
        return families.write(tmp_path / "tiny", transformers.GPT2Config(**{**SETTINGS, **settings}), head)

    return build


SETTINGS: dict[str, Any] = {
    "vocab_size": 80,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 40,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("head", HEADS)
def test_loss_logits_and_every_gradient_are_equal(folder: Write, head: str, side: str) -> None:
    ours, theirs = families.pair(folder(), head, **families.options_of(head))
    batch = families.batch_of(head, side)
    out = ours(**batch)
    expected = theirs(**batch)
    families.assert_equal_outputs(out, expected, batch["attention_mask"] == 1)
    families.assert_equal_gradients(ours, theirs, out["loss"], expected["loss"])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("head", HEADS)
def test_rows_of_a_batch_do_not_meet(folder: Write, head: str, side: str) -> None:
    ours, _ = families.pair(folder(), head, **families.options_of(head))
    families.assert_rows_do_not_meet(ours, families.padded(side=side), head)


@pytest.mark.parametrize("head", [None, *HEADS])
def test_names_and_freshly_drawn_heads_are_equal(folder: Write, head: str | None) -> None:
    """From the same seed even a new head has the values that `transformers` gives it."""
    families.assert_equal_names(*families.pair(folder(), head, **families.options_of(head)))


@pytest.mark.parametrize("head", [None, *HEADS])
def test_a_folder_goes_there_and_back_byte_for_byte(folder: Write, tmp_path: Path, head: str | None) -> None:
    ours, _ = families.pair(folder(), head, **families.options_of(head))
    families.assert_folder_goes_there_and_back(ours, head, tmp_path)
