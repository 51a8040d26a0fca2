"""Warming up: every kernel is known, it can be stopped, and it goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import napari_refit
from napari_refit import Cancelled, warming
from napari_refit.registry import SEGMENTERS


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is ready; the modules that are made ready are listed, and take a second each."""
    warmed: list[str] = []
    seconds = iter(range(1000))
    monkeypatch.setattr(warming, "_ready", set())
    monkeypatch.setattr(
        warming, "import_module", lambda name: SimpleNamespace(warm_up=lambda: warmed.append(name))
    )
    monkeypatch.setattr(warming, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    return warmed


def test_every_kernel_is_made_ready() -> None:
    root = Path(napari_refit.__file__).parent
    found = {".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("*_kernel.py")}
    assert set(warming.KERNELS) == found
    assert len(warming.KERNELS) == len(found)
    assert set(warming.OF_SEGMENTER) <= {entry.name for entry in SEGMENTERS}
    warming.warm_up()
    assert warming.all_ready()


def test_it_stops_when_told_and_goes_on_from_there(cold: list[str]) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        warming.warm_up(cancelled)
    assert len(asked) == 3
    assert len(cold) == 2
    assert not warming.all_ready()
    warming.warm_up()
    assert len(cold) == len(set(cold)) == len(warming.KERNELS)
    assert warming.all_ready()


def test_a_slice_waits_for_its_own_kernels_only_and_says_so_once(cold: list[str]) -> None:
    said: list[str] = []
    warming.prepare("quickshift", said.append)
    wanted = {f"napari_refit.{name}" for name in (*warming.ALWAYS, *warming.OF_SEGMENTER["quickshift"])}
    assert set(cold) == wanted
    assert said == [warming.COMPILING]
    warming.prepare("quickshift", said.append)
    assert len(cold) == len(wanted)
    assert said == [warming.COMPILING]


def test_a_segmenter_from_outside_has_no_kernels(cold: list[str]) -> None:
    warming.prepare("a third party's")
    assert set(cold) == {f"napari_refit.{name}" for name in warming.ALWAYS}
