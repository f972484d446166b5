"""Collators for language models, with the public names and behaviours of `transformers`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from lt_trainer.data.collators import IGNORED_LABEL, DefaultDataCollator, apart, padded_weights
from lt_trainer.data.draws import window_seed
from lt_trainer.data.masking import Draws, Masking, NumpyDraws, TorchDraws, word_starts
from lt_trainer.data.order import mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lt_trainer.data.windows import Batch

logger = logging.getLogger(__name__)


@dataclass
class DataCollatorForLanguageModeling:
    """Pads rows and makes their labels: what is masked, or for a causal model the tokens themselves.

    Draws are those of `transformers` for the same seed, call by call. In a training loop they follow from the seed and
    the step instead, so that a run that is resumed masks what it would have masked.

    Args:
        tokenizer: pads, and knows mask and special tokens.
        mlm: True masks tokens; False copies the ids to labels, -100 at each pad token (also where it is the end token).
        whole_word_mask: masks all tokens of a word; needs the column `offset_mapping`.
        mlm_probability: share of the tokens (or words) that are guessed.
        mask_replace_prob: share of those that become the mask token.
        random_replace_prob: share of those that become any token; the rest stays. With whole words all become the mask.
        pad_to_multiple_of: rounds the length up, in tokens.
        return_tensors: "pt" or "np".
        seed: of the draws; None takes the global generator of torch or numpy.

    Raises:
        ValueError: shares outside 0 to 1, no mask token, or settings that exclude each other (all at once).
    """

    tokenizer: Any
    mlm: bool = True
    whole_word_mask: bool = False
    mlm_probability: float | None = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"
    seed: int | None = None
    columns: ClassVar[frozenset[str]] = frozenset(
        {"special_tokens_mask", "offset_mapping"}
    )  # read here, not by a model
    _draws: Draws | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if problems := self._problems():
            raise ValueError("; ".join(problems))
        if self.whole_word_mask and (self.mask_replace_prob < 1 or self.random_replace_prob):
            logger.warning(
                "whole words all become the mask: mask_replace_prob=%s and random_replace_prob=%s are 1 and 0 now",
                *(self.mask_replace_prob, self.random_replace_prob),
            )
            self.mask_replace_prob, self.random_replace_prob = 1.0, 0.0

    def _problems(self) -> list[str]:
        shares = {name: getattr(self, name) for name in ("mask_replace_prob", "random_replace_prob")}
        if self.mlm:
            shares["mlm_probability"] = self.mlm_probability
        found = [f"{n}={x!r}: expected a share from 0 to 1" for n, x in shares.items() if x is None or not 0 <= x <= 1]
        if not found and (total := self.mask_replace_prob + self.random_replace_prob) > 1:
            found.append(f"mask_replace_prob + random_replace_prob = {total:g}: expected 1 at most: lower one of them")
        if self.mlm and self.tokenizer.mask_token is None:
            found.append(
                "mlm=True: expected a tokenizer with a mask token, received one without: take mlm=False for a causal "
                "model, or add_special_tokens({'mask_token': ...})"
            )
        if self.whole_word_mask and not self.mlm:
            found.append("whole_word_mask=True with mlm=False: expected mlm=True: nothing is masked without it")
        return found

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> Batch:
        """Rows -> batch [B, T] with labels [B, T]; rows are mappings, or token ids alone (then without a mask).

        Raises:
            ValueError: whole words are asked for and rows have no `offset_mapping`.
        """
        kind = return_tensors or self.return_tensors
        batch, offsets = self._pad(features)
        special = batch.pop("special_tokens_mask", None)
        ids_BT = batch["input_ids"]
        if self.mlm:
            batch["input_ids"], batch["labels"] = self._mask(ids_BT, special, offsets, self._source(kind))
        else:
            batch["labels"] = ids_BT.copy()
            if (pad_id := self.tokenizer.pad_token_id) is not None:
                batch["labels"][ids_BT == pad_id] = IGNORED_LABEL
        return batch if kind == "np" else {name: torch.from_numpy(value) for name, value in batch.items()}

    def _pad(self, features: Sequence[Any]) -> tuple[Batch, list[Any] | None]:
        """The padded columns as numpy, and the offsets of each row beside them."""
        named = isinstance(features[0], Mapping)
        rows = list(features) if named else [{"input_ids": row} for row in features]
        offsets = [row["offset_mapping"] for row in rows] if "offset_mapping" in rows[0] else None
        rows, weights = apart(
            [{name: value for name, value in row.items() if name != "offset_mapping"} for row in rows]
        )
        lengths, multiple = {len(row["input_ids"]) for row in rows}, self.pad_to_multiple_of
        ragged = len(lengths) > 1 or (multiple is not None and max(lengths) % multiple)
        options = {"pad_to_multiple_of": multiple} if ragged else {"padding": False}  # a pad token may be missing then
        batch = dict(self.tokenizer.pad(rows, return_tensors="np", **options))
        batch |= padded_weights(weights, batch["input_ids"].shape[1], self.tokenizer.padding_side, "np")
        return batch if named else {"input_ids": batch["input_ids"]}, offsets

    def _mask(self, ids_BT: Any, special: Any, offsets: list[Any] | None, draws: Draws) -> tuple[Any, Any]:
        if special is None:
            known = self.tokenizer.get_special_tokens_mask
            special = np.array([known(row, already_has_special_tokens=True) for row in ids_BT.tolist()])
        special_BT, starts = special.astype(bool), None
        if self.whole_word_mask:
            if offsets is None:
                raise ValueError(
                    "whole_word_mask=True: expected rows with offset_mapping, received rows without: tokenize with "
                    "return_offsets_mapping=True, and keep the column"
                )
            starts = word_starts(self._pad_offsets(offsets, ids_BT.shape[1]), special_BT)
        return self.masking.apply(ids_BT, special_BT, draws, starts)

    @property
    def masking(self) -> Masking:
        """The shares and ids of this collator."""
        assert self.mlm_probability is not None
        shares = (self.mlm_probability, self.mask_replace_prob, self.random_replace_prob)
        return Masking(*shares, self.tokenizer.mask_token_id, len(self.tokenizer))

    def _pad_offsets(self, offsets: list[Any], width: int) -> NDArray[np.int64]:
        padded_BT2 = np.zeros((len(offsets), width, 2), dtype=np.int64)
        for row, pairs in zip(padded_BT2, offsets, strict=True):
            start = width - len(pairs) if self.tokenizer.padding_side == "left" else 0
            row[start : start + len(pairs)] = pairs
        return padded_BT2

    def _source(self, kind: str) -> Draws:
        """The draws of a call: in a loop anew from seed and step, outside of one source for all calls."""
        make = NumpyDraws if kind == "np" else TorchDraws
        if self.seed is None:
            return make()
        if (step := window_seed()) is not None:
            return seeded_draws(kind, mix(self.seed, step))
        if self._draws is None:
            self._draws = seeded_draws(kind, self.seed)
        return self._draws


def seeded_draws(kind: str, seed: int) -> Draws:
    """Draws of a generator of their own, for "pt" or "np"."""
    if kind == "np":
        return NumpyDraws(np.random.default_rng(seed))
    return TorchDraws(torch.Generator().manual_seed(seed))


@dataclass
class DataCollatorForWholeWordMask(DataCollatorForLanguageModeling):
    """`DataCollatorForLanguageModeling` that masks whole words, as version 4 named it.

    Args:
        tokenizer: see DataCollatorForLanguageModeling, as are the others.
    """

    whole_word_mask: bool = True
    mask_replace_prob: float = 1.0
    random_replace_prob: float = 0.0


class DataCollatorForPermutationLanguageModeling:
    """XLNet's collator, which is not here: making one says where it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "DataCollatorForPermutationLanguageModeling is not built here (no native family learns that way): take it "
            "from transformers and give it to Trainer(data_collator=...)"
        )


