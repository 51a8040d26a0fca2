"""Segmenter stages: their units, their clusters, and what they do with awkward planes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from agreement import agreement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage import color, segmentation, util

from napari_refit.params import (
    FelzenszwalbParams,
    NetworkParams,
    QuickshiftParams,
    SlicParams,
    WatershedParams,
)
from napari_refit.registry import SEGMENTERS
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.superpixels import (
    felzenszwalb_segmenter,
    merge_small,
    quickshift_segmenter,
    slic_segmenter,
    watershed_segmenter,
)

SMALL = {
    "slic": SlicParams(n_segments=12),
    "quickshift": QuickshiftParams(kernel_size=2, max_dist=5),
    "felzenszwalb": FelzenszwalbParams(min_size=3),
    "watershed": WatershedParams(markers=12),
    "network": NetworkParams(steps=2, guide_n_segments=12),
}
SHARP = {
    "slic": SlicParams(n_segments=64, sigma=0, max_num_iter=2, compactness=10),
    "quickshift": QuickshiftParams(kernel_size=1, max_dist=4),
    "felzenszwalb": FelzenszwalbParams(sigma=0, min_size=1),
    "watershed": WatershedParams(markers=64, sigma=0),
}


def segment(name: str, image: np.ndarray, params=None) -> np.ndarray:
    """Run a registered segmenter; the last of what a generator yields is its result."""
    result = SEGMENTERS[name].function(image, params or SMALL[name])
    return result if isinstance(result, np.ndarray) else list(result)[-1]


def assert_clusters(clusters: np.ndarray, shape: tuple[int, ...]) -> None:
    assert clusters.dtype == np.int32
    assert clusters.shape == shape
    count = int(clusters.max())
    assert np.array_equal(np.unique(clusters), np.arange(1, count + 1))
    for number in range(1, count + 1):
        assert ndimage.label(clusters == number)[1] == 1


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two label maps group the pixels alike, whatever their numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1).shape[1]
    return pairs == len(np.unique(first)) == len(np.unique(second))


def smooth_plane(shape: tuple[int, ...], seed: int, sigma: float = 4) -> np.ndarray:
    """A smooth random plane over exactly [0, 1]."""
    plane = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma, axes=(0, 1))
    return (plane - plane.min()) / np.ptp(plane)


def slow_slic(grey: np.ndarray, n_segments: int, compactness: float, rounds: int) -> np.ndarray:
    """SLIC's k-means on grey values as they are, from its publication: no rescaling, no merging."""
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(float)
    grid = util.regular_grid(grey.shape, n_segments)
    step_y, step_x = (axis.step for axis in grid)
    spacing = max(step_y, step_x)
    centres = np.stack([rows[grid].ravel(), columns[grid].ravel(), np.zeros(rows[grid].size)], axis=1)
    for _ in range(rounds):
        distance = np.full(grey.shape, np.inf)
        labels = np.zeros(grey.shape, int)
        for number, (y, x, value) in enumerate(centres):
            near = (rows >= int(max(y - 2 * step_y, 0))) & (rows < int(y + 2 * step_y + 1))
            near &= (columns >= int(max(x - 2 * step_x, 0))) & (columns < int(x + 2 * step_x + 1))
            away = ((rows - y) ** 2 + (columns - x) ** 2) / spacing**2 + ((grey - value) / compactness) ** 2
            closer = near & (away < distance)
            distance[closer], labels[closer] = away[closer], number
        for number in range(len(centres)):
            inside = labels == number
            centres[number] = rows[inside].mean(), columns[inside].mean(), grey[inside].mean()
    return labels


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.5), (0.3, 0.4)])
def test_slic_compactness_is_in_units_of_the_grey_range_whatever_the_plane_uses(
    low: float, high: float
) -> None:
    plane = low + (high - low) * smooth_plane((40, 40), 0)
    expected = slow_slic(plane * 100, 16, compactness=40, rounds=4)
    params = SlicParams(n_segments=16, compactness=40, sigma=0, max_num_iter=4)
    assert same_partition(slic_segmenter(plane, params), expected)


