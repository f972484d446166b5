from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import Seq2SeqTrainingArguments, TrainingArguments
from lt_trainer.names import IntervalStrategy, SaveStrategy

# The parameters that the documentation of `transformers` lists, with the defaults that it gives them.
DOCUMENTED = {
    "logging_steps": 500,
    "num_train_epochs": 3.0,
    "max_steps": -1,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-5,
    "warmup_steps": 0,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 500,
    "load_best_model_at_end": False,
    "weight_decay": 0.0,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
}


def test_documented_defaults() -> None:
    args = TrainingArguments("out")
    assert {name: getattr(args, name) for name in DOCUMENTED} == DOCUMENTED
    assert args.logging_dir == "out/runs"
    assert args.report_to == ["tensorboard"]


def test_every_default_is_that_of_transformers_but_three_that_are_documented_otherwise() -> None:
    theirs = {f.name: f for f in dataclasses.fields(pytest.importorskip("transformers").Seq2SeqTrainingArguments)}
    ours = {f.name: f.default for f in dataclasses.fields(Seq2SeqTrainingArguments) if f.name in theirs}
    differ = {name for name, default in ours.items() if default != theirs[name].default}
    # None and False are one for the first, as are "" and [] for the second; report_to is TensorBoard here: None.
    assert differ == {"gradient_checkpointing", "debug", "report_to"}


@pytest.mark.parametrize(("given", "meant"), [(True, "all"), ("true", "all"), (False, "no"), ("non_padding",) * 2])
def test_tokens_are_counted_by_a_name_or_a_switch(given: str | bool, meant: str) -> None:
    assert TrainingArguments("out", include_num_input_tokens_seen=given).include_num_input_tokens_seen == meant


def test_every_field_has_a_meaning_that_help_shows() -> None:
    assert all(f.metadata["help"] for f in dataclasses.fields(TrainingArguments))
    doc = inspect.getdoc(TrainingArguments)
    assert doc is not None
    assert "    learning_rate: peak of the schedule" in doc


def test_signature_is_that_of_the_fields() -> None:
    names = list(inspect.signature(TrainingArguments).parameters)
    assert names == [f.name for f in dataclasses.fields(TrainingArguments)]


def test_command_line_parser_takes_the_fields_and_their_help() -> None:
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(TrainingArguments, None)
    values = parser.parse_args(["--output_dir=out", "--learning_rate=2e-5", "--bf16=true", "--max_steps=7"]).as_dict()
    args = TrainingArguments(**values)
    assert (args.learning_rate, args.bf16, args.max_steps) == (2e-5, True, 7)
    assert "peak of the schedule" in parser.format_help()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"learning_rate": "2e-5"}, 2e-5),
        ({"bf16": "True"}, True),
        ({"bf16": 0}, False),
        ({"max_steps": "1e3"}, 1000),
        ({"save_total_limit": "None"}, None),
        ({"eval_strategy": False}, "no"),  # what YAML makes of a bare `no`
        ({"logging_steps": 10.0}, 10),
        ({"lr_scheduler_kwargs": '{"num_cycles": 2}'}, {"num_cycles": 2}),
        ({"label_names": "labels,start_positions"}, ["labels", "start_positions"]),
        ({"report_to": "none"}, []),
        ({"report_to": "all"}, ["tensorboard"]),
        ({"deepspeed": "ds_config.json"}, "ds_config.json"),
        ({"fsdp": "full_shard"}, "full_shard"),
        ({"fsdp": True}, True),
        ({"output_dir": Path("a") / "b"}, "a/b"),
    ],
)
def test_values_of_files_and_command_lines_are_read(given: dict[str, object], expected: object) -> None:
    args = TrainingArguments(**{"output_dir": "out", **given})  # type: ignore[arg-type]
    value = getattr(args, next(iter(given)))
    assert value == expected
    assert type(value) is type(expected) or isinstance(value, str)


@pytest.mark.parametrize("name", ["seed", "learning_rate", "bf16", "lr_scheduler_kwargs", "output_dir"])
def test_values_that_cannot_be_read_are_refused_with_the_value(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}=\['x'\]: expected"):
        TrainingArguments(**{"output_dir": "out", name: ["x"]})  # type: ignore[arg-type]


def test_strategies_are_enums_that_equal_their_strings() -> None:
    args = TrainingArguments("out", eval_strategy="epoch", save_strategy="epoch", hub_strategy="end")
    assert args.eval_strategy is IntervalStrategy.EPOCH
    assert args.save_strategy is SaveStrategy.EPOCH
    assert args.hub_strategy == "end"
    assert f"{args.eval_strategy}" == "epoch"


def test_enums_of_transformers_are_taken() -> None:
    utils = pytest.importorskip("transformers.trainer_utils")
    args = TrainingArguments(
        "out", eval_strategy=utils.IntervalStrategy.STEPS, lr_scheduler_type=utils.SchedulerType.COSINE
    )
    assert args.eval_strategy is IntervalStrategy.STEPS
    assert args.to_dict()["lr_scheduler_type"] == "cosine"


def test_what_follows_from_other_arguments_is_filled_in() -> None:
    args = TrainingArguments(
        "out", eval_strategy="steps", save_strategy="steps", logging_steps=7, load_best_model_at_end=True
    )
    assert (args.eval_steps, args.metric_for_best_model, args.greater_is_better, args.do_eval) == (
        7,
        "loss",
        False,
        True,
    )
    assert TrainingArguments("out", metric_for_best_model="f1").greater_is_better is True
    assert TrainingArguments("out", torch_compile_mode="default").torch_compile_backend == "inductor"


def test_equal_after_a_json_round_trip() -> None:
    args = TrainingArguments(
        "out",
        eval_strategy="steps",
        eval_steps=0.25,
        report_to="none",
        lr_scheduler_kwargs={"a": 1},
        hub_token="secret",
    )
    assert TrainingArguments(**json.loads(args.to_json_string())) == args
    assert TrainingArguments(**args.to_dict()) == args


def test_no_secret_is_written_anywhere() -> None:
    args = TrainingArguments("out", hub_token="secret")
    for text in (repr(args), str(args), args.to_json_string(), str(args.to_dict()), str(args.to_sanitized_dict())):
        assert "secret" not in text
    assert args.to_dict()["hub_token"] == "<HUB_TOKEN>"
    assert TrainingArguments(**args.to_dict()).hub_token is None


def test_sanitized_dict_holds_scalars_and_text_alone() -> None:
    values = TrainingArguments("out", label_names=["labels"]).to_sanitized_dict()
    assert all(isinstance(value, bool | int | float | str) for value in values.values())
    assert values["train_batch_size"] == 8


def test_former_adamw_warns_once_and_is_adamw_torch() -> None:
    with pytest.warns(DeprecationWarning, match="adamw_torch") as caught:
        args = TrainingArguments("out", optim="adamw_hf")
    assert len(caught) == 1
    assert args.optim == "adamw_torch"


def test_subclass_with_fields_of_its_own() -> None:
    @dataclasses.dataclass
    class More(TrainingArguments):
        extra: int = 3

    assert More("out", extra=4).extra == 4
    with pytest.raises(ConfigurationError, match="learning_rate"):
        More("out", learning_rate=-1)


def test_arguments_and_state_do_not_import_torch() -> None:
    code = (
        "import sys, lt_trainer.state\n"
        "from lt_trainer.args import cadence, check, duration, fields, hardware, plan\n"
        "args = fields.TrainingArguments('out')\n"
        "plan.plan(args, hardware.Facts(num_train_rows=8))\n"
        "assert not {'torch', 'lightning', 'numpy', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
