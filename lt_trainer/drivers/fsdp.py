"""FSDP2: every process holds a share of each weight, of its gradient and of what the optimizer keeps for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from lt_trainer.drivers.base import hollow
from lt_trainer.drivers.ddp import DDPDriver
from lt_trainer.drivers.forms import Forms
from lt_trainer.models.running import shard_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lightning.pytorch as pl
    from torch import nn
    from torch.optim import Optimizer

    from lt_trainer.sharding.fsdp import Sharding


class FSDP2Strategy(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 over all processes.

    Args:
        sharding: how the model is dealt out.
        world_size: processes in all.
        options: of the process group: `process_group_backend`, `timeout`.
    """

    def __init__(self, sharding: Sharding, world_size: int, **options: Any) -> None:
        super().__init__(
            data_parallel_size=world_size, tensor_parallel_size=1, save_distributed_checkpoint=False, **options
        )
        self.sharding = sharding


class FSDPDriver(DDPDriver):
    """Fetches weights layer by layer in both passes; exchanges gradients once a step, in its last micro-batch.

    Evaluating and saving put the whole model together on every process: `whole` takes as much memory as its weights.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        super().__init__(trainer)
        self._forms: Forms | None = None

    @property
    def forward_is_shared(self) -> bool:
        """Weights are fetched from all processes in each forward pass."""
        return True

    def prepare(self, model: nn.Module) -> None:
        """Gives every process the first one's weights, as DDP does, and deals them out.

        Raises:
            ValueError: `transformer_layer_cls_to_wrap` names no class of the model, or the model is dealt out already.
        """
        strategy = self.trainer.strategy
        assert isinstance(strategy, FSDP2Strategy)
        if any(isinstance(module, FSDPModule) for module in model.modules()):
            raise ValueError(
                f"{type(model).__name__} was left dealt out by a run that failed: expected a whole model; load it again"
            )
        sharding, mesh, device = strategy.sharding, strategy.device_mesh["data_parallel"], strategy.root_device
        units = shard_units(model, sharding.layers, sharding.min_num_params) if sharding.fetches_layers else []
        for tensor in (*model.parameters(), *model.buffers()):
            sent = tensor.data.to(device)
            dist.broadcast(sent, 0)
            tensor.data.copy_(sent)

        def deal_out() -> None:
            for unit in units:
                fully_shard(unit, mesh=mesh, reshard_after_forward=sharding.reshard)
            fully_shard(model, mesh=mesh)

        self._forms = Forms(model, deal_out)

    def finish(self, model: nn.Module) -> None:
        """Puts the model together on the CPU of every process."""
        if self._forms is not None:
            self._forms.put_together(torch.device("cpu"))
            self._forms = None

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Puts the model together inside."""
        if self._forms is None or self._forms.are_whole:
            yield
            return
        self._forms.put_together(None)
        try:
            yield
        finally:
            self._forms.take_apart()

    def evaluating(self, model: nn.Module) -> AbstractContextManager[Any]:
        """The whole model on every process, so that none waits for another."""
        return self.whole(model)

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients of all but the last stay whole on each process."""
        assert self._forms is not None
        self._forms.root.set_requires_gradient_sync(last)
        return super(DDPDriver, self).micro_batch(last)

    def optimizer_state(self) -> dict[str, Any]:
        """Whole tensors in the first process's memory; elsewhere their shapes."""
        state: dict[str, Any] = tree_map(self._gathered, self.trainer.optimizers[0].state_dict())
        return state

    def _gathered(self, value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        full = value.full_tensor()
        return full.cpu() if self.rank == 0 else hollow(full)

    def load_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Each process keeps its share of what has a weight's shape."""
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        kept = {number: dict(values) for number, values in state["state"].items()}
        for number, weight in zip(numbers, weights, strict=True):
            for name, value in kept.get(number, {}).items():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape and value.ndim:
                    whole = value.to(weight.device, weight.dtype)
                    kept[number][name] = distribute_tensor(
                        whole, weight.device_mesh, weight.placements, src_data_rank=None
                    )
        optimizer.load_state_dict({**state, "state": kept})

    def _own_part(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.to_local() if isinstance(gradient, DTensor) else gradient

    def _norm_of_all(self, norm: torch.Tensor) -> torch.Tensor:
        return self.sum(norm.square()).sqrt()  # every weight is dealt out: no part is held twice
