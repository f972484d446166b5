"""Text from a model: greedy, drawn, or by beams; rows that have ended leave the batch.

Dimension letters: B rows, T tokens, b rows that go on, k beams, c candidates, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.generation_config import FILE, GenerationConfig
from lt_trainer.models.scores import adjust, narrow
from lt_trainer.packed import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from lt_trainer.models.cache import Cache
    from lt_trainer.packed import PackedBatch

Writer: TypeAlias = "Callable[[Generates, Tensor, Tensor, Tensor, Cache, GenerationConfig, int], Tensor]"
_NEVER = -1.0e9  # a log probability that no continuation has


class Generates(PreTrainedModel):
    """A model that writes text: a family says in `read` and `step` how its next token is scored."""

    _generation_config: GenerationConfig | None = None

    def prompt_of(
        self, input_ids: Tensor, attention_mask: Tensor | None, config: GenerationConfig
    ) -> tuple[Tensor, Tensor]:
        """The tokens that the output begins with [B, T], and where each row of them begins [B]."""
        raise NotImplementedError

    def prompts(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Of a padded or packed batch for `forward` what `generate` begins with."""
        raise NotImplementedError

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | None, prompt_BT: Tensor, room: int
    ) -> tuple[Tensor, Cache]:
        """Reads the input: scores of the first new token [B, V], and what is kept for the next ones."""
        raise NotImplementedError

    def step(self, ids_b: Tensor, cache: Cache) -> Tensor:
        """Scores of the token after these, [b, V]."""
        raise NotImplementedError

    @property
    def generation_config(self) -> GenerationConfig:
        """The settings that `generate` begins with: those of the folder that the model came from, if it has some."""
        if self._generation_config is None:
            self._generation_config = GenerationConfig.from_model_config(self.config)
        return self._generation_config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        self._generation_config = config

    def read_beside(self, folder: Path) -> None:
        """Takes the folder's generation_config.json, if it has one."""
        if (folder / FILE).is_file():
            self._generation_config = GenerationConfig.from_pretrained(folder)

    def files_beside(self) -> dict[str, bytes]:
        """generation_config.json."""
        return {FILE: self.generation_config.to_json_string().encode()}

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        packed: PackedBatch | None = None,
        **overrides: Any,
    ) -> Tensor:
        """Continues a prompt, or writes the target of a source.

        Args:
            input_ids: [B, T] int64.
            attention_mask: [B, T], non-zero = real token; None = all that are not the pad token, where there is one
                that is no end token too.
            generation_config: the settings; None = the model's own.
            packed: the packed form of both, in place of them.
            overrides: settings that replace those.

        Returns:
            [B * num_return_sequences, tokens]: the prompt as it came (of a source: the start token) and what follows,
            pad tokens behind the end token.

        Raises:
            TypeError: a setting that there is not.
            ValueError: settings that no generation can have, or a prompt that leaves no room.
        """
        config = (generation_config or self.generation_config).with_overrides(overrides)
        if packed is not None:
            input_ids = unpack(packed.input_ids_N, packed)
            attention_mask = unpack(torch.ones_like(packed.input_ids_N), packed)
        if input_ids is None:
            raise ValueError("generate: expected input_ids, received None: tokenize a prompt and pass its input_ids")
        pad = config.pad_token_id
        if attention_mask is None and pad is not None and pad not in config.ends and (input_ids == pad).any():
            attention_mask = (input_ids != pad).long()
        prompt_BT, start_B = self.prompt_of(input_ids, attention_mask, config)
        longest = config.longest(prompt_BT.shape[1])
        if (room := longest - prompt_BT.shape[1]) < 1:
            raise ValueError(
                f"max_length={config.max_length}: expected more than the prompt's {prompt_BT.shape[1]} tokens; set "
                "max_new_tokens"
            )
        was_training = self.training
        self.eval()
        try:
            scores_BV, cache = self.read(input_ids, attention_mask, prompt_BT, room)
            write: Writer = beams if config.num_beams > 1 else singles
            return write(self, prompt_BT, start_B, scores_BV, cache, config, longest)
        finally:
            self.train(was_training)


