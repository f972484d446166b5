"""What every encoder-decoder has in common: the decoder's input from the labels, both sides packed, the loss.

Dimension letters: B rows, T padded length, N packed tokens, R tokens that are read, S packed tokens of the source,
D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from lt_trainer import losses
from lt_trainer.criterion import spread
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.cache import Cache
from lt_trainer.models.checks import check_ids, check_labels
from lt_trainer.models.generate import Generates
from lt_trainer.models.heads import Output, as_asked
from lt_trainer.models.outputs import ModelOutput
from lt_trainer.models.vocabulary import VocabularyHead
from lt_trainer.packed import PackedBatch, Read, pack, select_rows, take, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from lt_trainer.models.generation_config import GenerationConfig


class EncoderDecoder(PreTrainedModel):
    """A model that reads a source and writes a target, both packed.

    The decoder's real tokens are those from the row's start token to its last target: what follows has no part in the
    loss, and pad tokens before the start token (labels padded on the left) are not read either, so that a row's loss
    does not depend on the batch around it.
    """

    def decode(self, packed: PackedBatch, decoder: PackedBatch) -> tuple[Tensor, Tensor]:
        """Last hidden states of the decoder [N, D] and of the encoder [S, D]."""
        raise NotImplementedError

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The labels moved right by one behind the start token; -100 becomes the pad token: [B, T]."""
        start, pad = getattr(self.config, "decoder_start_token_id", None), getattr(self.config, "pad_token_id", None)
        if start is None or pad is None:
            raise ValueError(
                f"decoder_start_token_id={start!r}, pad_token_id={pad!r}: expected two token ids, the decoder's input "
                "is made of them; set both in the configuration"
            )
        shifted = labels.roll(1, dims=-1)
        shifted[..., 0] = start
        return shifted.masked_fill(shifted == losses.IGNORED, pad)

    def pack_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """As in PreTrainedModel, for both sides: `packed_decoder`, and `labels` of its targets alone, [R].

        Raises:
            ValueError: labels outside the vocabulary (with row and value).
        """
        packs = super().pack_inputs(batch)
        ids, mask, labels = (packs.pop(x, None) for x in ("decoder_input_ids", "decoder_attention_mask", "labels"))
        if ids is None and labels is None:  # for generate; forward refuses it
            return packs
        if labels is not None:
            check_labels(labels, self.config.vocab_size)
        if ids is None:
            ids = self.prepare_decoder_input_ids_from_labels(labels)
        real_BT = _real_tokens(ids, labels, mask, getattr(self.config, "pad_token_id", None))
        decoder = replace(pack(ids, real_BT), position_ids_N=take(real_BT.long().cumsum(1) - 1, pack(ids, real_BT)))
        check_ids(decoder, self.config)
        if labels is None:
            return {**packs, "packed_decoder": decoder}
        labels_N = take(labels, decoder)
        decoder = decoder.reading(labels_N != losses.IGNORED)
        assert decoder.read is not None
        if packs.get(losses.LOSS_WEIGHTS) is not None:
            weights_N = take(spread(packs[losses.LOSS_WEIGHTS], labels.shape), decoder)
            packs[losses.LOSS_WEIGHTS] = weights_N[decoder.read.index_R]
        return {**packs, "packed_decoder": decoder, "labels": labels_N[decoder.read.index_R]}

    def packed_sides(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        decoder_input_ids: Tensor | None,
        decoder_attention_mask: Tensor | None,
        labels: Tensor | None,
        packed: PackedBatch | None,
        packed_decoder: PackedBatch | None,
    ) -> tuple[PackedBatch, PackedBatch, Tensor | None]:
        """The packed forms of both sides, packed now where they were not before, and the labels of the targets, [R]."""
        if packed is None:
            sides = {"decoder_input_ids": decoder_input_ids, "decoder_attention_mask": decoder_attention_mask}
            packs = self.pack_inputs(
                {"input_ids": input_ids, "attention_mask": attention_mask, **sides, "labels": labels}
            )
            if "packed_decoder" not in packs:
                given = {"input_ids": input_ids, "attention_mask": attention_mask, **sides}
                raise ValueError(
                    "expected labels or decoder_input_ids beside the source, received "
                    f"{sorted(name for name, value in given.items() if value is not None)}: give the rows a 'labels' "
                    "column, or call generate"
                )
            return packs["packed"], packs["packed_decoder"], packs.get("labels")
        if packed_decoder is None:
            raise ValueError(
                "packed_decoder is missing: expected both sides of a packed batch, as pack_inputs makes them of rows "
                "with labels"
            )
        return packed, packed_decoder, labels


