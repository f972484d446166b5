"""The private names of Lightning, pinned to the version that they were read in."""

from __future__ import annotations

from importlib.metadata import version

import lightning.pytorch as pl
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from lt_trainer import private


def test_private_names_were_read_in_this_version():
    assert version("lightning") == "2.6.6", "read lt_trainer/private.py against the new version, then change this line"


def test_every_private_name_is_there():
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    loop = trainer.fit_loop.epoch_loop
    assert isinstance(loop, _TrainingEpochLoop)
    assert hasattr(loop.val_loop, "_combined_loader")
    assert hasattr(loop.val_loop._data_source, "instance")
    assert hasattr(trainer._logger_connector, "_first_loop_iter")
    assert hasattr(loop.batch_progress, "is_last_batch")
    loop.max_steps = 3
    assert trainer.max_steps == 3


def test_what_a_strategy_was_made_with_is_told():
    plugin = MixedPrecision("bf16-mixed", "cpu")
    strategy = DDPStrategy(precision_plugin=plugin, start_method="spawn")
    assert (private.precision_of(strategy), private.start_method(strategy)) == (plugin, "spawn")
    assert private.precision_of(DDPStrategy()) is None
    assert [private.start_method(s) for s in (DDPStrategy(), SingleDeviceStrategy("cpu"))] == ["popen", "popen"]


def test_fused_optimizers_unscale_by_themselves():
    weights = [torch.nn.Parameter(torch.zeros(1))]
    found = [private.unscales_itself(torch.optim.AdamW(weights, fused=fused)) for fused in (True, False)]
    assert found == [True, False]


def test_notices_are_dropped_and_warnings_stay(caplog):
    import logging

    private.quiet()
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with caplog.at_level(logging.INFO, logger=logger.name):
        logger.info("a tip")
        logger.warning("a warning")
    assert [record.message for record in caplog.records] == ["a warning"]


def test_backward_goes_past_lightning_only_where_nobody_watches(tmp_path):
    import lightning.pytorch as pl

    from lt_trainer.private import nobody_sees_backward

    class Watches(pl.Callback):
        def on_after_backward(self, trainer, pl_module):
            """Looks at gradients."""

    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    module = pl.LightningModule()
    assert nobody_sees_backward(pl.Trainer(**quiet, enable_model_summary=False), module)
    assert not nobody_sees_backward(pl.Trainer(**quiet, callbacks=[Watches()]), module)
    assert not nobody_sees_backward(pl.Trainer(**quiet, strategy="ddp"), module)
