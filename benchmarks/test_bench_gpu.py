"""Superpixels on a graphics card beside scikit-image on that machine's processor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
from benchmarks.pictures import photograph
from benchmarks.race import Unavailable

import napari_refit as refit

STAGE = "Graphics card"
OURS, THEIRS = "napari-refit on CUDA", "scikit-image"
QUICKSHIFT, SLIC = "Quickshift, 1024 x 1024 RGB, kernel 5, CUDA", "SLIC, 1024 x 1024 RGB, 1000 clusters, CUDA"
REACH = {QUICKSHIFT: {THEIRS: {"faster": 300}}, SLIC: {THEIRS: {"faster": 60}}}
AGREE = {QUICKSHIFT: 0.999, SLIC: 0.99}


def ways(what: str) -> dict[str, Callable[[], Any] | Unavailable]:
    import torch
    from skimage import segmentation

    if not torch.cuda.is_available():
        missing = Unavailable("there is no CUDA device here")
        return {OURS: missing, THEIRS: missing}
    image = photograph(1024, colour=True)
    if what == QUICKSHIFT:
        ours, theirs, options = refit.quickshift, segmentation.quickshift, {"kernel_size": 5}
    else:
        ours, theirs, options = refit.slic, segmentation.slic, {"n_segments": 1000}
    return {OURS: partial(ours, image, device="cuda", **options), THEIRS: partial(theirs, image, **options)}


@pytest.mark.parametrize(("what", "way"), product([QUICKSHIFT, SLIC], [OURS, THEIRS]))
def test_cuda(benchmark: Any, races: Any, agreement: Any, what: str, way: str) -> None:
    lap = races.measure(benchmark, what, way, lambda: ways(what), stage=STAGE, reach=REACH[what])
    ours = races.result(what, OURS)
    if way == THEIRS and ours is not None:
        benchmark.extra_info["agreement"] = agreement(ours, lap.result)
        assert benchmark.extra_info["agreement"] >= AGREE[what]
