"""Training scripts that run with either library, and what each event of theirs was called with.

`run(name, library, folder)` runs one; `record.py` writes what `transformers` does, `test_traces.py` compares.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

EVENTS = (
    *("on_init_end", "on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_step_begin"),
    *("on_substep_end", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end", "on_evaluate", "on_predict"),
    *("on_save", "on_log", "on_prediction_step", "on_push_begin"),
)
FLAGS = ("should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log")
FIELDS = (
    *("global_step", "epoch", "max_steps", "num_train_epochs", "logging_steps", "eval_steps", "save_steps"),
    *("train_batch_size", "total_flos", "best_metric", "best_global_step"),
    *("is_local_process_zero", "is_world_process_zero", "is_hyper_param_search"),
)

VALUES = ("step", "epoch", "learning_rate", "total_flos", "num_input_tokens_seen")


class Tiny(nn.Module):
    """Two classes of three numbers; counts its weights as public models do."""

    main_input_name = "x"

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer, self.norm = nn.Linear(3, 2), nn.LayerNorm(2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(2, 3, generator=generator))
            self.layer.bias.zero_()

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.norm(self.layer(x))
        return {"logits": logits} if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        return sum(p.numel() for p in self.parameters())


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, labels)


def rows(count: int) -> list[dict[str, Any]]:
    numbers = random.Random(0)
    return [{"x": [numbers.uniform(-1, 1) for _ in range(3)], "labels": i % 2} for i in range(count)]


@dataclass
class Script:
    """One script.

    Attributes:
        args: of TrainingArguments.
        scores: what `compute_metrics` returns as `score`, one an evaluation; without any there is no function.
        callbacks: library -> callbacks beside the recorder.
        trainer: library -> the class of the trainer.
        more: further arguments of the trainer, made of the model.
        play: what is called; training alone where not given.
        num_rows: of training data.
    """

    args: dict[str, Any]
    scores: list[float] = field(default_factory=list)
    callbacks: Callable[[ModuleType], list[Any]] = lambda library: []
    trainer: Callable[[ModuleType], type] = lambda library: library.Trainer
    more: Callable[[nn.Module], dict[str, Any]] = lambda model: {}
    play: Callable[[Any], None] = lambda trainer: trainer.train()
    num_rows: int = 11


def recorder(library: ModuleType, events: list[list[Any]]) -> Any:
    """A callback that writes down every event with its arguments, and changes nothing."""

    def note(name: str) -> Any:
        def event(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            events.append([name, describe(state, control, kwargs)])

        return event

    return type("Recorder", (library.TrainerCallback,), {name: note(name) for name in EVENTS})()


def describe(state: Any, control: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What can be compared of an event's arguments."""
    best = state.best_model_checkpoint
    found: dict[str, Any] = {name: getattr(state, name) for name in FIELDS}
    found["flags"] = [flag for flag in FLAGS if getattr(control, flag)]
    found["best_model_checkpoint"] = None if best is None else Path(best).name
    found["entries"] = len(state.log_history)
    found["given"] = sorted(name for name, value in kwargs.items() if value is not None)
    for name in ("train_dataloader", "eval_dataloader"):
        found[name] = None if kwargs[name] is None else len(kwargs[name])
    found["rates"] = None if kwargs["optimizer"] is None else [g["lr"] for g in kwargs["optimizer"].param_groups]
    for name in ("logs", "metrics"):
        if name in kwargs:
            found[name] = sorted(kwargs[name])
    return found


def changes(events: list[list[Any]]) -> list[list[Any]]:
    """Of each event's arguments those that differ from the event before: the same, in a tenth of the space."""
    before: dict[str, Any] = {}
    found = []
    for name, arguments in events:
        gone = [key for key in before if key not in arguments]
        new = {key: value for key, value in arguments.items() if before.get(key, "absent") != value}
        found.append([name, new | ({"gone": gone} if gone else {})])
        before = arguments
    return found