@dataclass
class DataCollatorWithFlattening(DefaultDataCollator):
    """Puts the rows of a batch behind each other in one, without padding; positions begin anew in each.

    A native model keeps the rows apart by their positions. Rows of any other collator are packed as well once they
    are in the model, so this one saves nothing here; it is there for models that want it.

    Args:
        return_position_ids: adds `position_ids`.
        separator_id: label of the first token of each row.
        return_flash_attn_kwargs: adds `cu_seq_lens_q`, `cu_seq_lens_k` (int32) and the longest length, twice.
        return_seq_idx: adds `seq_idx`, the number of the row that each token is of (int32).
        position_ids_start: the first position: 0, or `pad_token_id + 1` for a RoBERTa.
    """

    return_position_ids: bool = field(default=True, kw_only=True)
    separator_id: int = field(default=IGNORED_LABEL, kw_only=True)
    return_flash_attn_kwargs: bool = field(default=False, kw_only=True)
    return_seq_idx: bool = field(default=False, kw_only=True)
    position_ids_start: int = field(default=0, kw_only=True)

    def __call__(
        self, features: Sequence[Any], return_tensors: str | None = None, separator_id: int | None = None
    ) -> Batch:
        """Rows -> batch [1, N] with labels [1, N]: those of the rows, or their ids."""
        kind = return_tensors or self.return_tensors
        if kind not in ("pt", "np"):
            raise ValueError(f"return_tensors={kind!r}: expected 'pt' or 'np'")
        rows = [np.asarray(row["input_ids"]).astype(np.int64) for row in features]
        name = "labels" if "labels" in features[0] else "input_ids"
        labels = [np.asarray(row[name]).astype(np.int64) for row in features]  # copies
        for row in labels:
            row[:1] = self.separator_id if separator_id is None else separator_id
        lengths = [len(row) for row in rows]
        batch: Batch = {"input_ids": np.concatenate(rows)[None], "labels": np.concatenate(labels)[None]}
        if self.return_position_ids:
            places = [np.arange(length) + self.position_ids_start for length in lengths]
            batch["position_ids"] = np.concatenate(places)[None]
        if self.return_seq_idx:
            batch["seq_idx"] = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)[None]
        if self.return_flash_attn_kwargs:
            ends = np.cumsum([0, *lengths]).astype(np.int32)
            batch |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}
            batch |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
        if kind == "np":
            return batch
        return {
            key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()
        }
