"""Ctrl-C at the wrong moment: a restore must not be left half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Hold back SIGINT inside the block and deliver it at the end."""
    # test_interrupts.py::test_another_thread_has_nothing_to_hold_back
    # Only the main thread receives signals; a handler not set from Python could not be put back.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    arrived: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    # test_interrupts.py::test_it_comes_at_the_end_and_the_handler_is_put_back
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if arrived:
            signal.raise_signal(signal.SIGINT)
