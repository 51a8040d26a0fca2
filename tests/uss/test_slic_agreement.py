"""slic gives scikit-image's clusters, up to renumbering, whatever the picture and the options."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from agreement import agreement
from scipy import ndimage
from skimage import data, segmentation

import napari_refit as refit
from napari_refit.uss.colour import lab_planes

# Pixels that are nearly as far from two centres go one way in float32 and the other in float64.
LEAST = 0.99
PICTURES: dict[str, Any] = {
    "astronaut": data.astronaut()[::2, ::2],
    "coffee": data.coffee()[::2, ::2],
    "chelsea": data.chelsea()[50:250, 100:350],
    "camera": data.camera()[::2, ::2],
    "coins": data.coins()[:200],
    "cell": data.cell()[100:300, 150:400],
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"n_segments": 600, "compactness": 20.0},
    {"compactness": 1.0},
    {"compactness": 0.1, "n_segments": 50},
    {"sigma": 1},
    {"sigma": (2, 0.5), "start_label": 0},
    {"spacing": (2, 1), "sigma": 1},
    {"slic_zero": True},
    {"slic_zero": True, "n_segments": 300, "compactness": 0.5},
    {"enforce_connectivity": False, "start_label": 0},
    {"enforce_connectivity": False, "max_num_iter": 1},
    {"max_num_iter": 25, "min_size_factor": 0.1, "max_size_factor": 1.5},
    {"convert2lab": False},
]


def brain(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A smooth structure with noise, bright in an ellipsoid and dark around it."""
    random = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    inside = sum((axis / 0.8) ** 2 for axis in grid) < 1
    folds = ndimage.gaussian_filter(random.normal(size=shape), 2.5)
    return inside * (0.6 + folds / folds.std() * 0.15) + random.normal(scale=0.02, size=shape)


def compare(image: np.ndarray, **arguments: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return agreement(refit.slic(image, **arguments), segmentation.slic(image, **arguments))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name: str, options: dict[str, Any]) -> None:
    image = PICTURES[name]
    assert compare(image, channel_axis=-1 if image.ndim == 3 else None, **options) >= LEAST


@pytest.mark.parametrize(
    "options",
    [
        {"n_segments": 60, "compactness": 0.1},
        {"n_segments": 60, "compactness": 0.1, "spacing": (3, 1, 1), "sigma": 1},
        {"n_segments": 300, "compactness": 0.05, "sigma": (0.5, 1, 2), "start_label": 0},
        {"n_segments": 40, "slic_zero": True, "compactness": 0.1, "max_num_iter": 5},
        {"n_segments": 40, "slic_zero": True, "compactness": 0.1, "spacing": (2, 1, 0.7)},
        {"n_segments": 90, "compactness": 0.1, "enforce_connectivity": False},
        {"n_segments": 2000, "compactness": 0.2, "max_size_factor": 1.2},
        {"n_segments": 5, "compactness": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(20, 44, 50), (3, 60, 41)])
def test_volumes(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    assert compare(brain(shape), channel_axis=None, **options) >= LEAST


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(70, 90), (9, 40, 45)])
def test_channels(shape: tuple[int, ...], channels: int) -> None:
    image = np.stack([brain(shape, seed) for seed in range(channels)], axis=-1)
    image -= image.min()
    image /= image.max()
    assert compare(image, n_segments=70, convert2lab=False, compactness=0.2) >= LEAST
    first = np.moveaxis(image, -1, 1)
    assert compare(first, n_segments=70, channel_axis=1, compactness=0.2, slic_zero=True) >= LEAST
    if channels == 3:
        assert compare(image, n_segments=70) >= LEAST


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start_label": 0},
        {"sigma": 1},
        {"slic_zero": True},
        {"enforce_connectivity": False},
        {"compactness": 1.0, "max_num_iter": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(90, 80), (90, 80, 3), (12, 40, 36)])
def test_masks(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    image = brain(shape, 3)
    channel_axis = -1 if shape[-1] == 3 else None
    spatial = shape[:-1] if shape[-1] == 3 else shape
    mask = ndimage.gaussian_filter(np.random.default_rng(1).random(spatial), 5)
    mask = mask > np.quantile(mask, 0.55)
    options = {"compactness": 0.2 if channel_axis is None else 10.0, **options}
    assert compare(image, mask=mask, n_segments=40, channel_axis=channel_axis, **options) >= LEAST


def test_islands_far_apart_share_few_seeds() -> None:
    image = brain((100, 100))
    mask = np.zeros(image.shape, bool)
    mask[3:12, 4:15] = mask[80:95, 70:99] = mask[50, 50] = True
    for n_segments in (2, 3, 12):
        arguments = {"mask": mask, "n_segments": n_segments, "channel_axis": None, "compactness": 0.1}
        assert compare(image, **arguments) >= LEAST


def test_what_is_masked_out_may_be_anything() -> None:
    image = brain((60, 70))
    mask = np.ones(image.shape, bool)
    mask[20:30, 10:50] = False
    image[~mask] = np.nan
    image[22, 22] = np.inf
    arguments = {"mask": mask, "channel_axis": None, "n_segments": 40, "compactness": 0.2}
    assert compare(image, **arguments) >= LEAST
    # Smoothing spreads NaN into the mask; scikit-image gives such pixels no cluster either.
    ours, theirs = refit.slic(image, sigma=1.5, **arguments), segmentation.slic(image, sigma=1.5, **arguments)
    assert np.array_equal(ours == 0, theirs == 0)


def test_a_single_seed_in_a_mask_takes_all_of_it() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    labels = refit.slic(brain((20, 30)), n_segments=1, mask=mask, channel_axis=None)
    assert np.array_equal(labels, mask)


@pytest.mark.parametrize("image", [np.zeros((64, 80)), np.full((10, 30, 31), 7), np.ones((50, 50, 3))])
def test_flat_images(image: np.ndarray) -> None:
    channel_axis = -1 if image.shape[-1] == 3 else None
    for n_segments in (7, 100):
        arguments = {"n_segments": n_segments, "channel_axis": channel_axis}
        assert np.array_equal(refit.slic(image, **arguments), segmentation.slic(image, **arguments))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32])
def test_types(dtype: type) -> None:
    image = PICTURES["coins"]
    image = image > 120 if dtype is bool else image.astype(dtype)
    assert compare(image, channel_axis=None, compactness=0.5) >= LEAST


def test_a_great_offset_costs_no_precision() -> None:
    image = PICTURES["coins"].astype(np.int64)
    expected = refit.slic(image, channel_axis=None, compactness=0.1)
    for moved in (image + 10**12, image * 1e200 - 3e202):
        assert np.array_equal(refit.slic(moved, channel_axis=None, compactness=0.1), expected)


def test_more_seeds_than_pixels() -> None:
    image = brain((9, 11))
    for n_segments in (40, 99, 1000):
        assert compare(image, n_segments=n_segments, channel_axis=None) >= LEAST


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 1), (8, 8), (9, 17), (5, 3)])
def test_small_and_narrow_planes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape)
    assert compare(image, n_segments=6, channel_axis=None, compactness=1.0) == 1


def test_our_lab_is_what_scikit_image_would_have_got() -> None:
    image = PICTURES["coffee"]
    planes = np.moveaxis(image / 255, -1, 0).astype(np.float32)
    assert image.min() == 0
    assert image.max() == 255
    lab = np.moveaxis(lab_planes(planes), 0, -1)
    span = np.ptp(lab)
    from_lab = refit.slic(lab, convert2lab=False, compactness=10 / span)
    assert agreement(from_lab, segmentation.slic(image)) >= LEAST
