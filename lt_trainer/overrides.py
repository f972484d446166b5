"""What a subclass of `Trainer` may override: losses, steps, optimizers, loaders, each with what it does by itself.

The engine asks for every one of these, so an override is honoured wherever it would be in `transformers`. What has no
place here because Lightning owns it is refused by name when the trainer is made (`REFUSED`).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

from lt_trainer import optim
from lt_trainer.criterion import Criterion, LabelSmoother
from lt_trainer.machine import global_rank

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import DataLoader

    from lt_trainer.args.fields import TrainingArguments
    from lt_trainer.data.loaders import BatchLoader
    from lt_trainer.data.once import OnceLoader
    from lt_trainer.data.streams import StreamLoader
    from lt_trainer.data.windows import Batch
    from lt_trainer.datamodule import TaskData
    from lt_trainer.engine import TrainingEngine
    from lt_trainer.optim import Watcher
    from lt_trainer.trainer import Trainer

# Methods of `transformers` that nothing calls here, and what to override in their place.
REFUSED = {
    "_inner_training_loop": "training_step, or pass a callback: Lightning owns the loop",
    "_run_epoch": "training_step, or pass a callback: Lightning owns the loop",
    "_maybe_log_save_evaluate": "log, evaluate or save_model, or set control.should_* in a callback",
    "_save_checkpoint": "nothing: pass a callback with on_save, which finds the checkpoint on the disk",
    "_determine_best_metric": "evaluate, and name its metric in metric_for_best_model",
    "_wrap_model": "lightning_flags={'strategy': ...}",
    "_get_train_sampler": "get_train_dataloader",
    "_get_eval_sampler": "get_eval_dataloader",
    "_get_dataloader": "get_train_dataloader, get_eval_dataloader and get_test_dataloader",
    "_prepare_inputs": "the collator, or training_step and prediction_step",
    "_prepare_input": "the collator, or training_step and prediction_step",
    "_remove_unused_columns": "get_train_dataloader, or pass remove_unused_columns=False",
    "_get_learning_rate": "log",
    "_load_from_checkpoint": "nothing: load the weights into the model before it is passed",
    "_load_best_model": "nothing: pass a callback with on_train_end",
    "autocast_smart_context_manager": "training_step: Lightning's precision decides",
    "compute_loss_context_manager": "compute_loss",
    "evaluation_loop": "prediction_step or evaluate",
    "prediction_loop": "prediction_step or evaluate",
    "get_batch_samples": "compute_loss, which gets num_items_in_batch",
    "store_flos": "floating_point_ops",
}


def refuse_overrides(cls: type, base: type) -> None:
    """Refuses a subclass whose override would never be called.

    Args:
        cls: of the trainer.
        base: the class that the package brings; what it and those below it define is no override.

    Raises:
        NotImplementedError: with each such method and what to override instead.
    """
    theirs = {name for one in cls.__mro__ if one not in base.__mro__ for name in vars(one)}
    if found := [name for name in REFUSED if name in theirs]:
        raise NotImplementedError(
            f"{cls.__name__} overrides what is never called here:"
            + "".join(f"\n- {name}: override {REFUSED[name]}" for name in found)
        )


def is_overridden(facade: object, name: str) -> bool:
    """Whether a trainer has its own form of a method of `Overridable`."""
    return getattr(type(facade), name) is not getattr(Overridable, name)


def makes_optimizer(facade: object) -> bool:
    """Whether a trainer's class makes its optimizer by itself, whatever `optim` says."""
    names = ("create_optimizer", "create_optimizer_and_scheduler", "get_optimizer_cls_and_kwargs")
    return any(is_overridden(facade, name) for name in names)


