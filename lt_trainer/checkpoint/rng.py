"""The random number generators of this process, as values that a strict load reads back."""

from __future__ import annotations

import random
from typing import Any, cast

import numpy as np
import torch


def rng_state(world_size: int = 1) -> dict[str, Any]:
    """The state of the generators of python, numpy, torch, and of the accelerators in use.

    The keys and values are those of `rng_state.pth` of `transformers`, with lists and tuples where it has numpy arrays,
    which `torch.load(weights_only=True)` refuses. It reads ours.

    Args:
        world_size: number of processes; with several, `transformers` keeps the states of all visible GPUs in each.
    """
    kind, keys, position, has_gauss, cached = cast("tuple[str, Any, int, int, float]", np.random.get_state(legacy=True))
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), position, has_gauss, cached),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all() if world_size > 1 else torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Puts back what `rng_state` returned; generators of devices that this machine lacks are left out.

    Raises:
        ValueError: a state of another form.
    """
    try:
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.random.set_rng_state(state["cpu"])
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"This is no state of random generators ({error!r}): expected what rng_state() returns; go on from another "
            "checkpoint"
        ) from error
    if "cuda" in state and torch.cuda.is_available():
        saved = state["cuda"]
        for device, value in enumerate(saved if isinstance(saved, list) else []):
            if device < torch.cuda.device_count():
                torch.cuda.set_rng_state(value, device)
        if not isinstance(saved, list):
            torch.cuda.set_rng_state(saved)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def generators() -> dict[str, Any]:
    """The states of this process's generators as they are, in microseconds; what devices have is in their own form."""
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_generators(state: dict[str, Any]) -> None:
    """Puts back what `generators` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.random.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
