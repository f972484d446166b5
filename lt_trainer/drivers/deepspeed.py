"""DeepSpeed: ZeRO shards the optimizer's state (1), the gradients too (2), the weights too (3).

DeepSpeed measures, clips and steps inside its own engine, and leaves out a step whose gradients are not finite. What a
checkpoint needs is gathered, so a folder is the same as that of any other run. An evaluation in the middle of training
gathers the weights of stage 3 once: processes then need not run the same number of batches, but each holds the model.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import os
import sys
from collections import OrderedDict
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import DeepSpeedStrategy

from lt_trainer.drivers.base import hollow, standing_in
from lt_trainer.drivers.ddp import DDPDriver
from lt_trainer.drivers.shards import FlatShards, PartitionedShards, Shards

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import lightning.pytorch as pl
    from torch import nn

logger = logging.getLogger(__name__)


def import_deepspeed(*, on_cpu: bool) -> Any:
    """The package, told which device it is for: it looks for one when it is imported.

    Raises:
        ImportError: it is not installed (names the extra), or it was imported for another device.
    """
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
    except ImportError as error:
        raise ImportError(
            "deepspeed= needs the package deepspeed, which is not installed: pip install 'lt-trainer[deepspeed]'"
        ) from error
    found = deepspeed.accelerator.get_accelerator().device_name()
    if on_cpu and found != "cpu":
        raise ImportError(
            f"deepspeed= on the CPU: deepspeed was imported for {found!r} before; set DS_ACCELERATOR=cpu first"
        )
    if on_cpu:  # a faster all-reduce for inference, which nothing here calls: compiling it takes minutes and a compiler
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    atexit.unregister(_part)
    atexit.register(_part)
    for lock in stale_locks():
        logger.warning(
            "%s is left of an extension that was half built, and whoever needs that extension waits for it without a "
            "word: if nothing is being built now, remove it (rm %s)",
            *(lock, lock),
        )
    return deepspeed


def _part() -> None:
    """Ends the groups while Python still runs.

    A thread of gloo that lets go of its last tensor later than that aborts the process: it asks for a lock that is no
    more. The engines of earlier runs keep groups, and with them such threads, until they are collected.
    """
    import deepspeed

    gc.collect()
    if torch.distributed.is_initialized():
        deepspeed.comm.destroy_process_group()
    gc.collect()


def stale_locks() -> list[Path]:
    """Locks of torch's builds of extensions, such as those that DeepSpeed compiles for offloading."""
    python = f"py{sys.version_info.major}{sys.version_info.minor}_*"
    own = os.environ.get("TORCH_EXTENSIONS_DIR")
    return sorted(Path(own).glob("*/lock") if own else Path.home().glob(f".cache/torch_extensions/{python}/*/lock"))


class ZeroStrategy(DeepSpeedStrategy):
    """Lightning's strategy, also on CPUs; takes over what the optimizer held, and gives the model back whole."""

    shards: Shards | None = None
    _failed = False

    def setup_environment(self) -> None:
        """Joins the processes: Lightning's own way takes GPUs alone."""
        on_cpu = isinstance(self.accelerator, CPUAccelerator)
        import_deepspeed(on_cpu=on_cpu)
        if not on_cpu:
            super().setup_environment()
            return
        assert self.accelerator is not None
        self.accelerator.setup_device(self.root_device)
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def _setup_model_and_optimizer(self, model: nn.Module, optimizer: Any, lr_scheduler: Any = None) -> tuple[Any, Any]:
        """Called by Lightning with the optimizer of the module: hands both to DeepSpeed."""
        import deepspeed

        self._marks = {p: set(vars(p)) for p in model.parameters()}
        self._types = {name: buffer.dtype for name, buffer in model.named_buffers()}
        groups = [list(group["params"]) for group in optimizer.param_groups]
        states = {p: optimizer.state.pop(p) for group in groups for p in group if p in optimizer.state}
        exact = self.precision_plugin.precision == "32-true"
        weights = {} if exact else {p: p.detach().to("cpu", copy=True) for group in groups for p in group}
        engine, zero, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=-1 if self.root_device.index is None else self.root_device.index),
            config=self.config,
            model=model,
            model_parameters=[p for p in model.parameters() if p.requires_grad],
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            dist_init_required=False,
        )
        self.shards = (PartitionedShards if self.zero_stage_3 else FlatShards)(zero, groups)
        self.shards.load(states, weights)
        return engine, zero

    def pre_backward(self, closure_loss: torch.Tensor) -> None:
        """Tells stage 3 that another micro-batch goes backward: it prepares for one per forward of the whole step."""
        if self.zero_stage_3:
            self.model.optimizer.clear_backward_seen_flag()  # type: ignore[union-attr,operator]
            self.model._backward_prologue()  # type: ignore[union-attr,operator]

    def on_exception(self, exception: BaseException) -> None:
        """Another process may be elsewhere: nothing is gathered any more."""
        self._failed = True
        super().on_exception(exception)

    def teardown(self) -> None:
        """After training: the model is a plain one again, whole, in float32, on every process."""
        if self.shards is not None and not self._failed:
            self._give_back(self.shards)
        self.shards = None
        super().teardown()

    def _give_back(self, shards: Shards) -> None:
        module, engine = self.lightning_module, self.model
        assert module is not None
        whole = {p: shards.weight(p).to("cpu") for p in module.parameters()}
        engine.destroy()  # type: ignore[union-attr,operator]
        for part in module.modules():
            if "_original_parameters" in vars(part):
                del part._original_parameters
                part._parameters = OrderedDict(part._parameters.items())
        for p, weight in whole.items():
            p.data, p.grad = weight, None
            for name in set(vars(p)) - self._marks[p]:
                delattr(p, name)
        for name, buffer in module.named_buffers():
            buffer.data = buffer.data.to(self._types.get(name, buffer.dtype))
        self.model = module


