"""The pipeline without its window, and what the import costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import photograph, response_maps

import napari_refit as refit

STAGE = "Pipeline"


def moves(key: str, values: np.ndarray) -> Callable[[], Any]:
    """Each call moves one slider and refines the slice again."""
    run = refit.Refit(photograph(512, False), response=response_maps(512, 1)[0])
    run.slice(0)
    left = iter(np.tile(values, 1000).tolist())

    def move() -> Any:
        run.params = run.params.replace(**{key: next(left)})
        return run.slice(0)

    return move


SLIDERS = {
    "Refit.slice, 512 x 512 grey, the threshold moved": ("threshold", np.linspace(0.2, 0.8, 97)),
    "Refit.slice, 512 x 512 grey, the coverage moved": ("coverage", np.linspace(0.1, 1.0, 91)),
    "Refit.slice, 512 x 512 grey, SLIC's compactness moved": ("compactness", np.linspace(5, 60, 89)),
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
