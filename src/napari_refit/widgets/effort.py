"""How much of the user's time and how many strokes a mask has cost."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE = 30.0
"""Seconds; a longer gap is no work on the mask."""


class Effort:
    """Counts strokes and clicks, and the time between them as far as it was spent on the mask.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.

    Examples
    --------
    >>> times = iter([0.0, 4.0, 100.0, 103.0])
    >>> effort = Effort(clock=lambda: next(times))
    >>> for kind in ("stroke", "stroke", "click", "stroke"):
    ...     effort.note(kind)
    >>> effort.summary()
    {'strokes': 3, 'clicks': 1, 'seconds': 7.0}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None
        self._counts = {"stroke": 0, "click": 0}
        self._seconds = 0.0

    def note(self, kind: str) -> None:
        """A stroke or a click was made just now.

        Raises
        ------
        KeyError
            If it is neither.
        """
        self._counts[kind] += 1
        now = self._clock()
        if self._last is not None and now - self._last <= PAUSE:
            self._seconds += now - self._last
        self._last = now

    def summary(self) -> dict[str, float]:
        """What a sidecar says of it."""
        return {
            "strokes": self._counts["stroke"],
            "clicks": self._counts["click"],
            "seconds": round(self._seconds, 1),
        }

    def __str__(self) -> str:
        found = self.summary()
        parts = [
            f"{found[key]} {key if found[key] != 1 else key[:-1]}"
            for key in ("strokes", "clicks")
            if found[key]
        ]
        return ", ".join([*parts, f"{found['seconds']:.0f} s"]) if parts else ""
