"""The processes of a search, together before the first trial: later, each `train` would find them so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lt_trainer.drivers import Driver
    from lt_trainer.trainer import Trainer


def joined(facade: Trainer) -> Driver:
    """Starts the processes that the arguments ask for, where no launcher has, and brings them together.

    Raises:
        ConfigurationError: arguments that contradict each other.
    """
    from lt_trainer.drivers import driver_for  # Lightning takes seconds to import
    from lt_trainer.engine import evaluation_engine

    lightning = evaluation_engine(facade, None).lightning
    if lightning.strategy.launcher is not None:
        lightning.strategy.launcher.launch(lightning.strategy.setup_environment, trainer=lightning)
    return driver_for(lightning)