class EncoderDecoderStates(EncoderDecoder):
    """An encoder-decoder without a head."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        packed: PackedBatch | None = None,
        packed_decoder: PackedBatch | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """Hidden states.

        Args:
            input_ids: [B, S] of the source.
            attention_mask: [B, S], non-zero = real token.
            decoder_input_ids: [B, T].
            decoder_attention_mask: [B, T], non-zero = real token.
            packed: the packed form of the source, in place of the padded one.
            packed_decoder: the packed form of the decoder's input; goes with `packed`.
            return_dict: False returns a tuple.

        Returns:
            `last_hidden_state` [B, T, D] and `encoder_last_hidden_state` [B, S, D], zero where no token is.
        """
        packed, decoder, _ = self.packed_sides(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, None, packed, packed_decoder
        )
        states_ND, memory_SD = self.decode(packed, decoder)
        values = {
            "last_hidden_state": unpack(states_ND, decoder),
            "encoder_last_hidden_state": unpack(memory_SD, packed),
        }
        return as_asked(ModelOutput(values), return_dict)


class ReadsItself(EncoderDecoder):
    """An encoder-decoder whose decoder is given the row itself, moved right by one: T5 classifies so."""

    def encode(self, packed: PackedBatch, read: Read | None = None) -> Tensor:
        """Last states of the decoder at the tokens that are read [R, D], or at all [N, D]."""
        ids_N, start = packed.input_ids_N.roll(1), getattr(self.config, "decoder_start_token_id", None)
        if start is None:
            raise ValueError("decoder_start_token_id=None: expected a token id, the decoder's input begins with it")
        ids_N[list(packed.starts)] = start
        states_ND, _ = self.decode(packed, replace(packed, input_ids_N=ids_N, read=None))
        return states_ND if read is None else select_rows(states_ND, read.index_R)

    def pack_inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """As in EncoderDecoder; without labels or an input of the decoder's own only the row is packed."""
        if batch.get("decoder_input_ids") is None:
            return PreTrainedModel.pack_inputs(self, batch)
        return super().pack_inputs(batch)


class Seq2SeqLM(VocabularyHead, EncoderDecoder):
    """A score for every token of the vocabulary at every token of the target; the loss projects targets alone."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        num_items_in_batch: Tensor | int | None = None,
        packed: PackedBatch | None = None,
        packed_decoder: PackedBatch | None = None,
        output_logits: bool | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """Scores the tokens of the target.

        Args:
            input_ids: [B, S] of the source.
            attention_mask: [B, S], non-zero = real token.
            decoder_input_ids: [B, T]; None = the labels moved right by one.
            decoder_attention_mask: [B, T], non-zero = real token; None = see EncoderDecoder.
            labels: [B, T] int64, -100 = no target; with `packed_decoder` those of its targets, [R].
            num_items_in_batch: targets of the whole optimizer step; None = of this batch.
            packed: the packed form of the source, in place of the padded one.
            packed_decoder: the packed form of the target's input; goes with `packed`.
            output_logits: True computes the logits now, False leaves all but the loss out, None computes what is read.
            return_dict: False returns a tuple.

        Returns:
            `loss` (with labels), `logits` [B, T, V] and `encoder_last_hidden_state` [B, S, D], zero where no token is.
        """
        packed, decoder, labels = self.packed_sides(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, labels, packed, packed_decoder
        )
        states_ND, memory_SD = self.decode(packed, decoder)
        loss = None
        if labels is not None:
            assert decoder.read is not None
            part = self.loss_at(select_rows(states_ND, decoder.read.index_R), labels)
            loss = losses.mean_loss(part, num_items_in_batch)
        lazy = {
            "logits": partial(self._logits, states_ND, decoder),
            "encoder_last_hidden_state": partial(unpack, memory_SD, packed),
        }
        output = ModelOutput({"loss": loss}, lazy={} if labels is not None and output_logits is False else lazy)
        if output_logits:
            output.to_tuple()
        return as_asked(output, return_dict)

    def _logits(self, states_ND: Tensor, decoder: PackedBatch) -> Tensor:
        return unpack(self.scores(states_ND), decoder)


def _real_tokens(ids_BT: Tensor, labels_BT: Tensor | None, mask_BT: Tensor | None, pad: int | None) -> Tensor:
    """Which tokens of the decoder's input are computed, [B, T] bool."""
    real_BT = torch.ones_like(ids_BT, dtype=torch.bool) if mask_BT is None else mask_BT != 0
    if labels_BT is None:
        return real_BT
    if labels_BT.shape != ids_BT.shape:
        raise ValueError(
            f"labels: expected the shape of decoder_input_ids, {tuple(ids_BT.shape)}, received {tuple(labels_BT.shape)}"
        )
    target_BT = labels_BT != losses.IGNORED
    column = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    last_B1 = (column * target_BT).amax(dim=1, keepdim=True)
    real_BT = (real_BT & (column <= last_B1)) | target_BT
    if mask_BT is None and pad is not None:
        leading_B = (ids_BT == pad).long().cumprod(dim=1).sum(dim=1)  # the last of them is the start token
        start_B = torch.minimum(leading_B - 1, target_BT.int().argmax(dim=1)).clamp(min=0)
        real_BT &= column >= start_B[:, None]
    return real_BT


