"""The files of a tokenizer, as `transformers` 4 and 5 write them, to a Rust tokenizer and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer

from lt_trainer.files import existing_file, read_json
from lt_trainer.files.read import AGAIN
from lt_trainer.tokenization.bounds import check_bounds
from lt_trainer.tokenization.options import as_token
from lt_trainer.tokenization.rust import rust_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TOKENIZER_FILE = "tokenizer.json"
VOCAB_FILE = "vocab.txt"
BYTE_LEVEL_FILES = ("vocab.json", "merges.txt")
SENTENCEPIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
# Keys of tokenizer_config.json that name files or code: a stranger wrote them, so they are neither followed nor kept.
_NOT_OURS = (
    "auto_map",
    "merges_file",
    "name_or_path",
    "special_tokens_map_file",
    "spm_file",
    "tokenizer_file",
    "vocab_file",
)


@dataclass
class Files:
    """What a folder holds.

    Attributes:
        root: The folder.
        tokenizer_json: tokenizer.json, or None.
        vocab_txt: vocab.txt, or None.
        byte_level: vocab.json and merges.txt, or None.
        sentencepiece: a sentencepiece model, or None.
        config: tokenizer_config.json with the older special_tokens_map.json and added_tokens.json merged in.
        model_config: config.json, or empty.
    """

    root: Path
    tokenizer_json: Path | None
    vocab_txt: Path | None
    byte_level: tuple[Path, Path] | None = None
    sentencepiece: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)
    model_config: dict[str, Any] = field(default_factory=dict)

    @property
    def tokenizer_class(self) -> str | None:
        """The class that the files name, or None."""
        value = self.config.get("tokenizer_class") or self.model_config.get("tokenizer_class")
        return value if isinstance(value, str) else None


def read_files(root: Path) -> Files:
    """Read a folder, or one file (tokenizer.json or a vocabulary) without the settings that may lie beside it.

    Raises:
        ValueError: If a file is not what its name says; the message names it.
    """
    if root.is_file():
        if root.suffix == ".json":
            return Files(root.parent, root, None)
        return (
            Files(root.parent, None, None, sentencepiece=root)
            if root.suffix == ".model"
            else Files(root.parent, None, root)
        )
    config = _settings(root, CONFIG_FILE)
    for key in _NOT_OURS:
        config.pop(key, None)
    if "added_tokens_decoder" not in config:  # written since 4.34; before that these two files were
        config |= _settings(root, "special_tokens_map.json")
        _merge_added(config, _settings(root, "added_tokens.json"))
    template = _find(root, TEMPLATE_FILE)
    if template is not None:
        config["chat_template"] = template.read_text(encoding="utf-8")
    vocab, merges = (_find(root, name) for name in BYTE_LEVEL_FILES)
    return Files(
        root,
        _find(root, TOKENIZER_FILE),
        _find(root, VOCAB_FILE),
        (vocab, merges) if vocab is not None and merges is not None else None,
        next((path for name in SENTENCEPIECE_FILES if (path := _find(root, name)) is not None), None),
        config,
        _settings(root, "config.json"),
    )


def _find(root: Path, name: str) -> Path | None:
    return existing_file(root, name) if (root / name).is_file() else None


def _settings(root: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder; empty where there is no such file."""
    if not (root / name).is_file():
        return {}
    value = read_json(root / name)
    if not isinstance(value, dict):
        raise ValueError(f"{root / name}: expected a JSON object, found {value!r:.80}. {AGAIN}")
    return value


def _merge_added(config: dict[str, Any], added: dict[str, Any]) -> None:
    special = {str(as_token(value, key)) for key, value in config.items() if key.endswith("_token") and value}
    special |= {str(as_token(value, "extra")) for value in config.get("additional_special_tokens") or []}
    if added:
        config["added_tokens_decoder"] = {
            index: {"content": token, "normalized": token not in special, "special": token in special}
            for token, index in added.items()
        }


def added_tokens(config: Mapping[str, Any]) -> dict[int, AddedToken]:
    """`added_tokens_decoder` as ids to tokens, in the order of the ids.

    Raises:
        ValueError: If an entry is not an id with a token.
    """
    found: dict[int, AddedToken] = {}
    entries = config.get("added_tokens_decoder") or {}
    if not isinstance(entries, dict):
        raise ValueError(
            f"added_tokens_decoder={entries!r:.80}: expected an object of ids to tokens: "
            "correct tokenizer_config.json, or remove the entry"
        )
    for index, value in entries.items():
        token = as_token(value, f"added_tokens_decoder[{index!r}]")
        if not str(index).isdigit() or token is None:
            raise ValueError(
                f'added_tokens_decoder[{index!r}]={value!r:.80}: expected an id with a token, "7": {{"content": ...}}: '
                "correct tokenizer_config.json"
            )
        found[int(index)] = token if isinstance(token, AddedToken) else AddedToken(token)
    return dict(sorted(found.items()))


def load_backend(path: Path) -> Tokenizer:
    """The Rust tokenizer of a tokenizer.json.

    Raises:
        ValueError: If the library cannot read it, panics included, or if it asks for too much.
    """
    data = path.read_bytes()
    with rust_errors(f"{path}: not a tokenizer that the `tokenizers` library can read"):
        backend = Tokenizer.from_buffer(data)
    check_bounds(path, backend)
    return backend
