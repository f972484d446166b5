from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from lt_trainer.args.check import ConfigurationError
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.args.setters import Setters

GIVEN: dict[str, dict[str, Any]] = {
    "set_training": {"learning_rate": 1e-4, "batch_size": 32, "weight_decay": 0.1, "num_epochs": 2, "seed": 7},
    "set_evaluate": {"strategy": "steps", "steps": 100, "batch_size": 4, "delay": 2, "loss_only": True},
    "set_testing": {"batch_size": 16, "loss_only": True},
    "set_save": {"strategy": "epoch", "steps": 5, "total_limit": 2},
    "set_logging": {"strategy": "epoch", "steps": 5, "first_step": True, "level": "info"},
    "set_push_to_hub": {"model_id": "me/model", "strategy": "end", "token": "hf_x", "revision": "dev"},
    "set_optimizer": {"name": "sgd", "learning_rate": 1.0, "weight_decay": 0.1, "beta1": 0.8, "args": "momentum=0.9"},
    "set_lr_scheduler": {"name": "cosine", "num_epochs": 2, "max_steps": 9, "warmup_steps": 0.05},
    "set_dataloader": {"train_batch_size": 16, "eval_batch_size": 64, "num_workers": 2, "prefetch_factor": 4},
}
DERIVED = ("accelerator_config", "fsdp_config", "disable_tqdm")  # filled in on construction there


def plain(value: Any) -> Any:
    """What transformers sets, as our fields hold it."""
    return {"none": []}.get(value, value) if isinstance(value, str) else 0 if value is None else value


@pytest.mark.parametrize("name", GIVEN)
def test_setters_return_the_arguments_and_set_what_transformers_sets(name: str) -> None:
    theirs = pytest.importorskip("transformers").TrainingArguments("out", report_to="none")
    ours = TrainingArguments("out", report_to="none")
    for given in (GIVEN[name], {"model_id": "me/other"} if name == "set_push_to_hub" else {}):
        assert getattr(ours, name)(**given) is ours
        getattr(theirs, name)(**given)
        for f in dataclasses.fields(TrainingArguments):
            if hasattr(theirs, f.name) and f.name not in DERIVED:
                assert getattr(ours, f.name) in (getattr(theirs, f.name), plain(getattr(theirs, f.name))), f.name


PARAMETERS = [(name, p) for name in GIVEN for p in inspect.signature(getattr(Setters, name)).parameters if p != "self"]
OTHERS = {  # what is neither a switch nor a number
    **{"report_to": "csv", "level": "info", "replica_level": "info", "multiprocessing_context": "spawn"},
    **{"model_id": "me/model", "token": "hf_x", "revision": "dev", "private_repo": True, "args": "momentum=0.9"},
    **{"set_push_to_hub strategy": "end", "set_lr_scheduler name": "cosine", "name": "sgd", "strategy": "epoch"},
}


@pytest.mark.parametrize(("setter", "parameter"), PARAMETERS)
def test_every_parameter_of_a_setter_has_an_effect(setter: str, parameter: str) -> None:
    default = inspect.signature(getattr(Setters, setter)).parameters[parameter].default
    other: Any = OTHERS.get(f"{setter} {parameter}", OTHERS.get(parameter))
    if other is None:
        other = not default if isinstance(default, bool) or "checkpointing" in parameter else None
    if other is None:
        other = default / 2 if 0 < (default or 0) < 1 else max(default or 0, 0) + 1
    required = {"model_id": "me/other"} if setter == "set_push_to_hub" else {}
    before = getattr(TrainingArguments("out"), setter)(**required).to_dict()
    after = getattr(TrainingArguments("out"), setter)(**{**required, parameter: other}).to_dict()
    assert after != before


def test_values_are_read_and_checked_as_on_construction() -> None:
    args = TrainingArguments("out").set_save("best", steps=10.0).set_logging(report_to=["tensorboard", "none"])  # type: ignore[arg-type]
    assert (args.save_strategy, args.save_steps, args.report_to) == ("best", 10, ["tensorboard"])
    with pytest.raises(ConfigurationError) as caught:
        args.set_training(learning_rate=-1, batch_size=0, seed="x")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 3
    assert args.learning_rate == 5e-5


def test_order_of_setters_does_not_matter_to_what_contradicts_in_between() -> None:
    args = TrainingArguments("out", eval_strategy="steps", save_strategy="steps", load_best_model_at_end=True)
    args.set_evaluate("epoch").set_save("epoch")
    assert args.problems() == []
    assert args.set_save("steps").problems()
