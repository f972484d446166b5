from __future__ import annotations

import copy
import dataclasses
import pickle
import warnings

import pytest

from lt_trainer.args.check import ConfigurationError, UnknownArgumentError
from lt_trainer.args.fields import Seq2SeqTrainingArguments, TrainingArguments
from lt_trainer.args.former import FORMER, Gone, Renamed

# name: (a value, the field and its value today)
TRANSLATIONS = {
    "activation_checkpointing": (True, "gradient_checkpointing", True),
    "activation_checkpointing_kwargs": ({"a": 1}, "gradient_checkpointing_kwargs", {"a": 1}),
    "adafactor": (True, "optim", "adafactor"),
    "evaluate_during_training": (True, "eval_strategy", "steps"),
    "evaluation_strategy": ("epoch", "eval_strategy", "epoch"),
    "group_by_length": (True, "train_sampling_strategy", "group_by_length"),
    "include_inputs_for_metrics": (True, "include_for_metrics", ["inputs"]),
    "no_cuda": (True, "use_cpu", True),
    "per_gpu_eval_batch_size": (4, "per_device_eval_batch_size", 4),
    "per_gpu_train_batch_size": (4, "per_device_train_batch_size", 4),
    "push_to_hub_model_id": ("me/model", "hub_model_id", "me/model"),
    "push_to_hub_token": ("hf_x", "hub_token", "hf_x"),
    "torchdynamo": ("inductor", "torch_compile_backend", "inductor"),
    "xpu_backend": ("gloo", "ddp_backend", "gloo"),
}
RENAMED = {name: row for name, row in FORMER.items() if isinstance(row, Renamed)}
GONE = {name: row for name, row in FORMER.items() if isinstance(row, Gone)}


def former(**given: object) -> TrainingArguments:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return TrainingArguments("out", **given)  # type: ignore[arg-type]


def test_every_translation_is_shown_here() -> None:
    assert set(TRANSLATIONS) == set(RENAMED)
    assert not set(FORMER) & {f.name for f in dataclasses.fields(Seq2SeqTrainingArguments)}


@pytest.mark.parametrize("name", RENAMED)
def test_former_name_sets_the_field_and_reads_it(name: str) -> None:
    value, today, meant = TRANSLATIONS[name]
    args = former(**{name: value})
    assert getattr(args, today) == meant
    assert getattr(args, name) == value
    args = TrainingArguments("out")
    setattr(args, name, value)
    assert getattr(args, today) == meant


@pytest.mark.parametrize("name", RENAMED)
def test_former_name_with_its_default_asks_for_nothing(name: str) -> None:
    row = RENAMED[name]
    usual = TrainingArguments("out")
    assert former(**{name: None}) == usual
    assert former(**{name: row.read(getattr(usual, row.today))}) == usual


@pytest.mark.parametrize("name", [name for name, row in RENAMED.items() if not row.is_current])
def test_former_name_is_told_once_with_the_new_one(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{name} is {RENAMED[name].today} now") as caught:
        TrainingArguments("out", **{name: TRANSLATIONS[name][0]})
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_all_former_names_are_told_in_one_warning() -> None:
    with pytest.warns(DeprecationWarning, match="now; ") as caught:
        TrainingArguments("out", evaluation_strategy="no", no_cuda=True, save_safetensors=True)  # type: ignore[call-arg]
    (warning,) = caught
    assert str(warning.message) == (
        "evaluation_strategy is eval_strategy now; no_cuda is use_cpu now; "
        "save_safetensors has no effect any more; leave it out"
    )


def test_names_that_some_release_still_has_are_taken_in_silence() -> None:
    args = TrainingArguments("out", activation_checkpointing=True, group_by_length=True)  # type: ignore[call-arg]
    assert (args.gradient_checkpointing, args.train_sampling_strategy) == (True, "group_by_length")


@pytest.mark.parametrize("name", GONE)
def test_name_without_a_field_is_taken_where_it_changes_nothing_and_refused_where_it_would(name: str) -> None:
    row = GONE[name]
    for value in (None, *row.fine, *map(str, row.fine)):
        args = former(**{name: value})
        assert args == TrainingArguments("out")
        assert getattr(args, name) == row.value
    refused = False if name == "save_safetensors" else "refused"
    with pytest.raises(ConfigurationError) as caught:
        former(**{name: refused})
    assert caught.value.problems == (f"{name}={refused!r}: not supported; {row.instead}",)
    with pytest.raises(ConfigurationError):
        setattr(TrainingArguments("out"), name, refused)


@pytest.mark.parametrize("name", FORMER)
def test_what_a_refusal_names_is_an_argument(name: str) -> None:
    row = FORMER[name]
    named = row.today if isinstance(row, Renamed) else row.instead
    assert any(f.name in named for f in dataclasses.fields(TrainingArguments)) or "leave it out" in named


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="evaluation_strategy and eval_strategy are one"):
        former(evaluation_strategy="epoch", eval_strategy="steps")


def test_problems_of_names_and_of_values_come_in_one() -> None:
    with pytest.raises(UnknownArgumentError) as caught:
        former(learning_rat=1, evaluation_strategy="step", use_ipex=True, seed=-1)
    assert len(caught.value.problems) == 4


def test_subclasses_take_former_names_too() -> None:
    @dataclasses.dataclass
    class Mine(TrainingArguments):
        note: str = "none"
        past_index: int = 7  # a field of its own with a former name

    with pytest.warns(DeprecationWarning, match="no_cuda is use_cpu now"):
        args = Mine("out", no_cuda=True, note="x", past_index=3)  # type: ignore[call-arg]
    assert (args.use_cpu, args.note, args.past_index) == (True, "x", 3)
    with pytest.raises(UnknownArgumentError, match="did you mean 'note'"):
        Mine("out", not_e="x")  # type: ignore[call-arg]


def test_subclass_with_a_constructor_of_its_own() -> None:
    class Mine(TrainingArguments):
        def __init__(self, factor: int, **rest: object) -> None:
            super().__init__(**rest)  # type: ignore[arg-type]
            self.factor = factor

    with pytest.warns(DeprecationWarning, match="evaluation_strategy is eval_strategy now"):
        args = Mine(3, output_dir="out", evaluation_strategy="epoch")
    assert (args.factor, args.eval_strategy) == (3, "epoch")


def test_copies_keep_what_former_names_gave() -> None:
    args = former(evaluation_strategy="epoch", per_gpu_train_batch_size=4)
    for again in (copy.deepcopy(args), pickle.loads(pickle.dumps(args)), dataclasses.replace(args)):
        assert again == args
    assert dataclasses.replace(args, eval_strategy="no").evaluation_strategy == "no"  # type: ignore[attr-defined]
    assert "evaluation_strategy" not in args.to_dict()


def test_no_message_shows_a_secret() -> None:
    for given in ({"hub_tokn": "hf_x"}, {"hub_token": ["hf_x"]}, {"push_to_hub_organization": "a", "hub_token": 1}):
        with pytest.raises(ConfigurationError) as caught:
            former(**given)
        assert "hf_x" not in str(caught.value)
    assert "hf_x" not in repr(former(push_to_hub_token="hf_x"))