def run(name: str, library: ModuleType, folder: Path) -> dict[str, Any]:
    """Runs one script.

    Returns:
        `events`: [name, arguments that changed] of each; `history`: keys, step, epoch, rate and counts of each entry of
        `log_history`.
    """
    script, events = SCRIPTS[name], list[list[Any]]()
    defaults = {
        **{"output_dir": str(folder), "per_device_train_batch_size": 2, "per_device_eval_batch_size": 4},
        **{"learning_rate": 0.01, "report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"},
        **{"logging_steps": 1, "optim": "adamw_torch"},
    }
    model, scores = Tiny(), iter(script.scores)
    trainer = script.trainer(library)(
        model=model,
        args=library.TrainingArguments(**{**defaults, **script.args}),
        train_dataset=rows(script.num_rows),
        eval_dataset=rows(6),
        compute_metrics=(lambda prediction: {"score": next(scores)}) if script.scores else None,
        callbacks=[*script.callbacks(library), recorder(library, events)],
        **script.more(model),
    )
    for callback in trainer.callback_handler.callbacks:
        callback.trainer = trainer
    script.play(trainer)
    return {
        "events": changes(events),
        "history": [
            {"keys": sorted(entry), **{key: entry.get(key) for key in VALUES}} for entry in trainer.state.log_history
        ],
    }


# ---- callbacks and classes


