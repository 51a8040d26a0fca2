"""Lab and smoothing: scikit-image's and scipy's numbers, faster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import color, data

from napari_refit.errors import Cancelled
from napari_refit.uss.colour import lab_planes
from napari_refit.uss.smoothing import smooth
from napari_refit.uss.superpixels import perceptual_planes


def planes_of(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(image, -1, 0), dtype=np.float32)


@pytest.mark.parametrize("picture", [data.astronaut(), data.coffee(), data.chelsea()])
def test_lab_of_pictures_is_that_of_scikit_image(picture: np.ndarray) -> None:
    ours = np.moveaxis(lab_planes(planes_of(picture / 255)), 0, -1)
    assert ours.dtype == np.float32
    assert np.abs(ours - color.rgb2lab(picture)).max() < 1e-3


def test_lab_over_the_whole_cube() -> None:
    steps = np.linspace(0, 1, 41)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
    assert np.abs(np.moveaxis(lab_planes(planes_of(cube)), 0, -1) - color.rgb2lab(cube)).max() < 1e-3


def test_lab_beyond_the_cube() -> None:
    wide = np.random.default_rng(0).uniform(-2, 20, (50, 40, 3))
    ours = np.moveaxis(lab_planes(planes_of(wide)), 0, -1)
    np.testing.assert_allclose(ours, color.rgb2lab(wide), rtol=1e-4, atol=2e-2)


def test_lab_keeps_nan_and_its_input() -> None:
    planes = np.full((3, 2, 5), 0.5, np.float32)
    planes[1, 0, 3] = np.nan
    before = planes.copy()
    nan = np.isnan(lab_planes(planes))
    assert np.array_equal(nan.any(axis=0), np.isnan(planes[1]))
    np.testing.assert_array_equal(planes, before)


def test_lab_needs_three_planes() -> None:
    with pytest.raises(ValueError, match=r"got shape \(4, 2, 2\)"):
        lab_planes(np.zeros((4, 2, 2), np.float32))


@pytest.mark.parametrize(
    "shape", [(1, 1, 40, 50), (3, 1, 31, 17), (1, 12, 20, 23), (2, 5, 7, 3), (1, 1, 1, 1)]
)
@pytest.mark.parametrize("sigmas", [(0, 1, 1), (1, 1, 1), (2, 0, 0.3), (0, 0, 4), (0.1, 0.1, 0.1), (9, 9, 9)])
def test_smoothing_is_that_of_scipy(shape: tuple[int, ...], sigmas: tuple[float, ...]) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    before = image.copy()
    expected = ndimage.gaussian_filter(image.astype(np.float64), (0, *sigmas))
    np.testing.assert_allclose(smooth(image, sigmas), expected, atol=2e-6)
    np.testing.assert_array_equal(image, before)


def test_no_smoothing_is_the_image_itself() -> None:
    image = np.ones((1, 1, 4, 4), np.float32)
    assert smooth(image, (0, 0, 0)) is image


@pytest.mark.parametrize("sigma", [-1.0, np.nan, np.inf])
def test_smoothing_needs_standard_deviations(sigma: float) -> None:
    with pytest.raises(ValueError, match="standard deviation"):
        smooth(np.ones((1, 1, 4, 4), np.float32), (0, sigma, 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 6), st.integers(0, 100))
def test_smoothing_keeps_the_mean_and_the_range(height: int, width: int, sigma: float, seed: int) -> None:
    image = np.random.default_rng(seed).random((1, 1, height, width), dtype=np.float32)
    smoothed = smooth(image, (0, sigma, sigma))
    assert smoothed.mean() == pytest.approx(image.mean(), abs=1e-5)
    assert image.min() - 1e-6 <= smoothed.min()
    assert smoothed.max() <= image.max() + 1e-6


def test_both_stop_when_asked() -> None:
    image = np.ones((3, 1, 8, 8), np.float32)
    with pytest.raises(Cancelled):
        lab_planes(image, cancelled=lambda: True)
    with pytest.raises(Cancelled):
        smooth(image, (0, 1, 1), cancelled=lambda: True)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 2), (6, 7, 3), (6, 7, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool])
def test_perceptual_planes(shape: tuple[int, ...], dtype: type) -> None:
    image = (np.random.default_rng(1).random(shape) * (2 if dtype is bool else 1)).astype(dtype)
    ours = perceptual_planes(image)
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous
    channels = np.moveaxis(ours, 0, -1)
    plain = image.astype(float).reshape(6, 7, -1)
    expected = color.rgb2lab(plain) if plain.shape[2] == 3 else plain * 100
    np.testing.assert_allclose(channels, expected, atol=1e-3)


def test_nan_and_infinities_count_as_black() -> None:
    image = np.full((4, 4), 0.5)
    image[0, 0], image[1, 1] = np.nan, np.inf
    assert perceptual_planes(image)[0, :2, :2].tolist() == [[0, 50], [50, 0]]
