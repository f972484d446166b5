"""`lt-trainer show`: rows as they go into the model, so that a wrong mask is seen before it costs a run.

Each token stands above its label, in the order of the model's input::

    row 17, 9 tokens, 2 targets
      [CLS] the [MASK] sat on the mat [SEP] [PAD]
            .   cat    .   on .   .

Colours say the same: green is a target, yellow what was masked or replaced, faint are special tokens and padding.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from lt_trainer.args.check import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lt_trainer.cli.request import Request
    from lt_trainer.datamodule import TaskData

SPLITS = ("train", "validation", "test")
ROWS = 4
IGNORED = -100
NO_TARGET = "."
GREEN, YELLOW, CYAN, FAINT, BOLD = "32", "33", "36", "2", "1"
# What byte-level and sentencepiece vocabularies write for a blank and the end of a line.
BLANKS = str.maketrans({"Ġ": "␣", "▁": "␣", "Ċ": "⏎"})


class Cell(NamedTuple):
    """A token: what stands there, what stands below it, and its colour."""

    token: str
    label: str
    colour: str = ""


class Look:
    """How a batch is written.

    Args:
        colours: whether the reader sees colours.
        width: of a line, in characters.
        plain: whether only ASCII can be written.
    """

    def __init__(self, colours: bool, width: int, plain: bool = False) -> None:
        self.colours, self.width, self.plain = colours, width, plain

    @classmethod
    def of(cls, stream: TextIO) -> Look:
        """Colours for a terminal, unless NO_COLOR is set (https://no-color.org)."""
        colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        plain = not (stream.encoding or "").lower().startswith("utf")
        return cls(colours, shutil.get_terminal_size((100, 24)).columns, plain)

    def paint(self, text: str, colour: str) -> str:
        """A text in a colour, where there are colours."""
        if self.plain:
            text = text.replace("␣", "_").replace("⏎", "\\n").encode("ascii", "replace").decode()
        return f"\033[{colour}m{text}\033[0m" if self.colours and colour else text

    def lines(self, cells: Sequence[Cell], labelled: bool) -> Iterator[str]:
        """Tokens above their labels, as many on a line as it holds."""
        start = 0
        while start < len(cells):
            end, used = start, 2
            while end < len(cells) and (end == start or used + self._wide(cells[end]) <= self.width):
                used += self._wide(cells[end]) + 1
                end += 1
            part = cells[start:end]
            yield "  " + " ".join(self._padded(cell.token, cell) for cell in part).rstrip()
            if labelled:
                yield "  " + " ".join(self._padded(cell.label, cell) for cell in part).rstrip()
            start = end

    def _wide(self, cell: Cell) -> int:
        return max(len(cell.token), len(cell.label))

    def _padded(self, text: str, cell: Cell) -> str:
        colour = cell.colour if text is cell.token or cell.label not in ("", NO_TARGET) else FAINT
        return self.paint(text, colour) + " " * (self._wide(cell) - len(text))


def show_request(request: Request, stream: TextIO | None = None) -> None:
    """Prints the first rows of the first batch of a split.

    Args:
        request: a task with its data; no model is loaded.
        stream: where to; None: standard output.

    Raises:
        ConfigurationError: no such split, or no whole number of rows.
    """
    stream = sys.stdout if stream is None else stream
    split, count = request.options.get("split", "train"), request.options.get("num_rows", str(ROWS))
    if split not in SPLITS:
        raise ConfigurationError([f"--split {split}: expected one of {', '.join(SPLITS)}; write --split train"])
    if not count.isdecimal() or not int(count):
        raise ConfigurationError([f"--num_rows {count}: expected a whole number from 1; write --num_rows {ROWS}"])
    data = make_data(request)
    data.setup("fit")
    look = Look.of(stream)
    for report in data.reports.values():
        print(report, file=stream)
    for line in shown(data, split, int(count), look):
        print(line, file=stream)


def make_data(request: Request) -> TaskData:
    """The data module of a request, with the batch sizes and the seed of its arguments."""
    module, _, name = request.class_paths["data"].rpartition(".")
    data: TaskData = getattr(importlib.import_module(module), name)(**request.sections["data"])
    args = request.args
    data.batch_size, data.eval_batch_size = args.per_device_train_batch_size, args.per_device_eval_batch_size
    data.seed = args.seed if args.data_seed is None else args.data_seed
    return data


def shown(data: TaskData, split: str, count: int, look: Look) -> Iterator[str]:
    """The lines for some rows of a split, in the order in which they come.

    Args:
        data: set up.
        split: "train", "validation" or "test".
        count: rows at most.
        look: how.
    """
    loaders = dict(zip(SPLITS, (data.train_dataloader, data.val_dataloader, data.test_dataloader), strict=True))
    left = count
    for window in loaders[split]():
        for batch, numbers in zip(window.batches, window.rows, strict=True):
            shapes = ", ".join(
                f"{name} {list(value.shape)}" for name, value in batch.items() if hasattr(value, "shape")
            )
            yield look.paint(f"\na batch of {split}: {shapes}", BOLD)
            for place, number in enumerate(numbers[:left]):
                yield ""
                yield from row_lines(data, {name: value[place] for name, value in batch.items()}, number, look)
            left -= len(numbers)
            if left <= 0:
                return


def row_lines(data: TaskData, row: dict[str, Any], number: int, look: Look) -> Iterator[str]:
    """A row of a batch: its title, its tokens and what they are to become, and labels of the whole row.

    Args:
        data: names labels and tokens.
        row: column -> tensor [T] or a number.
        number: of the row in its split.
        look: how.
    """
    lists = {name: value.tolist() for name, value in row.items() if hasattr(value, "tolist")}
    ids, labels = lists.get("input_ids", []), lists.get("labels")
    mask = lists.get("attention_mask", [1] * len(ids))
    own = isinstance(labels, list) and len(labels) == len(ids) and not any(isinstance(x, float) for x in labels)
    cells = _cells(data, ids, labels if own else None, mask, lists)
    count = sum(bool(real) and x != IGNORED for x, real in zip(labels or (), mask, strict=True)) if own else 0
    targets = f", {count} targets" if own else ""
    yield look.paint(f"row {number}, {sum(mask)} tokens{targets}", CYAN)
    yield from look.lines(cells, own)
    if "start_positions" in lists:
        start, end = lists["start_positions"], lists["end_positions"]
        answer = (
            " ".join(cell.token for cell in cells[start : end + 1]) if 0 <= start < len(ids) else "outside of the row"
        )
        yield look.paint(f"  answer, tokens {start} to {end}: {answer}", GREEN)
    if labels is not None and not own:
        yield look.paint(f"  labels: {_of_the_row(data, labels)}", GREEN)
    if "decoder_input_ids" in lists:
        yield look.paint(f"  the decoder reads: {' '.join(_tokens(data, lists['decoder_input_ids']))}", FAINT)


def _cells(
    data: TaskData, ids: list[int], labels: list[int] | None, mask: list[int], lists: dict[str, Any]
) -> list[Cell]:
    special = {*data.tokenizer.all_special_ids}
    name = label_namer(data)
    answer = range(lists.get("start_positions", 0), lists.get("end_positions", -1) + 1)
    positions, cells = lists.get("position_ids"), list[Cell]()
    for place, (index, token, real) in enumerate(zip(ids, _tokens(data, ids), mask, strict=True)):
        wanted = IGNORED if labels is None else labels[place]
        target = bool(real) and wanted != IGNORED
        label = "" if labels is None or not real else name(wanted) if target else NO_TARGET
        if target and data.shown_labels is None and wanted != index:
            colour = YELLOW  # the model does not read what it has to guess
        else:
            colour = GREEN if target or place in answer else FAINT if index in special or not real else ""
        if positions and place and real and positions[place] == positions[0]:
            cells.append(Cell("|", "" if labels is None else "|", CYAN))  # another text begins
        cells.append(Cell(token, label, colour))
    return cells


def label_namer(data: TaskData) -> Callable[[int], str]:
    """Label -> what it says: a token, or the name of a class."""
    names = data.shown_labels
    if names is None:
        return lambda label: _tokens(data, [label])[0]
    return lambda label: names[label] if 0 <= label < len(names) else str(label)


def _tokens(data: TaskData, ids: Sequence[int]) -> list[str]:
    known = [index if index >= 0 else None for index in ids]
    tokens = iter(data.tokenizer.convert_ids_to_tokens([index for index in known if index is not None]))
    return [NO_TARGET if index is None else str(next(tokens)).translate(BLANKS) for index in known]


def _of_the_row(data: TaskData, labels: Any) -> str:
    """A class, several of them, numbers, or the tokens of a target text."""
    names = data.shown_labels
    if isinstance(labels, list) and labels and isinstance(labels[0], float):
        if names and len(names) == len(labels):
            return ", ".join(f"{name} {share:g}" for name, share in zip(names, labels, strict=True) if share) or "none"
        return ", ".join(f"{value:g}" for value in labels)
    if isinstance(labels, list):
        return " ".join(_tokens(data, labels))
    return names[labels] if names and isinstance(labels, int) and 0 <= labels < len(names) else str(labels)
