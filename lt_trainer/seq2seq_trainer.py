"""The facade for models that write text: evaluation and prediction may generate."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lt_trainer.args.fields import Seq2SeqTrainingArguments
from lt_trainer.models.generate import Generates
from lt_trainer.models.generation_config import GenerationConfig
from lt_trainer.objective import generated
from lt_trainer.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from lt_trainer.outputs import PredictionOutput

_SHORTEST = 20  # what `transformers` fills up to where no length is set


class Seq2SeqTrainer(Trainer):
    """A Trainer whose evaluations and predictions are what the model generates, with `predict_with_generate`.

    `compute_metrics` then gets token ids: predictions begin with the start token and are filled up with the pad token
    to the length that the generation settings name, and with -100 where batches are of different lengths; labels with
    -100.

    Args:
        arguments: as Trainer's; `args` are Seq2SeqTrainingArguments.
        options: as Trainer's.

    Raises:
        TypeError: other arguments, or a model that cannot generate although `predict_with_generate` asks for it.
        ValueError: generation settings that exclude each other.
    """

    args: Seq2SeqTrainingArguments

    @functools.wraps(Trainer.__init__)  # type: ignore[misc]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        args = options.get("args", arguments[1] if len(arguments) > 1 else None)
        if args is None and len(arguments) < 2:
            options["args"] = args = Seq2SeqTrainingArguments(output_dir="trainer_output")
        if not isinstance(args, Seq2SeqTrainingArguments):
            raise TypeError(
                f"Seq2SeqTrainer: expected args=Seq2SeqTrainingArguments(...), received {type(args).__name__}: "
                "it takes the same fields"
            )
        self._settings: dict[str, Any] = {}
        super().__init__(*arguments, **options)
        self._prepare(self.model)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """As Trainer's; the model gets the generation settings of the arguments."""
        model = super().call_model_init(trial)
        self._prepare(model)
        return model

    def _prepare(self, model: nn.Module) -> None:
        can_write = isinstance(model, Generates) or callable(getattr(model, "generate", None))
        if self.args.predict_with_generate and not can_write:
            raise TypeError(
                f"predict_with_generate=True: expected a model that can generate, received {type(model).__name__}: "
                "load it by AutoModelForSeq2SeqLM or AutoModelForCausalLM"
            )
        if self.args.generation_config is not None:
            model.generation_config = load_generation_config(self.args.generation_config)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **settings: Any,
    ) -> dict[str, float]:
        """As Trainer's; with `predict_with_generate` the metrics are computed on what is generated.

        Args:
            eval_dataset: see Trainer.evaluate, as are the next two.
            ignore_keys: see there.
            metric_key_prefix: see there.
            settings: of `generate`, such as `max_length` and `num_beams`, in place of those of the arguments.
        """
        with self._generating(settings):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self,
        test_dataset: Any,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "test",
        **settings: Any,
    ) -> PredictionOutput:
        """As Trainer's; with `predict_with_generate` the predictions are generated token ids; rows need no labels.

        Args:
            test_dataset: see Trainer.predict, as are the next two.
            ignore_keys: see there.
            metric_key_prefix: see there.
            settings: see `evaluate`.
        """
        with self._generating(settings):
            return super().predict(test_dataset, ignore_keys, metric_key_prefix)

    @contextmanager
    def _generating(self, settings: dict[str, Any]) -> Iterator[None]:
        """An evaluation of several data sets evaluates each inside, with the settings of the whole."""
        before, self._settings = self._settings, {**self._settings, **settings}
        try:
            yield
        finally:
            self._settings = before

    def predictor(self) -> Callable[[nn.Module, dict[str, Any]], Any] | None:
        """Generates where the arguments ask for it."""
        return self._write if self.args.predict_with_generate else super().predictor()

    def _write(self, model: nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        tokens = generated(model, batch, generation_settings(self.args, self._settings))
        own: Any = model.generation_config
        width = own.max_length or _SHORTEST
        if tokens.shape[1] >= width and own.max_new_tokens is not None:
            width = own.max_new_tokens + 1
        missing = max(width - tokens.shape[1], 0)
        return torch.nn.functional.pad(tokens, (0, missing), value=self._pad_token()) if missing else tokens

    def _pad_token(self) -> int:
        for owner in (self.processing_class, self.model.config):
            for name in ("pad_token_id", "eos_token_id"):
                if isinstance(token := getattr(owner, name, None), int):
                    return token
        raise ValueError(
            "predict_with_generate: expected a pad token to fill rows up with, found none in the tokenizer or the "
            "model's configuration: set model.config.pad_token_id"
        )


def generation_settings(args: Seq2SeqTrainingArguments, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of `generate`: those given, then those of the arguments; None leaves one to the model."""
    settings = {name: value for name, value in given.items() if value is not None}
    if args.generation_max_length is not None and not {"max_length", "max_new_tokens"} & settings.keys():
        settings["max_length"] = args.generation_max_length
    if args.generation_num_beams is not None:
        settings.setdefault("num_beams", args.generation_num_beams)
    return settings


def load_generation_config(config: Any) -> Any:
    """The settings that `generation_config` names: an object of ours or of `transformers`, a dict, a folder or a name.

    Raises:
        ValueError: settings that exclude each other, or that nothing reads.
    """
    if isinstance(config, dict):
        config = GenerationConfig.from_dict(config)
    elif isinstance(config, str | Path):
        config = GenerationConfig.from_pretrained(config)
    else:
        config = deepcopy(config)
    config.validate(strict=True)
    return config
