"""T5 v1.0 and v1.1 against `transformers` with the same tiny random weights: whole tensors, gradients and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import lt_trainer
from lt_trainer.models.t5 import T5Config, T5EncoderModel
from tests import families

transformers = pytest.importorskip("transformers")

Write = Callable[..., Path]
CONFIG = "T5Config"
PRETRAINED = "Seq2SeqLM"
HEADS = ["SequenceClassification", "TokenClassification", "QuestionAnswering"]
SETTINGS: dict[str, Any] = {
    "vocab_size": 80,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
}
V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 3}
VERSIONS = pytest.mark.parametrize("settings", [{}, V11], ids=["v1.0", "v1.1"])
SIDES = pytest.mark.parametrize("side", ["right", "left"])
TARGETS = (4, 11, 1, 6)


def with_targets(batch: dict[str, Any], side: str = "right") -> dict[str, Any]:
    """Labels of other lengths than the source's."""
    targets = families.padded(TARGETS, side, extra=1, pad=-100)["input_ids"]
    return {**batch, "labels": targets}


def with_own_lm_head(folder: Path) -> Path:
    """What the public v1.1 checkpoints hold: scores that are not the embeddings."""
    tensors = load_file(folder / "model.safetensors")
    draw = torch.Generator().manual_seed(9)
    tensors["lm_head.weight"] = torch.randn(tensors["shared.weight"].shape, generator=draw) * 0.1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@SIDES
@VERSIONS
@pytest.mark.parametrize("own_head", [False, True], ids=["tied", "untied"])
def test_loss_logits_and_every_gradient_are_equal(folder: Write, settings: Any, own_head: bool, side: str) -> None:
    where = folder(**settings)
    ours, theirs = families.pair(with_own_lm_head(where) if own_head else where, "Seq2SeqLM")
    assert ("lm_head.weight" in ours.untied) is own_head
    batch = with_targets(families.padded(side=side))
    out, expected = ours(**batch), theirs(**batch)
    torch.testing.assert_close(out.loss, expected.loss, **families.TOLERANCE)
    target, real = batch["labels"] != -100, batch["attention_mask"] == 1
    torch.testing.assert_close(out.logits[target], expected.logits[target], **families.TOLERANCE)
    torch.testing.assert_close(
        out.encoder_last_hidden_state[real], expected.encoder_last_hidden_state[real], **families.TOLERANCE
    )
    families.assert_equal_gradients(ours, theirs, out.loss, expected.loss, least=30)


def test_a_row_longer_than_the_furthest_distance_is_equal(folder: Write) -> None:
    ours, theirs = families.pair(folder(), "Seq2SeqLM")
    batch = {**families.padded((70, 3)), "labels": families.padded((45, 64), pad=-100)["input_ids"]}
    out, expected = ours(**batch), theirs(**batch)
    families.assert_equal_gradients(ours, theirs, out.loss, expected.loss, least=20)


def test_labels_padded_on_the_left_give_the_loss_of_those_on_the_right(folder: Write) -> None:
    """`transformers` lets the decoder read the pad tokens before a target, so its loss depends on the batch."""
    ours, theirs = families.pair(folder(), "Seq2SeqLM")
    batch = families.padded()
    left, right = with_targets(batch, "left"), with_targets(batch)
    for row, length in enumerate(TARGETS):
        right["labels"][row, :length] = left["labels"][row, -length:]
    torch.testing.assert_close(ours(**left).loss, ours(**right).loss)
    torch.testing.assert_close(ours(**left).loss, theirs(**right).loss, **families.TOLERANCE)


def test_a_target_in_the_middle_that_is_none_is_read_as_the_pad_token(folder: Write) -> None:
    ours, theirs = families.pair(folder(), "Seq2SeqLM")
    batch = with_targets(families.padded())
    batch["labels"][1, 4] = batch["labels"][1, 7] = -100
    out, expected = ours(**batch), theirs(**batch)
    families.assert_equal_gradients(ours, theirs, out.loss, expected.loss)


def test_an_input_of_the_decoder_may_be_given(folder: Write) -> None:
    ours, theirs = families.pair(folder(), "Seq2SeqLM")
    batch = with_targets(families.padded())
    ids = ours.prepare_decoder_input_ids_from_labels(batch["labels"])
    assert torch.equal(ids, theirs.prepare_decoder_input_ids_from_labels(batch["labels"]))
    torch.testing.assert_close(ours(**batch, decoder_input_ids=ids).loss, ours(**batch).loss)
    batch["labels"][:, 0] = -100  # a prefix that the decoder is given and does not learn
    out = ours(**batch, decoder_input_ids=ids)
    torch.testing.assert_close(out.loss, theirs(**batch, decoder_input_ids=ids).loss, **families.TOLERANCE)
    del batch["labels"]
    mask = (ids != 0).long()
    mask[:, 0] = 1
    ours_logits = ours(**batch, decoder_input_ids=ids, decoder_attention_mask=mask).logits
    theirs_logits = theirs(**batch, decoder_input_ids=ids, decoder_attention_mask=mask).logits
    torch.testing.assert_close(ours_logits[mask == 1], theirs_logits[mask == 1], **families.TOLERANCE)


