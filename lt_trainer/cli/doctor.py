"""`lt-trainer doctor`: what experience says about a configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lt_trainer.advice.doctor import examine, report
from lt_trainer.args.plan import plan
from lt_trainer.cli.explain import facts_of

if TYPE_CHECKING:
    from lt_trainer.cli.request import Request

ASSUMED = 10_000  # rows, where nobody counted them: what is advised hardly depends on it


def doctor_request(request: Request) -> str:
    """Findings, each with its reason and the argument to set.

    Raises:
        ConfigurationError: what the configuration asks for cannot run.
    """
    facts, note = facts_of(request), ""
    if facts.num_train_rows is None and request.args.max_steps <= 0:
        facts = replace(facts, num_train_rows=ASSUMED)
        note = f"\n(for {ASSUMED:,} training rows, which are not counted here: --num_rows N says how many there are)"
    model = request.sections["model"].get("model")
    found = examine(plan(request.args, facts), pretrained=model != "scratch", encoder_decoder=request.task == "seq2seq")
    return report(found) + note
