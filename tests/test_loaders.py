"""From a facade's data to its loaders: limits, order, workers, columns."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lt_trainer import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForWholeWordMask,
    DataCollatorWithPadding,
    DefaultDataCollator,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
    loaders,
)
from lt_trainer.args.plan import Loader
from lt_trainer.data.collators import KeepColumns, default_data_collator
from lt_trainer.loaders import lengths_of
from tests.support import VOCABULARY

LOADER = Loader(
    batch_size=2,
    eval_batch_size=3,
    accumulation=2,
    drop_last=True,
    num_workers=0,
    pin_memory=False,
    persistent_workers=False,
    prefetch_factor=None,
    seed=7,
)

ROWS = [{"x": [1.0, 2.0], "label": 1, "text": "a", "target": 3}]


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.linear(x)
        loss = logits.sum() if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class TakesAll(Foreign):
    def forward(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return super().forward(**batch)


def facade(model: nn.Module, *, trainer_class: type[Trainer] = Trainer, **options: Any) -> Trainer:
    arguments = {name: options.pop(name) for name in ("label_names", "remove_unused_columns") if name in options}
    args = TrainingArguments("unused", report_to="none", disable_tqdm=True, use_cpu=True, **arguments)
    return trainer_class(model=model, args=args, **options)


@pytest.fixture
def classifier(tiny_bert: Any) -> Any:
    return lambda num_labels=3, **options: AutoModelForSequenceClassification.from_pretrained(
        tiny_bert(), num_labels=num_labels, **options
    )


class MeanOfFive(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):  # type: ignore[no-untyped-def, override]
        return (torch.tensor(5.0), "outputs") if return_outputs else torch.tensor(5.0)


def test_training_windows_are_full_and_shuffled_by_the_seed_of_the_data() -> None:
    sampler = loaders.make_sampler(LOADER, 7, training=True, rank=0, world_size=1)
    windows = [window.shares for window in sampler]
    assert [[len(share) for share in shares] for shares in windows] == [[2, 2], [2]]  # the seventh row is dropped
    other = loaders.make_sampler(replace(LOADER, seed=8), 7, training=True, rank=0, world_size=1)
    assert windows != [window.shares for window in other]


def test_evaluation_reads_every_row_in_order_whatever_training_drops() -> None:
    sampler = loaders.make_sampler(LOADER, 7, training=False, rank=0, world_size=1)
    assert [window.shares for window in sampler] == [[[0, 1, 2]], [[3, 4, 5]], [[6]]]


def test_processes_get_different_rows() -> None:
    shares = [
        row
        for rank in (0, 1)
        for window in loaders.make_sampler(LOADER, 8, training=True, rank=rank, world_size=2)
        for share in window.shares
        for row in share
    ]
    assert sorted(shares) == [*range(8)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0, False, None, None)),
        (
            {
                "num_workers": 2,
                "persistent_workers": True,
                "prefetch_factor": 3,
                "multiprocessing_context": "forkserver",
            },
            (2, True, 3, "forkserver"),
        ),
    ],
)
def test_a_loader_has_the_workers_that_the_plan_asks_for(options: dict[str, Any], expected: Any) -> None:
    settings = replace(LOADER, **options)
    sampler = loaders.make_sampler(settings, 4, training=True, rank=0, world_size=1)
    loader = loaders.make_loader(settings, [{"x": i} for i in range(4)], default_data_collator, sampler)
    for found in (loader, loader.windows):
        context = found.multiprocessing_context and found.multiprocessing_context.get_start_method()
        assert (found.num_workers, found.persistent_workers, found.prefetch_factor, context) == expected


def test_a_native_classifier_says_what_it_can_take(classifier: Any) -> None:
    limits = loaders.limits_of(facade(classifier(num_labels=3)))
    assert (limits.vocab_size, limits.max_length, limits.num_labels) == (len(VOCABULARY), 64, 3)


@pytest.mark.parametrize(
    "options", [{"num_labels": 1}, {"num_labels": 3, "problem_type": "multi_label_classification"}]
)
def test_labels_that_are_no_classes_have_no_limit(classifier: Any, options: dict[str, Any]) -> None:
    assert loaders.limits_of(facade(classifier(**options))).num_labels is None


def test_labels_of_tokens_lie_in_the_vocabulary(tiny_bert: Any) -> None:
    model = AutoModelForMaskedLM.from_pretrained(tiny_bert(head="masked"))
    assert loaders.limits_of(facade(model)).num_labels == len(VOCABULARY)


def test_a_foreign_model_has_no_limits() -> None:
    limits = loaders.limits_of(facade(Foreign()))
    assert (limits.vocab_size, limits.max_length, limits.num_labels, limits.needs_ids) == (None, None, None, False)


@pytest.mark.parametrize("foreign", [True, False])
def test_label_names_of_the_arguments_come_first(classifier: Any, foreign: bool) -> None:
    model = Foreign() if foreign else classifier()
    assert loaders.limits_of(facade(model, label_names=["target"])).label_columns == ("target",)


def test_columns_that_the_model_does_not_take_are_left_out() -> None:
    assert sorted(loaders.collator(facade(Foreign()))(ROWS)) == ["labels", "x"]


def test_columns_named_as_labels_stay() -> None:
    assert sorted(loaders.collator(facade(Foreign(), label_names=["target"]))(ROWS)) == ["labels", "target", "x"]


@pytest.mark.parametrize("options", [{"model": Foreign(), "remove_unused_columns": False}, {"model": TakesAll()}])
def test_the_collator_stays_as_it_is_where_nothing_is_to_be_left_out(options: dict[str, Any]) -> None:
    trainer = facade(**options)
    assert loaders.collator(trainer) is trainer.data_collator


def test_rows_of_which_nothing_is_left_are_refused_with_their_columns() -> None:
    with pytest.raises(ValueError, match=r"none of the data set's columns \['text'\] .*Foreign"):
        loaders.collator(facade(Foreign()))([{"text": "a"}])


def test_a_collator_of_the_callers_is_kept_behind_the_filter() -> None:
    collate = loaders.collator(facade(Foreign(), data_collator=lambda rows: {"rows": rows}))
    assert isinstance(collate, KeepColumns)
    assert collate(ROWS) == {"rows": [{"x": [1.0, 2.0], "label": 1}]}


def test_a_native_model_with_a_collator_that_stacks_needs_labels(classifier: Any) -> None:
    assert loaders.needs_labels(facade(classifier()))
    assert loaders.needs_labels(facade(classifier(), data_collator=DefaultDataCollator()))


def test_a_collator_that_pads_needs_labels_too(classifier: Any, tiny_bert: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert())
    assert loaders.needs_labels(facade(classifier(), data_collator=DataCollatorWithPadding(tokenizer)))


@pytest.mark.parametrize(
    "options", [{"data_collator": lambda rows: {}}, {"trainer_class": MeanOfFive}], ids=["collator", "loss"]
)
def test_what_may_make_labels_of_its_own_needs_none(classifier: Any, options: dict[str, Any]) -> None:
    assert not loaders.needs_labels(facade(classifier(), **options))


def test_a_foreign_model_may_need_no_labels() -> None:
    assert not loaders.needs_labels(facade(Foreign()))


def test_a_masking_collator_sees_the_columns_that_only_it_reads(tiny_bert):
    folder = tiny_bert(head="masked")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    row = dict(tokenizer("a good film", return_offsets_mapping=True, return_special_tokens_mask=True), other=1)
    collate = DataCollatorForWholeWordMask(tokenizer, mlm_probability=1.0)
    batch = loaders.collator(facade(AutoModelForMaskedLM.from_pretrained(folder), data_collator=collate))([row])
    assert sorted(batch) == ["attention_mask", "input_ids", "labels", "token_type_ids"]
    assert batch["labels"].tolist() == [[-100, *row["input_ids"][1:-1], -100]]


@pytest.mark.parametrize("asked", [{"sortish_sampler": True}, {"train_sampling_strategy": "group_by_length"}])
def test_rows_whose_length_nobody_knows_name_the_argument_that_asks(asked: dict[str, Any]) -> None:
    facade: Any = SimpleNamespace(args=Seq2SeqTrainingArguments("out", **asked), processing_class=None)
    [(name, value)] = asked.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}: expected rows with 'input_ids' or a column 'length'"):
        lengths_of(facade, [{"text": "a"}])
