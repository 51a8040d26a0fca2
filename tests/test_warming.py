"""Warming up: every kernel is known, and it can be stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

import napari_refit
from napari_refit import Cancelled, warming


def test_every_kernel_is_made_ready() -> None:
    root = Path(napari_refit.__file__).parent
    found = {".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("*_kernel.py")}
    assert set(warming.KERNELS) == found
    assert len(warming.KERNELS) == len(found)


def test_warming_up_runs_and_stops_when_told() -> None:
    warming.warm_up()
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        warming.warm_up(cancelled)
    assert len(asked) == 3
