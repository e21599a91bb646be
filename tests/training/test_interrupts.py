"""Ctrl-C inside a block that must not be cut in two comes at its end."""

import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from lrpilot.training.interrupts import deferred_interrupt


def test_it_comes_at_the_end_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest")
    assert done == ["the rest"] and signal.getsignal(signal.SIGINT) is before


def test_nested_blocks_wait_for_the_outermost() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():
        with deferred_interrupt():
            signal.raise_signal(signal.SIGINT)
        done.append("the rest")
    assert done == ["the rest"]


def test_an_exception_inside_goes_on_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="theirs"), deferred_interrupt():
        raise ValueError("theirs")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("arrives", [True, False])
def test_a_handler_of_the_users_own_is_called_once(arrives: bool) -> None:
    calls: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        with deferred_interrupt():
            if arrives:
                signal.raise_signal(signal.SIGINT)
            assert not calls
        assert len(calls) == arrives
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_interrupts_are_ignored_they_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupt():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_they_kill_they_kill() -> None:
    script = (
        "import signal; from lrpilot.training.interrupts import deferred_interrupt\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "with deferred_interrupt():\n"
        "    signal.raise_signal(signal.SIGINT); print('the rest', flush=True)\n"
        "print('alive')"
    )
    run = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGINT and run.stdout == "the rest\n"


def test_another_thread_has_nothing_to_hold_back() -> None:
    seen = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with deferred_interrupt():
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
