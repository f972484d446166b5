"""Objects of Lightning that a caller brings: a strategy, a precision plugin; what they mean for the plan.

They pass through as they are. The plan knows them by name (`Flags`), since batch sizes and optimizers follow from them.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
    StrategyRegistry,
)

from lt_trainer import private
from lt_trainer.args.check import ConfigurationError, near
from lt_trainer.drivers import has_driver
from lt_trainer.flags import Flags, full_name
from lt_trainer.machine import find_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lt_trainer.args.hardware import Facts
    from lt_trainer.args.plan import Plan
    from lt_trainer.trainer import Trainer

OWN = ("strategy", "precision", "num_nodes")
_INSTEAD: dict[type[Strategy], str] = {
    FSDPStrategy: "it is FSDP's first version; set fsdp='full_shard' in the arguments, which is FSDP2",
    ModelParallelStrategy: "set fsdp='full_shard' in the arguments, which is FSDP2; tensor parallel layers do not run",
    DeepSpeedStrategy: "set deepspeed= in the arguments to what it would get as config, a dict or a JSON file",
}


def facts_of(facade: Trainer, num_train_rows: int | None, has_eval: bool) -> Facts:
    """What the machine, the launcher and the raw flags of Lightning say."""
    return replace(find_facts(num_train_rows, has_eval), flags=read_flags(facade.lightning_flags))


def read_flags(given: Mapping[str, Any]) -> Flags:
    """What the flags decide, with what is wrong with their objects."""
    strategy, precision, nodes = (given.get(name) for name in OWN)
    plugin, problems = _plugin(given), []
    if strategy is not None and strategy != "auto":
        problems += _problems_of_strategy(strategy)
    if isinstance(precision, Precision):
        problems.append(f"precision={type(precision).__name__}: expected a name; pass the object as plugins=[...]")
    elif precision is not None and plugin is not None:
        problems.append(f"precision={precision!r} beside {type(plugin).__name__}: expected one; leave either out")
    if nodes is not None and (not isinstance(nodes, int) or nodes < 1):
        problems.append(f"num_nodes={nodes!r}: expected the number of machines, 1 or more; write 1, or leave it out")
        nodes = None
    name = None if precision is None else full_name(str(precision))
    return Flags(
        strategy=None if strategy in (None, "auto") else strategy if isinstance(strategy, str) else _name(strategy),
        strategy_is_object=isinstance(strategy, Strategy),
        precision=name if plugin is None else str(plugin.precision),
        precision_is_plugin=plugin is not None,
        num_nodes=nodes,
        problems=tuple(problems),
    )


def merge_flags(planned: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Raw flags of `lightning.Trainer` beside those of the plan; objects take the place of their names.

    A strategy becomes part of the Lightning trainer that gets it, and no other can have it: each gets a copy.

    Raises:
        ValueError: a flag that the arguments decide (all of them at once).
    """
    in_plan = {name for name in OWN if not isinstance(given.get(name), Strategy)}
    given = {name: copy(v) if name == "strategy" else v for name, v in given.items() if name not in in_plan}
    brought = {*OWN} - in_plan | ({"precision"} if _plugin(given) is not None else set())
    planned = {name: value for name, value in planned.items() if name not in brought}
    if taken := sorted(set(planned) & set(given)):
        raise ValueError(
            f"Lightning flags {taken} follow from the training arguments: expected others, received "
            f"{ {name: given[name] for name in taken} }; set the arguments instead (`lt-trainer explain` shows which)"
        )
    return {**planned, **given}


def check_processes(plan: Plan, world_size: int) -> None:
    """Batches were planned for as many processes as Lightning will run.

    Raises:
        ConfigurationError: a strategy or a plugin that runs another number.
    """
    planned = plan.hardware.world_size
    if planned != world_size:
        problem = f"strategy {plan.hardware.strategy!r} runs {world_size} process(es), {planned} were asked for"
        raise ConfigurationError(
            [f"{problem}: expected as many; leave strategy and cluster environments out of lightning_flags"]
        )


def _plugin(given: Mapping[str, Any]) -> Precision | None:
    """The precision object among the plugins, or in the strategy."""
    plugins = given.get("plugins") or ()
    every = [*(plugins if isinstance(plugins, list | tuple) else (plugins,))]
    if isinstance(strategy := given.get("strategy"), Strategy):
        every.append(private.precision_of(strategy))
    return next((plugin for plugin in every if isinstance(plugin, Precision)), None)


def _problems_of_strategy(strategy: Any) -> list[str]:
    if isinstance(strategy, str):
        told = f"strategy={strategy!r}"
        if (row := dict(StrategyRegistry).get(strategy.lower())) is None:
            return [f"{told}: expected 'auto' or one of {(known := sorted(StrategyRegistry))}{near(strategy, known)}"]
        kind, start = row["strategy"], row["init_params"].get("start_method", "popen")
    else:
        told, kind = f"strategy={_name(strategy)}(...)", type(strategy)
        if not isinstance(strategy, Strategy):
            return [f"{told}: expected a name or an object of Lightning's Strategy; leave it out"]
        start = private.start_method(strategy)
    for refused, instead in _INSTEAD.items():
        if issubclass(kind, refused):
            return [f"{told}: does not run here; {instead}"]
    if not has_driver(kind):
        return [f"{told}: does not run here; leave it out, or bring a DDPStrategy or a SingleDeviceStrategy"]
    if start != "popen":
        return [f"{told}: it starts processes by {start}, and what they train is lost with them; set devices= alone"]
    return []


def _name(strategy: Any) -> str:
    return type(strategy).__name__
