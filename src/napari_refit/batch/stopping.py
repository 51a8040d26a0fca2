"""Stop a batch by signals: the first lets the files at hand be finished, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM")


@contextmanager
def finishing_on_signals(notice: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Within, an interrupt asks to finish what is begun, and a second one raises `KeyboardInterrupt`.

    Parameters
    ----------
    notice : callable
        Called at the first signal: tells the user what will happen.

    Yields
    ------
    callable
        Whether the run is to end after the files at hand.
    """
    asked = threading.Event()

    def handle(number: int, frame: Any) -> None:
        del number, frame
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        notice()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
