from __future__ import annotations

import pickle

import pytest

from lt_trainer.args.check import ConfigurationError, UnknownArgumentError, near
from lt_trainer.args.fields import TrainingArguments

NAN, INFINITE = float("nan"), float("inf")


def problems_of(**arguments: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        TrainingArguments(**{"output_dir": "out", **arguments})  # type: ignore[arg-type]
    return caught.value.problems


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("per_device_train_batch_size", 0),
        ("per_device_eval_batch_size", -1),
        ("gradient_accumulation_steps", 0),
        ("save_steps", 0),
        ("save_steps", 2.5),
        ("logging_steps", 0),
        ("learning_rate", -1e-5),
        ("learning_rate", NAN),
        ("learning_rate", INFINITE),
        ("weight_decay", -0.1),
        ("adam_beta1", 1.0),
        ("num_train_epochs", 0),
        ("num_train_epochs", NAN),
        ("max_steps", 0),
        ("max_steps", -2),
        ("warmup_ratio", 1.5),
        ("warmup_steps", -1),
        ("seed", -1),
        ("seed", 2**32),
        ("save_total_limit", 0),
        ("devices", 0),
        ("dataloader_num_workers", -1),
    ],
)
def test_values_out_of_range_are_refused_with_name_and_value(name: str, value: float) -> None:
    (problem,) = problems_of(**{name: value})
    assert problem.startswith(f"{name}={value!r}: expected ")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("eval_strategy", "step", "steps"),
        ("save_strategy", "epochs", "epoch"),
        ("logging_strategy", "stepps", "steps"),
        ("lr_scheduler_type", "linaer", "linear"),
        ("optim", "adamw", "adamw_torch"),
        ("hub_strategy", "every-save", "every_save"),
        ("report_to", "tensorbord", "tensorboard"),
        ("fp16_opt_level", "02", "O2"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, value: str, meant: str) -> None:
    problem = problems_of(**{name: value})[0]
    assert problem.startswith(f"{name}={value!r}: expected one of ")
    assert problem.endswith(f"did you mean {meant!r}?")


def test_misspelt_argument_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        UnknownArgumentError, match=r"learning_rat=1e-05: no such argument; did you mean .learning_rate.\?"
    ):
        TrainingArguments("out", learning_rat=1e-5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):  # as Python's own, for scripts that try one spelling and then the other
        TrainingArguments("out", evaluation_strategie="no")  # type: ignore[call-arg]


def test_all_problems_come_in_one_error() -> None:
    found = problems_of(
        output_dir=None, epochs=3, learning_rate=NAN, eval_strategy="step", seed="abc", fp16=True, bf16=True
    )
    assert {problem.split("=")[0].split(" ")[0] for problem in found} == {
        "output_dir",
        "epochs",
        "learning_rate",
        "eval_strategy",
        "seed",
        "fp16",
    }


def test_output_dir_is_required() -> None:
    (problem,) = problems_of(output_dir=None)
    assert "output_dir" in problem


@pytest.mark.parametrize(
    "arguments",
    [
        {"fp16": True, "bf16": True},
        {"load_best_model_at_end": True},
        {"load_best_model_at_end": True, "eval_strategy": "epoch"},
        {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "no"},
        {"save_strategy": "best"},
        {"dataloader_prefetch_factor": 2},
        {"dataloader_persistent_workers": True},
        {"dataloader_multiprocessing_context": "spawn"},
        {"ddp_static_graph": True, "gradient_accumulation_steps": 2},
    ],
)
def test_contradictions_are_refused(arguments: dict[str, object]) -> None:
    problem = problems_of(**arguments)[0]
    assert all(name in problem for name in list(arguments)[:1])


@pytest.mark.parametrize(
    "arguments",
    [
        {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 3, "save_steps": 5},
        {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "best"},
        {"save_strategy": "no", "save_steps": 0},
        {"logging_strategy": "epoch", "logging_steps": 0},
        {"learning_rate": 0.0, "max_grad_norm": 0},
        {"max_grad_norm": None},
        {"fp16": True, "fp16_opt_level": "O1"},
        {"deepspeed": "ds_config.json"},
        {"gradient_checkpointing": True},
        {"torch_compile": True, "torch_compile_backend": "inductor"},
        {"push_to_hub": True, "hub_model_id": "username/model-name", "hub_strategy": "every_save"},
        {"optim": "paged_adamw_8bit"},
    ],
)
def test_these_can_be_written_down(arguments: dict[str, object]) -> None:
    args = TrainingArguments(**{"output_dir": "out", **arguments})  # type: ignore[arg-type]
    assert all(getattr(args, name) == value for name, value in arguments.items())


def test_the_evaluation_falls_back_to_logging_steps_which_then_must_count() -> None:
    found = problems_of(eval_strategy="steps", logging_strategy="no", logging_steps=0)
    assert len(found) == 1
    assert found[0].startswith("eval_steps=0: expected a whole number of steps")


def test_nearest_prefers_what_the_word_begins() -> None:
    assert near("adam", ["ademamix", "adamw_torch"]) == "; did you mean 'adamw_torch'?"
    assert near("xyz", ["adamw_torch"]) == ""


def test_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ConfigurationError(["a=1: expected 2", "b"])))
    assert error.problems == ("a=1: expected 2", "b")
    assert str(error) == "2 problem(s) in the configuration:\n- a=1: expected 2\n- b"
