"""Model configurations: `config.json` of `transformers` 4 and 5, read, checked and written back."""

from __future__ import annotations

import difflib
import inspect
import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_LABELS = 10_000_000
_NOT_WRITTEN = ("attn_implementation", "name_or_path")
ATTENTION = ("sdpa", "eager")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


class PretrainedConfig:
    """The settings of a model: one attribute each, the defaults of a family as annotated class attributes.

    Keys that a family does not know are kept and written back, so a file of a later version survives a round trip.

    Attributes:
        architectures: class names that the weights were saved from.
        dtype: name of the type that the weights were saved in ("float32"), `torch_dtype` in files of version 4.
        id2label: class number -> name; its length is `num_labels`.
        label2id: name -> class number.
        problem_type: one of PROBLEM_TYPES, or None: the first batch of labels tells.

    Args:
        num_labels: classes; names become LABEL_0, LABEL_1, ...
        values: any other key of the configuration.

    Raises:
        TypeError: a key that the family does not have (names the nearest).
        ValueError: values that no model can have (all of them).
    """

    model_type: ClassVar[str] = ""
    row_limits: ClassVar[dict[str, str]] = {}  # input ids, positions, token types -> the setting with the table's size
    aliases: ClassVar[dict[str, str]] = {}  # the common name of a setting (hidden_size) -> the family's own (n_embd)

    architectures: list[str] | None = None
    dtype: str | None = None
    id2label: dict[int, str] = {0: "LABEL_0", 1: "LABEL_1"}  # noqa: RUF012 - replaced, never changed
    label2id: dict[str, int] = {"LABEL_0": 0, "LABEL_1": 1}  # noqa: RUF012
    problem_type: str | None = None
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    attn_implementation: str | None = None  # "sdpa", "eager" or the fastest; not written
    name_or_path: str = ""  # where it came from; not written

    def __init__(self, *, num_labels: int | None = None, **values: Any) -> None:
        self._reject_unknown(values)
        self._fill(values, num_labels)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """Makes a configuration of a file's content, in which unknown keys are kept.

        Args:
            values: the content of config.json.
            overrides: keys that replace the file's, `num_labels` among them.
        """
        config = cls.__new__(cls)
        config._reject_unknown(overrides, also=values)
        num_labels = overrides.pop("num_labels", None)
        merged = {**values, **overrides}
        if "id2label" in overrides and "label2id" not in overrides:
            merged.pop("label2id", None)
        if num_labels is None and "id2label" not in merged:
            num_labels = merged.pop("num_labels", None)  # written by early versions of 4
        config._fill(merged, num_labels, replace_labels="id2label" not in overrides)
        return config

    def _fill(self, values: Mapping[str, Any], num_labels: int | None, replace_labels: bool = False) -> None:
        values = {
            self.aliases.get(name, name): value
            for name, value in values.items()
            if name not in ("model_type", "_name_or_path")
        }
        saved_as = values.pop("torch_dtype", None)
        values["dtype"] = values.get("dtype") or saved_as
        for name, value in values.items():
            if name != "num_labels":
                setattr(self, name, value)
        if self.dtype is not None:
            self.dtype = str(self.dtype).removeprefix("torch.")
        self._settle_labels(values.get("id2label"), values.get("label2id"), num_labels, replace_labels)
        problems = self.problems()
        if problems:
            told = "; ".join(problems)
            raise ValueError(
                f"{type(self).__name__} cannot describe a model: {told}. Correct config.json or the arguments"
            )

    def _settle_labels(
        self,
        id2label: Mapping[Any, str] | None,
        label2id: Mapping[str, Any] | None,
        num_labels: int | None,
        replace_labels: bool,
    ) -> None:
        if id2label is None and label2id is None:
            self.id2label, self.label2id = _plain_labels(2 if num_labels is None else num_labels)
            return
        try:
            self.label2id = {str(name): int(number) for name, number in (label2id or {}).items()}
            self.id2label = {int(number): str(name) for number, name in (id2label or _inverse(self.label2id)).items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"id2label={id2label!r:.80}, label2id={label2id!r:.80}: expected a mapping of class numbers to names, "
                "and its inverse: id2label={0: 'no', 1: 'yes'}"
            ) from error
        self.label2id = self.label2id or _inverse(self.id2label)
        if num_labels is None or num_labels == len(self.id2label):
            return
        if not replace_labels:
            raise ValueError(
                f"num_labels={num_labels} and id2label, which names {len(self.id2label)} classes, disagree: "
                "leave num_labels out, or name every class"
            )
        self.num_labels = num_labels

    def __getattr__(self, name: str) -> Any:
        """A setting by its common name; called where no attribute of that name is found."""
        if name in type(self).aliases:
            return getattr(self, type(self).aliases[name])
        near = difflib.get_close_matches(name, _settings(type(self)), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(type(self).aliases.get(name, name), value)

    @property
    def max_row_tokens(self) -> int | None:
        """Tokens of a row that the table of positions holds; None where there is no such table."""
        setting = self.row_limits.get("position_ids")
        return None if setting is None else int(getattr(self, setting))

    @property
    def num_labels(self) -> int:
        """Classes of a classifier; setting another number names them LABEL_0, LABEL_1, ..."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, number: int) -> None:
        """Names the classes anew where their number changes."""
        if number != len(self.id2label):
            self.id2label, self.label2id = _plain_labels(number)

    def problems(self) -> list[str]:
        """What is wrong with the values, each with its name, the value received and what is expected."""
        found = []
        for name, kind in _settings(type(self)).items():
            value = getattr(self, name)
            expected = _EXPECTED.get("share" if name.endswith(_SHARES) else kind)
            if expected is not None and not expected[1](value):
                found.append(f"{name}={value!r}: expected {expected[0]}")
        if problem := attention_problem(self.attn_implementation):
            found.append(problem)
        if self.problem_type not in (None, *PROBLEM_TYPES):
            found.append(f"problem_type={self.problem_type!r}: expected one of {', '.join(PROBLEM_TYPES)}")
        if self.problem_type == "single_label_classification" and self.num_labels == 1:
            found.append("problem_type='single_label_classification' needs at least 2 labels, received num_labels=1")
        return found

    def to_dict(self) -> dict[str, Any]:
        """All keys of config.json; base settings are left out where they have their default."""
        base = set(_settings(PretrainedConfig)) - set(inspect.get_annotations(type(self)))
        values = {name: getattr(self, name) for name in _settings(type(self))} | vars(self)
        written = {
            name: value
            for name, value in values.items()
            if not name.startswith("_") and (name not in base or value != getattr(PretrainedConfig, name))
        }
        for name in _NOT_WRITTEN:
            written.pop(name, None)
        return {**written, "model_type": self.model_type, "tie_word_embeddings": self.tie_word_embeddings}

    def to_json_string(self) -> str:
        """The text of config.json."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def _reject_unknown(self, values: Mapping[str, Any], also: Mapping[str, Any] | None = None) -> None:
        known = {*_settings(type(self)), *self.aliases, *(also or {}), "num_labels", "torch_dtype", "model_type"}
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f". It has: {', '.join(sorted(known))}"
                raise TypeError(f"{type(self).__name__} has no setting {name!r}{hint}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PretrainedConfig) and self.to_dict() == other.to_dict()

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


def attention_problem(attn_implementation: Any) -> str | None:
    """What is wrong with the name of a path of attention; None where nothing is."""
    if attn_implementation in (None, *ATTENTION):
        return None
    return f"attn_implementation={attn_implementation!r}: expected one of {', '.join(ATTENTION)}"


def _settings(cls: type) -> dict[str, str]:
    """Settings of a configuration class with their annotations, the base class first."""
    return {
        name: kind
        for base in reversed(cls.__mro__)
        for name, kind in inspect.get_annotations(base).items()
        if "ClassVar" not in kind
    }


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value < 1)


_SHARES = ("dropout_prob", "dropout", "dropout_rate", "pdrop")
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {  # annotation -> what a value must be
    "int": ("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "float": ("a number", lambda value: isinstance(value, int | float)),
    "str": ("text", lambda value: isinstance(value, str)),
    "share": ("a number from 0 up to 1, without 1", _is_share),
}


def _plain_labels(number: int) -> tuple[dict[int, str], dict[str, int]]:
    if not _is_whole(number) or not 1 <= number <= _MOST_LABELS:
        raise ValueError(
            f"num_labels: expected a whole number of 1 to {_MOST_LABELS}, received {number!r}: "
            "give the number of classes"
        )
    names = {i: f"LABEL_{i}" for i in range(number)}
    return names, _inverse(names)


def _inverse(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    return {value: key for key, value in mapping.items()}