def at(library: ModuleType, event: str, actions: dict[int, list[str]], *, returns: bool = True) -> Any:
    """A callback that sets flags in an event of some steps."""

    def act(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        for flag in actions.get(state.global_step, ()):
            setattr(control, flag, True)
        return control if returns else None

    return type(f"At_{event}", (library.TrainerCallback,), {event: act})()


def evaluates_at(library: ModuleType, step: int) -> Any:
    def act(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            self.trainer.evaluate(metric_key_prefix="eval_inner")

    return type("Evaluates", (library.TrainerCallback,), {"on_step_end": act})()


def own_loss(library: ModuleType) -> type:
    class OwnLoss(library.Trainer):  # type: ignore[name-defined,misc]
        def compute_loss(
            self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs["labels"]
            outputs = model(inputs["x"])
            loss = nn.functional.cross_entropy(outputs["logits"], labels, label_smoothing=0.1)
            return (loss, outputs) if return_outputs else loss

    return OwnLoss


def own_steps(library: ModuleType) -> type:
    class OwnSteps(library.Trainer):  # type: ignore[name-defined,misc]
        def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
            model.train()
            loss = self.compute_loss(model, self._prepare_inputs(inputs)) / self.args.gradient_accumulation_steps
            self.accelerator.backward(loss)
            return loss.detach()

        def prediction_step(
            self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
        ) -> Any:
            loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
            return loss * 2, logits, labels

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            logs["own"] = 1.0
            super().log(logs, start_time)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            halve = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, lambda step: 0.5**step)
            self.lr_scheduler = halve
            return halve

    return OwnSteps


def pair(model: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    return {"optimizers": (optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1))}


def everything(trainer: Any) -> None:
    trainer.evaluate()
    trainer.train()
    trainer.evaluate(metric_key_prefix="eval_last")
    trainer.predict(rows(5))


def _schedule(name: str, **kwargs: Any) -> Script:
    more = {"lr_scheduler_kwargs": kwargs} if kwargs else {}
    return Script({"max_steps": 13, "warmup_steps": 4, "lr_scheduler_type": name, **more})


BEST = {"load_best_model_at_end": True, "metric_for_best_model": "score", "greater_is_better": True}
STEPS = {"eval_strategy": "steps", "save_strategy": "steps"}
EPOCHS = {"logging_strategy": "epoch", "eval_strategy": "epoch", "save_strategy": "epoch"}

SCRIPTS: dict[str, Script] = {
    "ragged_window": Script({"gradient_accumulation_steps": 4, "num_train_epochs": 3, "logging_steps": 2}),
    "max_steps": Script({"max_steps": 14, "logging_steps": 3, **STEPS, "eval_steps": 4, "save_steps": 5}),
    "shares_of_steps": Script({"max_steps": 17, "logging_steps": 0.3, **STEPS, "eval_steps": 0.4, "save_steps": 0.21}),
    "fractional_epochs": Script({"num_train_epochs": 2.5, "gradient_accumulation_steps": 2, "warmup_steps": 0.2}),
    "epochs": Script({"num_train_epochs": 3, **EPOCHS}),
    "epochs_with_max_steps": Script({"max_steps": 9, **EPOCHS, "logging_first_step": True}),
    "drop_last": Script({"num_train_epochs": 2, "gradient_accumulation_steps": 2, "dataloader_drop_last": True}),
    "early_stopping": Script(
        {"num_train_epochs": 5, **STEPS, "eval_steps": 2, "save_steps": 2, **BEST},
        scores=[0.1, 0.4, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
        callbacks=lambda library: [library.EarlyStoppingCallback(early_stopping_patience=3)],
    ),
    "best_model": Script(
        {"max_steps": 10, **STEPS, "eval_steps": 2, "save_steps": 2, "save_total_limit": 1, **BEST},
        scores=[0.1, 0.4, 0.3, 0.2, 0.3],
    ),
    "best_saves": Script(
        {"max_steps": 10, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "best", **BEST},
        scores=[0.1, 0.4, 0.3, 0.5, 0.2],
    ),
    "flags_in_step_end": Script(
        {"num_train_epochs": 4, "logging_strategy": "no"},
        callbacks=lambda library: [
            at(
                library,
                "on_step_end",
                {1: ["should_log"], 2: ["should_evaluate"], 3: ["should_save"], 8: ["should_epoch_stop"]}
                | {11: ["should_log", "should_evaluate", "should_save"], 15: ["should_training_stop"]},
            )
        ],
    ),
    "flags_elsewhere": Script(
        {"num_train_epochs": 3, "logging_strategy": "no"},
        callbacks=lambda library: [
            at(library, "on_optimizer_step", {1: ["should_log"], 2: ["should_save"]}, returns=False),
            at(library, "on_epoch_end", {6: ["should_evaluate", "should_save"], 12: ["should_training_stop"]}),
            at(library, "on_evaluate", {6: ["should_log"]}),
        ],
    ),
    "stop_in_evaluate": Script(
        {"num_train_epochs": 3, "eval_strategy": "steps", "eval_steps": 4},
        callbacks=lambda library: [at(library, "on_evaluate", {8: ["should_training_stop"]}, returns=False)],
    ),
    "first_steps": Script(
        {
            **{"num_train_epochs": 2, "logging_steps": 5, "logging_first_step": True, "eval_on_start": True},
            **{"eval_strategy": "steps", "eval_steps": 2, "eval_delay": 5},
        }
    ),
    "delay_in_epochs": Script({"num_train_epochs": 4, "eval_strategy": "epoch", "eval_delay": 2.5}),
    "own_loss": Script(
        {"num_train_epochs": 2, "gradient_accumulation_steps": 3, "eval_strategy": "epoch"}, trainer=own_loss
    ),
    "own_steps": Script(
        {"num_train_epochs": 2, "gradient_accumulation_steps": 2, "eval_strategy": "epoch"}, trainer=own_steps
    ),
    "own_optimizers": Script({"num_train_epochs": 1}, more=pair),
    "evaluates_in_a_callback": Script(
        # not where a log is due: there the peer loses the log of the step
        {"num_train_epochs": 1, "logging_steps": 2},
        callbacks=lambda library: [evaluates_at(library, 3)],
    ),
    "before_and_after": Script({"num_train_epochs": 1}, scores=[0.5] * 9, play=everything),
    "tokens": Script(
        {"num_train_epochs": 1, "gradient_accumulation_steps": 2, "include_num_input_tokens_seen": True},
    ),
    "no_clipping": Script({"num_train_epochs": 1, "max_grad_norm": 0.0}),
    "linear": _schedule("linear"),
    "cosine": _schedule("cosine"),
    "cosine_with_restarts": _schedule("cosine_with_restarts", num_cycles=2),
    "polynomial": _schedule("polynomial", power=2.0),
    "constant": _schedule("constant"),
    "constant_with_warmup": _schedule("constant_with_warmup"),
    "inverse_sqrt": _schedule("inverse_sqrt"),
    "cosine_with_min_lr": _schedule("cosine_with_min_lr", min_lr=0.001),
    "cosine_warmup_with_min_lr": _schedule("cosine_warmup_with_min_lr", min_lr_rate=0.1),
    "warmup_stable_decay": _schedule("warmup_stable_decay", num_decay_steps=5),
    "plateau": Script(
        {
            **{"max_steps": 12, "eval_strategy": "steps", "eval_steps": 2, "lr_scheduler_type": "reduce_lr_on_plateau"},
            **{"lr_scheduler_kwargs": {"patience": 1, "factor": 0.5}, "metric_for_best_model": "score"},
            **{"save_strategy": "steps", "save_steps": 12},  # without any the peer does not say which step was best
        },
        scores=[0.1, 0.4, 0.4, 0.4, 0.4, 0.4],
    ),
}
