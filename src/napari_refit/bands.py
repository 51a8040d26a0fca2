"""Compiled loops on all cores: a range is cut into bands, and each band runs on a thread of its own.

The loops are compiled without Python's lock, so plain threads are enough: no threading runtime to agree on with
torch or Qt, several callers at once are safe, and between bands a caller can stop.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

from napari_refit.errors import Cancelled

Stop = Callable[[], bool]


@cache
def n_threads() -> int:
    """How many threads compiled loops use: ``REFIT_THREADS``, else the cores that this process may use.

    Raises
    ------
    ValueError
        If ``REFIT_THREADS`` is not a whole number from 1 up.
    """
    wanted = os.environ.get("REFIT_THREADS", "")
    if wanted:
        if not wanted.isdigit() or int(wanted) < 1:
            raise ValueError(f"REFIT_THREADS must be a whole number from 1 up, got {wanted!r}")
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cut(length: int, n_bands: int) -> list[tuple[int, int]]:
    """Cut ``range(length)`` into at most ``n_bands`` ranges of nearly the same length, none of them empty.

    Examples
    --------
    >>> cut(10, 3)
    [(0, 3), (3, 6), (6, 10)]
    >>> cut(2, 3)
    [(0, 1), (1, 2)]
    """
    n_bands = max(1, min(n_bands, length))
    ends = [length * band // n_bands for band in range(n_bands + 1)]
    return [(start, stop) for start, stop in pairwise(ends) if stop > start]


def check(cancelled: Stop | None) -> None:
    """Raise `Cancelled` if the caller wants to stop."""
    if cancelled is not None and cancelled():
        raise Cancelled("cancelled")


def run_bands(
    function: Callable[..., Any],
    length: int,
    *arguments: Any,
    n_bands: int | None = None,
    cancelled: Stop | None = None,
) -> list[Any]:
    """Call ``function(start, stop, *arguments)`` for every band of ``range(length)``.

    Parameters
    ----------
    function : callable
        Compiled with ``nogil=True``; two bands must never write to the same place. It must not call
        `run_bands` itself.
    length : int
        For example the number of rows.
    *arguments
        Given to every call.
    n_bands : int, optional
        How many bands; one per thread when left out. Where a result depends on how the range is cut (sums of
        floating-point numbers), give a number that depends on the data alone, so that every machine gets the
        same result.
    cancelled : callable, optional
        Asked before each band; the bands that are left are skipped then.

    Returns
    -------
    list
        What the calls returned, in the order of the bands.

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> run_bands(lambda start, stop, values: sum(values[start:stop]), 4, [1, 2, 3, 4], n_bands=2)
    [3, 7]
    """
    bands = cut(length, n_threads() if n_bands is None else n_bands)

    results: list[Any] = [None] * len(bands)
    queue = iter(enumerate(bands))

    def work() -> None:
        try:
            for place, band in queue:
                check(cancelled)
                results[place] = function(*band, *arguments)
        except BaseException:
            # Nobody need begin what is left.
            for _ in queue:
                pass
            raise

    # The caller works too, and whoever is free takes the next band.
    others = [_pool().submit(work) for _ in range(min(len(bands), n_threads()) - 1)]
    try:
        work()
    finally:
        # No band may go on writing to arrays that the caller has given up. Whoever has not begun need not.
        begun = [other for other in others if not other.cancel()]
        wait(begun)
    for other in begun:
        other.result()
    return results


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, n_threads() - 1), thread_name_prefix="refit-band")