def test_rows_of_a_batch_do_not_meet(folder: Write) -> None:
    ours, _ = families.pair(folder(), "Seq2SeqLM")
    batch = with_targets(families.padded())
    out = ours(**batch)
    for row, length in enumerate(TARGETS):
        alone = {name: values[row : row + 1] for name, values in batch.items()}
        torch.testing.assert_close(out.logits[row, :length], ours(**alone).logits[0, :length], **families.TOLERANCE)
    for name in ("input_ids", "labels"):
        changed = batch[name].clone()
        changed[0, :2] += 1
        other = ours(**{**batch, name: changed}).logits
        assert torch.equal(other[1:], out.logits[1:])
        assert not torch.equal(other[0], out.logits[0])


@SIDES
@VERSIONS
def test_the_plain_model_and_the_encoder_are_equal(folder: Write, settings: Any, side: str) -> None:
    where = folder(**settings)
    ours, theirs = families.pair(where, None)
    batch = families.padded(side=side)
    ids = families.padded((4, 4, 4, 4), extra=0)["input_ids"]
    out, expected = ours(**batch, decoder_input_ids=ids), theirs(**batch, decoder_input_ids=ids)
    torch.testing.assert_close(out.last_hidden_state, expected.last_hidden_state, **families.TOLERANCE)
    encoder, reference = T5EncoderModel.from_pretrained(where), transformers.T5EncoderModel.from_pretrained(where)
    real = batch["attention_mask"] == 1
    states, expected_states = encoder(**batch).last_hidden_state, reference(**batch).last_hidden_state
    torch.testing.assert_close(states[real], expected_states[real], **families.TOLERANCE)
    assert list(encoder.state_dict()) == list(reference.state_dict())


@SIDES
def test_small_heads_are_equal(folder: Write, head: str, side: str) -> None:
    ours, theirs = families.pair(folder(), head, **families.options_of(head))
    with torch.no_grad():  # a new head is drawn in another order
        theirs.load_state_dict(ours.state_dict())
    batch = families.batch_of(head, side)
    if head == "SequenceClassification":
        side_of_decoder = "right"  # `transformers` gives its decoder the pad tokens on the left
        batch = families.batch_of(head, side_of_decoder)
        for row, length in enumerate(families.LENGTHS):
            batch["input_ids"][row, length - 1] = 1
    out, expected = ours(**batch), theirs(**batch)
    families.assert_equal_outputs(out, expected, batch["attention_mask"] == 1)
    families.assert_equal_gradients(ours, theirs, out["loss"], expected["loss"])


def test_a_row_without_an_end_token_is_refused(folder: Write) -> None:
    ours, _ = families.pair(folder(), "SequenceClassification")
    batch = families.padded()
    batch["input_ids"][0, 3] = 1
    with pytest.raises(ValueError, match="end token 1 in every row, received row 1 without"):
        ours(**batch)


@VERSIONS
@pytest.mark.parametrize("head", [None, "Seq2SeqLM", *HEADS])
def test_names_are_equal(folder: Write, settings: Any, head: str | None) -> None:
    ours, theirs = families.pair(folder(**settings), head, **families.options_of(head))
    families.assert_equal_names(ours, theirs, values=head not in HEADS)


@VERSIONS
@pytest.mark.parametrize("own_head", [False, True], ids=["tied", "untied"])
def test_a_folder_goes_there_and_back_byte_for_byte(
    folder: Write, tmp_path: Path, settings: Any, own_head: bool
) -> None:
    where = folder(**settings)
    ours, _ = families.pair(with_own_lm_head(where) if own_head else where, "Seq2SeqLM")
    families.assert_folder_goes_there_and_back(ours, "Seq2SeqLM", tmp_path)
    assert ("lm_head.weight" in load_file(tmp_path / "ours" / "model.safetensors")) is own_head


@pytest.mark.parametrize("head", [None, "SequenceClassification", "QuestionAnswering"])
def test_folders_of_other_heads_go_there_and_back(folder: Write, tmp_path: Path, head: str | None) -> None:
    ours, _ = families.pair(folder(), head, **families.options_of(head))
    families.assert_folder_goes_there_and_back(ours, head, tmp_path)


@VERSIONS
def test_settings_that_follow_from_others_are_equal(settings: Any) -> None:
    ours, theirs = T5Config(**SETTINGS, **settings).to_dict(), transformers.T5Config(**SETTINGS, **settings).to_dict()
    assert {name: ours[name] for name in theirs if name in ours} == {
        name: value for name, value in theirs.items() if name in ours
    }
    for name in ("dense_act_fn", "is_gated_act", "scale_decoder_outputs", "num_decoder_layers"):
        assert ours[name] == theirs[name]


def test_a_fresh_model_has_the_spreads_of_the_public_recipe() -> None:
    model = lt_trainer.AutoModelForSeq2SeqLM.from_config(T5Config(**{**SETTINGS, "d_model": 64, "d_ff": 256}))
    block = model.encoder.block[0].layer
    assert model.shared.weight.std().item() == pytest.approx(1.0, rel=0.05)
    assert block[0].SelfAttention.q.weight.std().item() == pytest.approx((64 * 16) ** -0.5, rel=0.1)
    assert block[0].SelfAttention.k.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert block[1].DenseReluDense.wo.weight.std().item() == pytest.approx(256**-0.5, rel=0.1)
    assert block[0].layer_norm.weight.eq(1).all()
