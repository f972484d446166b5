"""The facade: `transformers`' Trainer as an API, Lightning's as the engine.

Nothing is looped over here. `train` makes a plan of the arguments (args/plan.py), Lightning objects of the plan
(engine.py) and lets Lightning run them; module.py shows the order of a step, callbacks/bridge.py what follows one.
"""

from __future__ import annotations

import inspect
import logging
import time
from typing import TYPE_CHECKING, Any

from lt_trainer import scoring
from lt_trainer.advice.start import advise
from lt_trainer.args.fields import TrainingArguments
from lt_trainer.callbacks.base import CallbackHandler, DefaultFlowCallback, TrainerCallback
from lt_trainer.callbacks.notebook import NotebookProgressCallback
from lt_trainer.callbacks.progress import PrinterCallback, ProgressCallback
from lt_trainer.callbacks.reports import reports
from lt_trainer.criterion import Criterion
from lt_trainer.data.collators import DataCollatorWithPadding, default_data_collator
from lt_trainer.machine import in_notebook
from lt_trainer.memory_tracker import MemoryTracker
from lt_trainer.outputs import EvalLoopOutput, EvalPrediction, PredictionOutput, TrainOutput
from lt_trainer.overrides import Overridable, refuse_overrides
from lt_trainer.publish import Published
from lt_trainer.search import Searchable
from lt_trainer.seeds import enable_full_determinism, set_seed
from lt_trainer.state import TrainerControl, TrainerState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from lt_trainer.datamodule import TaskData
    from lt_trainer.engine import Engine, TrainingEngine
    from lt_trainer.optim import Watcher
    from lt_trainer.tasks.base import Task

logger = logging.getLogger(__name__)


