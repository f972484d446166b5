"""Names of other releases of `transformers`: what they are here, or what to use in their place.

They can be given, read and set like fields without being any, so that a run has one value whatever it was called.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lt_trainer.args.check import ConfigurationError, UnknownArgumentError, near, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Renamed:
    """A name that means a field.

    Args:
        today: the field.
        write: its value, from a value of this name.
        read: a value of this name, from the field's.
        is_current: whether some release still calls it so: then its use is no cause for a warning.
    """

    today: str
    write: Callable[[Any], Any] = lambda value: value
    read: Callable[[Any], Any] = lambda value: value
    is_current: bool = False

    def __get__(self, args: Any, owner: type) -> Any:
        return self if args is None else self.read(getattr(args, self.today))

    def __set__(self, args: Any, value: Any) -> None:
        setattr(args, self.today, self.write(value))


@dataclass(frozen=True)
class Gone:
    """A name without a field.

    Args:
        value: what reading it gives.
        fine: values that ask for nothing that does not happen anyway.
        instead: what to do where it was given another one.
    """

    value: Any
    fine: tuple[Any, ...]
    instead: str

    def __get__(self, args: Any, owner: type) -> Any:
        return self if args is None else self.value

    def __set__(self, args: Any, value: Any) -> None:
        if not self.allows(value):
            raise ConfigurationError([f"{value!r}: not supported; {self.instead}"])

    def allows(self, value: Any) -> bool:
        """Whether the value, or its text on a command line, changes nothing."""
        return value is None or value in self.fine or value in [str(fine) for fine in self.fine]


def switch(today: str, on: Any, off: Any, *, is_current: bool = False) -> Renamed:
    """A switch that stands for one value of a field."""
    return Renamed(today, lambda v: on if v in (True, "True", "true") else off, lambda v: v == on, is_current)


DEVICE = "leave it out; processes and devices are found, or set devices"
FORMER: dict[str, Renamed | Gone] = {
    "activation_checkpointing": Renamed("gradient_checkpointing", is_current=True),
    "activation_checkpointing_kwargs": Renamed("gradient_checkpointing_kwargs", is_current=True),
    "adafactor": switch("optim", "adafactor", None),
    "dispatch_batches": Gone(None, (False,), "leave it out; every process reads its own rows"),
    "evaluate_during_training": switch("eval_strategy", "steps", "no"),
    "evaluation_strategy": Renamed("eval_strategy"),
    "fp16_backend": Gone("auto", ("auto", "amp"), "leave it out; mixed precision is torch's"),
    "fsdp_min_num_params": Gone(0, (0,), "set fsdp_config={'min_num_params': ...}"),
    "fsdp_transformer_layer_cls_to_wrap": Gone(None, (), "set fsdp_config={'transformer_layer_cls_to_wrap': [...]}"),
    "group_by_length": switch("train_sampling_strategy", "group_by_length", "random", is_current=True),
    "half_precision_backend": Gone(
        "auto", ("auto", "amp", "cuda_amp", "cpu_amp"), "leave it out; mixed precision is torch's"
    ),
    "include_inputs_for_metrics": Renamed(
        "include_for_metrics", lambda v: ["inputs"] if v in (True, "True", "true") else [], lambda v: "inputs" in v
    ),
    "include_tokens_per_second": Gone(False, (False,), "set include_num_input_tokens_seen='all'"),
    "jit_mode_eval": Gone(False, (False,), "set torch_compile=True"),
    "mp_parameters": Gone("", ("",), DEVICE),
    "no_cuda": Renamed("use_cpu"),
    "past_index": Gone(-1, (-1,), "leave it out; evaluation keeps no state between batches"),
    "per_gpu_eval_batch_size": Renamed("per_device_eval_batch_size"),
    "per_gpu_train_batch_size": Renamed("per_device_train_batch_size"),
    "push_to_hub_model_id": Renamed("hub_model_id"),
    "push_to_hub_organization": Gone(None, (), "set hub_model_id='organization/name'"),
    "push_to_hub_token": Renamed("hub_token"),
    "ray_scope": Gone("last", ("last",), "leave it out; searches run with optuna"),
    "save_safetensors": Gone(True, (True,), "leave it out; weights are always saved as safetensors"),
    "sharded_ddp": Gone([], ("", [], False), "set fsdp=True"),
    "split_batches": Gone(None, (False,), "leave it out, and set the rows a device by per_device_train_batch_size"),
    "torchdynamo": Renamed("torch_compile_backend"),
    "tp_size": Gone(0, (0, 1), "set fsdp or deepspeed"),
    "tpu_metrics_debug": Gone(False, (False,), "leave it out; there are no TPUs here"),
    "tpu_num_cores": Gone(None, (), "leave it out; there are no TPUs here"),
    "use_ipex": Gone(False, (False,), "set bf16=True, which runs on CPUs too"),
    "use_legacy_prediction_loop": Gone(False, (False,), "leave it out; Lightning's loop is the only one"),
    "use_mps_device": Gone(False, (False, True), "leave it out; it is found"),
    "xpu_backend": Renamed("ddp_backend"),
}


class Named(type):
    """Makes arguments from the names of any release, in subclasses too, and answers an unknown name with the nearest.

    Raises:
        ConfigurationError: on construction, with the problems of names and of values in one.
    """

    def __call__(cls, *args: Any, **given: Any) -> Any:
        """Constructs; one DeprecationWarning tells of all former names."""
        values, notes, problems = translate(given, {f.name: f.default for f in fields(cls)})  # type: ignore[arg-type]
        unknown = [] if cls._takes_any() else sorted({*values} - {*cls.__signature__.parameters})
        for name in unknown:
            value = values.pop(name)
            problems.append(f"{shown(name, value)}: no such argument{near(name, [*cls.__signature__.parameters])}")
        try:
            made = super().__call__(*args, **values)
        except ConfigurationError as error:
            if not problems:
                raise
            problems += error.problems
        if problems:
            raise (UnknownArgumentError if unknown else ConfigurationError)(problems)
        if notes:
            warnings.warn("; ".join(notes), DeprecationWarning, stacklevel=2)
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of `__init__`, without `self`."""
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=[*signature.parameters.values()][1:])

    def _takes_any(cls) -> bool:
        kinds = [parameter.kind for parameter in cls.__signature__.parameters.values()]
        return inspect.Parameter.VAR_KEYWORD in kinds


def translate(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """The given values under today's names, what to tell of former ones, and what cannot be.

    Args:
        given: value by name.
        defaults: of the fields, by name; a name among them is no former one.
    """
    values, notes, problems = dict(given), list[str](), list[str]()
    for name in given:
        row = FORMER.get(name) if name not in defaults else None
        if row is None:
            continue
        value = values.pop(name)
        if isinstance(row, Gone):
            notes.append(f"{name} has no effect any more; leave it out")
            if not row.allows(value):
                problems.append(f"{shown(name, value)}: not supported; {row.instead}")
            continue
        if not row.is_current:
            notes.append(f"{name} is {row.today} now")
        if value is None or row.write(value) in (None, defaults[row.today]):
            continue  # asks for nothing
        if given.get(row.today, defaults[row.today]) != defaults[row.today]:
            problems.append(f"{name} and {row.today} are one: expected {row.today} alone, received both")
            continue
        values[row.today] = row.write(value)
    return values, notes, problems
