from __future__ import annotations

import os
import signal
import threading

import pytest

from lt_trainer.interrupts import GRACEFUL, StopSignals


@pytest.mark.parametrize("number", GRACEFUL)
def test_the_first_signal_is_noted_and_nothing_else(number: int) -> None:
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number


def test_a_second_interrupt_acts_at_once() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT


def test_a_second_sigterm_is_as_good_as_one() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM


def test_the_handlers_from_before_are_put_back() -> None:
    before = {number: signal.getsignal(number) for number in GRACEFUL}
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) is not before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in GRACEFUL} == before


def test_handlers_that_another_library_set_meanwhile_are_replaced() -> None:
    with StopSignals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.install()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM


def test_outside_the_main_thread_nothing_is_caught() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with StopSignals() as signals:
            signals.install()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_leaving_is_what_the_signal_would_have_done() -> None:
    signals = StopSignals()
    signals.leave()  # none came
    signals.received = signal.SIGTERM
    with pytest.raises(SystemExit) as left:
        signals.leave()
    assert left.value.code == 143
    signals.received = signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        signals.leave()