class Trainer(Overridable, Published, Searchable):
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
        callbacks: classes or instances of TrainerCallback, here or in `transformers`, and of Lightning's Callback.
        optimizers: (optimizer, scheduler) made by the caller, or None for either.
        optimizer_cls_and_kwargs: (class, its arguments), made over the decay groups in place of `args.optim`.
        preprocess_logits_for_metrics: (logits, labels) of a batch -> what is kept of the logits, such as their argmax.
        tokenizer: the name that `processing_class` had before.
        task: a name of lt_trainer.tasks.registry, or a Task: then rows are raw, `model` may be a name or folder, and
            metrics are the task's.
        data: beside `task`: its data module, or arguments for it, such as `{"text_column": "sentence"}`.
        lightning_flags: flags of `lightning.Trainer` that the arguments do not decide, such as `profiler`; also
            `strategy`, `num_nodes` and `precision` (or its object among `plugins`), in place of the arguments' own.
    """

    def __init__(
        self,
        model: nn.Module | str | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., nn.Module] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Optimizer | None, LRScheduler | Watcher | None] = (None, None),
        optimizer_cls_and_kwargs: tuple[Any, dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        *,
        tokenizer: Any = None,
        task: str | Task | None = None,
        data: TaskData | Mapping[str, Any] | None = None,
        lightning_flags: Mapping[str, Any] | None = None,
    ) -> None:
        import lt_trainer.engine  # noqa: F401  (Lightning takes seconds to import: here, not in the middle of `train`)
        from lt_trainer.tasks.raw import prepare_task

        self.args = args if args is not None else TrainingArguments(output_dir="trainer_output")
        self.memory = MemoryTracker(is_off=self.args.skip_memory_metrics)
        (enable_full_determinism if self.args.full_determinism else set_seed)(self.args.seed)
        self.task: Task | None = None
        self.task_data: TaskData | None = None
        if task is not None:
            processing_class = processing_class if processing_class is not None else tokenizer
            start = model_init() if model is None and model_init is not None else model
            self.task, self.task_data = prepare_task(
                task, data, self.args, start, processing_class, train_dataset, eval_dataset
            )
            model, processing_class = None if model_init else self.task.model, self.task_data.tokenizer
            train_dataset, eval_dataset = self.task_data.train_dataset, self.task_data.evaluated(eval_dataset)
            data_collator = self.task_data.keeping(data_collator) if data_collator else self.task_data.collate
        if (model is None) == (model_init is None):
            raise ValueError(
                "Trainer needs a model: expected exactly one of model= and model_init=, "
                f"received {'neither' if model is None else 'both'}"
            )
        _check_optimizers(optimizers, optimizer_cls_and_kwargs, model_init)
        refuse_overrides(type(self), Trainer)
        if (level := self.args.get_process_log_level()) != logger.getEffectiveLevel():
            logging.getLogger("lt_trainer").setLevel(level)
        self.model_init = model_init
        if isinstance(model, str):
            raise TypeError(
                f"model={model!r}: expected a model, received a name: load it by an Auto class, "
                "or name the task too, task='text-classification'"
            )
        self.model: nn.Module = model if model is not None else self.call_model_init()
        self.processing_class = processing_class if processing_class is not None else tokenizer
        pads = (
            default_data_collator if self.processing_class is None else DataCollatorWithPadding(self.processing_class)
        )
        self.data_collator = data_collator or pads
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        scoring.check_compute_metrics(compute_metrics, by_batch=self.args.batch_eval_metrics)
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        self.criterion = Criterion(self.args.label_smoothing_factor, self.args.class_weights)
        self._given_optimizers = self.optimizer, self.lr_scheduler = optimizers
        self.state, self.control = TrainerState(), TrainerControl()
        self.lightning_flags = dict(lightning_flags or {})
        self.is_in_train = False
        self.loaders: dict[Any, Any] = {}  # of the evaluations of a run: see loaders.batch_loader
        self._engine: TrainingEngine | None = None
        self._evaluator: Engine | None = None
        self.model_preparation_time: float | None = None  # seconds, of an evaluation that came before any training
        shown = NotebookProgressCallback if in_notebook() else ProgressCallback
        progress = PrinterCallback if self.args.disable_tqdm else shown
        self.callback_handler = CallbackHandler(
            [DefaultFlowCallback, *reports(self.args.report_to, lambda: self.beside), *(callbacks or ()), progress],
            self.model,
            self.processing_class,
            self.optimizer,
            self.lr_scheduler,
        )
        if self.args.push_to_hub:
            self.init_hf_repo()
        self.fire("on_init_end")
        self.memory.stop("init")

    @property
    def tokenizer(self) -> Any:
        """The former name of `processing_class`."""
        return self.processing_class

    # ---- train

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Trains the model as `args` say, and loads the best one at the end where they ask for it.

        Args:
            resume_from_checkpoint: folder of a checkpoint to go on from, or True for the newest that verifies.
            trial: handed to a `model_init` that takes it.
            ignore_keys_for_eval: outputs of the model that are no predictions, in evaluations of this run.

        Returns:
            Steps done, mean loss of a step, and `train_*` metrics (run time in seconds, rows and steps a second).

        Raises:
            ConfigurationError: arguments that contradict each other or the data (all at once).
            ValueError: rows that the model cannot take (names row, value and limit).
            FileNotFoundError: no checkpoint to go on from.
            KeyboardInterrupt: SIGINT came; the step was finished and saved (SystemExit after SIGTERM). In a notebook
                the call returns then.
        """
        from lt_trainer import engine as engines

        self.memory.start("train")
        self.optimizer, self.lr_scheduler = self._given_optimizers
        if self.model_init is not None:
            set_seed(self.args.seed)
            self.take_model(self.call_model_init(trial))
        self._ignore_keys_for_eval = ignore_keys_for_eval
        self.control, self.is_in_train, self.loaders = TrainerControl(), True, {}
        if resume_from_checkpoint is None:
            resume_from_checkpoint = self.args.resume_from_checkpoint
        try:
            self._engine = engine = engines.training_engine(self)
            advise(engine)
            self.state = engine.start(resume_from_checkpoint)
            self._first_step = self.state.global_step
            self.begin_lines()
            start = time.time()
            self.train_began = start, self.state.num_input_tokens_seen
            engine.fit()
            return self._finish(engine, start)
        finally:
            if self._engine is not None:
                self._engine.close()
            self.is_in_train, self._engine, self.loaders = False, None, {}

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
        engine.bridge.store_flos()
        metrics |= {"total_flos": self.state.total_flos, "train_loss": train_loss} | self.memory.stop("train")
        self.log(metrics)
        engine.saves.saver.finish(self.model, self.state)
        self.finish_pushes()
        self.fire("on_train_end")
        return TrainOutput(self.state.global_step, train_loss, metrics)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Makes a model with `model_init`, which may take one argument, the trial.

        Raises:
            ValueError: it returned None.
        """
        assert self.model_init is not None
        model = self.model_init(trial) if inspect.signature(self.model_init).parameters else self.model_init()
        if model is None:
            raise ValueError("model_init: expected a function that returns a model, received None from it")
        return model

    # ---- evaluate and predict

    def predictor(self) -> Callable[[nn.Module, dict[str, Any]], Any] | None:
        """What makes predictions of a batch in place of the model's outputs, (model, batch) -> predictions; or None."""
        if getattr(self.args, "predict_with_generate", False):
            raise TypeError(
                f"predict_with_generate=True: expected Seq2SeqTrainer, received {type(self).__name__}, which predicts "
                "the model's outputs: take the other, or leave it out"
            )
        return None if self.task is None else self.task.hooks.predict

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
        self.memory.start("eval")
        wants_log = self.control.should_log
        output = self._evaluate(self.get_eval_dataloader(dataset), metric_key_prefix, ignore_keys, predicts=False)
        assert output.metrics is not None
        self.log(output.metrics)  # which adds the epoch, as scripts expect
        self.control.should_log = wants_log  # of the step, where a callback evaluates before it is logged
        self.fire("on_evaluate", metrics=output.metrics)
        return output.metrics | self.memory.stop("eval")

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """Predictions in the order of the rows, as numpy; labels and metrics where the data set has labels.

        Rows of different lengths are filled up with -100 on the right. Large arrays are mapped from a file.
        """
        self.memory.start("test")
        output = self._evaluate(self.get_test_dataloader(test_dataset), metric_key_prefix, ignore_keys, predicts=True)
        self.fire("on_predict", metrics=output.metrics)
        metrics = (output.metrics or {}) | self.memory.stop("test")
        return PredictionOutput(output.predictions, output.label_ids, metrics)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """One pass of Lightning's loop over a loader of batches: no event of its own, nothing is logged.

        Args:
            dataloader: of `get_eval_dataloader` or `get_test_dataloader`, or any other that yields batches.
            description: changes nothing; scripts name the pass.
            prediction_loss_only: keeps no predictions; None: as `args.prediction_loss_only`.
            ignore_keys: outputs of the model that are no predictions; None: those that its configuration names.
            metric_key_prefix: "eval" gives `eval_loss`.
        """
        loss_only = self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        return self._evaluate(dataloader, metric_key_prefix, ignore_keys, predicts=not loss_only)

    def _evaluate(self, batches: Any, prefix: str, ignore_keys: list[str] | None, *, predicts: bool) -> EvalLoopOutput:
        from lt_trainer import engine as engines

        engine: Engine | None = self._engine
        if engine is None:
            start, first = time.time(), self._evaluator is None and self.state.global_step == 0
            engine = self._evaluator = engines.evaluation_engine(self, self._evaluator)
            if first:
                self.model_preparation_time = round(time.time() - start, 4)
        metrics = self.compute_metrics
        return scoring.evaluate(engine, batches, prefix, ignore_keys, compute_metrics=metrics, predicts=predicts)

    def evaluate_and_rank(self) -> bool:
        """Evaluates in the middle of training; whether it was the best so far by `metric_for_best_model`."""
        assert self._engine is not None
        metrics = self.evaluate(ignore_keys=self._ignore_keys_for_eval)
        self._engine.watch(metrics)
        is_best = self._engine.saves.saver.rank(metrics, self.state)
        if self.trial_watch is not None and self.trial_watch.evaluated(
            metrics, self.state.global_step, is_best=is_best
        ):
            self.control.should_training_stop = True
        return is_best

    # ---- callbacks and processes

    def fire(self, event: str, **details: Any) -> None:
        """Calls an event of every callback; what they set in `control` stands afterwards."""
        self.control = self.callback_handler.call_event(event, self.args, self.state, self.control, **details)

    def fire_saved(self, state: TrainerState) -> None:
        """Calls `on_save`: the checkpoint of `state` is complete and durable, and may go to the hub."""
        self.push_saved(state)
        self.control = self.callback_handler.call_event("on_save", self.args, state, self.control)

    def add_callback(self, callback: Any) -> None:
        """Adds a callback, as a class or an instance; one of Lightning's is called from the next run on."""
        self.callback_handler.add_callback(callback)

    def pop_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> TrainerCallback | None:
        """Removes a callback and returns it; None where there is none."""
        popped: TrainerCallback | None = self.callback_handler.pop_callback(callback)
        return popped

    def remove_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> None:
        """Removes a callback."""
        self.callback_handler.remove_callback(callback)


def _check_optimizers(given: tuple[Any, Any], made_of: Any, model_init: Any) -> None:
    """Refuses what contradicts itself before a model is made.

    Raises:
        ValueError: an optimizer and a class for one, or an optimizer over parameters that `model_init` will replace.
    """
    if made_of is not None and given[0] is not None:
        raise ValueError("optimizers= and optimizer_cls_and_kwargs=: expected one of them, received both")
    if model_init is not None and given != (None, None):
        raise ValueError(
            "optimizers= with model_init=: expected no optimizer, since train() makes another model, received "
            f"{given}; override create_optimizer, or pass optimizer_cls_and_kwargs"
        )
