"""What experience says about a plan: a pure function from a `Plan` to advice. Nothing here stops a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lt_trainer.names import WATCHERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lt_trainer.args.plan import Plan

TRIAL = 100  # steps; a shorter run is there to be looked at, and only what spoils it is worth a word
KEPT = 3  # checkpoints that nobody minds
RATES = (1e-6, 1e-4)  # of AdamW on a pretrained model; 2e-5 to 5e-5 is usual. Source: Devlin et al. 2019, A.3
RATES_SEQ2SEQ = (1e-5, 1e-3)  # T5 was fine-tuned at 1e-3. Source: Raffel et al. 2020, 3.1.2


@dataclass(frozen=True)
class Finding:
    """Advice: `what` was found, `why` it matters, `remedy` the arguments to set; `grave`: it spoils the run itself."""

    what: str
    why: str
    remedy: str
    grave: bool = False


def examine(plan: Plan, *, pretrained: bool = True, encoder_decoder: bool = False) -> list[Finding]:
    """What could be done better, the gravest first.

    Args:
        plan: the run, decided.
        pretrained: whether it begins with trained weights; learning rates from scratch have no usual range.
        encoder_decoder: T5 and its like, which take higher rates.
    """
    found = [
        _learning_rate(plan, RATES_SEQ2SEQ if encoder_decoder else RATES) if pretrained else None,
        _warm_up(plan),
        _evaluation(plan),
        _best_model(plan),
        _checkpoints(plan),
        _precision(plan),
    ]
    return [finding for finding in found if finding is not None]


def report(findings: Sequence[Finding]) -> str:
    """Each finding in three lines."""
    if not findings:
        return "nothing to advise"
    return "\n".join(f"- {f.what}\n    why  {f.why}\n    set  {f.remedy}" for f in findings)


def summary(plan: Plan, findings: Sequence[Finding]) -> str | None:
    """The findings that matter at the start of this run, in one line; None where there are none."""
    told = [f for f in findings if f.grave or plan.duration.max_steps >= TRIAL]
    if not told:
        return None
    return f"advice: {'; '.join(f.what for f in told)} (`lt-trainer doctor CONFIG` says why, and what to set)"


def _learning_rate(plan: Plan, usual: tuple[float, float]) -> Finding | None:
    """Of AdamW: rates of other optimizers cannot be compared."""
    rate, (low, high), advised = plan.optimizer.learning_rate, usual, "2e-5" if usual is RATES else "1e-4"
    if not plan.optimizer.name.startswith("adamw") or low <= rate <= high:
        return None
    why = "pretrained weights are forgotten in the first steps" if rate > high else "the weights hardly move"
    what = f"learning_rate={rate:g} is {'above' if rate > high else 'below'} {low:g} to {high:g}"
    why += ", and the loss stays high" if rate > high else " before the run ends"
    return Finding(f"{what}, the range for fine-tuning", why, f"learning_rate={advised}", grave=True)


def _warm_up(plan: Plan) -> Finding | None:
    optimizer = plan.optimizer
    constant = optimizer.scheduler == "constant"  # takes no notice of warmup_steps
    if optimizer.scheduler in WATCHERS or (optimizer.warmup_steps and not constant):
        return None
    with_warm_up = "lr_scheduler_type='constant_with_warmup', " if constant else ""
    why = "the first steps, whose moments are estimates from a few gradients, move the weights at the full rate"
    return Finding("no warm-up", why, f"{with_warm_up}warmup_steps=0.1 (a tenth of the run)")


def _evaluation(plan: Plan) -> Finding | None:
    if plan.cadence.evaluation.kind != "no":
        return None
    why = "the training loss does not show when a model begins to learn its rows by heart"
    return Finding("no evaluation during training", why, "eval_strategy='epoch', with evaluation rows")


def _best_model(plan: Plan) -> Finding | None:
    if plan.saving.load_best or plan.cadence.saving.kind == "best":
        return None
    strategy = plan.cadence.evaluation.kind
    remedy = f"load_best_model_at_end=True, with eval_strategy and save_strategy both {strategy!r}"
    why = "the model of the last step is what remains, and the best is often an earlier one"
    return Finding("the best model is not kept", why, remedy.replace("'no'", "'epoch'"))


def _checkpoints(plan: Plan) -> Finding | None:
    count, saving = _saves(plan), plan.saving
    if saving.total_limit is not None or count <= KEPT:
        return None
    size = "as large as the model" if saving.only_model else "three times as large as the model"
    why = f"each is about {size}, and a full disk ends the saves"
    return Finding(f"all {count} checkpoints are kept", why, "save_total_limit=2")


def _saves(plan: Plan) -> int:
    saving, duration = plan.cadence.saving, plan.duration
    counts = {"steps": -(-duration.max_steps // max(saving.steps, 1)), "epoch": duration.max_epochs}
    return counts.get(saving.kind, 0)


def _precision(plan: Plan) -> Finding | None:
    if plan.hardware.accelerator != "cuda" or plan.hardware.precision != "32-true":
        return None
    why = "GPUs multiply 16-bit numbers several times as fast, and activations take half the memory"
    return Finding("full precision on a GPU", why, "bf16=True (before Ampere: fp16=True)")