def last_end(packed: PackedBatch, ends: int | list[int] | None) -> Read:
    """The last end token of each row.

    Raises:
        ValueError: a row without one.
    """
    known = torch.tensor(ends if isinstance(ends, list) else [ends], device=packed.index_N.device)
    place_N = torch.arange(packed.num_tokens, device=known.device)
    place_N = place_N.where(torch.isin(packed.input_ids_N, known), -1)
    last_B = torch.stack([row.max() for row in place_N.split(list(packed.lengths))])
    if (last_B < 0).any():
        raise ValueError(
            f"input_ids: expected the end token {ends} in every row, received row {int(last_B.argmin())} without: "
            "tokenize with the model's own tokenizer, which adds it"
        )
    return Read(last_B, (1,) * len(packed.lengths))


class Writes(Generates, EncoderDecoder):
    """Writes the target of a source: `encoder`, and a `decoder` that reads on (see `T5Stack`)."""

    def prompt_of(
        self, input_ids: Tensor, attention_mask: Tensor | None, config: GenerationConfig
    ) -> tuple[Tensor, Tensor]:
        """The start token of each row."""
        start = config.decoder_start_token_id
        start = getattr(self.config, "decoder_start_token_id", None) if start is None else start
        if start is None:
            raise ValueError("decoder_start_token_id=None: expected a token id, the target begins with it")
        return input_ids.new_full((len(input_ids), 1), start), input_ids.new_zeros(len(input_ids))

    def prompts(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The source."""
        if batch.get("packed") is not None:
            return {"packed": batch["packed"]}
        return {"input_ids": batch["input_ids"], "attention_mask": batch.get("attention_mask")}

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | None, prompt_BT: Tensor, room: int
    ) -> tuple[Tensor, Cache]:
        """Reads the source and the start tokens: scores of the first new token [B, V], and the cache."""
        packs = self.pack_inputs(
            {"input_ids": input_ids, "attention_mask": attention_mask, "decoder_input_ids": prompt_BT}
        )
        packed, decoder = packs["packed"], packs["packed_decoder"]
        layers = getattr(self.config, "num_decoder_layers", None) or self.config.num_hidden_layers
        cache = Cache(decoder.lengths, layers, room, packed.index_N.device, packed.lengths)
        states_BD = self.get_submodule("decoder")(decoder, self.get_submodule("encoder")(packed), packed.lengths, cache)
        return self.scores(states_BD), cache

    def step(self, ids_b: Tensor, cache: Cache) -> Tensor:
        """Scores of the token after these, [b, V]."""
        return self.scores(cast("Any", self.get_submodule("decoder")).extend(ids_b, cache))

    def scores(self, x: Tensor) -> Tensor:
        """Hidden states [..., D] to scores [..., V]."""
        raise NotImplementedError
