"""Every family on every attention path: a padded batch costs what its real tokens cost, and gives what they give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import lt_trainer
from lt_trainer.models.configuration import ATTENTION
from tests import families

CASES = [
    *((name, "SequenceClassification") for name in ("bert", "roberta", "distilbert", "gpt2")),
    *((name, "TokenClassification") for name in families.TINY),
    *((name, "QuestionAnswering") for name in families.TINY),
    *((name, "MaskedLM") for name in ("bert", "roberta", "distilbert")),
    ("gpt2", "CausalLM"),
    ("t5", "Seq2SeqLM"),
]


def model_of(name: str, head: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    options = {"num_labels": 3} if head in families.SMALL_HEADS else {}
    config = lt_trainer.AutoConfig.for_model(name, vocab_size=80, **{**families.TINY[name], **settings}, **options)
    return getattr(lt_trainer, f"AutoModelFor{head}").from_config(config).eval()


def batch_of(name: str, head: str, lengths: tuple[int, ...] = families.LENGTHS, extra: int = 2) -> dict[str, Any]:
    pad = 1 if name == "roberta" else 0
    batch = families.padded(lengths, extra=extra, pad=pad)
    if head == "Seq2SeqLM":
        targets = families.padded((4, 11, 1, 6)[: len(lengths)], extra=extra, pad=-100)["input_ids"]
        return {**batch, "labels": targets}
    if head == "QuestionAnswering":
        zeros = torch.zeros(len(lengths), dtype=torch.int64)
        return {**batch, "start_positions": zeros, "end_positions": zeros}
    real = families.with_labels(families.padded(lengths, extra=0, pad=pad), head)["labels"]
    if real.ndim == 1:
        return {**batch, "labels": real}
    return {**batch, "labels": torch.nn.functional.pad(real, (0, extra), value=-100)}


def gradients(model: Any, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**batch).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("name", "head"), CASES)
def test_attention_paths_agree_in_loss_and_every_gradient(name: str, head: str) -> None:
    model, batch = model_of(name, head), batch_of(name, head)
    found = []
    for path in (None, *ATTENTION):
        model.set_attn_implementation(path)
        found.append({"loss": model(**batch).loss, **gradients(model, batch)})
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for key, values in found[0].items():
            torch.testing.assert_close(other[key], values, **families.TOLERANCE, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("path", ATTENTION)
@pytest.mark.parametrize(("name", "head"), CASES)
def test_no_operation_is_made_for_padding(name: str, head: str, path: str) -> None:
    """Forward and backward of a batch padded to its longest row, and padded to five times that."""
    model = model_of(name, head, attn_implementation=path)
    counts = []
    for extra in (0, 68):
        with FlopCounterMode(display=False) as counter:
            gradients(model, batch_of(name, head, extra=extra))
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


class Largest(TorchDispatchMode):
    """The size of the largest tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


@pytest.mark.parametrize("path", [None, "eager"])
@pytest.mark.parametrize("name", list(families.TINY))
def test_a_ragged_batch_never_makes_a_mask_of_all_pairs(name: str, path: str | None) -> None:
    """One row of 128 tokens among 63 of three: the mask of all pairs would hold a million."""
    lengths = (128, *[3] * 63)
    model = model_of(name, "TokenClassification", attn_implementation=path)
    with Largest() as largest:
        gradients(model, batch_of(name, "TokenClassification", lengths, extra=0))
    assert 0 < largest.elements < len(lengths) * 128 * 128 / 8


@pytest.mark.parametrize("path", ["flash_attention_2", "sdap", 3])
def test_a_path_that_is_not_known_lists_those_there_are(path: Any) -> None:
    with pytest.raises(ValueError, match=f"attn_implementation={path!r}: expected one of sdpa, eager"):
        model_of("bert", "MaskedLM", attn_implementation=path)
    with pytest.raises(ValueError, match=f"attn_implementation={path!r}: expected one of sdpa, eager"):
        model_of("bert", "MaskedLM").set_attn_implementation(path)
