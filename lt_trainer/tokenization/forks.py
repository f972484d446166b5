"""Keep a fork after a parallel call quiet.

A child that is forked after the Rust threads have run has none of them, so `tokenizers` turns its parallelism off
there. Releases before 0.22.2 say so on standard error at every fork, unless `TOKENIZERS_PARALLELISM` is set. The hook
sets it for the child alone: the parent keeps its threads, the child works on one, as it would anyway.
"""

from __future__ import annotations

import os

_VARIABLE = "TOKENIZERS_PARALLELISM"
_state = {"guarded": False, "ours": False}


def guard_forks() -> None:
    """Install the hook, once a process; called before the first batch rather than at import."""
    if not _state["guarded"] and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent)
        _state["guarded"] = True


def _before() -> None:
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = "false"
        _state["ours"] = True


def _after_in_parent() -> None:
    if _state["ours"]:
        os.environ.pop(_VARIABLE, None)
        _state["ours"] = False
