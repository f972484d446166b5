"""What is said before a run begins: arguments that do nothing, and in one line what could be done better."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lt_trainer.advice.doctor import examine, summary
from lt_trainer.advice.explain import unused
from lt_trainer.launchers import notes_on_accelerate

if TYPE_CHECKING:
    from lt_trainer.engine import TrainingEngine

logger = logging.getLogger(__name__)


def advise(engine: TrainingEngine) -> None:
    """Says it once: not on every process, nor again where a trainer trains again, nor in trials, which try things."""
    facade = engine.facade
    for note in (*unused(facade.args), *notes_on_accelerate()):
        logger.warning(note)
    if facade.state.global_step or facade.trial_watch is not None or not engine.lightning.is_global_zero:
        return
    config = getattr(facade.model, "config", None)
    pretrained, two_parts = (bool(getattr(config, name, None)) for name in ("name_or_path", "is_encoder_decoder"))
    found = examine(engine.plan, pretrained=pretrained, encoder_decoder=two_parts)
    if line := summary(engine.plan, found):
        logger.warning(line)
