"""The facade: `transformers`' Trainer as an API, Lightning's as the engine.

Nothing is looped over here. `train` makes a plan of the arguments (args/plan.py), Lightning objects of the plan
(build.py) and lets Lightning run them; module.py shows the order of a step, callbacks/bridge.py what follows one.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_trainer import scoring
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.callbacks.base import CallbackHandler, DefaultFlowCallback, TrainerCallback
from lt_trainer.callbacks.progress import PrinterCallback, ProgressCallback
from lt_trainer.callbacks.reports import reports
from lt_trainer.data.collators import DataCollatorWithPadding, default_data_collator
from lt_trainer.files import read_json, update_folder
from lt_trainer.machine import global_rank
from lt_trainer.optim import Watcher, create_optimizer, create_scheduler, create_user_optimizer
from lt_trainer.state import EvalLoopOutput, EvalPrediction, PredictionOutput, TrainerControl, TrainerState, TrainOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from lt_trainer.engine import Engine, TrainingEngine

logger = logging.getLogger(__name__)


class Trainer:
    """Trains, evaluates and saves a model.

    Args:
        model: native, of `transformers`, or any `nn.Module` whose forward takes the batch's columns and returns a loss.
        args: see TrainingArguments; without them everything goes to "trainer_output".
        data_collator: rows -> batch; pads with `processing_class` where that is given, else stacks.
        train_dataset: map-style data set of tokenized rows.
        eval_dataset: likewise, with labels; a dict of them gives `eval_<name>_loss` and so on for each.
        processing_class: the tokenizer; saved with the model.
        model_init: makes the model (after seeding, at each `train`), in place of `model`.
        compute_loss_func: (outputs, labels, num_items_in_batch=) -> loss, in place of the model's own.
        compute_metrics: EvalPrediction -> dict of numbers; called on one process alone.
        callbacks: TrainerCallback classes or instances.
        optimizers: (optimizer, scheduler) made by the caller, or None for either.
        optimizer_cls_and_kwargs: (class, its arguments), made over the decay groups in place of `args.optim`.
        preprocess_logits_for_metrics: (logits, labels) of a batch -> what is kept of the logits, such as their argmax.
        tokenizer: the name that `processing_class` had before.
        lightning_flags: flags of `lightning.Trainer` that the arguments do not decide, such as `profiler`.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[[], nn.Module] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: Sequence[TrainerCallback | type[TrainerCallback]] | None = None,
        optimizers: tuple[Optimizer | None, LRScheduler | Watcher | None] = (None, None),
        optimizer_cls_and_kwargs: tuple[Any, dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        *,
        tokenizer: Any = None,
        lightning_flags: Mapping[str, Any] | None = None,
    ) -> None:
        import lt_trainer.engine  # noqa: F401  (Lightning takes seconds to import: here, not in the middle of `train`)

        self.args = args if args is not None else TrainingArguments(output_dir="trainer_output")
        if (model is None) == (model_init is None):
            raise ValueError(
                "Trainer needs a model: expected exactly one of model= and model_init=, "
                f"received {'neither' if model is None else 'both'}"
            )
        if optimizer_cls_and_kwargs is not None and optimizers[0] is not None:
            raise ValueError(
                "Trainer: expected one of optimizers=(optimizer, ...) and optimizer_cls_and_kwargs=, received both: "
                "leave one out"
            )
        set_seed(self.args.seed)
        self.model_init = model_init
        self.model: nn.Module = model if model is not None else self.call_model_init()
        self.processing_class = processing_class if processing_class is not None else tokenizer
        self.data_collator = data_collator or self._default_collator()
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        scoring.check_compute_metrics(compute_metrics, by_batch=self.args.batch_eval_metrics)
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        self.optimizer: Optimizer | None
        self.lr_scheduler: LRScheduler | Watcher | None
        self._given_optimizers = self.optimizer, self.lr_scheduler = optimizers
        self.state, self.control = TrainerState(), TrainerControl()
        self.lightning_flags = dict(lightning_flags or {})
        self.is_in_train = False
        self._engine: TrainingEngine | None = None
        self._evaluator: Engine | None = None
        progress = PrinterCallback if self.args.disable_tqdm else ProgressCallback
        self.callback_handler = CallbackHandler(
            [DefaultFlowCallback, *reports(self.args.report_to), *(callbacks or ()), progress],
            self.model,
            self.processing_class,
            self.optimizer,
            self.lr_scheduler,
        )
        self.fire("on_init_end")

    @property
    def tokenizer(self) -> Any:
        """The former name of `processing_class`."""
        return self.processing_class

    # ---- train

    def train(self, resume_from_checkpoint: str | bool | None = None) -> TrainOutput:
        """Trains the model as `args` say, and loads the best one at the end where they ask for it.

        Returns:
            Steps done, mean loss of a step, and `train_*` metrics (run time in seconds, rows and steps a second).

        Raises:
            ConfigurationError: arguments that contradict each other or the data (all at once).
            ValueError: rows that the model cannot take (names row, value and limit).
            FileNotFoundError: no checkpoint to go on from.
            KeyboardInterrupt: SIGINT came; the step was finished and saved (SystemExit after SIGTERM).
        """
        from lt_trainer import engine as engines

        self.optimizer, self.lr_scheduler = self._given_optimizers
        if self.model_init is not None:
            set_seed(self.args.seed)
            self.model = self.callback_handler.model = self.call_model_init()
        self._engine = engine = engines.training_engine(self)
        self.control = TrainerControl()
        if resume_from_checkpoint is None:
            resume_from_checkpoint = self.args.resume_from_checkpoint
        try:
            self.state = engine.start(resume_from_checkpoint)
            self._first_step = self.state.global_step
            self.is_in_train = True
            start = time.time()
            engine.fit()
            return self._finish(engine, start)
        finally:
            engine.close()
            self.is_in_train, self._engine = False, None
            self.callback_handler.train_dataloader = None

    def _finish(self, engine: TrainingEngine, start: float) -> TrainOutput:
        train_loss = engine.mean_loss()
        plan = engine.plan.duration
        steps = self.state.global_step - self._first_step
        rows = (
            plan.max_steps * plan.effective_batch_size
            if plan.stop_by_steps
            else plan.num_epochs * engine.num_train_rows
        )
        metrics = scoring.speed_metrics("train", start, rows * steps / max(plan.max_steps, 1), steps)
        metrics["train_loss"] = train_loss
        self.log(metrics)
        engine.saver.finish(self.model, self.state)
        self.fire("on_train_end")
        return TrainOutput(self.state.global_step, train_loss, metrics)

    def call_model_init(self) -> nn.Module:
        """Makes a model with `model_init`.

        Raises:
            ValueError: it returned None.
        """
        assert self.model_init is not None
        model = self.model_init()
        if model is None:
            raise ValueError("model_init: expected a function that returns a model, received None from it")
        return model

    # ---- what a subclass may override

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """The loss of a micro-batch: the sum over its targets divided by `num_items_in_batch`.

        Args:
            model: the bare model.
            inputs: a padded batch.
            return_outputs: also returns what the model returned.
            num_items_in_batch: targets of the whole optimizer step, 0-d; without it the loss is the batch's mean.
        """
        from lt_trainer import objective

        if self.compute_loss_func is not None:
            labels = inputs.pop("labels", None)
            outputs = model(**inputs)
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        else:
            loss, outputs = objective.model_loss(model, inputs, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    @property
    def replaces_loss(self) -> bool:
        """Whether a subclass or `compute_loss_func` takes the place of the model's own loss."""
        return type(self).compute_loss is not Trainer.compute_loss or self.compute_loss_func is not None

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Makes the optimizer that `args` ask for, unless the caller brought one."""
        if self.optimizer is None:
            assert self._engine is not None
            model, plan = self.model if model is None else model, self._engine.plan.optimizer
            if self.optimizer_cls_and_kwargs is None:
                self.optimizer = create_optimizer(model, plan)
            else:
                self.optimizer = create_user_optimizer(model, *self.optimizer_cls_and_kwargs, plan)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler | Watcher:
        """Makes the learning rate schedule that `args` ask for, unless the caller brought one."""
        if self.lr_scheduler is None:
            assert self._engine is not None
            optimizer = self.optimizer if optimizer is None else optimizer
            assert optimizer is not None
            self.lr_scheduler = create_scheduler(optimizer, self._engine.plan.optimizer, num_training_steps)
        return self.lr_scheduler

    def log(self, logs: dict[str, float]) -> None:
        """Adds an entry to `state.log_history` and hands it to the callbacks (`on_log`)."""
        if self.state.epoch is not None:
            logs["epoch"] = self.state.epoch
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.fire("on_log", logs=logs)

    # ---- evaluate and predict

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss over all targets of a data set, and `compute_metrics` over its rows.

        Args:
            eval_dataset: another one than the trainer's own, a dict of them, or the name of one of the trainer's own;
                with a dict each is evaluated by itself, under the prefix `eval_<name>`.
            ignore_keys: outputs of the model that are no predictions; None: those that its configuration names.
            metric_key_prefix: "eval" gives `eval_loss`.

        Returns:
            Metrics, run time in seconds, rows and batches a second.

        Raises:
            ValueError: no data set, or none of that name (lists those there are).
        """
        own = eval_dataset is None
        dataset = self.eval_dataset if own else eval_dataset
        if isinstance(dataset, dict):
            metrics: dict[str, float] = {}
            for name, rows in dataset.items():
                prefix = f"{metric_key_prefix}_{name}"
                metrics |= self.evaluate(name if own and isinstance(name, str) else rows, ignore_keys, prefix)
            return metrics
        wants_log = self.control.should_log
        output = self._evaluate(
            scoring.named(dataset, self.eval_dataset), metric_key_prefix, ignore_keys, predicts=False
        )
        assert output.metrics is not None
        self.log(output.metrics)  # which adds the epoch, as scripts expect
        self.fire("on_evaluate", metrics=output.metrics)
        self.control.should_log = wants_log  # of the step, where a callback evaluates before it is logged
        return output.metrics

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """Predictions in the order of the rows, as numpy; labels and metrics where the data set has labels.

        Rows of different lengths are filled up with -100 on the right. Large arrays are mapped from a file.
        """
        output = self._evaluate(test_dataset, metric_key_prefix, ignore_keys, predicts=True)
        self.fire("on_predict", metrics=output.metrics)
        return PredictionOutput(output.predictions, output.label_ids, output.metrics)

    def _evaluate(self, dataset: Any, prefix: str, ignore_keys: list[str] | None, *, predicts: bool) -> EvalLoopOutput:
        from lt_trainer import engine as engines

        engine: Engine | None = self._engine
        if engine is None:
            engine = self._evaluator = engines.evaluation_engine(self, self._evaluator)
        metrics = self.compute_metrics
        return scoring.evaluate(engine, dataset, prefix, ignore_keys, compute_metrics=metrics, predicts=predicts)

    def evaluate_and_rank(self) -> bool:
        """Evaluates in the middle of training; whether it was the best so far by `metric_for_best_model`."""
        assert self._engine is not None
        metrics = self.evaluate()
        self._engine.watch(metrics)
        return self._engine.saver.rank(metrics, self.state)

    # ---- save

    def save_model(self, output_dir: str | Path | None = None) -> None:
        """Writes a folder that `from_pretrained` loads, here and in `transformers`, with the tokenizer's files."""
        from lt_trainer.checkpoint.saver import save_model

        if self.is_world_process_zero():
            save_model(Path(output_dir or str(self.args.output_dir)), self.model, self.processing_class)

    def save_checkpoint(self, *, is_best: bool) -> None:
        """Called by the bridge where a checkpoint is due."""
        assert self._engine is not None
        self._engine.save_checkpoint(is_best=is_best)

    def announce_saved(self, finished: int, failed: int) -> None:
        """Called by the bridge once a step with what is known of saves."""
        assert self._engine is not None
        self._engine.announce(finished, failed)

    def fire_saved(self, state: TrainerState) -> None:
        """Calls `on_save`: the checkpoint of `state` is complete and durable."""
        self.control = self.callback_handler.call_event("on_save", self.args, state, self.control)

    def save_best(self) -> None:
        """Called by the bridge where an evaluation was the best and no checkpoint is due."""
        assert self._engine is not None
        self._engine.save_best()

    def log_metrics(self, split: str, metrics: Mapping[str, float]) -> None:
        """Prints metrics as a table, a line each, on the process that writes."""
        if self.is_world_process_zero():
            width = max(map(len, metrics), default=0)
            print(f"***** {split} metrics *****")
            print("\n".join(f"  {name:<{width}} = {metrics[name]}" for name in sorted(metrics)))

    def save_metrics(self, split: str, metrics: Mapping[str, float], combined: bool = True) -> None:
        """Writes `{split}_results.json` into `output_dir`, and with `combined` adds the metrics to all_results.json."""
        if not self.is_world_process_zero():
            return
        with update_folder(str(self.args.output_dir)) as top:
            top.write_json(f"{split}_results.json", dict(metrics))
            if combined:
                known = Path(str(self.args.output_dir)) / "all_results.json"
                before = read_json(known) if known.is_file() else {}
                top.write_json("all_results.json", {**before, **metrics})

    def save_state(self) -> None:
        """Writes trainer_state.json into `output_dir`: the log history and how far training is."""
        if self.is_world_process_zero():
            with update_folder(str(self.args.output_dir)) as top:
                top.write_text("trainer_state.json", self.state.to_json_string())

    # ---- callbacks and processes

    def fire(self, event: str, **details: Any) -> None:
        """Calls an event of every callback; what they set in `control` stands afterwards."""
        self.control = self.callback_handler.call_event(event, self.args, self.state, self.control, **details)

    def add_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> None:
        """Adds a callback, as a class or an instance."""
        self.callback_handler.add_callback(callback)

    def pop_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> TrainerCallback | None:
        """Removes a callback and returns it; None where there is none."""
        popped: TrainerCallback | None = self.callback_handler.pop_callback(callback)
        return popped

    def remove_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> None:
        """Removes a callback."""
        self.callback_handler.remove_callback(callback)

    def is_world_process_zero(self) -> bool:
        """Whether this is the process that writes."""
        return global_rank() == 0

    def _default_collator(self) -> Callable[[list[Any]], dict[str, Any]]:
        return (
            default_data_collator if self.processing_class is None else DataCollatorWithPadding(self.processing_class)
        )


def set_seed(seed: int) -> None:
    """Seeds python, numpy and torch."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
