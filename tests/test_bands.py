"""Bands on threads: every index once, in order, and stopped when asked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_refit import bands
from napari_refit.errors import Cancelled


@given(st.integers(0, 200), st.integers(1, 40))
def test_bands_cover_the_range_once_and_evenly(length: int, n_bands: int) -> None:
    cuts = bands.cut(length, n_bands)
    assert [index for start, stop in cuts for index in range(start, stop)] == list(range(length))
    sizes = [stop - start for start, stop in cuts]
    assert len(cuts) == min(length, n_bands)
    assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n_bands", [None, 1, 2, 7])
def test_every_band_is_called_and_returned_in_order(n_bands: int | None) -> None:
    seen = np.zeros(23, int)

    def mark(start: int, stop: int, step: int) -> int:
        seen[start:stop] += step
        return start

    assert bands.run_bands(mark, 23, 3, n_bands=n_bands) == sorted(
        start for start, _ in bands.cut(23, n_bands or bands.n_threads())
    )
    assert (seen == 3).all()


def test_an_empty_range_calls_nothing() -> None:
    assert bands.run_bands(lambda start, stop: pytest.fail("called"), 0) == []


def test_cancelling_skips_the_bands_that_are_left() -> None:
    calls: list[int] = []
    with pytest.raises(Cancelled):
        bands.run_bands(
            lambda start, stop: calls.append(start), 40, n_bands=40, cancelled=lambda: len(calls) >= 4
        )
    assert len(calls) < 40


def test_an_error_is_raised_only_after_every_band_has_ended() -> None:
    running = threading.Semaphore(0)
    ended: list[int] = []

    def work(start: int, stop: int) -> None:
        if start == 0:
            raise ValueError("the first band fails")
        running.acquire(timeout=0.05)
        ended.append(start)

    with pytest.raises(ValueError, match="first band"):
        bands.run_bands(work, 2, n_bands=2)
    n_ended = len(ended)
    running.acquire(timeout=0.1)
    assert len(ended) == n_ended


def test_whoever_is_free_takes_the_next_band() -> None:
    meeting = threading.Barrier(2)
    threads = []

    def work(start: int, stop: int) -> None:
        # Passed only by two threads at once, band after band.
        meeting.wait(timeout=10)
        threads.append(threading.get_ident())

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(bands, "n_threads", lambda: 2)
        patch.setattr(bands, "_pool", lambda: pool)
        bands.run_bands(work, 8, n_bands=8)
    assert sorted(threads.count(thread) for thread in set(threads)) == [4, 4]


def test_an_error_of_another_thread_is_raised() -> None:
    def work(start: int, stop: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("the other thread fails")
        begun.wait(timeout=10)

    class Pool(ThreadPoolExecutor):
        def submit(self, function: Any, *arguments: Any) -> Any:
            future = super().submit(function, *arguments)
            future.add_done_callback(lambda _: begun.set())
            return future

    begun = threading.Event()
    with pytest.MonkeyPatch.context() as patch, Pool(1) as pool:
        patch.setattr(bands, "n_threads", lambda: 2)
        patch.setattr(bands, "_pool", lambda: pool)
        with pytest.raises(ValueError, match="other thread"):
            bands.run_bands(work, 8, n_bands=8)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_threads_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFIT_THREADS", text)
    with pytest.raises(ValueError, match="REFIT_THREADS"):
        bands.n_threads.__wrapped__()
    monkeypatch.setenv("REFIT_THREADS", "3")
    assert bands.n_threads.__wrapped__() == 3
