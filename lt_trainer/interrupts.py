"""SIGTERM and SIGINT during training: the step is finished, its state saved, and only then the process leaves."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from lt_trainer.machine import in_notebook

if TYPE_CHECKING:
    from types import TracebackType

GRACEFUL = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes the first signal in place of acting on it; a second SIGINT interrupts at once.

    Handlers can be set in the main thread alone; elsewhere nothing is caught. They are set again by `install` once
    Lightning has set its own, whose handler communicates inside the signal
    (https://github.com/Lightning-AI/pytorch-lightning/issues/20806).
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in GRACEFUL}
            self.install()
        return self

    def install(self) -> None:
        """Sets the handlers, where this is the main thread."""
        for number in self._before:
            signal.signal(number, self._note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def leave(self) -> None:
        """Ends the process the way the signal would have, now that everything is saved.

        In a notebook SIGINT is the button that interrupts a cell: there the run ends, and the next cell finds it.

        Raises:
            KeyboardInterrupt: after SIGINT, but in a notebook.
            SystemExit: 128 + the signal's number after SIGTERM.
        """
        if self.received == signal.SIGINT:
            if in_notebook():
                return
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
