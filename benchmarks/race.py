"""Several ways to do one task, measured in turns within the same minute, so that their ratio means something."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

OURS = "napari-refit"
TURNS = 3
MOST_CALLS = 300
# A call this slow is made once.
VERY_SLOW = 12.0


@dataclass(frozen=True)
class Unavailable:
    """Stands for a way that cannot be measured here, and says why."""

    reason: str


@dataclass(frozen=True)
class Timed:
    """What a way returns that measures itself, because it runs in another process."""

    seconds: float
    result: Any
    cores: float | None = None


@dataclass
class Lap:
    """Everything measured of one way: seconds per call, how many cores it kept busy, and what it returned."""

    seconds: list[float] = field(default_factory=list)
    cores: float = math.nan
    result: Any = None
    unavailable: str = ""


def is_ours(way: str) -> bool:
    """Whether a way is this program's."""
    return way.startswith(OURS)


def run_race(
    ways: Mapping[str, Callable[[], Any] | Unavailable],
    *,
    budget: float,
    least: int = 2,
    warm_up: Callable[[], Any] | None = None,
) -> dict[str, Lap]:
    """Measure ways in turns.

    Parameters
    ----------
    ways : mapping of str to callable
        Called without arguments; may return a `Timed`.
    budget : float
        Seconds to spend on each way.
    least : int
        Fewest calls of each, but for one that takes very long.
    warm_up : callable, optional
        Called once before; without it the first call of each of our own ways, which compiles, is not counted.

    Returns
    -------
    dict of str to Lap
    """
    laps = {name: Lap() for name in ways}
    runners: dict[str, Callable[[], Any]] = {}
    for name, way in ways.items():
        if isinstance(way, Unavailable):
            laps[name].unavailable = way.reason
        else:
            runners[name] = way
    if warm_up is not None:
        warm_up()
    gc.collect()
    for name, runner in runners.items():
        lap = laps[name]
        _call(runner, lap)
        compiles = is_ours(name) and warm_up is None
        if compiles or lap.seconds[0] < budget / 2:
            lap.seconds.clear()
    for _ in range(max(TURNS, least)):
        for name, runner in runners.items():
            _burst(runner, laps[name], budget, least)
    return laps


def _burst(runner: Callable[[], Any], lap: Lap, budget: float, least: int) -> None:
    slow = bool(lap.seconds) and max(lap.seconds) > VERY_SLOW
    if sum(lap.seconds) >= budget and (slow or len(lap.seconds) >= least):
        return
    spent = 0.0
    for _ in range(MOST_CALLS):
        spent += _call(runner, lap)
        if spent >= budget / TURNS:
            break


def _call(runner: Callable[[], Any], lap: Lap) -> float:
    # A collection that starts inside a call would be counted as the call's.
    collecting = gc.isenabled()
    gc.disable()
    try:
        busy, start = time.process_time(), time.perf_counter()
        result = runner()
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    finally:
        if collecting:
            gc.enable()
    cores: float | None = busy / seconds
    if isinstance(result, Timed):
        result, seconds, cores = result.result, result.seconds, result.cores
    if cores is not None and (not lap.seconds or seconds <= min(lap.seconds)):
        lap.cores = cores
    lap.seconds.append(seconds)
    lap.result = result
    return seconds


_now = 0.0


def replayed_clock() -> float:
    """The timer that pytest-benchmark is given: it stands still but for what `Replay` adds."""
    return _now


class Replay:
    """Hands seconds that were measured already to pytest-benchmark, call by call."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self._seconds = iter(seconds)

    def rewind(self) -> None:
        """Before each round, so that large times take no digits from small ones."""
        global _now
        _now = 0.0

    def __call__(self) -> None:
        global _now
        _now += next(self._seconds)