class ZeroDriver(DDPDriver):
    """Tells DeepSpeed which micro-batch is a step's last, and gathers what it has sharded."""

    @property
    def strategy(self) -> ZeroStrategy:
        """Of the trainer."""
        assert isinstance(self.trainer.strategy, ZeroStrategy)
        return self.trainer.strategy

    @property
    def shards(self) -> Shards:
        """Of the run that is on."""
        assert self.strategy.shards is not None
        return self.strategy.shards

    @property
    def forward_is_shared(self) -> bool:
        """Stage 3 gathers the weights of each layer in each forward pass.

        Stage 2 adds up buckets of gradients that lie in the order in which they were made: with the stand-in of a blank
        micro-batch another order on one process, and so gradients of one weight in the place of another's.
        """
        assert isinstance(self.strategy.config, dict)
        return bool(self.strategy.config["zero_optimization"]["stage"] >= 2)

    @property
    def scales_loss(self) -> bool:
        """In fp16, by DeepSpeed's own scaler."""
        return bool(self._engine.fp16_enabled())

    @property
    def _engine(self) -> Any:
        return self.strategy.model

    def micro_batch(self, last: bool) -> AbstractContextManager[Any]:
        """Marks the last one."""
        self._engine.set_gradient_accumulation_boundary(last)
        return nullcontext()

    def clip(self, parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor | None:
        """None: DeepSpeed clips inside its step (`gradient_clipping`), and knows the norm after it."""
        return None

    def norm_of_step(self) -> torch.Tensor:
        """Before clipping, of the step that was just taken, 0-d; infinite where it was left out."""
        return torch.as_tensor(self._engine.get_global_grad_norm(), dtype=torch.float32)

    def has_stepped(self) -> bool:
        """False where gradients were not finite: the weights are those of the step before."""
        return bool(self._engine.was_step_applied())

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """The float32 weights in place of shards and 16-bit copies; on process 0 alone."""
        keeps = self.rank == 0
        weights = {}
        for p in dict.fromkeys(model.parameters()):
            weight = self.shards.weight(p)
            weights[p] = weight.to("cpu") if keeps else hollow(weight)
        with standing_in(model, weights):
            yield

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Stage 3 keeps all weights on every process meanwhile."""
        if not self.strategy.zero_stage_3:
            yield
            return
        import deepspeed

        parameters = list(model.parameters())
        persist = [p.ds_persist for p in parameters]  # type: ignore[attr-defined]
        with deepspeed.zero.GatheredParameters(parameters):
            for p in parameters:
                p.ds_persist = True  # type: ignore[attr-defined]
            try:
                yield
            finally:
                for p, before in zip(parameters, persist, strict=True):
                    p.ds_persist = before  # type: ignore[attr-defined]

    def optimizer_state(self) -> dict[str, Any]:
        """As one process would hold it, on process 0 alone."""
        return self.shards.state(keep=self.rank == 0)


def make_strategy(config: dict[str, Any], timeout: Any = None) -> pl.strategies.Strategy:
    """Lightning's strategy for a configuration that was decided."""
    return ZeroStrategy(config=config, **({} if timeout is None else {"timeout": timeout}))
