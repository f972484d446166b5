"""The model that a task begins with: loaded by name, from scratch, or brought; and whether the tokenizer fits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from lt_trainer.data.vocabulary import SCRATCH
from lt_trainer.models.base import PreTrainedModel
from lt_trainer.models.bert import BertConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lt_trainer.models.configuration import PretrainedConfig

# A small BERT: two minutes on a CPU for some thousand rows. 0.02 for the initial weights suits a width of 768; at 128
# some seeds stay on a plateau for ten epochs.
SMALL: Mapping[str, Any] = {
    **{"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512},
    **{"max_position_embeddings": 128, "initializer_range": 0.05},
}


def start_model(
    model: str | nn.Module,
    auto_class: Any,
    *,
    vocab_size: int | None = None,
    label_names: Sequence[str] | None = None,
    ignore_mismatched_sizes: bool = False,
    scratch: Callable[..., PretrainedConfig] | None = None,
    **settings: Any,
) -> nn.Module:
    """A model for a task.

    Args:
        model: a name or folder for `auto_class`, "scratch" for a small BERT with fresh weights, or a model.
        auto_class: the Auto class of the task's head.
        vocab_size: tokens of the tokenizer.
        label_names: names of the classes in the order of their numbers, for a model that is loaded.
        ignore_mismatched_sizes: for a model that is loaded: a head of other classes is drawn anew, not refused.
        scratch: makes the configuration of a model from scratch; None: that of the small BERT.
        settings: of the configuration, for a model that is loaded; None leaves it as the folder says.

    Raises:
        ValueError: a tokenizer with more tokens than the model has embeddings.
    """
    if isinstance(model, nn.Module):
        check_vocabulary(model, vocab_size)
        return model
    if label_names is not None:
        settings |= {"num_labels": len(label_names), "id2label": dict(enumerate(label_names))}
        settings["label2id"] = {name: number for number, name in enumerate(label_names)}
    settings = {name: value for name, value in settings.items() if value is not None}
    if model == SCRATCH:
        if vocab_size is None:
            raise ValueError(
                f"model={SCRATCH!r}: expected vocab_size, the tokens of the tokenizer, received None: "
                "give vocab_size=data.vocab_size"
            )
        started: nn.Module = auto_class.from_config((scratch or small_bert)(vocab_size=vocab_size, **settings))
        return started
    settings |= {"ignore_mismatched_sizes": True} if ignore_mismatched_sizes else {}
    started = auto_class.from_pretrained(model, **settings)
    check_vocabulary(started, vocab_size)
    return started


def small_bert(**settings: Any) -> BertConfig:
    """The configuration of a small BERT; `settings` are others than its sizes."""
    return BertConfig(**SMALL, **settings)


def check_vocabulary(model: nn.Module, vocab_size: int | None) -> None:
    """Refuses a tokenizer that has more tokens than the model has embeddings; fewer are usual (padded tables)."""
    if vocab_size is None or not isinstance(model, PreTrainedModel):
        return
    embeddings = model.get_input_embeddings().num_embeddings
    if vocab_size > embeddings:
        raise ValueError(
            f"the tokenizer does not belong to the model: it has {vocab_size} tokens, expected at most {embeddings}, "
            f"the embeddings of {model.config.name_or_path or type(model).__name__}: take the tokenizer of the same "
            "folder, or call model.resize_token_embeddings(len(tokenizer)) where tokens were added"
        )
