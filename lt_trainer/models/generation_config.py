"""How text is generated: the settings, read from and written to generation_config.json."""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer import files

if TYPE_CHECKING:
    import os

    from lt_trainer.models.configuration import PretrainedConfig

FILE = "generation_config.json"
_NEW_TOKENS = 20  # where nobody says how many


@dataclass
class GenerationConfig:
    """The settings of `generate`, by their public names; None = the default that stands beside it.

    Settings that are not used here are kept and written back.
    """

    max_new_tokens: int | None = None
    """Tokens to generate at most; None = max_length, or 20."""
    max_length: int | None = None
    """Tokens of prompt and continuation together at most."""
    min_new_tokens: int | None = None
    """Tokens before an end token is allowed."""
    min_length: int | None = None
    """Tokens of prompt and continuation before an end token is allowed."""
    do_sample: bool = False
    """Draws tokens in place of taking the best."""
    temperature: float = 1.0
    """Divides the scores before a draw."""
    top_k: int = 50
    """Draws among so many best tokens; 0 = all."""
    top_p: float = 1.0
    """Draws among the best tokens that have this share of the probability together."""
    num_beams: int = 1
    """Continuations that are followed at a time."""
    early_stopping: bool | str = False
    """Beams end: True with `num_beams` finished ones, False when no better one is likely, "never" when none can be."""
    length_penalty: float = 1.0
    """A beam's score is its log probability divided by its length to this power."""
    num_return_sequences: int = 1
    """Continuations of each row that are returned."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that occurred become less likely."""
    no_repeat_ngram_size: int = 0
    """No sequence of so many tokens occurs twice; 0 = off."""
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    others: dict[str, Any] = field(default_factory=dict)
    """Settings of the file that are not used here."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GenerationConfig:
        """Takes the content of a file; None stands for a default."""
        known = {f.name for f in dataclasses.fields(cls)} - {"others"}
        used = {name: value for name, value in values.items() if name in known and value is not None}
        return cls(**used, others={name: value for name, value in values.items() if name not in known})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> GenerationConfig:
        """Reads generation_config.json of a folder.

        Raises:
            FileNotFoundError: there is none.
        """
        values = files.read_json(Path(folder) / FILE)
        if not isinstance(values, dict):
            raise ValueError(f"{Path(folder) / FILE}: expected a JSON object, found {type(values).__name__}")
        return cls.from_dict(values)

    @classmethod
    def from_model_config(cls, config: PretrainedConfig) -> GenerationConfig:
        """The special tokens of a model, and defaults."""
        names = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id")
        return cls.from_dict({name: getattr(config, name, None) for name in names})

    def with_overrides(self, overrides: dict[str, Any]) -> GenerationConfig:
        """A copy with other values; None leaves a setting as it is.

        Raises:
            TypeError: a setting that there is not (names the nearest).
            ValueError: values that no generation can have, all of them.
        """
        known = [f.name for f in dataclasses.fields(self) if f.name != "others"]
        for name in overrides:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}"
                raise TypeError(f"generate has no setting {name!r}; {hint}")
        changed = dataclasses.replace(self, **{k: v for k, v in overrides.items() if v is not None})
        if found := changed.problems():
            raise ValueError("generate cannot run: " + "; ".join(found))
        return changed

    def problems(self) -> list[str]:
        """What is wrong with the values, or with two of them together."""
        found = []
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                found.append(f"{name}={value!r}: expected at least {least}")
        if not 0 < self.top_p <= 1:
            found.append(f"top_p={self.top_p!r}: expected a share above 0, up to 1")
        if self.do_sample and self.temperature <= 0:
            found.append(f"temperature={self.temperature!r}: expected above 0; do_sample=False takes the best token")
        if self.repetition_penalty <= 0:
            found.append(f"repetition_penalty={self.repetition_penalty!r}: expected above 0")
        if self.early_stopping not in (True, False, "never"):
            found.append(f"early_stopping={self.early_stopping!r}: expected True, False or 'never'")
        if self.num_return_sequences > self.num_beams and not self.do_sample:
            found.append(
                f"num_return_sequences={self.num_return_sequences} and num_beams={self.num_beams}: expected no more "
                "than beams, or do_sample=True"
            )
        if None not in (self.min_new_tokens, self.max_new_tokens) and self.min_new_tokens > self.max_new_tokens:  # type: ignore[operator]
            found.append(f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}")
        return found

    def longest(self, prompt: int) -> int:
        """Tokens of prompt and continuation together at most."""
        if self.max_new_tokens is not None:
            return prompt + self.max_new_tokens
        return prompt + _NEW_TOKENS if self.max_length is None else self.max_length

    def shortest(self, prompt: int) -> int:
        """Tokens of prompt and continuation before an end token is allowed."""
        return max(prompt + (self.min_new_tokens or 0) if self.min_new_tokens else 0, self.min_length or 0)

    @property
    def ends(self) -> list[int]:
        """The end tokens."""
        if self.eos_token_id is None:
            return []
        return self.eos_token_id if isinstance(self.eos_token_id, list) else [self.eos_token_id]

    def to_dict(self) -> dict[str, Any]:
        """Settings that differ from their defaults, and those that are not used here."""
        plain = GenerationConfig()
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "others"}
        return {**self.others, **{name: value for name, value in own.items() if value != getattr(plain, name)}}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes generation_config.json beside the other files of a folder."""
        files.ensure_writable(folder)
        with files.update_folder(folder) as writer:
            writer.write_text(FILE, json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n")


_LEAST = {
    "max_new_tokens": 1,
    "max_length": 1,
    "min_new_tokens": 0,
    "min_length": 0,
    "top_k": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "no_repeat_ngram_size": 0,
}
