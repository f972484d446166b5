"""How text is generated: the settings, read from and written to generation_config.json."""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer import fetch, files

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from lt_trainer.models.configuration import PretrainedConfig

logger = logging.getLogger(__name__)

FILE = "generation_config.json"
_NEW_TOKENS = 20  # where nobody says how many
_FOLDER = fetch.Wanted(FILE, (FILE,), lambda folder: (folder / FILE).is_file())

# Public settings that would change what is written and that generate() does not have: the values that ask for nothing.
NOT_HERE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("bad_words_ids", "sequence_bias", "forced_bos_token_id", "forced_eos_token_id"), (None,)),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens", "exponential_decay_length_penalty"), (None,)),
    **dict.fromkeys(("min_p", "top_h", "guidance_scale", "watermarking_config"), (None,)),
    **dict.fromkeys(("stop_strings", "max_time", "penalty_alpha", "force_words_ids", "constraints"), (None,)),
    **dict.fromkeys(("typical_p", "encoder_repetition_penalty"), (None, 1.0)),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "encoder_no_repeat_ngram_size", "diversity_penalty"), (None, 0.0)),
    **dict.fromkeys(("renormalize_logits", "remove_invalid_values", "token_healing"), (None, False)),
    **dict.fromkeys(("return_dict_in_generate", "output_scores", "output_logits"), (None, False)),
    **dict.fromkeys(("output_attentions", "output_hidden_states"), (None, False)),
    "num_beam_groups": (None, 1),
    "use_cache": (None, True),
}
# What asks for no draw: values that people write beside do_sample=False.
_NO_DRAW: dict[str, tuple[float, ...]] = {"temperature": (0, 1), "top_k": (0, 1, 50), "top_p": (0, 1)}


@dataclass
class GenerationConfig:
    """The settings of `generate`, by their public names; None = the default that stands beside it.

    Settings that are not used here are kept and written back; those that would change what is written are refused by
    `generate`.
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
        known = _names()
        used = {name: value for name, value in values.items() if name in known and value is not None}
        return cls(**used, others={name: value for name, value in values.items() if name not in known})

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        config_file_name: str | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool | None = None,
    ) -> GenerationConfig:
        """Reads the settings of a folder or of a name on the hub.

        Args:
            name_or_folder: holds the file, or is the file itself.
            config_file_name: of the file in a folder; None: generation_config.json.
            revision: branch, tag or commit on the hub.
            token: for private repositories.
            cache_dir: of the hub's files.
            local_files_only: True never asks the hub.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it holds something else.
        """
        path = Path(name_or_folder)
        if not path.is_file():
            path = fetch.resolve_folder(
                name_or_folder,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                wanted=_FOLDER,
            ) / (config_file_name or FILE)
        values = files.read_json(path)
        if not isinstance(values, dict):
            raise ValueError(
                f"{path}: expected a JSON object of settings, found {type(values).__name__}: write it with "
                "GenerationConfig.save_pretrained"
            )
        return cls.from_dict(values)

    @classmethod
    def from_model_config(cls, config: PretrainedConfig) -> GenerationConfig:
        """The special tokens of a model, and what an old config.json says of generation."""
        return cls.from_dict({name: getattr(config, name, None) for name in _names()})

    def with_overrides(self, overrides: dict[str, Any]) -> GenerationConfig:
        """A copy with other values; None leaves a setting as it is.

        Raises:
            TypeError: a setting that there is not (names the nearest).
            ValueError: values that no generation can have, or that exclude each other, all of them.
        """
        known = [*_names(), *NOT_HERE]
        for name in overrides:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(_names())}"
                raise TypeError(f"generate has no setting {name!r}; {hint}")
        given = {name: value for name, value in overrides.items() if value is not None}
        used = {name: value for name, value in given.items() if name not in NOT_HERE}
        others = {name: value for name, value in given.items() if name in NOT_HERE}
        changed = dataclasses.replace(self, **used, others={**self.others, **others})
        if found := [*changed.problems(), *_contradictions(given)]:
            raise ValueError("generate cannot run: " + "; ".join(found))
        if unread := changed.unread(given):
            logger.warning("generate: %s", "; ".join(unread))
        return changed

    def update(self, **values: Any) -> dict[str, Any]:
        """Sets values in place; returns those whose names it does not have."""
        for name in (known := values.keys() & {*_names()}):
            setattr(self, name, values[name])
        return {name: value for name, value in values.items() if name not in known}

    def validate(self, strict: bool = False) -> None:
        """Checks the settings by themselves.

        Args:
            strict: also refuses settings that nothing reads, such as a temperature without do_sample.

        Raises:
            ValueError: with all problems.
        """
        if found := [*self.problems(), *(self.unread(self.to_dict()) if strict else ())]:
            raise ValueError("generation settings: " + "; ".join(found))

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
        if self.num_return_sequences > self.num_beams and (self.num_beams > 1 or not self.do_sample):
            found.append(
                f"num_return_sequences={self.num_return_sequences} and num_beams={self.num_beams}: expected no more "
                "than beams, or num_beams=1 with do_sample=True"
            )
        if None not in (self.min_new_tokens, self.max_new_tokens) and self.min_new_tokens > self.max_new_tokens:  # type: ignore[operator]
            found.append(f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}")
        asked = {name: value for name, value in self.others.items() if value not in NOT_HERE.get(name, (value,))}
        found += [f"{name}={value!r}: not supported here; leave it out" for name, value in sorted(asked.items())]
        return found

    def unread(self, names: Iterable[str]) -> list[str]:
        """Which of these settings change nothing, because another one is as it is."""
        beams = {"length_penalty": (1,), "early_stopping": (False,)}
        idle = [] if self.do_sample else [(name, neutral, "do_sample=True") for name, neutral in _NO_DRAW.items()]
        idle += [] if self.num_beams > 1 else [(name, neutral, "num_beams above 1") for name, neutral in beams.items()]
        asked = {name: getattr(self, name) for name, *_ in idle if name in names}
        return [
            f"{name}={asked[name]!r} is not read without {without}"
            for name, neutral, without in idle
            if name in asked and asked[name] not in neutral
        ]

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
        own = {name: getattr(self, name) for name in _names()}
        return {**self.others, **{name: value for name, value in own.items() if value != getattr(plain, name)}}

    def to_json_string(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes generation_config.json beside the other files of a folder."""
        files.ensure_writable(folder)
        with files.update_folder(folder) as writer:
            writer.write_text(FILE, self.to_json_string())


def _names() -> list[str]:
    """The settings that are used here."""
    return [f.name for f in dataclasses.fields(GenerationConfig) if f.name != "others"]


def _contradictions(given: dict[str, Any]) -> list[str]:
    """Settings of one call that cannot both be meant."""
    found = []
    drawn = [f"{name}={given[name]!r}" for name, neutral in _NO_DRAW.items() if given.get(name, 1) not in neutral]
    if given.get("do_sample") is False and drawn:
        found.append(f"do_sample=False takes the best token, and {', '.join(drawn)} is about a draw: leave one out")
    shortest, longest = given.get("min_length"), given.get("max_length")
    if shortest is not None and longest is not None and shortest > longest:
        found.append(f"min_length={shortest} is more than max_length={longest}")
    return found


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
