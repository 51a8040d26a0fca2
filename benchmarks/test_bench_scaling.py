"""Time against pixels: each kernel on mirrored tiles of one photograph, with clusters of one size throughout."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import response_maps, tiles

import napari_refit as refit

STAGE = "scaling"
SIDES = (256, 512, 1024, 2048)
PIXELS_PER_CLUSTER = 256
N_CLASSES = 4


@cache
def labels(side: int) -> np.ndarray:
    """Clusters of the smallest picture, tiled as the picture is, each tile with numbers of its own."""
    tile = refit.slic(tiles(SIDES[0], True), n_segments=SIDES[0] ** 2 // PIXELS_PER_CLUSTER)
    count = side // SIDES[0]
    offsets = np.arange(count * count, dtype=tile.dtype).reshape(count, count) * tile.max()
    return np.tile(tile, (count, count)) + np.kron(offsets, np.ones_like(tile))


@cache
def clusters(side: int) -> np.ndarray:
    from napari_refit.uss.edges import connected_clusters

    return connected_clusters(labels(side))


def slic(side: int) -> Callable[[], Any]:
    return partial(refit.slic, tiles(side, True), n_segments=side * side // PIXELS_PER_CLUSTER)


def quickshift(side: int) -> Callable[[], Any]:
    return partial(refit.quickshift, tiles(side, True), kernel_size=3)


def recut(side: int) -> Callable[[], Any]:
    from napari_refit.uss.quickshift import quickshift_tree

    return partial(quickshift_tree(tiles(side, True), kernel_size=3).cut, 10.0)


def connected(side: int) -> Callable[[], Any]:
    from napari_refit.uss.edges import connected_clusters

    return partial(connected_clusters, labels(side))


def edges(side: int) -> Callable[[], Any]:
    return partial(refit.edge_map, clusters(side))


def simplify(side: int) -> Callable[[], Any]:
    return partial(refit.simplify, tiles(side, True), clusters(side))


def boundary_fit(side: int, coverage: float) -> Callable[[], Any]:
    maps = response_maps(side, N_CLASSES)
    return partial(refit.boundary_fit, maps, clusters(side), 0.5, coverage=coverage)


KERNELS: dict[str, Callable[[int], Callable[[], Any]]] = {
    "SLIC, RGB": slic,
    "Quickshift, RGB, kernel 3": quickshift,
    "Quickshift, the cut alone": recut,
    "connected clusters": connected,
    "edge map": edges,
    "simplified image, RGB": simplify,
    "BoundaryFit, 4 classes, coverage 1": partial(boundary_fit, coverage=1.0),
    "BoundaryFit, 4 classes, coverage 0.5": partial(boundary_fit, coverage=0.5),
}
WAYS = {f"napari-refit, {side} x {side}": side for side in SIDES}


@pytest.mark.parametrize(("what", "way"), product(KERNELS, WAYS))
def test_scaling(benchmark: Any, races: Any, what: str, way: str) -> None:
    kernel, side = KERNELS[what], WAYS[way]
    races.measure(
        benchmark,
        what,
        way,
        lambda: {name: kernel(length) for name, length in WAYS.items()},
        stage=STAGE,
        warm_up=lambda: kernel(SIDES[0])(),
        side=side,
    )