def singles(
    model: Generates,
    prompt_BT: Tensor,
    start_B: Tensor,
    scores_BV: Tensor,
    cache: Cache,
    config: GenerationConfig,
    longest: int,
) -> Tensor:
    """One continuation at a time: the best token, or a drawn one. Arguments as in `generate`."""
    copies = torch.arange(len(prompt_BT), device=prompt_BT.device).repeat_interleave(config.num_return_sequences)
    if config.num_return_sequences > 1:
        cache.take(copies, copies)
        scores_BV, start_B = scores_BV[copies], start_B[copies]
    prompt = prompt_BT.shape[1]
    ids_BT = prompt_BT.new_full((len(copies), longest), _filler(config))
    ids_BT[:, :prompt] = prompt_BT[copies]
    end_E = torch.tensor(config.ends, device=ids_BT.device)
    row_b = torch.arange(len(ids_BT), device=ids_BT.device)
    length = prompt
    while True:
        scores_bV = adjust(scores_BV.float(), ids_BT[row_b, :length], start_B[row_b], config, prompt)
        next_b = _draw(scores_bV, config) if config.do_sample else scores_bV.argmax(dim=1)
        ids_BT[row_b, length] = next_b
        length += 1
        going_b = ~torch.isin(next_b, end_E)
        if length == longest or not going_b.any():
            return ids_BT[:, :length]
        if not going_b.all():
            kept = going_b.nonzero().squeeze(1)
            row_b, next_b = row_b[kept], next_b[kept]
            cache.take(kept, kept)
        scores_BV = model.step(next_b, cache)


class Beams:
    """The beams of b rows, k each: those that go on, and the best that have ended.

    Args:
        prompt_BT: what all begin with.
        config: the settings.
        longest: tokens of prompt and continuation at most.
    """

    def __init__(self, prompt_BT: Tensor, config: GenerationConfig, longest: int) -> None:
        rows, k, device = len(prompt_BT), config.num_beams, prompt_BT.device
        self.config, self.longest, self.prompt = config, longest, prompt_BT.shape[1]
        self.running = prompt_BT.new_full((rows, k, longest), _filler(config))
        self.running[:, :, : self.prompt] = prompt_BT[:, None]
        self.running_score = torch.zeros(rows, k, device=device)
        self.running_score[:, 1:] = _NEVER  # all beams are one at first
        self.ended = self.running.clone()
        self.ended_score = torch.full((rows, k), _NEVER, device=device)
        self.ended_length = torch.zeros(rows, k, dtype=torch.int64, device=device)
        self.has_ended = torch.zeros(rows, k, dtype=torch.bool, device=device)
        self.end_E = torch.tensor(config.ends, device=device)

    def advance(self, scores_bkV: Tensor, length: int) -> Tensor:
        """Chooses the next token of each beam.

        Args:
            scores_bkV: log probabilities of the next token.
            length: tokens so far.

        Returns:
            [b, k]: which beam each of the beams goes on from.
        """
        k, vocabulary = scores_bkV.shape[1:]
        total = (scores_bkV + self.running_score[:, :, None]).flatten(1)
        count = max(2, 1 + len(self.end_E)) * k  # enough that k go on even if every beam ends
        if self.config.do_sample:
            place_bc = torch.multinomial(total.softmax(dim=1), count)
            score_bc = total.gather(1, place_bc)
        else:
            score_bc, place_bc = total.topk(count, dim=1)
        beam_bc, token_bc = place_bc // vocabulary, place_bc % vocabulary
        candidates = _pick(self.running, beam_bc)
        candidates[:, :, length] = token_bc
        ends_bc = torch.isin(token_bc, self.end_E) | (length + 1 >= self.longest)
        self._finish(candidates, score_bc, ends_bc, length)
        self.running_score, best_bk = (score_bc + ends_bc * _NEVER).topk(k, dim=1)
        self.running = _pick(candidates, best_bk)
        return beam_bc.gather(1, best_bk)

    def _finish(self, candidates: Tensor, score_bc: Tensor, ends_bc: Tensor, length: int) -> None:
        """Takes candidates that end among the best k, where they are among the best k candidates."""
        k, new_length = self.config.num_beams, length + 1 - self.prompt
        allowed = ends_bc & (torch.arange(ends_bc.shape[1], device=ends_bc.device) < k)
        score_bc = score_bc / new_length**self.config.length_penalty + ~allowed * _NEVER
        merged = torch.cat([self.ended_score, score_bc], dim=1)
        lengths = torch.cat([self.ended_length, torch.full_like(ends_bc, new_length, dtype=torch.int64)], dim=1)
        self.ended_score, best = merged.topk(k, dim=1)
        self.ended = _pick(torch.cat([self.ended, candidates], dim=1), best)
        self.ended_length = lengths.gather(1, best)
        self.has_ended = torch.cat([self.has_ended, allowed], dim=1).gather(1, best)

    def open_rows(self, length: int) -> Tensor:
        """[b] bool: rows in which a beam that goes on may still be among the best."""
        full = self.has_ended.all(dim=1)
        if self.config.early_stopping is True:
            return ~full
        power = self.config.length_penalty
        reach = self.longest if self.config.early_stopping == "never" and power > 0 else length
        best_b1 = self.running_score[:, :1] / (reach - self.prompt) ** power
        worst = torch.where(self.has_ended, self.ended_score.amin(dim=1, keepdim=True), _NEVER)
        open_b: Tensor = (best_b1 > worst).any(dim=1)
        return open_b

    def take(self, row_b: Tensor) -> None:
        """Keeps these rows."""
        for name in ("running", "running_score", "ended", "ended_score", "ended_length", "has_ended"):
            setattr(self, name, getattr(self, name)[row_b])


