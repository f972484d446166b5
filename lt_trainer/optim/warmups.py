"""The schedules that a DeepSpeed configuration may name, with DeepSpeed's own arithmetic: steps done -> factor.

Their rate lies a step behind that of other schedules: the first step and the second are taken at the lowest rate.
Source: https://deepspeed.readthedocs.io/en/latest/schedulers.html
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def warmup_schedule(
    kind: str,
    learning_rate: float,
    *,
    warmup_num_steps: int,
    warmup_type: str = "log",
    total_num_steps: int = 0,
    warmup_min_lr: float = 0.0,
    warmup_max_lr: float | None = None,
    warmup_min_ratio: float = 0.0,
    cos_min_ratio: float = 0.0001,
) -> Callable[[int], float]:
    """WarmupLR, WarmupDecayLR or WarmupCosineLR.

    Args:
        kind: one of the three.
        learning_rate: the optimizer's, which factors are of.
        warmup_num_steps: optimizer steps of warm-up, at least 2.
        warmup_type: "log" rises fast at first, "linear" evenly.
        total_num_steps: where the last two end.
        warmup_min_lr: where the first two begin.
        warmup_max_lr: where they rise to; None: `learning_rate`.
        warmup_min_ratio: where the third begins, as a share.
        cos_min_ratio: where it ends.
    """
    cosine, peak = kind == "WarmupCosineLR", max(learning_rate, 1e-30)
    low = warmup_min_ratio if cosine else warmup_min_lr / peak
    high = 1.0 if cosine or warmup_max_lr is None else warmup_max_lr / peak
    return functools.partial(
        _at,
        kind=kind,
        warmup=max(2, warmup_num_steps),
        total=total_num_steps,
        is_log=warmup_type != "linear",
        low=low,
        high=high,
        end=cos_min_ratio,
    )


def _at(step: int, kind: str, warmup: int, total: int, is_log: bool, low: float, high: float, end: float) -> float:
    done = step - 1
    if done < 0:
        return 0.0 if kind == "WarmupCosineLR" else low
    if done < warmup:
        return low + (high - low) * (math.log(done + 1) / math.log(warmup) if is_log else done / warmup)
    if kind == "WarmupLR":
        return high
    if kind == "WarmupDecayLR":
        return low + (high - low) * max(0.0, (total - done) / max(1.0, total - warmup))
    progress = min(1.0, (done - warmup + 1) / max(1, total - warmup))
    return max(0.0, end + (1.0 - end) * (1.0 + math.cos(math.pi * progress)) / 2)
