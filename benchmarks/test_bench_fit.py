"""BoundaryFit beside the flood that the paper describes, and beside one reduction by scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import VOLUME_SHAPE, photograph, response_maps

import napari_refit as refit

STAGE = "BoundaryFit"
OURS, REGIONPROPS = "napari-refit", "scikit-image: regionprops"
FLOOD = "a flood fill from every negative pixel"
SKIMAGE_FLOOD = "scikit-image: flood from every negative pixel"
THRESHOLD = 0.5
N_CLASSES = 4


@cache
def plane_clusters(side: int) -> np.ndarray:
    from napari_refit.uss.edges import connected_clusters

    labels = refit.slic(photograph(side, False), n_segments=250, compactness=0.1, channel_axis=None)
    return connected_clusters(labels)


def skimage_flood(response: np.ndarray, clusters: np.ndarray, threshold: float) -> np.ndarray:
    """Flood with scikit-image's compiled fill from every negative pixel that is still dry."""
    from skimage.segmentation import flood

    dry = np.ones(clusters.shape, bool)
    for seed in map(tuple, np.argwhere(response < threshold)):
        if dry[seed]:
            dry &= ~flood(clusters, seed, connectivity=1)
    return dry


def lowest_by_regionprops(response: np.ndarray, clusters: np.ndarray, threshold: float) -> np.ndarray:
    from skimage.measure import regionprops_table

    table = regionprops_table(clusters, response, properties=("label", "intensity_min"))
    lowest = np.zeros(clusters.max() + 1, np.float32)
    lowest[table["label"]] = table["intensity_min"]
    return lowest[clusters] >= threshold


def of_each_class(one: Callable[..., np.ndarray], response: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Where any class survives."""
    return np.any([one(each, clusters, THRESHOLD) for each in response], axis=0)


def ways(oracle: ModuleType) -> dict[str, Callable[[], Any]]:
    response, clusters = response_maps(512, N_CLASSES), plane_clusters(512)
    return {
        OURS: partial(refit.boundary_fit, response, clusters, THRESHOLD),
        FLOOD: partial(of_each_class, oracle.flooded_mask, response, clusters),
        SKIMAGE_FLOOD: partial(of_each_class, skimage_flood, response, clusters),
        REGIONPROPS: partial(of_each_class, lowest_by_regionprops, response, clusters),
    }


@pytest.mark.parametrize(
    ("what", "way"),
    product(["BoundaryFit, 512 x 512, 4 classes"], [OURS, FLOOD, SKIMAGE_FLOOD, REGIONPROPS]),
)
def test_boundary_fit(benchmark: Any, races: Any, flood_oracle: ModuleType, what: str, way: str) -> None:
    reach = {OURS: {"milliseconds": 15}, FLOOD: {"faster": 100}}
    lap = races.measure(benchmark, what, way, lambda: ways(flood_oracle), stage=STAGE, reach=reach)
    expected = refit.boundary_fit(response_maps(512, N_CLASSES), plane_clusters(512), THRESHOLD) > 0
    assert expected.any()
    assert np.array_equal(np.asarray(lap.result) > 0, expected)


@pytest.mark.parametrize(
    ("what", "way"), product(["BoundaryFit, 512 x 512, 4 classes, coverage 0.5"], [OURS])
)
def test_coverage(benchmark: Any, races: Any, what: str, way: str) -> None:
    fit = partial(
        refit.boundary_fit, response_maps(512, N_CLASSES), plane_clusters(512), THRESHOLD, coverage=0.5
    )
    lap = races.measure(
        benchmark, what, way, lambda: {OURS: fit}, stage=STAGE, reach={OURS: {"milliseconds": 15}}
    )
    assert lap.result.any()


@pytest.mark.parametrize(
    ("what", "way"), product(["BoundaryFit, 64 x 256 x 256 supervoxels, 1 class"], [OURS, REGIONPROPS])
)
def test_volume(benchmark: Any, races: Any, what: str, way: str) -> None:
    depth, side = VOLUME_SHAPE[:2]
    labels = plane_clusters(side)
    clusters = labels + (np.arange(depth, dtype=np.int32)[:, None, None] // 4) * labels.max()
    response = np.broadcast_to(response_maps(side, 1)[0], clusters.shape).copy()
    ways = {
        OURS: partial(refit.boundary_fit, response, clusters, THRESHOLD),
        REGIONPROPS: partial(lowest_by_regionprops, response, clusters, THRESHOLD),
    }
    lap = races.measure(benchmark, what, way, lambda: ways, stage=STAGE)
    assert np.asarray(lap.result).any()
    if way == REGIONPROPS and races.result(what, OURS) is not None:
        assert np.array_equal(races.result(what, OURS) > 0, lap.result)
