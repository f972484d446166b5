from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

import lt_trainer
from lt_trainer.models.auto import FAMILIES
from lt_trainer.models.resizing import new_size
from tests import families

if TYPE_CHECKING:
    from pathlib import Path

HEADS = {"gpt2": "CausalLM", "t5": "Seq2SeqLM"}


def folder_of(model_type: str, tmp_path: Path, head: str | None, **settings: Any) -> Path:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(model_type, vocab_size=80, **{**families.TINY[model_type], **settings})
    return families.write(tmp_path / "tiny", config, head)


@pytest.mark.parametrize(
    ("wanted", "step", "size"), [(None, None, 80), (84, None, 84), (84, 16, 96), (None, 64, 128), (7, None, 7)]
)
def test_the_size_is_what_is_wanted_rounded_up(wanted: int | None, step: int | None, size: int) -> None:
    assert new_size(80, wanted, step) == size


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((0, None), "new_num_tokens=0"), ((4, 2.5), "pad_to_multiple_of=2.5"), ((True, None), "new")],
)
def test_a_size_that_cannot_be_is_refused(arguments: tuple[Any, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*whole number of at least 1"):
        new_size(80, *arguments)


@pytest.mark.parametrize("model_type", list(FAMILIES))
@pytest.mark.parametrize("size", [84, 60])
def test_every_table_is_that_of_transformers(tmp_path: Path, model_type: str, size: int) -> None:
    """Same names, shapes and, from the same seed, the same new rows; tied names stay one parameter."""
    ours, theirs = families.pair(folder_of(model_type, tmp_path, None), HEADS.get(model_type, "MaskedLM"))
    for model in (ours, theirs):
        torch.manual_seed(1)
        model.resize_token_embeddings(size)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert {name: values.shape for name, values in state.items()} == {n: v.shape for n, v in expected.items()}
    for name, values in state.items():
        torch.testing.assert_close(values, expected[name], rtol=0, atol=1e-7)
    assert ours.config.vocab_size == ours.get_input_embeddings().num_embeddings == size
    assert ours.get_output_embeddings().weight is ours.get_input_embeddings().weight
    assert ours.get_output_embeddings().out_features == size


def test_scores_that_are_not_the_embeddings_are_resized_too(tmp_path: Path) -> None:
    folder = folder_of("t5", tmp_path, "Seq2SeqLM", feed_forward_proj="gated-gelu")
    model = lt_trainer.AutoModelForSeq2SeqLM.from_pretrained(folder)
    model.untie("lm_head.weight")
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    model.resize_token_embeddings(90)
    assert model.lm_head.weight.shape == (90, 32)
    assert model.shared.weight.shape == (90, 32)
    torch.testing.assert_close(model.lm_head.weight[80:].mean(0), model.lm_head.weight[:80].mean(0), atol=1e-3, rtol=0)


def test_a_resized_model_learns_new_tokens_and_is_loaded_again(tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path, "MaskedLM")
    model = lt_trainer.AutoModelForMaskedLM.from_pretrained(folder)
    ids = torch.tensor([[5, 7, 9]])
    before = model(ids).logits
    model.resize_token_embeddings(83)
    after = model(ids).logits
    torch.testing.assert_close(after[..., :80], before)
    batch = {"input_ids": torch.tensor([[5, 82, 9]]), "labels": torch.tensor([[-100, 81, -100]])}
    model(**batch).loss.backward()
    assert model.get_input_embeddings().weight.grad[82].abs().max() > 0
    model.save_pretrained(tmp_path / "saved")
    again = lt_trainer.AutoModelForMaskedLM.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(again(**batch).loss, model.eval()(**batch).loss)
    assert again.config.vocab_size == 83


def test_new_rows_may_be_drawn_like_those_of_a_fresh_model(tmp_path: Path) -> None:
    ours, theirs = families.pair(folder_of("gpt2", tmp_path, None), "CausalLM")
    for model in (ours, theirs):
        torch.manual_seed(1)
        model.resize_token_embeddings(200, mean_resizing=False)
    assert torch.equal(ours.lm_head.weight, theirs.lm_head.weight)
    assert ours.lm_head.weight[80:].std().item() == pytest.approx(0.02, rel=0.1)


def test_fewer_old_rows_than_columns_give_the_mean(tmp_path: Path) -> None:
    model = lt_trainer.AutoModel.from_config(
        lt_trainer.AutoConfig.for_model("gpt2", vocab_size=9, **families.TINY["gpt2"])
    )
    mean = model.wte.weight.mean(0)
    model.resize_token_embeddings(11)
    torch.testing.assert_close(model.wte.weight[9:], mean.expand(2, -1))