def beams(
    model: Generates,
    prompt_BT: Tensor,
    start_B: Tensor,
    scores_BV: Tensor,
    cache: Cache,
    config: GenerationConfig,
    longest: int,
) -> Tensor:
    """The best of several continuations that are followed at a time. Arguments as in `generate`.

    Source: the rules of `transformers` 5, https://github.com/huggingface/transformers/pull/20901 for when a row ends.
    """
    k, returned, prompt, device = config.num_beams, config.num_return_sequences, prompt_BT.shape[1], prompt_BT.device
    state = Beams(prompt_BT, config, longest)
    row_b = torch.arange(len(prompt_BT), device=device)
    cache.take(row_b.repeat_interleave(k))
    scores_BV = scores_BV.repeat_interleave(k, dim=0)
    ids_BkT, length_Bk = state.running[:, :returned].clone(), state.ended_length[:, :returned].clone()
    length = prompt
    while True:
        log_probs = scores_BV.float().log_softmax(dim=1)
        starts = start_B[row_b].repeat_interleave(k)
        log_probs = adjust(log_probs, state.running[:, :, :length].flatten(0, 1), starts, config, prompt)
        if config.do_sample:
            log_probs = narrow(log_probs, config, least=len(config.ends) + 1)
        beam_bk = state.advance(log_probs.unflatten(0, (-1, k)), length)
        length += 1
        ids_BkT[row_b], length_Bk[row_b] = state.ended[:, :returned], state.ended_length[:, :returned]
        open_b = state.open_rows(length)
        if length == longest or not open_b.any():
            return ids_BkT[:, :, : prompt + int(length_Bk.max())].flatten(0, 1)
        kept = open_b.nonzero().squeeze(1)
        last_b = (kept[:, None] * k + beam_bk[kept]).flatten()
        changed = len(kept) < len(row_b)
        if changed:
            state.take(kept)
            row_b = row_b[kept]
        cache.take(last_b, kept if changed else None)
        scores_BV = model.step(state.running[:, :, length - 1].flatten(), cache)


def _draw(scores_bV: Tensor, config: GenerationConfig) -> Tensor:
    return torch.multinomial(narrow(scores_bV, config).softmax(dim=1), 1).squeeze(1)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """x[b, index[b, i]] for [b, k, T] and [b, c]."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


def _filler(config: GenerationConfig) -> int:
    """What stands behind an end token."""
    if config.pad_token_id is not None:
        return config.pad_token_id
    return config.ends[0] if config.ends else 0
