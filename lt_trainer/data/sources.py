"""Wherever rows come from -> the splits of a task: data sets, dicts of them, files, folders, names on the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.data.builtin import load_builtin
from lt_trainer.data.readers import FILE_ENDINGS, read_rows

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

BUILTIN = "builtin"
# What public data sets call their splits.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val", "eval", "validation_matched"),
    "test": ("test",),
}


def read_splits(
    splits: Mapping[str, Any],
    dataset: Any = None,
    *,
    config: str | None = None,
    task: str = "",
    text_columns: Sequence[str] = (),
    target_column: str | None = None,
    argument_of: Callable[[str], str] | None = None,
) -> dict[str, Dataset | IterableDataset]:
    """The rows of each split, as they are where they come from.

    Args:
        splits: "train", "validation", "test" -> a file, a data set, a list of rows, or None.
        dataset: what brings the splits that are not given: a `DatasetDict`, a name on the hub, a folder (of
            `save_to_disk`, or of files that `datasets.load_dataset` reads), or "builtin".
        config: the configuration of a data set on the hub.
        task: whose built-in data "builtin" is.
        text_columns: columns that must hold text in every row of a file.
        target_column: a column that must hold something in every row of a file to train on.
        argument_of: of a column, the argument that names it, for messages.

    Raises:
        ValueError: a source that cannot be read as rows, or none at all.
        FileNotFoundError: a file or name that does not exist.
    """
    found = {
        name: read_source(split, name, text_columns, target_column if name == "train" else None, argument_of)
        for name, split in splits.items()
        if split is not None
    }
    if dataset is None:
        return found
    whole = _read_whole(dataset, config, task)
    for name, names in SPLIT_NAMES.items():
        known = next((known for known in names if known in whole), None)
        if known is not None and name not in found:
            found[name] = whole[known]
    if not found:
        raise ValueError(
            f"dataset={_short(dataset)}: expected splits named train, validation or test, received {sorted(whole)}: "
            "give them one by one, train=..., validation=..."
        )
    return found


def read_source(
    source: Any,
    split: str = "train",
    text_columns: Sequence[str] = (),
    target_column: str | None = None,
    argument_of: Callable[[str], str] | None = None,
) -> Dataset | IterableDataset:
    """The rows of one split.

    Args:
        source: a file, a `datasets.Dataset` or `IterableDataset`, a `DatasetDict` that has the split, a list of rows,
            or a dict of columns.
        split: its name.
        text_columns: columns that must hold text in every row of a file.
        target_column: a column that must hold something in every row of a file.
        argument_of: of a column, the argument that names it, for messages.

    Raises:
        TypeError: something else.
    """
    from datasets import Dataset, IterableDataset

    if isinstance(source, Dataset | IterableDataset):
        return source
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        return read_rows(path, text_columns=text_columns, label_column=target_column, argument_of=argument_of)
    if isinstance(source, list):
        return Dataset.from_list(source)
    if isinstance(source, Mapping):
        known = next((name for name in SPLIT_NAMES.get(split, (split,)) if name in source), None)
        if known is not None:
            return read_source(source[known], split)
        if source and all(isinstance(column, list) for column in source.values()):
            return Dataset.from_dict(dict(source))
        raise ValueError(f"{split}: expected a split of that name, received {sorted(source)}: name one of them")
    if isinstance(source, Sequence) or hasattr(source, "__getitem__"):  # any map-style data set of dicts
        return Dataset.from_list([source[i] for i in range(len(source))])
    raise TypeError(
        f"{split}: expected a file, a datasets.Dataset or a list of rows, received {type(source).__name__}: "
        "make a list of dicts of it"
    )


def _read_whole(dataset: Any, config: str | None, task: str) -> Mapping[str, Any]:
    if isinstance(dataset, Mapping):
        return dict(dataset)
    if not isinstance(dataset, str | Path):
        raise TypeError(
            f"dataset: expected a DatasetDict, a name on the hub or a folder, received {type(dataset).__name__}: "
            "give one split as train=... or validation=..."
        )
    if str(dataset) == BUILTIN:
        return dict(load_builtin(task))
    if str(dataset).endswith(FILE_ENDINGS):
        raise ValueError(f"dataset={str(dataset)!r}: expected all splits, received one file: give it as train=...")
    return _load(str(dataset), config)


def _load(name: str, config: str | None) -> Mapping[str, Any]:
    """A folder, or a data set on the hub: no code of it runs."""
    import datasets

    splits: Mapping[str, Any]
    folder = Path(name).expanduser()
    if (folder / "dataset_dict.json").is_file():
        splits = datasets.DatasetDict.load_from_disk(str(folder))
        return splits
    if (folder / "state.json").is_file():
        return {"train": datasets.load_from_disk(str(folder))}
    try:
        splits = datasets.load_dataset(str(folder) if folder.is_dir() else name, config)
        return splits
    except (FileNotFoundError, ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        near = get_close_matches(name, [item.name for item in Path().iterdir() if item.is_dir()], n=1)
        hint = f"; did you mean the folder {near[0]!r}?" if near else ""
        raise FileNotFoundError(
            f"dataset={name!r}: expected 'builtin', a folder, or a data set on the hub (or in its cache), found none"
            f"{hint}: give files in place of it, train=... and validation=... ({str(error).splitlines()[0]:.120})"
        ) from error


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, str | Path) else type(value).__name__