def test_compactness_would_mean_something_else_on_a_dark_plane_without_that() -> None:
    plane = smooth_plane((40, 40), 0)
    arguments = {"n_segments": 16, "compactness": 0.4, "max_num_iter": 4, "channel_axis": None}
    assert same_partition(
        segmentation.slic(plane, **arguments), slow_slic(plane * 100, 16, compactness=40, rounds=4)
    )
    assert not same_partition(
        segmentation.slic(plane / 2, **arguments), slow_slic(plane * 50, 16, compactness=40, rounds=4)
    )


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("name", sorted(SHARP))
def test_a_bright_pixel_far_away_changes_nothing_here(name: str, channels: int) -> None:
    shape = (32, 128, channels) if channels else (32, 128)
    plane = smooth_plane(shape, 2, sigma=1.5) / 2
    brighter = plane.copy()
    brighter[16, 120] = 1
    before, after = (segment(name, image, SHARP[name])[:, :32] for image in (plane, brighter))
    assert len(np.unique(before)) > 8
    assert same_partition(before, after)


@pytest.mark.parametrize("image", [smooth_plane((24, 30), 4), smooth_plane((24, 30, 3), 4, sigma=2)])
def test_segmenters_are_scikit_image_in_those_units(image: np.ndarray) -> None:
    wide = image * 100 if image.ndim == 2 else color.rgb2lab(image)
    parameters = {"kernel_size": 2, "max_dist": 5, "sigma": 1.0}
    expected = segmentation.quickshift(wide, ratio=0.5, convert2lab=False, **parameters)
    result = quickshift_segmenter(image, QuickshiftParams(ratio=0.5, **parameters))
    assert np.array_equal(result, connected_clusters(expected))

    if image.ndim == 2:
        expected = segmentation.felzenszwalb(image, scale=30, sigma=0.5, min_size=1)
        result = felzenszwalb_segmenter(image, FelzenszwalbParams(scale=30, sigma=0.5, min_size=1))
        assert np.array_equal(result, connected_clusters(expected))

    span = np.ptp(wide)
    expected = segmentation.slic(
        wide, 20, 10 / span, convert2lab=False, channel_axis=2 if image.ndim > 2 else None
    )
    result = slic_segmenter(image, SlicParams(n_segments=20, compactness=10, sigma=0))
    assert agreement(result, connected_clusters(expected)) >= 0.99


def test_slic_of_a_full_range_rgb_plane_is_close_to_scikit_images_own_lab() -> None:
    image = smooth_plane((40, 40, 3), 5)
    theirs = segmentation.slic(image, 20, 10, sigma=0)
    ours = slic_segmenter(image, SlicParams(n_segments=20, compactness=10, sigma=0))
    assert abs(len(np.unique(theirs)) - ours.max()) <= 3


@pytest.mark.parametrize("name", ["felzenszwalb", "watershed"])
def test_grey_stored_as_rgb_gives_what_grey_gives(name: str) -> None:
    grey = smooth_plane((32, 32), 6, sigma=1)
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(segment(name, colour), segment(name, grey))


@pytest.mark.parametrize("name", SEGMENTERS.names)
def test_one_channel_is_grey(name: str) -> None:
    plane = smooth_plane((20, 20), 7, sigma=1)
    assert np.array_equal(segment(name, plane[..., None]), segment(name, plane))


@pytest.mark.parametrize("name", SEGMENTERS.names)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (9, 1), (2, 2), (1, 9, 3), (9, 1, 3), (2, 9), (5, 7, 2), (5, 7, 6)]
)
def test_planes_of_any_shape(name: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_clusters(segment(name, image), shape[:2])
        assert_clusters(segment(name, np.zeros(shape, np.float32)), shape[:2])


@pytest.mark.parametrize("name", SEGMENTERS.names)
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_constant_planes(name: str, level: float) -> None:
    clusters = segment(name, np.full((16, 16), level, np.float32))
    assert_clusters(clusters, (16, 16))
    assert np.array_equal(clusters, segment(name, np.zeros((16, 16), np.float32)))


@pytest.mark.parametrize("name", SEGMENTERS.names)
@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int16, np.uint64, np.float16, np.float64, np.longdouble]
)
def test_any_real_dtype_means_the_values_it_holds(name: str, dtype: type) -> None:
    image = np.zeros((16, 16), np.float32)
    image[4:11, 5:12] = 1
    assert np.array_equal(segment(name, image.astype(dtype)), segment(name, image))


