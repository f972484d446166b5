"""What ZeRO has cut into shards, put together by parameter, and cut again: weights in float32 and optimizer state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from lt_trainer.drivers.base import hollow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.nn import Parameter


class Shards:
    """One parameter after another, the same on all processes: reading is collective.

    Args:
        zero: DeepSpeed's optimizer, around a torch optimizer that steps flat shards.
        groups: the parameters of each group as they were before.
    """

    def __init__(self, zero: Any, groups: list[list[Parameter]]) -> None:
        self.zero, self.groups = zero, groups
        self.group_of = {p: i for i, group in enumerate(groups) for p in group}

    # ---- what the stages do in their own way

    def flat(self, parameter: Parameter) -> torch.Tensor:
        """This process's shard of all the parameters that are stepped together with one."""
        raise NotImplementedError

    def read(self, parameter: Parameter, key: str | None) -> torch.Tensor:
        """The whole of a parameter's state, or of its float32 weights (None)."""
        raise NotImplementedError

    def write(self, parameter: Parameter, key: str | None, value: torch.Tensor) -> None:
        """Copies this process's part of a value to where it is stepped."""
        raise NotImplementedError

    def shape(self, parameter: Parameter) -> torch.Size:
        """Of the whole parameter."""
        return parameter.shape

    def refresh(self) -> None:
        """Called before reading and writing."""

    # ---- what they share

    def weight(self, parameter: Parameter) -> torch.Tensor:
        """The whole weights of a parameter, in float32 where it is trained."""
        if parameter in self.group_of:
            return self.read(parameter, None).detach()
        return self.frozen(parameter)

    def frozen(self, parameter: Parameter) -> torch.Tensor:
        """The whole weights of one that is not trained."""
        return parameter.detach()

    def state(self, *, keep: bool) -> dict[str, Any]:
        """`torch.optim.Optimizer.state_dict` of an optimizer that was never cut.

        Args:
            keep: False gives tensors of the right shape without content, on processes that write nothing.
        """
        self.refresh()
        states: dict[int, dict[str, Any]] = {}
        groups, count = [], 0
        for parameters, settings in zip(self.groups, self.zero.optimizer.param_groups, strict=True):
            numbers = list(range(count, count + len(parameters)))
            groups.append({**settings, "params": numbers})
            found = {i: self._state_of(p, keep) for i, p in zip(numbers, parameters, strict=True)}
            states |= {i: state for i, state in found.items() if state}
            count += len(parameters)
        return {"state": states, "param_groups": groups}

    def _state_of(self, parameter: Parameter, keep: bool) -> dict[str, Any]:
        flat, found = self.flat(parameter), {}
        for key, value in self.zero.optimizer.state.get(flat, {}).items():
            if _is_cut(key, value, flat.shape):
                whole = self.read(parameter, key)
                found[key] = whole.to("cpu") if keep else hollow(whole)
            else:
                found[key] = value.clone() if isinstance(value, torch.Tensor) else value
        return found

    def load(self, states: Mapping[Parameter, Mapping[str, Any]], weights: Mapping[Parameter, torch.Tensor]) -> None:
        """Takes over an optimizer's state by parameter, and float32 weights where the model has been made 16-bit."""
        whole = {p: {k: v for k, v in s.items() if _is_cut(k, v, self.shape(p))} for p, s in states.items()}
        for parameter, values in states.items():
            flat = self.flat(parameter)
            for key, value in values.items():
                made = torch.zeros_like(flat) if key in whole[parameter] else value
                self.zero.optimizer.state[flat].setdefault(key, made)
        self.refresh()
        for parameter, values in whole.items():
            for key, value in values.items():
                self.write(parameter, key, value)
        for parameter, weight in weights.items():
            self.write(parameter, None, weight)


def _is_cut(key: str, value: Any, shape: torch.Size) -> bool:
    """Whether a state has a number for each weight, so that it is cut as the weights are."""
    return key != "step" and isinstance(value, torch.Tensor) and value.shape == shape


class FlatShards(Shards):
    """Stages 1 and 2: the weights are whole, masters and state lie in one flat shard a group."""

    def flat(self, parameter: Parameter) -> torch.Tensor:
        """The shard of its group."""
        shard: torch.Tensor = self.zero.single_partition_of_fp32_groups[self.group_of[parameter]]
        return shard

    def refresh(self) -> None:
        """Links the state of all groups to the parameters: DeepSpeed 0.19.8 links that of the first alone."""
        if self.zero.optimizer.state:
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()

    def read(self, parameter: Parameter, key: str | None) -> torch.Tensor:
        """Added up over the processes, each of which knows a part."""
        whole: torch.Tensor = parameter.get_full_hp_param(key)  # type: ignore[attr-defined]
        return whole

    def write(self, parameter: Parameter, key: str | None, value: torch.Tensor) -> None:
        """Copies the part that lies in this process's shard."""
        parameter.set_full_hp_param(value, key)  # type: ignore[attr-defined]


class PartitionedShards(Shards):
    """Stage 3: each parameter is padded and cut evenly; shards of many lie one after another in a flat one."""

    def flat(self, parameter: Parameter) -> torch.Tensor:
        """The one that holds its shard."""
        group, _, _ = self._place(parameter)
        shard: torch.Tensor = self.zero.fp32_partitioned_groups_flat[group]
        return shard

    def shape(self, parameter: Parameter) -> torch.Size:
        """As it was before it was cut."""
        found: torch.Size = parameter.ds_shape  # type: ignore[attr-defined]
        return found

    def _place(self, parameter: Parameter) -> tuple[int, int, int]:
        group, offset, count = self.zero.grad_position[self.zero.get_param_id(parameter)]
        return group, int(offset), int(count)

    def read(self, parameter: Parameter, key: str | None) -> torch.Tensor:
        """All-gathered."""
        whole: torch.Tensor = self.zero.get_full_hp_param(parameter, key)
        return whole

    def frozen(self, parameter: Parameter) -> torch.Tensor:
        """All-gathered."""
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().clone()

    def write(self, parameter: Parameter, key: str | None, value: torch.Tensor) -> None:
        """Pads, which DeepSpeed's own setter forgets (0.19.8), and copies this process's part."""
        flat, (_, offset, count) = self.flat(parameter), self._place(parameter)
        target = flat if key is None else self.zero.optimizer.state[flat][key]
        padded = torch.nn.functional.pad(value.flatten(), (0, count * dist.get_world_size() - value.numel()))
        rank = dist.get_rank()
        target.data[offset : offset + count].copy_(padded[rank * count : (rank + 1) * count])
