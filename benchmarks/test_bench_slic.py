"""SLIC and SLICO beside scikit-image's and OpenCV's: ten rounds of k-means each, Lab for colour, pieces connected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks.opencv_peer import OpenCv
from benchmarks.pictures import photograph, sample_volume
from benchmarks.race import Unavailable

import napari_refit as refit

STAGE = "SLIC"
OURS, THEIRS, OPENCV = "napari-refit", "scikit-image", "OpenCV"
AGREE = 0.99
COMPACTNESS = {True: 10.0, False: 0.1}

CASES = {
    f"{'SLICO' if zero else 'SLIC'}, {side} x {side} {'RGB' if colour else 'grey'}, {n_segments} clusters": (
        side,
        colour,
        n_segments,
        zero,
    )
    for side, colour, n_segments, zero in [
        *product([512], [False, True], [250, 1000], [False]),
        *product([512], [False, True], [1000], [True]),
        *product([256, 1024], [False, True], [1000], [False]),
    ]
}


def skimage_slic(*image: np.ndarray, **options: Any) -> np.ndarray:
    from skimage.segmentation import slic

    return slic(*image, **options)


def plane_ways(
    opencv: OpenCv | Unavailable, side: int, colour: bool, n_segments: int, zero: bool
) -> dict[str, Callable[[], Any] | Unavailable]:
    image = photograph(side, colour)
    options = {
        "n_segments": n_segments,
        "compactness": COMPACTNESS[colour],
        "channel_axis": -1 if colour else None,
        "slic_zero": zero,
    }
    theirs = opencv if isinstance(opencv, Unavailable) else partial(opencv.slic, image, n_segments, zero=zero)
    return {
        OURS: partial(refit.slic, image, **options),
        THEIRS: partial(skimage_slic, image, **options),
        OPENCV: theirs,
    }


@pytest.mark.parametrize(("what", "way"), product(CASES, [OURS, THEIRS, OPENCV]))
def test_slic(benchmark: Any, races: Any, opencv: Any, agreement: Any, what: str, way: str) -> None:
    side = CASES[what][0]
    reach = {THEIRS: {"faster": 6}, OPENCV: {"faster": 3}} if side == 512 else None
    if not isinstance(opencv, Unavailable):
        races.note("opencv", {"version": opencv.version, "threads": opencv.threads})
    lap = races.measure(
        benchmark, what, way, lambda: plane_ways(opencv, *CASES[what]), stage=STAGE, reach=reach
    )
    if way == OPENCV:
        benchmark.extra_info["clusters"] = lap.result
        return
    benchmark.extra_info["clusters"] = len(np.unique(lap.result))
    ours = races.result(what, OURS)
    if way == THEIRS and ours is not None:
        benchmark.extra_info["agreement"] = agreement(ours, lap.result)
        assert benchmark.extra_info["agreement"] >= AGREE


SOLID = {"n_segments": 2000, "compactness": 0.1, "channel_axis": None, "spacing": (2.5, 1.0, 1.0)}


@pytest.mark.parametrize(
    ("what", "way"), product(["SLIC, 64 x 256 x 256 grey, 2000 supervoxels"], [OURS, THEIRS])
)
def test_supervoxels(benchmark: Any, races: Any, agreement: Any, what: str, way: str) -> None:
    volume, _ = sample_volume()
    ways = {OURS: partial(refit.slic, volume, **SOLID), THEIRS: partial(skimage_slic, volume, **SOLID)}
    lap = races.measure(benchmark, what, way, lambda: ways, stage=STAGE, reach={THEIRS: {"faster": 6}})
    ours = races.result(what, OURS)
    if way == THEIRS and ours is not None:
        benchmark.extra_info["agreement"] = agreement(ours, lap.result)
        assert benchmark.extra_info["agreement"] >= AGREE
