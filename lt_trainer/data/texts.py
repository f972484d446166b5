"""Texts of a language model: cut into pieces, put into blocks, kept apart in them.

Dimension letters: B rows, T padded length.
"""

from __future__ import annotations

from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lt_trainer.data.collators import IGNORED_LABEL
from lt_trainer.data.windows import fetch
from lt_trainer.losses import LOSS_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lt_trainer.data.windows import Batch, Row

SAMPLE_BY = ("document", "paragraph", "line")


def sampled(lines: Sequence[str], sample_by: str) -> list[str]:
    """The texts of a plain-text file.

    Args:
        lines: of the file, without their ends.
        sample_by: "document" for the whole file as one text, "paragraph" for what stands between empty lines, "line".

    Returns:
        The texts that are not empty.
    """
    if sample_by == "line":
        texts = list(lines)
    elif sample_by == "document":
        texts = ["\n".join(lines)]
    else:
        texts, open_lines = [], list[str]()
        for line in [*lines, ""]:
            if line.strip():
                open_lines.append(line)
            else:
                texts.append("\n".join(open_lines))
                open_lines = []
    return [text for text in texts if text.strip()]


def is_text_file(source: Any) -> bool:
    """Whether rows are named by a plain-text file."""
    return isinstance(source, str | Path) and str(source).lower().endswith(".txt")


def cut(ids: Sequence[int], size: int) -> list[list[int]]:
    """Pieces of at most `size` tokens, none of them lost.

    >>> cut([1, 2, 3, 4, 5], 2)
    [[1, 2], [3, 4], [5]]
    """
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def best_fit(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Puts texts into blocks: each, the longest first, where it leaves the least room.

    Args:
        lengths: tokens of each text, at most `size`.
        size: tokens of a block.

    Returns:
        The numbers of the texts in each block.

    Source: Ding et al., "Fewer Truncations Improve Language Modeling", 2024, section 3.
    """
    blocks: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(size + 1)]  # blocks by the tokens that still fit
    rooms = 0  # bit r is set where a block has room for r tokens
    for text in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = int(lengths[text])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            block = with_room[room].pop()
            if not with_room[room]:
                rooms &= ~(1 << room)
            blocks[block].append(text)
        else:
            room, block = size, len(blocks)
            blocks.append([text])
        if left := room - length:
            with_room[left].append(block)
            rooms |= 1 << left
    return blocks


class PackedTexts(torch.utils.data.Dataset[Any]):
    """Tokenized texts as blocks; a native model keeps the texts of a block apart by their positions.

    Args:
        texts: rows with `input_ids`, and `labels` where they are not the same.
        lengths: their tokens.
        size: most tokens of a block.
    """

    def __init__(self, texts: Any, lengths: NDArray[np.int64], size: int) -> None:
        blocks = best_fit(lengths.tolist(), size)
        self.texts, self.size, self.num_tokens = texts, size, int(lengths.sum())
        self._order = np.array([text for block in blocks for text in block], dtype=np.int64)
        self._ends = np.cumsum([0, *map(len, blocks)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def filled(self) -> float:
        """The share of all blocks' room that tokens take."""
        return self.num_tokens / (len(self) * self.size)

    def numbers(self, block: int) -> list[int]:
        """The texts of a block."""
        found: list[int] = self._order[self._ends[block] : self._ends[block + 1]].tolist()
        return found

    def __getitem__(self, block: int) -> Row:
        return self.__getitems__([range(len(self))[block]])[0]

    def __getitems__(self, blocks: list[int]) -> list[Row]:
        """Several blocks by one read; torch's protocol."""
        members = [self.numbers(block) for block in blocks]
        texts = fetch(self.texts, [number for numbers in members for number in numbers])
        ends = np.cumsum([0, *map(len, members)])
        return [joined(texts[start:end]) for start, end in pairwise(ends.tolist())]


def joined(texts: Sequence[Row]) -> Row:
    """One row of several: `position_ids` begin anew in each, and its first token is nobody's target."""
    ids = [list(text["input_ids"]) for text in texts]
    labels = [list(text["labels"]) if "labels" in text else list(own) for text, own in zip(texts, ids, strict=True)]
    for row in labels:
        row[:1] = [IGNORED_LABEL]
    positions = [position for own in ids for position in range(len(own))]
    columns = {"input_ids": ids, "labels": labels}
    if LOSS_WEIGHTS in texts[0]:
        columns[LOSS_WEIGHTS] = [list(text[LOSS_WEIGHTS]) for text in texts]
    flat = {name: list(chain.from_iterable(parts)) for name, parts in columns.items()}
    return {**flat, "position_ids": positions}


class TextsCollator:
    """Pads rows of `PackedTexts`, or rows of one text each; needs no pad token, since nobody reads pads.

    Args:
        pad_id: what stands there.
    """

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Rows -> `input_ids`, `attention_mask`, `position_ids` (where rows have them) and `labels`, [B, T]."""
        if "labels" not in rows[0]:
            rows = [{**row, "labels": row["input_ids"]} for row in rows]
        width = max(len(row["input_ids"]) for row in rows)
        fills = {"input_ids": self.pad_id, "position_ids": 0, "labels": IGNORED_LABEL, LOSS_WEIGHTS: 0.0}
        batch = {name: torch.full((len(rows), width), fill) for name, fill in fills.items() if name in rows[0]}
        batch["attention_mask"] = torch.zeros((len(rows), width), dtype=torch.int64)
        for number, row in enumerate(rows):
            length = len(row["input_ids"])
            batch["attention_mask"][number, :length] = 1
            for name in fills.keys() & batch.keys():
                batch[name][number, :length] = torch.as_tensor(row[name])
        return batch
