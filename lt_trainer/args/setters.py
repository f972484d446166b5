"""`args.set_training(...)` and its like: arguments that belong together, set after construction."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

# Fields by the parameters that stand for them.
TRAINING = {"batch_size": "per_device_train_batch_size", "num_epochs": "num_train_epochs"}
OPTIMIZER = {"name": "optim", "args": "optim_args"}
SCHEDULE = {"name": "lr_scheduler_type", "num_epochs": "num_train_epochs"}
EVALUATION = {"batch_size": "per_device_eval_batch_size", "loss_only": "prediction_loss_only"}
LOGGING = {"level": "log_level", "on_each_node": "log_on_each_node", "replica_level": "log_level_replica"}
LOADER = {
    "train_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "sampler_seed": "data_seed",
}


class Setters:
    """Each sets what it names, and the rest of its group to its default, as `transformers` does; each returns `args`.

    Raises:
        ConfigurationError: a value out of its range; contradictions with other groups are told when a run is planned.
    """

    def assign(self, **values: Any) -> Self:
        """Sets fields to values that are read and checked as on construction."""
        raise NotImplementedError

    def _set(self, given: dict[str, Any], group: str, names: dict[str, str] | None = None, **more: Any) -> Self:
        """Assigns `given`, a setter's `locals()`: fields as `names` says, named alike, or with the group's name."""
        known = {f.name for f in fields(self)}  # type: ignore[arg-type]
        values = {name: value for name, value in given.items() if name != "self"}
        places = {name: (names or {}).get(name, name if name in known else f"{group}_{name}") for name in values}
        return self.assign(**{places[name]: value for name, value in values.items()}, **more)

    def set_training(
        self,
        learning_rate: float = 5e-5,
        batch_size: int = 8,
        weight_decay: float = 0,
        num_epochs: float = 3,
        max_steps: int = -1,
        gradient_accumulation_steps: int = 1,
        seed: int = 42,
        activation_checkpointing: bool = False,
        gradient_checkpointing: bool | None = None,
    ) -> Self:
        """The basics of a run; `batch_size` is of a device, `gradient_checkpointing` and the one before are one."""
        if gradient_checkpointing is None:
            gradient_checkpointing = activation_checkpointing
        given = {name: value for name, value in locals().items() if name != "activation_checkpointing"}
        return self._set(given, "train", TRAINING, do_train=True)

    def set_evaluate(
        self,
        strategy: str = "no",
        steps: float = 500,
        batch_size: int = 8,
        accumulation_steps: int | None = None,
        delay: float | None = None,
        loss_only: bool = False,
    ) -> Self:
        """When and how to evaluate."""
        return self._set({**locals(), "delay": delay or 0}, "eval", EVALUATION, do_eval=strategy != "no")

    def set_testing(self, batch_size: int = 8, loss_only: bool = False) -> Self:
        """How to predict; sets `do_predict`."""
        return self._set(locals(), "eval", EVALUATION, do_predict=True)

    def set_save(
        self, strategy: str = "steps", steps: float = 500, total_limit: int | None = None, on_each_node: bool = False
    ) -> Self:
        """When to save checkpoints, and how many to keep."""
        return self._set(locals(), "save")

    def set_logging(
        self,
        strategy: str = "steps",
        steps: float = 500,
        report_to: str | list[str] = "none",
        level: str = "passive",
        first_step: bool = False,
        nan_inf_filter: bool = False,
        on_each_node: bool = False,
        replica_level: str = "passive",
    ) -> Self:
        """When and where to log. The last three have other defaults here than as fields, as in `transformers`."""
        return self._set(locals(), "logging", LOGGING)

    def set_push_to_hub(
        self,
        model_id: str,
        strategy: str = "every_save",
        token: str | None = None,
        private_repo: bool | None = None,
        always_push: bool = False,
        revision: str | None = None,
    ) -> Self:
        """Where and when to push; sets `push_to_hub`."""
        return self._set(locals(), "hub", push_to_hub=True)

    def set_optimizer(
        self,
        name: str = "adamw_torch",
        learning_rate: float = 5e-5,
        weight_decay: float = 0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        args: str | None = None,
    ) -> Self:
        """The optimizer and what it takes."""
        return self._set(locals(), "adam", OPTIMIZER)

    def set_lr_scheduler(
        self,
        name: str = "linear",
        num_epochs: float = 3.0,
        max_steps: int = -1,
        warmup_steps: float = 0,
        warmup_ratio: float = 0.0,
    ) -> Self:
        """The schedule of the learning rate and its length; `warmup_ratio` is of the 4.x releases."""
        return self._set(locals(), "lr_scheduler", SCHEDULE)

    def set_dataloader(
        self,
        train_batch_size: int = 8,
        eval_batch_size: int = 8,
        drop_last: bool = False,
        num_workers: int = 0,
        pin_memory: bool = True,
        persistent_workers: bool = False,
        prefetch_factor: int | None = None,
        multiprocessing_context: str | None = None,
        in_order: bool = True,
        auto_find_batch_size: bool = False,
        ignore_data_skip: bool = False,
        sampler_seed: int | None = None,
    ) -> Self:
        """How rows become batches; both batch sizes are of a device."""
        return self._set(locals(), "dataloader", LOADER)
