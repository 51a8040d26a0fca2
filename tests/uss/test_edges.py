"""Clusters, edge maps and simplified images against slow, readable oracles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage.measure import label

from napari_refit.uss import edges as edges_module
from napari_refit.uss.checks import numbered
from napari_refit.uss.edges import clusters_from_edges, connected_clusters, edge_map, simplify

SHAPES = st.one_of(
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5),
)
LABELS = SHAPES.flatmap(lambda shape: arrays.arrays(np.int16, shape, elements=st.integers(-1, 2)))
EDGES = SHAPES.flatmap(lambda shape: arrays.arrays(bool, shape))
SLOW = [HealthCheck.too_slow]
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=SLOW)


def connected_by_scipy(labels: np.ndarray) -> list[frozenset[int]]:
    """Every connected region of every label, as sets of flat pixel numbers."""
    regions = []
    for value in np.unique(labels):
        components, count = ndimage.label(labels == value)
        regions += [frozenset(np.flatnonzero(components == number + 1)) for number in range(count)]
    return regions


def connected_by_skimage(labels: np.ndarray) -> np.ndarray:
    """scikit-image's regions, numbered 1..n by their first pixels, which it does not do in volumes."""
    regions = label(
        np.unique(labels, return_inverse=True)[1].reshape(labels.shape), background=-1, connectivity=1
    )
    _, first, place = np.unique(regions, return_index=True, return_inverse=True)
    return 1 + np.argsort(np.argsort(first))[place].reshape(labels.shape)


def as_regions(clusters: np.ndarray) -> list[frozenset[int]]:
    return [frozenset(np.flatnonzero(clusters == number)) for number in np.unique(clusters)]


def assert_clusters(clusters: np.ndarray) -> None:
    """int32, numbered 1..n without gaps, each connected."""
    assert clusters.dtype == np.int32
    count = int(clusters.max())
    assert np.array_equal(np.unique(clusters), np.arange(1, count + 1))
    assert len(connected_by_scipy(clusters)) == count


@QUICK
@given(LABELS)
def test_connected_clusters_are_the_regions_of_each_label(labels: np.ndarray) -> None:
    clusters = connected_clusters(labels)
    assert_clusters(clusters)
    assert set(as_regions(clusters)) == set(connected_by_scipy(labels))
    first_pixels = [min(region) for region in as_regions(clusters)]
    assert first_pixels == sorted(first_pixels)
    assert np.array_equal(connected_clusters(clusters), clusters)


