"""A tokenizer to files that `transformers` 4, `transformers` 5 and we load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer.hub import Pushable
from lt_trainer.tokenization.reading import CONFIG_FILE, TEMPLATE_FILE, TOKENIZER_FILE
from lt_trainer.tokenization.template import Template

if TYPE_CHECKING:
    import os


class Saver(Template, Pushable):
    """Writing a tokenizer."""

    kind = "tokenizer"

    tokenizer_class: str
    chat_template: Any
    _config: dict[str, Any]
    _baked: dict[str, Any]

    def to_files(self) -> dict[str, bytes]:
        """The files of a folder that holds this tokenizer: names to contents, the same for the same tokenizer."""
        files = {TOKENIZER_FILE: self._backend_json().encode()}
        if isinstance(self.chat_template, str):
            files[TEMPLATE_FILE] = self.chat_template.encode()
        text = json.dumps(self._settings(), indent=2, sort_keys=True, ensure_ascii=False)
        return {**files, CONFIG_FILE: (text + "\n").encode()}

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the tokenizer into a folder, beside whatever lies there; each file appears whole or not at all.

        Args:
            save_directory: Made if it does not exist.
            filename_prefix: Put before each file's name, with a hyphen.

        Returns:
            The paths written.
        """
        from lt_trainer.files import update_folder

        prefix = f"{filename_prefix}-" if filename_prefix else ""
        files = {prefix + name: data for name, data in self.to_files().items()}
        folder = Path(save_directory)
        with update_folder(folder) as top:
            for name, data in files.items():
                top.write_bytes(name, data)
        return tuple(str(folder / name) for name in files)

    def _backend_json(self) -> str:
        truncation, padding = self._baked["truncation"], self._baked["padding"]
        with self._lock:
            self._clear_limits()
            try:
                # a tokenizer.json that came with limits keeps them, for programs that read it without `transformers`
                if truncation is not None:
                    self._tokenizer.enable_truncation(**truncation)
                if padding is not None:
                    self._tokenizer.enable_padding(**padding)
                return self._tokenizer.to_str(pretty=True)
            finally:
                self._clear_limits()

    def _settings(self) -> dict[str, Any]:
        settings = {key: value for key, value in self._config.items() if key not in ("add_bos_token", "add_eos_token")}
        settings |= {
            "backend": "tokenizers",
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "model_input_names": self.model_input_names,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "tokenizer_class": "PreTrainedTokenizerFast" if self.tokenizer_class in _GENERIC else self.tokenizer_class,
            "truncation_side": self.truncation_side,
            **self.special_tokens_map,
        }
        if self._extra:
            settings["extra_special_tokens"] = self._extra
        if self.split_special_tokens:
            settings["split_special_tokens"] = True
        if self.chat_template is not None and not isinstance(self.chat_template, str):
            settings["chat_template"] = self.chat_template
        return settings


# `transformers` 4 does not know the name that 5 gives to the generic class; both know the older one.
_GENERIC = ("TokenizersBackend", "PreTrainedTokenizer", "PreTrainedTokenizerBase")
