"""The pipeline without its window, and what the import costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import count, product
from typing import Any

import pytest
from benchmarks.pictures import photograph, response_maps

import napari_refit as refit

STAGE = "Pipeline"
GOLDEN = (5**0.5 - 1) / 2


def moves(key: str, low: float, high: float) -> Callable[[], Any]:
    """Each call moves one slider to where it never was, so that no stage is found in the cache."""
    run = refit.Refit(photograph(512, False), response=response_maps(512, 1)[0])
    run.slice(0)
    steps = count(1)

    def move() -> Any:
        value = low + (high - low) * (next(steps) * GOLDEN % 1)
        run.params = run.params.replace(**{key: value})
        return run.slice(0)

    return move


SLIDERS = {
    "Refit.slice, 512 x 512 grey, the threshold moved": ("threshold", 0.1, 0.5),
    "Refit.slice, 512 x 512 grey, the coverage moved": ("coverage", 0.1, 1.0),
    "Refit.slice, 512 x 512 grey, SLIC's compactness moved": ("compactness", 5, 60),
}


@pytest.mark.parametrize(("what", "way"), product(SLIDERS, ["napari-refit"]))
def test_slider(benchmark: Any, races: Any, what: str, way: str) -> None:
    lap = races.measure(benchmark, what, way, lambda: {way: moves(*SLIDERS[what])}, stage=STAGE)
    assert lap.result.mask.any()


OURS, BARE = "napari-refit", "import numpy alone"


@pytest.mark.parametrize(
    ("what", "way"), product(["import napari_refit, in a fresh interpreter"], [OURS, BARE])
)
def test_import(benchmark: Any, races: Any, what: str, way: str) -> None:
    statements = {OURS: "import napari_refit", BARE: "import numpy"}
    ways = {
        name: partial(subprocess.run, [sys.executable, "-c", statement], check=True)
        for name, statement in statements.items()
    }
    races.measure(benchmark, what, way, lambda: ways, stage=STAGE, reach={OURS: {"milliseconds": 300}})
