"""How a causal language model continues a prompt.

Dimension letters: B rows, T padded length, N packed tokens, D width, V vocabulary.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from lt_trainer.models.attention import plan_attention
from lt_trainer.models.cache import Cache
from lt_trainer.models.generate import Generates
from lt_trainer.packed import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from lt_trainer.models.attention import AttentionPlan
    from lt_trainer.models.generation_config import GenerationConfig
    from lt_trainer.packed import PackedBatch


class Extends(Protocol):
    """A decoder that reads on: see `GPT2Model.extend`."""

    def extend(self, ids_N: Tensor, positions_N: Tensor, cache: Cache, plan: AttentionPlan | None = None) -> Tensor:
        """States of the prompt's tokens, or without a plan of one more token a row."""


class Continues(Generates):
    """Continues prompts; each row is read by itself, whatever pads it on either side."""

    def scores(self, x: Tensor) -> Tensor:
        """Hidden states [..., D] to scores [..., V]."""
        raise NotImplementedError

    def prompt_of(
        self, input_ids: Tensor, attention_mask: Tensor | None, config: GenerationConfig
    ) -> tuple[Tensor, Tensor]:
        """The prompt itself, and the column of each row's first real token."""
        if attention_mask is None:
            return input_ids, input_ids.new_zeros(len(input_ids))
        return input_ids, (attention_mask != 0).int().argmax(dim=1)

    def prompts(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The tokens of each row before its first target; without targets all of them."""
        packed: PackedBatch = self.pack_inputs(batch)["packed"] if batch.get("packed") is None else batch["packed"]
        if packed.read is None:
            return {"packed": packed}
        firsts = [0, *accumulate(packed.read.lengths[:-1])]  # of the read positions of each row
        place_N = torch.arange(packed.num_tokens, device=packed.index_N.device)
        last_B = torch.tensor(list(accumulate(packed.lengths)), device=place_N.device) - 1
        for row, (first, count) in enumerate(zip(firsts, packed.read.lengths, strict=True)):
            if count:
                last_B[row] = packed.read.index_R[first]  # it is read for the target behind it
        asked_N = place_N <= last_B.repeat_interleave(torch.tensor(packed.lengths, device=place_N.device))
        return {"input_ids": unpack(packed.input_ids_N, packed), "attention_mask": unpack(asked_N.long(), packed)}

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | None, prompt_BT: Tensor, room: int
    ) -> tuple[Tensor, Cache]:
        """Reads the prompts: scores of the first new token [B, V], and the cache."""
        positions = None if attention_mask is None else ((attention_mask != 0).long().cumsum(1) - 1).clamp(min=0)
        packed = self.pack_inputs(
            {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": positions}
        )["packed"]
        longest, limit = max(packed.lengths) + room, self.config.max_row_tokens
        if limit is not None and longest > limit:
            raise ValueError(
                f"max_new_tokens: a row would reach {longest} tokens, but the model has positions for {limit}: "
                f"generate at most {limit - max(packed.lengths)} after this prompt, or shorten it"
            )
        config = self.config
        cache = Cache(packed.lengths, config.num_hidden_layers, room, packed.index_N.device)
        plan = plan_attention(packed.lengths, config.num_attention_heads, device=packed.index_N.device, causal=True)
        states_ND = self._body.extend(packed.input_ids_N, packed.position_ids_N, cache, plan)
        last_B = torch.tensor(list(accumulate(packed.lengths)), device=states_ND.device) - 1
        return self.scores(states_ND[last_B]), cache

    def step(self, ids_b: Tensor, cache: Cache) -> Tensor:
        """Scores of the token after these, [b, V]."""
        return self.scores(self._body.extend(ids_b, cache.next_positions(), cache))

    @property
    def _body(self) -> Extends:
        return cast("Extends", self.base_model)
