"""Quickshift beside scikit-image's, and the cut alone, which is all that a move of ``max_dist`` costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle, product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import photograph, sample_slice

import napari_refit as refit

STAGE = "Quickshift"
OURS, THEIRS = "napari-refit", "scikit-image"
# The share of pixels on which the label maps must agree up to renumbering.
AGREE = 0.999


def coloured(side: int) -> dict[str, Any]:
    return {"image": photograph(side, colour=True)}


def grey(image: np.ndarray) -> dict[str, Any]:
    """On the scale of Lab's lightness, as the pipeline gives it."""
    return {"image": image * np.float32(100), "convert2lab": False}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "Quickshift, 512 x 512 RGB, kernel 5": lambda: {**coloured(512), "kernel_size": 5},
    "Quickshift, 512 x 512 RGB, kernel 3": lambda: {**coloured(512), "kernel_size": 3},
    "Quickshift, 256 x 256 RGB, kernel 5": lambda: {**coloured(256), "kernel_size": 5},
    "Quickshift, 1024 x 1024 RGB, kernel 5": lambda: {**coloured(1024), "kernel_size": 5},
    "Quickshift, 512 x 512 grey, kernel 5": lambda: {**grey(photograph(512, False)), "kernel_size": 5},
    "Quickshift, 512 x 512 grey, kernel 3": lambda: {**grey(photograph(512, False)), "kernel_size": 3},
    "Quickshift, 256 x 256 sample slice, kernel 3": lambda: {**grey(sample_slice()), "kernel_size": 3},
}
REACH = {"Quickshift, 512 x 512 RGB, kernel 5": {THEIRS: {"faster": 25}}}


def skimage_quickshift(**options: Any) -> np.ndarray:
    from skimage.segmentation import quickshift

    return quickshift(**options)


@pytest.mark.parametrize(("what", "way"), product(CASES, [OURS, THEIRS]))
def test_quickshift(benchmark: Any, races: Any, agreement: Any, what: str, way: str) -> None:
    options = CASES[what]()
    ways = {OURS: partial(refit.quickshift, **options), THEIRS: partial(skimage_quickshift, **options)}
    lap = races.measure(benchmark, what, way, lambda: ways, stage=STAGE, reach=REACH.get(what))
    ours = races.result(what, OURS)
    if way == THEIRS and ours is not None:
        benchmark.extra_info["agreement"] = agreement(ours, lap.result)
        assert benchmark.extra_info["agreement"] >= AGREE


RECUT = "Quickshift, 512 x 512 RGB, kernel 5, only max_dist moved"
CUT, SEGMENTER = f"{OURS}: the cut", f"{OURS}: the segmenter, with connected clusters"


def recuts(distances: list[float]) -> dict[str, Callable[[], Any]]:
    """Each call takes the next distance; the tree is there already."""
    from napari_refit.params import QuickshiftParams
    from napari_refit.uss.quickshift import quickshift_tree
    from napari_refit.uss.superpixels import quickshift_segmenter

    image = photograph(512, colour=True)
    tree = quickshift_tree(image, kernel_size=5)
    kept: dict[Any, Any] = {}

    def memo(key: Any, compute: Callable[[], Any]) -> Any:
        if key not in kept:
            kept[key] = compute()
        return kept[key]

    params = [QuickshiftParams(kernel_size=5, ratio=1, max_dist=distance) for distance in distances]
    to_cut, to_segment, to_run = cycle(distances), cycle(params), cycle(distances)
    return {
        CUT: lambda: tree.cut(next(to_cut)),
        SEGMENTER: lambda: quickshift_segmenter(image, next(to_segment), memo=memo),
        THEIRS: lambda: skimage_quickshift(image=image, kernel_size=5, max_dist=next(to_run)),
    }


@pytest.mark.parametrize(("what", "way"), product([RECUT], [CUT, SEGMENTER, THEIRS]))
def test_recut(benchmark: Any, races: Any, agreement: Any, what: str, way: str) -> None:
    distances = [8.0, 10.0, 12.0, 15.0]
    reach = {THEIRS: {"faster": 300}}
    lap = races.measure(benchmark, what, way, lambda: recuts(distances), stage=STAGE, reach=reach)
    if way == THEIRS:
        from napari_refit.uss.quickshift import quickshift_tree

        tree = quickshift_tree(photograph(512, colour=True), kernel_size=5)
        best = max(agreement(tree.cut(distance), lap.result) for distance in distances)
        benchmark.extra_info["agreement"] = best
        assert best >= AGREE
