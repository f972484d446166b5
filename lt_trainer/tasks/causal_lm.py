"""Causal language modelling: each token predicts the next, in plain text, completions of prompts, or chats."""

from __future__ import annotations

import logging
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from lt_trainer.data.chats import answer_spans, labels_in
from lt_trainer.data.collators import IGNORED_LABEL
from lt_trainer.data.texts import PackedTexts, TextsCollator, cut
from lt_trainer.data.tokenized import lengths_of, tokens_alone
from lt_trainer.datamodule import TaskData, check_texts
from lt_trainer.models.auto import AutoModelForCausalLM
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.causal import Continues
from lt_trainer.models.gpt2 import GPT2Config
from lt_trainer.objective import generated
from lt_trainer.tasks.language import LanguageData, LanguageTask
from lt_trainer.tasks.start import start_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import torch
    from torch import nn

    from lt_trainer.data.tokenized import Columns
    from lt_trainer.data.windows import Batch, Collate, Row

logger = logging.getLogger(__name__)
PACKINGS = ("documents", "contaminated", "none")
LONGEST_BLOCK = 1024  # where the tokenizer names a longer row, or none


class CausalLM(LanguageTask):
    """Predicts next tokens; logs the perplexity beside the loss, and never makes the logits for either.

    Args:
        model: a name or folder for `AutoModelForCausalLM`, "scratch" for a small GPT-2 with fresh weights, or a model.
        vocab_size: tokens of the tokenizer: a model from scratch gets as many, any other must have them.
        packing: of the data; a model that is not native has no way to keep the texts of a row apart.
        predict_with_generate: predictions are what the model writes behind a prompt; False: all its logits.
        max_new_tokens: tokens that it writes at most.
        settings: the tokenizer and the optimizer, see TextTask.

    Raises:
        ValueError: packing="documents" for a model that is not native.
    """

    def __init__(
        self,
        model: str | nn.Module,
        *,
        vocab_size: int | None = None,
        packing: str | None = None,
        predict_with_generate: bool = True,
        max_new_tokens: int = 64,
        **settings: Any,
    ) -> None:
        super().__init__(
            start_model(model, AutoModelForCausalLM, vocab_size=vocab_size, scratch=small_gpt2),
            **settings,
        )
        if packing == "documents" and not isinstance(self.model, PreTrainedModel):
            raise ValueError(
                f"packing='documents': expected a native model, received {type(self.model).__name__}, in which the "
                "texts of a row would see each other: give the data packing='none'"
            )
        self.max_new_tokens = max_new_tokens
        if predict_with_generate:
            self.hooks.predict = self.write

    def write(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The tokens that the model writes behind prompts, [B, tokens]; a prompt ends at the first target of its row.

        Raises:
            ValueError: a row holds several texts.
        """
        packed = batch.get("packed")
        width = batch["input_ids"].shape[1] if packed is None else packed.padded_shape[1]
        if packed is not None and len(packed.lengths) > packed.padded_shape[0]:
            raise ValueError(
                f"predictions: expected a text a row, received {len(packed.lengths)} texts in {packed.padded_shape[0]} "
                "rows: give the rows as test=..., or packing='none'"
            )
        return generated(model, batch, {"max_new_tokens": self.max_new_tokens})[:, width:]

    def asked(self, batch: Batch) -> Batch:
        """The prompts."""
        return self.model.prompts(batch) if isinstance(self.model, Continues) else batch

    def records(self, predictions: np.ndarray[Any, Any], rows: Sequence[Row] | None = None) -> Iterator[dict[str, Any]]:
        """`prompt` and `completion` of each row.

        Args:
            predictions: as `write` returns them, [B, tokens], filled up with -100.
            rows: tokenized, for the prompts.
        """
        if predictions.ndim != 2:
            raise ValueError(
                f"records: expected the tokens that the model wrote, [rows, tokens], received {predictions.shape}: "
                "leave predict_with_generate on"
            )
        tokenizer = self.tokenizer
        for number, written in enumerate(predictions.tolist()):
            completion = tokenizer.decode([token for token in written if token >= 0], skip_special_tokens=True)
            if not rows:
                yield {"completion": completion}
                continue
            ids, labels = rows[number]["input_ids"], rows[number].get("labels", ())
            asked = next((place for place, label in enumerate(labels) if label != IGNORED_LABEL and place), len(ids))
            yield {"prompt": tokenizer.decode(ids[:asked], skip_special_tokens=True), "completion": completion}


def small_gpt2(**settings: Any) -> GPT2Config:
    """The configuration of a GPT-2 that a CPU trains in minutes; `settings` are others than its sizes."""
    sizes: dict[str, Any] = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.05}
    return GPT2Config(**sizes, bos_token_id=None, eos_token_id=None, **settings)


class CausalLMData(LanguageData):
    """Texts, prompts with their completions, or chats, in blocks of tokens.

    Which of the three follows from the columns: `messages` (chats), `prompt` and `completion`, else `text`. Nothing of
    a prompt, or of what others than the assistant say, is a target. A text that is longer than a block is cut into
    pieces; of a prompt or a chat the end is cut off. Test rows are never packed, and may be prompts without completions
    or chats that wait for an answer, to be gone on with.

    Args:
        tokenizer: a name, a folder, a tokenizer, or "scratch" for one with the words of the training rows.
        prompt_column: column of a prompt.
        completion_column: column of what is to follow it.
        messages_column: column of a chat: a list of {"role": ..., "content": ...}, written by the tokenizer's template.
        block_size: most tokens of a row; None: what the tokenizer says, but 1024 at most.
        packing: "documents" fills each row with whole texts that never see each other; "contaminated" puts all texts
            behind each other and cuts, so that texts of a row do see each other; "none" keeps a text a row.
        add_eos: the end token behind each text, so that a model learns to stop; not with "contaminated".
        settings: rows, batches and cache, see LanguageData.
    """

    task = "causal-lm"

    def __init__(
        self,
        tokenizer: Any,
        *,
        prompt_column: str = "prompt",
        completion_column: str = "completion",
        messages_column: str = "messages",
        block_size: int | None = None,
        packing: str = "documents",
        add_eos: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(tokenizer, **settings)
        if packing not in PACKINGS:
            raise ValueError(
                f"packing={packing!r}: expected one of {', '.join(PACKINGS)}: 'documents' keeps texts apart"
            )
        if block_size is not None and block_size < 2:
            raise ValueError(f"block_size={block_size}: expected 2 tokens or more: one token predicts the next")
        if packing == "contaminated" and self.loss_weights_column is not None:
            raise ValueError(
                "packing='contaminated': expected another one beside loss_weights_column: rows begin and end anywhere "
                "in texts; take packing='documents'"
            )
        self.prompt_columns = (prompt_column, completion_column)
        self.messages_column, self.add_eos = messages_column, add_eos
        self._packing, self._block_size = packing, block_size

    @cached_property
    def tokenizer(self) -> Any:
        """See TaskData; where it has no pad token, its end token takes that place."""
        tokenizer = TaskData.tokenizer.func(self)  # type: ignore[attr-defined]
        if tokenizer.pad_token is None and tokenizer.eos_token is not None:
            logger.warning(
                "the tokenizer has no pad token: its end token %r (id %s) is taken; nobody reads it there, and at the "
                "end of a text it stays a target",
                *(tokenizer.eos_token, tokenizer.eos_token_id),
            )
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @property
    def block_size(self) -> int:
        """Most tokens of a row."""
        return self._block_size or min(self.tokenizer.model_max_length, LONGEST_BLOCK)

    @property
    def packing(self) -> str:
        """How texts come into rows."""
        return self._packing

    # ---- rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of all three kinds."""
        return (self.messages_column, *self.prompt_columns, self.text_column)

    def columns_of(self, there: Iterable[str], split: str = "train") -> tuple[str, ...]:
        """The columns that are read, of those that are there; none where no kind is whole."""
        kinds = [(self.messages_column,), self.prompt_columns, (self.text_column,)]
        kinds += [self.prompt_columns[:1]] if split == "test" else []
        return next((kind for kind in kinds if set(kind) <= set(there)), ())

    def check(self, rows: Any, split: str) -> None:
        """Refuses rows of none of the three kinds."""
        super().check(rows, split)
        if not self.columns_of(rows.column_names or (), split):
            prompt, completion = self.prompt_columns
            raise ValueError(
                f"{split}: expected a column {self.text_column!r}, or {prompt!r} and {completion!r}, or "
                f"{self.messages_column!r}, received {rows.column_names}: name yours in text_column, prompt_column and "
                "completion_column, or messages_column"
            )

    def texts(self) -> Iterable[str]:
        """See TaskData."""
        rows = self.rows["train"]
        for row in rows.select_columns(list(self.columns_of(rows.column_names))):
            for value in row.values():
                yield from [value] if isinstance(value, str) else (message["content"] for message in value)

    def parameters(self) -> dict[str, Any]:
        """Columns, sizes, the end token and the template."""
        end = self.tokenizer.eos_token_id if self.add_eos else None
        settings = {"columns": self.columns, "block_size": self.block_size, "packing": self.packing, "end": end}
        return settings | {"template": self.tokenizer.chat_template}

    def encode(self, columns: Columns, numbers: list[int], split: str) -> tuple[dict[str, list[Any]], int]:
        """Pieces of texts; or prompts and chats with -100 in `labels` for all that is no answer."""
        kind = self.columns_of(columns, split)
        if kind == (self.messages_column,):
            return self._cut_off(*self._chats(columns[self.messages_column], numbers, split), numbers, split)
        check_texts(columns, kind, numbers, split)
        if kind[0] == self.prompt_columns[0]:
            return self._cut_off(*self._prompts(*(columns[name] for name in kind)), numbers, split)
        encoded = self.tokenizer(columns[self.text_column], verbose=False, **tokens_alone(self.tokenizer))
        texts = [self._ended(ids) for ids in encoded["input_ids"]]
        if self.packing == "contaminated":
            texts = [list(chain.from_iterable(texts))]
        return {"input_ids": [piece for ids in texts for piece in cut(ids, self.block_size)]}, 0

    def _ended(self, ids: list[int]) -> list[int]:
        """A text with its end token, where it has none yet."""
        end = self.tokenizer.eos_token_id
        wanted = self.add_eos and self.packing != "contaminated" and end is not None
        return [*ids, end] if wanted and ids[-1:] != [end] else ids

    def _prompts(self, prompts: list[str], completions: list[str] | None = None) -> tuple[list[Any], list[Any]]:
        """A prompt is tokenized by itself, as it will be when the model is asked."""
        first = self.tokenizer("a")["input_ids"][:1]
        begin = first if first == [self.tokenizer.bos_token_id] else []
        asks = self.tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
        answers: list[list[int]] = [[] for _ in prompts]
        if completions is not None:
            answers = self.tokenizer(completions, add_special_tokens=False, verbose=False)["input_ids"]
            answers = [self._ended(answer) for answer in answers]
        ids, labels = [], []
        for asked, answer in zip(asks, answers, strict=True):
            ids.append([*begin, *asked, *answer])
            labels.append([IGNORED_LABEL] * (len(begin) + len(asked)) + answer)
        return ids, labels

    def _chats(self, chats: list[Any], numbers: list[int], split: str) -> tuple[list[list[int]], list[list[int]]]:
        """What the assistant says, to the end of its turn, are the targets."""
        ids, labels = [], []
        for number, messages in zip(numbers, chats, strict=True):
            text, spans = answer_spans(self.tokenizer, messages, f"{split}, row {number}", may_wait=split == "test")
            encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            ids.append(encoded["input_ids"])
            labels.append(labels_in(encoded["input_ids"], encoded["offset_mapping"], spans))
        return ids, labels

    def _cut_off(
        self, ids: list[list[int]], labels: list[list[int]], numbers: list[int], split: str
    ) -> tuple[dict[str, list[Any]], int]:
        """Rows of at most a block, each with a target."""
        size = self.block_size
        for number, row in zip(numbers, labels, strict=True):
            if split != "test" and all(label == IGNORED_LABEL for label in row[1:size]):
                raise ValueError(
                    f"{split}, row {number}: expected an answer within block_size={size} tokens, received a row of "
                    f"{len(row)} whose first {min(size, len(row))} hold none: raise block_size, or shorten the prompt"
                )
        cut_rows = sum(len(row) > size for row in ids)
        return {"input_ids": [row[:size] for row in ids], "labels": [row[:size] for row in labels]}, cut_rows

    def weights(self, weight: float, made: Columns) -> list[Any]:
        """One beside each token, since a row may hold several texts."""
        return [[weight] * len(ids) for ids in made["input_ids"]]

    def encoded(self, rows: Any, split: str) -> Any:
        """See TaskData; in blocks where texts are packed."""
        made = super().encoded(rows, split)
        if self.packing != "documents" or split == "test" or not hasattr(made, "__len__"):
            return made
        packed = PackedTexts(made, lengths_of(made), self.block_size)
        logger.info(
            "%s: %d texts in %d rows of %d tokens, %.1f%% full",
            *(split, len(made), len(packed), self.block_size, 100 * packed.filled),
        )
        return packed

    @property
    def pads(self) -> Collate:
        """Rows of texts -> batch; the model takes them apart again."""
        return TextsCollator(self.tokenizer.pad_token_id or 0)
