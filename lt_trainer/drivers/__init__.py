"""One file a strategy: what differs between one process and many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lt_trainer.drivers.base import Driver as Driver
from lt_trainer.drivers.ddp import DDPDriver
from lt_trainer.drivers.deepspeed import ZeroDriver, ZeroStrategy
from lt_trainer.drivers.fsdp import FSDP2Strategy, FSDPDriver

if TYPE_CHECKING:
    import lightning.pytorch as pl

# The first that fits: DeepSpeed's is a DDPStrategy too.
_DRIVERS: dict[type, type[Driver]] = {
    SingleDeviceStrategy: Driver,
    ZeroStrategy: ZeroDriver,
    DDPStrategy: DDPDriver,
    FSDP2Strategy: FSDPDriver,
}


def has_driver(strategy: type) -> bool:
    """Whether a strategy of this class can run."""
    return issubclass(strategy, tuple(_DRIVERS))


def driver_for(trainer: pl.Trainer) -> Driver:
    """The driver of a trainer's strategy.

    Raises:
        NotImplementedError: a strategy without a driver (lists those that have one).
    """
    for strategy, driver in _DRIVERS.items():
        if isinstance(trainer.strategy, strategy):
            return driver(trainer)
    names = sorted(strategy.__name__ for strategy in _DRIVERS)
    raise NotImplementedError(
        f"strategy {type(trainer.strategy).__name__} is not supported yet; expected one of {names}: "
        "take strategy='auto' or 'ddp'"
    )