@pytest.mark.parametrize("name", SEGMENTERS.names)
def test_nan_and_infinities_count_as_zero_and_inputs_stay_as_they_were(name: str) -> None:
    image = smooth_plane((16, 16), 8, sigma=1)
    image[3:5, 3:6] = 0
    hurt = image.copy()
    hurt[3, 3:6], hurt[4, 3:6] = np.nan, (np.inf, -np.inf, np.nan)
    kept = hurt.copy()
    assert np.array_equal(segment(name, hurt), segment(name, image))
    assert np.array_equal(hurt, kept, equal_nan=True)
    hurt[:] = np.nan
    assert_clusters(segment(name, hurt), (16, 16))


@pytest.mark.parametrize("name", SEGMENTERS.names)
@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((0, 5)), ValueError, r"empty: shape \(0, 5\)"),
        (np.zeros((5, 5, 0)), ValueError, "empty"),
        (np.zeros((3, 20, 20)), ValueError, r"channels must come last, got shape \(3, 20, 20\)"),
        (np.zeros(5), ValueError, r"got shape \(5,\)"),
        (np.zeros((2, 2, 2, 3)), ValueError, "got shape"),
        (np.zeros((5, 5), complex), TypeError, "complex128"),
        (np.zeros((5, 5), object), TypeError, "object"),
        ([["a"]], TypeError, "real numbers"),
    ],
)
def test_bad_planes_are_named(name: str, image, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        segment(name, image)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(SHARP)),
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12).flatmap(
        lambda shape: arrays.arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
    ),
)
def test_clusters_of_any_plane_are_connected_and_repeatable(name: str, image: np.ndarray) -> None:
    clusters = segment(name, image)
    assert_clusters(clusters, image.shape)
    assert np.array_equal(segment(name, image), clusters)


def test_parameters_take_effect() -> None:
    plane = smooth_plane((48, 48), 9, sigma=1.5)
    more = [slic_segmenter(plane, SlicParams(n_segments=n)).max() for n in (4, 40)] + [
        watershed_segmenter(plane, WatershedParams(markers=n)).max() for n in (4, 40)
    ]
    assert more[0] < more[1]
    assert more[2] < more[3]
    assert (
        quickshift_segmenter(plane, QuickshiftParams(kernel_size=1, max_dist=3)).max()
        > quickshift_segmenter(plane, QuickshiftParams(kernel_size=3, max_dist=12)).max()
    )
    assert (
        felzenszwalb_segmenter(plane, FelzenszwalbParams(scale=5)).max()
        > felzenszwalb_segmenter(plane, FelzenszwalbParams(scale=500)).max()
    )


@pytest.mark.parametrize("min_size", [1, 7, 30, 10000])
def test_felzenszwalb_leaves_no_cluster_below_its_smallest(min_size: int) -> None:
    plane = np.random.default_rng(1).random((40, 40))
    params = FelzenszwalbParams(scale=20, sigma=0.3, min_size=min_size)
    sizes = np.bincount(felzenszwalb_segmenter(plane, params).ravel())[1:]
    assert sizes.min() >= min(min_size, plane.size)
    assert len(sizes) == 1 if min_size == 10000 else len(sizes) > 3


def test_small_clusters_join_the_neighbour_of_nearest_colour() -> None:
    plane = np.zeros((4, 9))
    plane[:, 5:], plane[1:3, 4] = 1, 0.7
    clusters = connected_clusters((plane * 10).astype(int))
    merged = merge_small(clusters, plane[..., None], 3)
    assert merged.max() == 2
    assert np.array_equal(merged == merged[0, 8], plane > 0.5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=10).flatmap(
        lambda shape: arrays.arrays(np.int8, shape, elements=st.integers(0, 3))
    ),
    st.integers(1, 20),
)
def test_merging_only_ever_joins(labels: np.ndarray, min_size: int) -> None:
    clusters = connected_clusters(labels)
    merged = merge_small(clusters, labels[..., None].astype(float), min_size)
    assert_clusters(merged, labels.shape)
    assert np.bincount(merged.ravel())[1:].min() >= min(min_size, labels.size)
    for number in range(1, clusters.max() + 1):
        assert len(np.unique(merged[clusters == number])) == 1