@pytest.fixture(params=[1, 2, 3, 7])
def bands(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Cut images of any size into this many bands."""
    monkeypatch.setattr(edges_module, "_n_bands", lambda n_pixels: request.param)
    return request.param


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("shape", [(40, 31), (1, 50), (50, 1), (9, 12, 11), (12, 1, 9), (3, 20, 1)])
def test_bands_change_nothing(bands: int, shape: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(len(shape) * shape[0])
    for n_labels, smoothing in ((2, 0), (3, 1), (12, 2)):
        smooth = ndimage.gaussian_filter(rng.normal(size=shape), smoothing)
        cuts = np.quantile(smooth, np.linspace(0, 1, n_labels + 1)[1:-1])
        labels = np.digitize(smooth, cuts).astype(dtype) - 1
        assert np.array_equal(connected_clusters(labels), connected_by_skimage(labels))
        assert np.array_equal(connected_clusters(labels[::-1].T), connected_by_skimage(labels[::-1].T))
        successors = [
            np.diff(labels, axis=axis, append=labels.take([-1], axis)) for axis in range(labels.ndim)
        ]
        assert np.array_equal(edge_map(labels), np.any(successors, axis=0))
        image = rng.random((*shape, 2))
        means = np.stack([ndimage.mean(image[..., channel], labels, labels) for channel in (0, 1)], axis=-1)
        assert np.allclose(simplify(image, labels), means)


def test_a_spiral_is_one_cluster(bands: int) -> None:
    """The arms of a spiral meet only in its middle: joined late, and through many joints."""
    y, x = np.mgrid[-40:41, -40:41]
    labels = (np.hypot(y, x) + 8 * np.arctan2(y, x) / (2 * np.pi)) % 8 < 4
    assert np.array_equal(connected_clusters(labels), connected_by_skimage(labels))


def test_clusters_of_a_volume_are_numbered_by_their_first_voxels() -> None:
    labels = np.array([[[0], [1]], [[-1], [-1]]])
    assert connected_clusters(labels).ravel().tolist() == [1, 2, 3, 3]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64])
def test_labels_of_any_whole_dtype_give_the_same_clusters(dtype: type) -> None:
    labels = np.array([[0, 0, 1, 1], [1, 0, 0, 1]])
    assert np.array_equal(connected_clusters(labels.astype(dtype)), [[1, 1, 2, 2], [3, 1, 1, 2]])


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(-(2**63), 2**63 - 1, np.int64), (0, 2**64 - 1, np.uint64), (2**64 - 2, 2**64 - 1, np.uint64)],
)
def test_extreme_labels_are_labels_like_any_other(low: int, high: int, dtype: type) -> None:
    labels = np.array([[low, high, high], [low, low, high]], dtype=dtype)
    assert np.array_equal(connected_clusters(labels), [[1, 2, 2], [1, 1, 2]])
    assert np.array_equal(edge_map(labels), [[True, True, False], [False, True, False]])
    assert np.array_equal(simplify([[0, 6, 6], [0, 3, 6]], labels), [[1, 6, 6], [1, 1, 6]])


@pytest.mark.parametrize("dtype", [">i4", ">u2", ">i8"])
def test_labels_of_a_foreign_byte_order(dtype: str) -> None:
    labels = np.array([[3, 3, 260], [3, 260, 260]], dtype=dtype)
    assert connected_clusters(labels).tolist() == [[1, 1, 2], [1, 2, 2]]
    assert edge_map(labels).tolist() == [[False, True, False], [True, False, False]]
    assert simplify(np.array([[0, 6, 6], [0, 3, 6]], ">f4"), labels).tolist() == [[2, 2, 5], [2, 5, 5]]


def test_arrays_that_may_not_be_written_to() -> None:
    labels, image = np.array([[3, 3, 7]]), np.array([[0.0, 1.0, 2.0]])
    labels.flags.writeable = image.flags.writeable = False
    assert connected_clusters(labels).tolist() == [[1, 1, 2]]
    assert edge_map(labels).tolist() == [[False, True, False]]
    assert simplify(image, labels).tolist() == [[0.5, 0.5, 2]]


@QUICK
@given(LABELS)
def test_numbered_keeps_the_order_of_labels(labels: np.ndarray) -> None:
    places, count = numbered(labels)
    values, expected = np.unique(labels, return_inverse=True)
    assert places.dtype == np.int64
    assert count == len(values)
    assert np.array_equal(places, expected.reshape(labels.shape))


@QUICK
@given(LABELS)
def test_edge_map_marks_pixels_whose_successor_differs(labels: np.ndarray) -> None:
    expected = np.zeros(labels.shape, dtype=bool)
    for pixel in itertools.product(*map(range, labels.shape)):
        for axis in range(labels.ndim):
            successor = tuple(p + (a == axis) for a, p in enumerate(pixel))
            if successor[axis] < labels.shape[axis] and labels[successor] != labels[pixel]:
                expected[pixel] = True
    edges = edge_map(labels)
    assert edges.dtype == bool
    assert np.array_equal(edges, expected)
    assert edges.any() == (len(np.unique(labels)) > 1)


def test_edge_between_two_regions_is_one_pixel_wide() -> None:
    clusters = np.ones((6, 8), dtype=np.int32)
    clusters[:, 4:] = 2
    assert np.array_equal(np.flatnonzero(edge_map(clusters).all(axis=0)), [3])
    assert edge_map(clusters).sum() == 6


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(EDGES)
def test_outside_edges_close_regions_and_no_pixel_is_lost(edges: np.ndarray) -> None:
    clusters = clusters_from_edges(edges)
    assert clusters.shape == edges.shape
    assert_clusters(clusters)
    if edges.all():
        assert clusters.max() == 1
        return
    components, count = ndimage.label(~edges)
    assert clusters.max() == count
    assert np.array_equal(clusters[~edges], components[~edges])


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(EDGES.filter(lambda edges: not edges.all()))
def test_edge_pixels_join_the_nearest_cluster_or_else_one_that_they_touch(edges: np.ndarray) -> None:
    clusters = clusters_from_edges(edges)
    free = np.argwhere(~edges)
    for pixel in np.argwhere(edges):
        squares = np.square(free - pixel).sum(axis=1)
        nearest = {clusters[tuple(p)] for p in free[squares == squares.min()]}
        if clusters[tuple(pixel)] not in nearest:
            touching = {
                clusters[tuple(other)]
                for other in np.argwhere(np.ones(edges.shape))
                if np.abs(other - pixel).sum() == 1
            }
            assert clusters[tuple(pixel)] in touching


@pytest.mark.parametrize(
    ("drawing", "spacing"),
    [("###. ..## #### .###", None), ("#####. ####.# ##..##", (3, 1))],
)
def test_a_piece_torn_off_by_distance_joins_a_cluster_that_it_touches(
    drawing: str, spacing: tuple[float, ...] | None
) -> None:
    edges = np.array([[pixel == "#" for pixel in row] for row in drawing.split()])
    components, count = ndimage.label(~edges)
    nearest = ndimage.distance_transform_edt(
        edges, sampling=spacing, return_distances=False, return_indices=True
    )
    assert len(connected_by_scipy(components[tuple(nearest)])) > count
    clusters = clusters_from_edges(edges, spacing=spacing)
    assert_clusters(clusters)
    assert clusters.max() == count
    assert np.array_equal(clusters[~edges], components[~edges])


def test_thick_straight_edge_is_shared_by_distance() -> None:
    edges = np.zeros((5, 9), dtype=bool)
    edges[:, 2:6] = True
    expected = np.repeat([[1, 1, 1, 1, 2, 2, 2, 2, 2]], 5, axis=0)
    assert np.array_equal(clusters_from_edges(edges), expected)


def test_spacing_decides_what_is_nearest() -> None:
    edges = np.ones((4, 4), dtype=bool)
    edges[0, 2:] = edges[2:, 0] = False
    corner = clusters_from_edges(edges, spacing=(1, 10))[0, 0]
    assert corner == clusters_from_edges(edges)[3, 0] == 2
    assert clusters_from_edges(edges, spacing=(10, 1))[0, 0] == 1


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, np.nan), (1.0, 1.0, 1.0)])
def test_spacing_that_does_not_fit_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="spacing must be 2 positive numbers"):
        clusters_from_edges(np.zeros((3, 3)), spacing=spacing)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float16, np.float64])
def test_edges_of_any_dtype(dtype: type) -> None:
    edges = np.array([[0, 1, 0], [0, 1, 0]], dtype=dtype)
    assert clusters_from_edges(edges).max() == 2


def test_nan_is_no_edge_and_half_an_edge_is_one() -> None:
    assert clusters_from_edges(np.array([[0, np.nan, 0]])).max() == 1
    assert clusters_from_edges(np.array([[0, 0.5, 0]])).max() == 2


@QUICK
@given(LABELS, st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_simplified_image_is_the_mean_per_cluster(labels: np.ndarray, channels: int, seed: int) -> None:
    shape = (*labels.shape, channels) if channels else labels.shape
    image = np.random.default_rng(seed).normal(100, 50, shape)
    result = simplify(image, labels)
    assert result.dtype == np.float32
    assert result.shape == shape
    for channel in range(max(channels, 1)):
        plane = image[..., channel] if channels else image
        simplified = result[..., channel] if channels else result
        for value in np.unique(labels):
            mean = ndimage.mean(plane, labels, value)
            assert np.allclose(simplified[labels == value], mean, rtol=1e-6)


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int16, np.uint64, np.float16, np.float32, np.longdouble]
)
def test_simplify_takes_any_real_dtype(dtype: type) -> None:
    image = np.array([[0, 1, 1, 1]], dtype=dtype)
    assert simplify(image, [[4, 4, 9, 9]]).tolist() == [[0.5, 0.5, 1, 1]]


def test_simplify_counts_nan_and_infinities_as_zero_and_leaves_its_input_alone() -> None:
    image = np.array([[np.nan, 2, np.inf, 4, -np.inf, 6]])
    kept = image.copy()
    assert simplify(image, [[1, 1, 2, 2, 3, 3]]).tolist() == [[1, 1, 2, 2, 3, 3]]
    assert np.array_equal(image, kept, equal_nan=True)


def test_a_cluster_of_many_pixels_keeps_its_mean_exact() -> None:
    image = np.full((400, 500), 0.1, dtype=np.float32)
    assert np.array_equal(simplify(image, np.ones(image.shape, int)), image)


@pytest.mark.parametrize("function", [edge_map, connected_clusters])
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.zeros((0, 4), int), ValueError, "empty"),
        (np.zeros(4, int), ValueError, "2-D or 3-D"),
        (np.zeros((1, 1, 1, 1), int), ValueError, "2-D or 3-D"),
        (np.zeros((2, 2)), TypeError, "whole numbers"),
        (np.zeros((2, 2), complex), TypeError, "complex128"),
        ([["a", "b"]], TypeError, "real numbers"),
    ],
)
def test_bad_labels_are_named(function, labels, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        function(labels)


@pytest.mark.parametrize(
    ("edges", "error"),
    [
        (np.zeros((3, 0)), ValueError),
        (np.zeros(3), ValueError),
        (np.zeros((2, 2, 2, 2)), ValueError),
        (np.zeros((2, 2), complex), TypeError),
    ],
)
def test_bad_edges_are_refused(edges: np.ndarray, error: type) -> None:
    with pytest.raises(error, match="edges"):
        clusters_from_edges(edges)


@pytest.mark.parametrize("shape", [(3, 4), (4,), (4, 3, 2, 1), (1, 4, 3)])
def test_image_that_does_not_fit_its_clusters_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit clusters of shape"):
        simplify(np.zeros(shape), np.zeros((4, 3), int))
