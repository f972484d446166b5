"""What a person sees when something is wrong: every problem in one message, exit code 2, no traceback."""

from __future__ import annotations

import os
import select
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lt_trainer.args.check import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACEBACK = "LT_TRAINER_TRACEBACK"
PIPE_CLOSED = 141
"""128 + SIGPIPE: the exit code of a program whose reader has gone, as in `lt-trainer explain | head -1`."""


@dataclass
class Outcome:
    """The exit code, known when the block of `reported` has ended."""

    code: int = 0


@contextmanager
def reported() -> Iterator[Outcome]:
    """Turns what users can mend into a message and exit code 2; what only we can mend keeps its traceback.

    `LT_TRAINER_TRACEBACK=1` lets everything through.
    """
    outcome = Outcome()
    if os.environ.get(TRACEBACK, "0") not in ("", "0"):
        yield outcome
        return
    try:
        yield outcome
        sys.stdout.flush()  # here, and not when Python exits, where nobody can answer for it
    except KeyboardInterrupt:
        _say("interrupted")
        outcome.code = 130
    except ConfigurationError as error:
        _say(message(error.problems))
        outcome.code = 2
    except (ValueError, OSError, NotImplementedError, ImportError) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            outcome.code = PIPE_CLOSED
            return
        text = str(error)
        if isinstance(error, OSError) and error.strerror and error.filename:
            text = f"{error.filename}: {error.strerror}"  # in place of "[Errno 13] Permission denied: 'file'"
        _say(f"{message([text])}\n  ({TRACEBACK}=1 shows where)")
        outcome.code = 2


def message(problems: tuple[str, ...] | list[str]) -> str:
    """One problem on a line, several as a list."""
    if len(problems) == 1:
        return f"error: {problems[0]}"
    return f"{len(problems)} errors:" + "".join(f"\n  - {problem}" for problem in problems)


def _reader_has_gone() -> bool:
    """Whether the pipe that broke is our output; what is left for it then goes nowhere."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # a notebook's, say
        return False
    watch = select.poll()
    watch.register(output, 0)  # errors and hang-ups are always told
    if not watch.poll(0):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)  # Python flushes once more when it exits
    os.close(nowhere)
    return True


def _say(text: str) -> None:
    """Once a machine, not once a process."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"lt-trainer: {text}", file=sys.stderr)
