"""From a facade to the parts of a run: what each argument, model and override comes to."""

from __future__ import annotations

from dataclasses import replace
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
    Trainer,
    TrainingArguments,
    build,
)
from lt_trainer.args.hardware import Facts
from lt_trainer.args.plan import Loader, plan
from lt_trainer.data.collators import KeepColumns, default_data_collator
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


# --- loaders ----------------------------------------------------------------------------------------------------------


def test_training_windows_are_full_and_shuffled_by_the_seed_of_the_data() -> None:
    sampler = build.make_sampler(LOADER, 7, training=True, rank=0, world_size=1)
    windows = [window.shares for window in sampler]
    assert [[len(share) for share in shares] for shares in windows] == [[2, 2], [2]]  # the seventh row is dropped
    other = build.make_sampler(replace(LOADER, seed=8), 7, training=True, rank=0, world_size=1)
    assert windows != [window.shares for window in other]


def test_evaluation_reads_every_row_in_order_whatever_training_drops() -> None:
    sampler = build.make_sampler(LOADER, 7, training=False, rank=0, world_size=1)
    assert [window.shares for window in sampler] == [[[0, 1, 2]], [[3, 4, 5]], [[6]]]


def test_processes_get_different_rows() -> None:
    shares = [
        row
        for rank in (0, 1)
        for window in build.make_sampler(LOADER, 8, training=True, rank=rank, world_size=2)
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
    sampler = build.make_sampler(settings, 4, training=True, rank=0, world_size=1)
    loader = build.make_loader(settings, [{"x": i} for i in range(4)], default_data_collator, sampler)
    for found in (loader, loader.windows):
        context = found.multiprocessing_context and found.multiprocessing_context.get_start_method()
        assert (found.num_workers, found.persistent_workers, found.prefetch_factor, context) == expected


# --- flags ------------------------------------------------------------------------------------------------------------


def test_raw_flags_stand_beside_those_of_the_plan() -> None:
    assert build.merge_flags({"max_steps": 3}, {"profiler": "simple"}) == {"max_steps": 3, "profiler": "simple"}


def test_flags_that_the_arguments_decide_are_refused_all_at_once() -> None:
    planned = plan(TrainingArguments("x"), Facts(num_train_rows=8)).trainer_flags
    with pytest.raises(ValueError, match=r"\['max_epochs', 'precision'\].*'precision': 'bf16'"):
        build.merge_flags(planned, {"precision": "bf16", "profiler": None, "max_epochs": 1})


def test_merging_changes_neither_side() -> None:
    planned, given = {"max_steps": 3}, {"profiler": "simple"}
    build.merge_flags(planned, given)
    assert (planned, given) == ({"max_steps": 3}, {"profiler": "simple"})


def test_ddp_gets_what_was_asked_for_where_there_are_several_processes() -> None:
    asked = {
        "ddp_find_unused_parameters": True,
        "ddp_bucket_cap_mb": 5,
        "ddp_broadcast_buffers": False,
        "ddp_static_graph": True,
        "ddp_backend": "gloo",
        "ddp_timeout": 60,
    }
    several = plan(TrainingArguments("x", devices=2, **asked), Facts(num_train_rows=8))  # type: ignore[arg-type]
    strategy = build.with_strategy(several.trainer_flags, several)["strategy"]
    assert strategy._ddp_kwargs == {
        "find_unused_parameters": True,
        "bucket_cap_mb": 5,
        "broadcast_buffers": False,
        "static_graph": True,
    }
    assert (strategy.process_group_backend, strategy._timeout.total_seconds()) == ("gloo", 60)
    for args in (TrainingArguments("x", devices=2), TrainingArguments("x", **asked)):  # type: ignore[arg-type]
        plain = plan(args, Facts(num_train_rows=8))
        assert build.with_strategy(plain.trainer_flags, plain) == plain.trainer_flags


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_native_classifier_says_what_it_can_take(classifier: Any) -> None:
    limits = build.limits_of(facade(classifier(num_labels=3)))
    assert (limits.vocab_size, limits.max_length, limits.num_labels) == (len(VOCABULARY), 64, 3)


@pytest.mark.parametrize(
    "options", [{"num_labels": 1}, {"num_labels": 3, "problem_type": "multi_label_classification"}]
)
def test_labels_that_are_no_classes_have_no_limit(classifier: Any, options: dict[str, Any]) -> None:
    assert build.limits_of(facade(classifier(**options))).num_labels is None


def test_labels_of_tokens_lie_in_the_vocabulary(tiny_bert: Any) -> None:
    model = AutoModelForMaskedLM.from_pretrained(tiny_bert(head="masked"))
    assert build.limits_of(facade(model)).num_labels == len(VOCABULARY)


def test_a_foreign_model_has_no_limits() -> None:
    limits = build.limits_of(facade(Foreign()))
    assert (limits.vocab_size, limits.max_length, limits.num_labels, limits.needs_ids) == (None, None, None, False)


@pytest.mark.parametrize("foreign", [True, False])
def test_label_names_of_the_arguments_come_first(classifier: Any, foreign: bool) -> None:
    model = Foreign() if foreign else classifier()
    assert build.limits_of(facade(model, label_names=["target"])).label_columns == ("target",)


# --- collator ---------------------------------------------------------------------------------------------------------

ROWS = [{"x": [1.0, 2.0], "label": 1, "text": "a", "target": 3}]


def test_columns_that_the_model_does_not_take_are_left_out() -> None:
    assert sorted(build.collator(facade(Foreign()))(ROWS)) == ["labels", "x"]


def test_columns_named_as_labels_stay() -> None:
    assert sorted(build.collator(facade(Foreign(), label_names=["target"]))(ROWS)) == ["labels", "target", "x"]


@pytest.mark.parametrize("options", [{"model": Foreign(), "remove_unused_columns": False}, {"model": TakesAll()}])
def test_the_collator_stays_as_it_is_where_nothing_is_to_be_left_out(options: dict[str, Any]) -> None:
    trainer = facade(**options)
    assert build.collator(trainer) is trainer.data_collator


def test_rows_of_which_nothing_is_left_are_refused_with_their_columns() -> None:
    with pytest.raises(ValueError, match=r"none of the data set's columns \['text'\] .*Foreign"):
        build.collator(facade(Foreign()))([{"text": "a"}])


def test_a_collator_of_the_callers_is_kept_behind_the_filter() -> None:
    collate = build.collator(facade(Foreign(), data_collator=lambda rows: {"rows": rows}))
    assert isinstance(collate, KeepColumns)
    assert collate(ROWS) == {"rows": [{"x": [1.0, 2.0], "label": 1}]}


# --- loss -------------------------------------------------------------------------------------------------------------


class MeanOfFive(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):  # type: ignore[no-untyped-def, override]
        return (torch.tensor(5.0), "outputs") if return_outputs else torch.tensor(5.0)


class SumOfTen(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def, override]
        loss = 10.0 / num_items_in_batch
        return (loss, "outputs") if return_outputs else loss


def test_the_models_own_loss_needs_no_function() -> None:
    assert build.user_loss(facade(Foreign())) is None


@pytest.mark.parametrize(("trainer_class", "expected"), [(MeanOfFive, 5.0 * 2 / 8), (SumOfTen, 10.0 / 8)])
def test_an_overridden_loss_is_weighed_unless_it_takes_the_count(trainer_class: type[Trainer], expected: float) -> None:
    compute = build.user_loss(facade(Foreign(), trainer_class=trainer_class))
    assert compute is not None
    loss, outputs = compute(Foreign(), {}, torch.tensor(8), 2)
    assert (float(loss), outputs) == (expected, "outputs")


def test_a_loss_function_gets_outputs_labels_and_the_count() -> None:
    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
        return labels.sum() / num_items_in_batch * outputs["logits"].shape[1]

    compute = build.user_loss(facade(Foreign(), compute_loss_func=loss))
    assert compute is not None
    batch = {"x": torch.zeros(2, 2), "labels": torch.tensor([1, 1])}
    assert float(compute(Foreign(), batch, torch.tensor(8), 2)[0]) == 2 / 8 * 2


# --- labels -----------------------------------------------------------------------------------------------------------


def test_a_native_model_with_a_collator_that_stacks_needs_labels(classifier: Any) -> None:
    assert build.needs_labels(facade(classifier()))
    assert build.needs_labels(facade(classifier(), data_collator=DefaultDataCollator()))


def test_a_collator_that_pads_needs_labels_too(classifier: Any, tiny_bert: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert())
    assert build.needs_labels(facade(classifier(), data_collator=DataCollatorWithPadding(tokenizer)))


@pytest.mark.parametrize(
    "options", [{"data_collator": lambda rows: {}}, {"trainer_class": MeanOfFive}], ids=["collator", "loss"]
)
def test_what_may_make_labels_of_its_own_needs_none(classifier: Any, options: dict[str, Any]) -> None:
    assert not build.needs_labels(facade(classifier(), **options))


def test_a_foreign_model_may_need_no_labels() -> None:
    assert not build.needs_labels(facade(Foreign()))


def test_a_masking_collator_sees_the_columns_that_only_it_reads(tiny_bert):
    folder = tiny_bert(head="masked")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    row = dict(tokenizer("a good film", return_offsets_mapping=True, return_special_tokens_mask=True), other=1)
    collate = DataCollatorForWholeWordMask(tokenizer, mlm_probability=1.0)
    batch = build.collator(facade(AutoModelForMaskedLM.from_pretrained(folder), data_collator=collate))([row])
    assert sorted(batch) == ["attention_mask", "input_ids", "labels", "token_type_ids"]
    assert batch["labels"].tolist() == [[-100, *row["input_ids"][1:-1], -100]]