class Accelerator:
    """The few things that overridden steps ask of `accelerate`; Lightning does them here.

    Args:
        facade: the trainer.
    """

    def __init__(self, facade: Overridable) -> None:
        self._facade = facade

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss to those of the step; processes average them."""
        assert self._facade._engine is not None
        self._facade._engine.module.manual_backward(loss)

    def unwrap_model(self, model: nn.Module) -> nn.Module:
        """The model itself: steps get it bare."""
        return model

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return next(self._facade.model.parameters()).device

    @property
    def num_processes(self) -> int:
        """Processes that share a batch."""
        engine = self._facade._engine
        return 1 if engine is None else engine.world_size

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes."""
        return global_rank() == 0


class Overridable:
    """Methods that the engine calls and a subclass may take the place of.

    Attributes:
        loss_is_scaled_for_ga: what an overridden `compute_loss` returns. True: a part of the step's loss, divided by
            `num_items_in_batch`. False: the mean over a micro-batch. None: the first where it reads
            `num_items_in_batch`, else the second.
    """

    args: TrainingArguments
    model: nn.Module
    optimizer: Optimizer | None
    lr_scheduler: LRScheduler | Watcher | None
    optimizer_cls_and_kwargs: tuple[Any, dict[str, Any]] | None
    compute_loss_func: Any
    criterion: Criterion
    train_dataset: Any
    eval_dataset: Any
    task_data: TaskData | None
    loss_is_scaled_for_ga: bool | None = None
    _engine: TrainingEngine | None

    # ---- the step

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
            loss, outputs = objective.model_loss(model, inputs, num_items_in_batch, self.criterion)
        return (loss, outputs) if return_outputs else loss

    @property
    def label_smoother(self) -> LabelSmoother | None:
        """For an override of `compute_loss` that smoothes by itself; None where nothing is to be smoothed."""
        return LabelSmoother(self.args.label_smoothing_factor) if self.args.label_smoothing_factor else None

    @property
    def replaces_loss(self) -> bool:
        """Whether a subclass or `compute_loss_func` takes the place of the model's own loss."""
        return is_overridden(self, "compute_loss") or self.compute_loss_func is not None

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Forward and backward of one micro-batch.

        Args:
            model: the bare model, in training mode.
            inputs: a padded batch on the device.
            num_items_in_batch: targets of the whole optimizer step over all processes, 0-d.

        Returns:
            The detached loss, 0-d: micro-batches are added up, processes averaged, as gradients are.
        """
        from lt_trainer import user_steps

        assert self._engine is not None
        module, driver = self._engine.module, self._engine.driver
        targets = module.num_targets if num_items_in_batch is None else num_items_in_batch
        loss = user_steps.step_loss(cast("Trainer", self), model, inputs, targets) * driver.world_size
        module.manual_backward(loss)
        return loss.detach()

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, Any, Any]:
        """One batch of an evaluation or prediction.

        Args:
            model: the bare model, in evaluation mode.
            inputs: a padded batch on the device.
            prediction_loss_only: nobody reads logits and labels.
            ignore_keys: outputs of the model that are no predictions.

        Returns:
            (mean loss over the batch's targets, 0-d; logits; labels), each None where there is none.
        """
        from lt_trainer import user_steps

        return user_steps.prediction_step(cast("Trainer", self), model, inputs, prediction_loss_only, ignore_keys)

    @property
    def accelerator(self) -> Accelerator:
        """What overridden steps of `transformers` ask for, above all `accelerator.backward(loss)`."""
        return Accelerator(self)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The batch as it is: it came on its device."""
        return inputs

    def compute_loss_context_manager(self) -> AbstractContextManager[Any]:
        """Nothing: Lightning's precision has set the context of the whole step."""
        return nullcontext()

    # ---- optimizer and schedule

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Sets `optimizer` and `lr_scheduler`, by the two methods below."""
        self.optimizer = self.create_optimizer() or self.optimizer  # an override may set it and return nothing
        if self.optimizer is None:
            raise ValueError(
                f"{type(self).__name__} made no optimizer: expected create_optimizer to set self.optimizer or return it"
            )
        self.lr_scheduler = self.create_scheduler(num_training_steps=num_training_steps) or self.lr_scheduler

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Makes the optimizer that `args` ask for, unless the caller brought one."""
        if self.optimizer is None:
            assert self._engine is not None
            model, plan = self.model if model is None else model, self._engine.plan.optimizer
            names = self.get_decay_parameter_names(model) if is_overridden(self, "get_decay_parameter_names") else None
            made = self.optimizer_cls_and_kwargs
            if made is None and is_overridden(self, "get_optimizer_cls_and_kwargs"):
                made = self.get_optimizer_cls_and_kwargs(self.args, model)
            if made is None:
                self.optimizer = optim.create_optimizer(model, plan, names)
            else:
                self.optimizer = optim.create_user_optimizer(model, *made, plan, names)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler | Watcher:
        """Makes the learning rate schedule that `args` ask for, unless the caller brought one."""
        if self.lr_scheduler is None:
            assert self._engine is not None
            optimizer = self.optimizer if optimizer is None else optimizer
            assert optimizer is not None
            self.lr_scheduler = optim.create_scheduler(optimizer, self._engine.plan.optimizer, num_training_steps)
        return self.lr_scheduler

    @staticmethod
    def get_optimizer_cls_and_kwargs(
        args: TrainingArguments, model: nn.Module | None = None
    ) -> tuple[type[Optimizer], dict[str, Any]]:
        """The class of the optimizer that `args` ask for, and its arguments but the parameters."""
        from lt_trainer.args.plan import plan
        from lt_trainer.machine import find_facts

        return optim.class_and_kwargs(plan(args, find_facts(None, True)).optimizer)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the trainable parameters that decay: all but biases and norms."""
        return optim.decaying(model)

    # ---- loaders

    def get_train_dataloader(self) -> DataLoader[Batch]:
        """Micro-batches of shuffled training rows; an override may return any loader of batches.

        Raises:
            ValueError: no training data, or rows that the model cannot take.
        """
        if self.train_dataset is None:
            raise ValueError("train needs a data set: expected Trainer(train_dataset=...), received None")
        return self._loader(self.train_dataset, "train_dataset")

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Batch]:
        """Batches of evaluation rows, in their order.

        Args:
            eval_dataset: another data set than the trainer's own, or the name of one of several.

        Raises:
            ValueError: no evaluation data, or rows that the model cannot take.
        """
        from lt_trainer.scoring import named

        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        name = f"eval_dataset[{dataset!r}]" if isinstance(dataset, str) else "eval_dataset"
        return self._loader(named(dataset, self.eval_dataset), name)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Batch]:
        """Batches of rows to predict, in their order; they need no labels."""
        return self._loader(test_dataset, "test_dataset")

    def _loader(self, dataset: Any, name: str) -> BatchLoader | StreamLoader | OnceLoader:
        from lt_trainer import loaders

        if self.task_data is not None and name != "train_dataset":
            dataset = self.task_data.encoded_once(dataset)
        return loaders.batch_loader(cast("Trainer", self), dataset, name)

    def num_examples(self, dataloader: DataLoader[Any]) -> int:
        """Rows that a loader goes through; where its data set has no length, as many as its batches could hold."""
        from lt_trainer.data.loaders import length_of

        try:
            return len(dataloader.dataset)  # type: ignore[arg-type]
        except (AttributeError, TypeError):
            batches = length_of(dataloader)
            return (self.args.max_steps if batches is None else batches) * self.args.per_device_train_batch_size

    # ---- counts

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Operations of forward and backward of a padded batch: 6 x tokens x weights beside the embeddings.

        Source: Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1.
        """
        from lt_trainer import objective

        return objective.floating_point_ops(self.model, inputs)

    def get_num_trainable_parameters(self) -> int:
        """Weights that are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def get_learning_rates(self) -> list[float]:
        """The learning rate of each group of parameters.

        Raises:
            ValueError: there is no optimizer yet.
        """
        if self.optimizer is None:
            raise ValueError("get_learning_rates: the optimizer is made when training starts; call it after train()")
        return [float(group["lr"]) for group in self.optimizer.param_groups]
