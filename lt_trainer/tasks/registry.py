"""The tasks by name. Plain text, so that the command line knows them without importing any."""

from __future__ import annotations

from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class TaskEntry(NamedTuple):
    """Where a task lives, and how its two classes fit together.

    Attributes:
        module: holds both classes.
        task_class: the LightningModule.
        data_class: the data module.
        linked: arguments of the task that a model to train gets from its data: name -> attribute of the data module.
    """

    module: str
    task_class: str
    data_class: str
    linked: Mapping[str, str] = MappingProxyType({})


TASKS = {
    "text-classification": TaskEntry(
        "lt_trainer.tasks.text_classification",
        "TextClassification",
        "TextClassificationData",
        linked={name: name for name in ("num_labels", "label_names", "problem_type", "vocab_size")},
    ),
    "question-answering": TaskEntry(
        "lt_trainer.tasks.question_answering",
        "QuestionAnswering",
        "QuestionAnsweringData",
        linked={name: name for name in ("version_2_with_negative", "vocab_size")},
    ),
    "token-classification": TaskEntry(
        "lt_trainer.tasks.token_classification",
        "TokenClassification",
        "TokenClassificationData",
        linked={name: name for name in ("label_names", "vocab_size")},
    ),
    "causal-lm": TaskEntry(
        "lt_trainer.tasks.causal_lm",
        "CausalLM",
        "CausalLMData",
        linked={name: name for name in ("vocab_size", "tokenizer", "packing")},
    ),
    "masked-lm": TaskEntry(
        "lt_trainer.tasks.masked_lm",
        "MaskedLM",
        "MaskedLMData",
        linked={name: name for name in ("vocab_size", "tokenizer")},
    ),
    "seq2seq": TaskEntry(
        "lt_trainer.tasks.seq2seq",
        "Seq2Seq",
        "Seq2SeqData",
        linked={"tokenizer": "tokenizer", "vocab_size": "vocab_size", "max_new_tokens": "max_target_length"},
    ),
}


def find_task(name: str) -> TaskEntry:
    """The entry of a task.

    Raises:
        ValueError: there is no such task; lists those there are.
    """
    if name not in TASKS:
        near = get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "for another task, derive from lt_trainer.tasks.base.Task"
        raise ValueError(f"task {name!r}: expected one of {', '.join(TASKS)}; {hint}")
    return TASKS[name]
