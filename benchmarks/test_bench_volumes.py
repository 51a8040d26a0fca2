"""Whole volumes: connected clusters and distances between boundaries, beside the libraries that do the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import sample_volume

import napari_refit as refit
from napari_refit.metrics import hd95

STAGE = "Volumes"
OURS = "napari-refit"
CLUSTERS = "connected clusters, 64 x 256 x 256, 2000 supervoxels"
DISTANCE = "HD95, 64 x 256 x 256"
SPACING = (2.5, 1.0, 1.0)


@cache
def supervoxels() -> np.ndarray:
    return refit.slic(
        sample_volume()[0], n_segments=2000, compactness=0.1, enforce_connectivity=False, channel_axis=None
    )


@cache
def mask_and_truth() -> tuple[np.ndarray, np.ndarray]:
    """The truth, and the same moved, with one corner cut off."""
    truth = sample_volume()[1]
    mask = np.roll(truth, (1, 2, 3), axis=(0, 1, 2))
    mask[:, :, : int(np.argwhere(mask)[:, 2].mean())] = 0
    return mask, truth


def connected_by_skimage() -> np.ndarray:
    from skimage.measure import label

    found: np.ndarray = label(supervoxels() + 1, connectivity=1)
    return found


def distance_by_monai() -> float:
    import torch
    from monai.metrics import compute_hausdorff_distance

    masks = [torch.from_numpy(np.ascontiguousarray(each))[None, None] for each in mask_and_truth()]
    return float(compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=SPACING))


def distance_by_transform() -> float:
    """Both masks' distance transforms of the whole volume, read off at the other's boundary."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    mask, truth = (each > 0 for each in mask_and_truth())
    boundaries = [each & ~binary_erosion(each) for each in (mask, truth)]
    distances = [distance_transform_edt(~each, sampling=SPACING) for each in boundaries]
    pairs = ((boundaries[0], distances[1]), (boundaries[1], distances[0]))
    return max(float(np.percentile(distance[boundary], 95)) for boundary, distance in pairs)


def distance() -> float:
    return hd95(*mask_and_truth(), spacing=SPACING)


def connected() -> np.ndarray:
    from napari_refit.uss.edges import connected_clusters

    return connected_clusters(supervoxels())


WAYS: dict[str, dict[str, Callable[[], Any]]] = {
    CLUSTERS: {OURS: connected, "scikit-image": connected_by_skimage},
    DISTANCE: {
        OURS: distance,
        "MONAI": distance_by_monai,
        "SciPy's distance transform": distance_by_transform,
    },
}


@pytest.mark.parametrize(
    ("what", "way"), [pair for what, ways in WAYS.items() for pair in product([what], ways)]
)
def test_volumes(benchmark: Any, races: Any, what: str, way: str) -> None:
    lap = races.measure(benchmark, what, way, partial(dict, WAYS[what]), stage=STAGE)
    ours = races.result(what, OURS)
    if what == CLUSTERS:
        assert lap.result.max() == ours.max()
    elif way == "MONAI":
        assert lap.result == pytest.approx(ours, abs=1e-4)
