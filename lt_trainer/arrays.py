"""What an evaluation keeps of every row: arrays in memory while they are small, else in an unnamed file.

A nest is an array, or a tuple, list or dict of nests: the outputs of a model.
"""

from __future__ import annotations

import tempfile
import weakref
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FILL = -100  # what `transformers` fills with where rows of different lengths are put together
IN_MEMORY = 256 * 2**20  # bytes of one column that stay in memory


class _Stored(NamedTuple):
    """Where in the file a batch is: its first byte."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Column:
    """One array of every batch.

    Args:
        in_memory: bytes above which batches go to a file in the folder for temporary files (TMPDIR). The file has no
            name: nothing is left of it after a kill.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self.in_memory = in_memory
        self.num_bytes = 0
        self._batches: list[np.ndarray[Any, Any] | _Stored] = []
        self._num_stored = 0
        self._file: IO[bytes] | None = None

    def append(self, batch: np.ndarray[Any, Any]) -> None:
        """Takes in an array [rows, ...]; a scalar counts as one row, as in `transformers`."""
        batch = np.atleast_1d(batch)
        self._batches.append(batch)
        self.num_bytes += batch.nbytes
        if self.num_bytes > self.in_memory:
            self._store()

    def _store(self) -> None:
        """Moves what is in memory to the file; from then on each batch goes there at once."""
        self._file = self._file or _unnamed_file(self)
        for i in range(self._num_stored, len(self._batches)):
            batch = self.batch(i)
            self._batches[i] = _Stored(self._file.seek(0, 2), batch.shape, batch.dtype)
            _write(self._file, [batch])
        self._num_stored = len(self._batches)

    def batch(self, index: int) -> np.ndarray[Any, Any]:
        """One batch, as it came."""
        batch = self._batches[index]
        if isinstance(batch, np.ndarray):
            return batch
        if 0 in batch.shape:  # nothing to map
            return np.empty(batch.shape, batch.dtype)
        assert self._file is not None
        return np.memmap(self._file, batch.dtype, "r", batch.start, batch.shape)

    def whole(self, order: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """All batches as one array; dimensions after the first are filled up with -100 to the largest.

        Args:
            order: the position of each row of the result among the rows as they came; None: as they came.

        Returns:
            [rows, ...], in memory or mapped from a file; either can be written to.
        """
        batches = map(self.batch, range(len(self._batches)))
        if self.num_bytes <= self.in_memory:
            found = concatenate(list(batches))
            return found if order is None or len(order) != len(found) else found[order]
        shape = (sum(batch.shape[0] for batch in self._batches), *_widths(self._batches))
        dtype = self._batches[0].dtype
        filled = self._map((_widen(batch, shape[1:]) for batch in batches), dtype, shape)
        if order is None or len(order) != len(filled):
            return filled
        return self._map((filled[row : row + 1] for row in order), dtype, shape)

    def _map(self, batches: Iterable[Any], dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        file = _unnamed_file(self)
        _write(file, batches)
        return np.memmap(file, dtype, "r+", 0, shape)


class Columns:
    """A nest of columns: takes in the nests of batches, all of one structure.

    Args:
        concatenates: gives one array of all batches; False gives a list with the nest of each
            (`eval_do_concat_batches`).
        in_memory: see Column.
    """

    def __init__(self, *, concatenates: bool = True, in_memory: int = IN_MEMORY) -> None:
        self.concatenates, self.in_memory = concatenates, in_memory
        self._nest: Any = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, batch: Any) -> None:
        """Takes in the nest of a batch, with arrays [rows, ...] at its leaves; None where there is nothing to keep."""
        if batch is not None:
            self._nest = _grow(self._nest, batch, self.in_memory)
            self._count += 1

    def batch(self, index: int) -> Any:
        """The nest of one batch, as it came; None where none was kept."""
        return map_nest(lambda column: column.batch(index), self._nest) if index < self._count else None

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays as they came."""
        total = 0

        def add(column: Column) -> None:
            nonlocal total
            total += column.num_bytes

        map_nest(add, self._nest)
        return total

    def whole(self, order: np.ndarray[Any, Any] | None = None) -> Any:
        """The nest of all batches: see `Column.whole`; None where nothing was kept."""
        if not self._count:
            return None
        if not self.concatenates:
            return [self.batch(i) for i in range(self._count)]
        return map_nest(lambda column: column.whole(order), self._nest)


def _grow(nest: Any, batch: Any, in_memory: int) -> Any:
    if batch is None:
        return nest
    if isinstance(batch, tuple):
        nests = nest if nest is not None else (None,) * len(batch)
        return tuple(_grow(one, part, in_memory) for one, part in zip(nests, batch, strict=True))
    if isinstance(batch, dict):
        return {key: _grow(None if nest is None else nest[key], part, in_memory) for key, part in batch.items()}
    column = Column(in_memory) if nest is None else nest
    column.append(batch)
    return column


def map_nest(function: Callable[[Any], Any], nest: Any) -> Any:
    """A nest with the function's result in the place of each leaf but None; lists become tuples."""
    if isinstance(nest, tuple | list):
        return tuple(map_nest(function, item) for item in nest)
    if isinstance(nest, dict):
        return {key: map_nest(function, item) for key, item in nest.items()}
    return None if nest is None else function(nest)


def _unnamed_file(owner: Any) -> IO[bytes]:
    """A file that lives as long as its owner, or as an array that is mapped from it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with its owner)
    weakref.finalize(owner, file.close)
    return file


def _write(file: IO[bytes], batches: Iterable[np.ndarray[Any, Any]]) -> None:
    """Writes, and does not map and fill: a full disk is then an error and not a signal."""
    try:
        for batch in batches:
            file.write(np.ascontiguousarray(batch).data)
        file.flush()
    except OSError as error:
        raise OSError(
            f"the predictions of this evaluation do not fit into {tempfile.gettempdir()} ({error}): return less of "
            "them from preprocess_logits_for_metrics, such as logits.argmax(-1), or set TMPDIR to a larger disk"
        ) from error


def to_numpy(nest: Any) -> Any:
    """Tensors of a nest as numpy arrays, lists as tuples; float16 and bfloat16 as float32 where numpy has no such type.

    Raises:
        TypeError: something that is neither a tensor nor an array (names its type).
    """
    return map_nest(_array, nest)


def _array(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        leaf = leaf.detach()
        return (leaf.float() if leaf.dtype == torch.bfloat16 else leaf).cpu().numpy()
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf
    raise TypeError(
        f"predictions: expected tensors among the model's outputs, received {type(leaf).__name__}: "
        "name that output in ignore_keys"
    )


def concatenate(batches: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """One array of many along the rows; other dimensions are filled up with -100 on the right to the largest.

    Raises:
        ValueError: arrays with different numbers of dimensions.
    """
    widths = _widths(batches)
    if all(batch.shape[1:] == widths for batch in batches):
        return np.concatenate(batches)
    whole = np.full((sum(map(len, batches)), *widths), FILL, dtype=batches[0].dtype)
    start = 0
    for batch in batches:
        whole[(slice(start, start + len(batch)), *map(slice, batch.shape[1:]))] = batch
        start += len(batch)
    return whole


def _widen(batch: np.ndarray[Any, Any], widths: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return batch if batch.shape[1:] == widths else concatenate([batch, np.empty((0, *widths), batch.dtype)])


def _widths(batches: Sequence[np.ndarray[Any, Any] | _Stored]) -> tuple[int, ...]:
    if len({len(batch.shape) for batch in batches}) > 1:
        raise ValueError(
            f"predictions: expected one shape a row in every batch, received {sorted({b.shape for b in batches})[:4]}: "
            "name that output in ignore_keys"
        )
    return tuple(max(sizes) for sizes in zip(*(batch.shape[1:] for batch in batches), strict=True))
