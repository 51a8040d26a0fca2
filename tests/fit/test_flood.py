"""The flood over the graph of clusters against one search per start, written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_refit.errors import Cancelled
from napari_refit.fit import flood
from napari_refit.fit.flood import ROUNDING, ClusterGraph, cluster_graph, flood_clusters
from napari_refit.uss.edges import connected_clusters


def touching(clusters: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of clusters, counted from 0, that share a face of a pixel."""
    pairs = set()
    for axis in range(clusters.ndim):
        along = np.moveaxis(clusters, axis, 0) - 1
        pairs |= {(min(p), max(p)) for p in zip(along[:-1].flat, along[1:].flat, strict=True) if p[0] != p[1]}
    return pairs


def flooded(values: np.ndarray, colours: np.ndarray, pairs: np.ndarray, tolerance: float) -> np.ndarray:
    """From every cluster, all that it reaches over clusters near its own colour."""
    limit = np.ptp(colours) * (tolerance + ROUNDING)
    result = values.copy()
    for start in range(len(values)):
        near = np.abs(colours - colours[start]).max(axis=1) <= limit
        one, other = pairs[:, near[pairs[0]] & near[pairs[1]]]
        links = coo_array((np.ones(len(one)), (one, other)), shape=(len(values), len(values)))
        parts = connected_components(links, directed=False)[1]
        reached = parts == parts[start]
        result[reached] = np.minimum(result[reached], values[start])
    return result


def graph_of(clusters: np.ndarray, colours: np.ndarray) -> ClusterGraph:
    return cluster_graph(colours[clusters - 1], clusters, len(colours))


def assert_floods(clusters: np.ndarray, colours: np.ndarray, values: np.ndarray, tolerance: float) -> None:
    graph = graph_of(clusters, colours)
    expected = [flooded(row, colours, graph.pairs, tolerance) for row in values]
    np.testing.assert_array_equal(flood_clusters(values, graph, tolerance), expected)
    with pytest.MonkeyPatch.context() as patch:
        # In the smallest parts there can be.
        for name, number in (("STARTS", 2), ("FIRST", 1), ("PATIENCE", (0, 0))):
            patch.setattr(flood, name, number)
        np.testing.assert_array_equal(flood_clusters(values, graph, tolerance), expected)


SHAPES = st.one_of(
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
    arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4),
)
CLUSTERS = SHAPES.flatmap(lambda shape: arrays.arrays(np.int16, shape, elements=st.integers(0, 4))).map(
    connected_clusters
)
TENTHS = st.integers(0, 10).map(lambda value: value / 10)


@given(CLUSTERS)
@settings(deadline=None, max_examples=150)
def test_pairs_are_the_clusters_that_touch(clusters: np.ndarray) -> None:
    graph = graph_of(clusters, np.arange(clusters.max(), dtype=float)[:, np.newaxis])
    pairs = [tuple(pair) for pair in graph.pairs.T.tolist()]
    assert pairs == sorted(touching(clusters))


@given(CLUSTERS, st.integers(1, 3), st.data())
@settings(deadline=None, max_examples=250)
def test_flood_equals_one_search_per_start(clusters: np.ndarray, channels: int, data: st.DataObject) -> None:
    n_clusters = int(clusters.max())
    colours = data.draw(arrays.arrays(np.float64, (n_clusters, channels), elements=TENTHS))
    values = data.draw(arrays.arrays(np.float32, (2, n_clusters), elements=TENTHS))
    assert_floods(clusters, colours, values, data.draw(TENTHS))


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.float32), (2, np.float64), (3, np.float32)])
@pytest.mark.parametrize("shape", [(24, 25), (6, 8, 9)])
def test_flood_over_smooth_colours(shape: tuple[int, ...], channels: int, dtype: type) -> None:
    rng = np.random.default_rng(channels)
    smooth = np.stack([gaussian_filter(rng.normal(size=shape), 2) for _ in range(channels)], axis=-1)
    clusters = connected_clusters(
        np.digitize(smooth[..., 0], np.quantile(smooth[..., 0], np.linspace(0, 1, 20)))
    )
    graph = cluster_graph(smooth, clusters, int(clusters.max()))
    values = rng.random((2, int(clusters.max()))).astype(dtype)
    changed = 0
    for tolerance in (0.02, 0.1, 0.3):
        expected = [flooded(row, graph.colours, graph.pairs, tolerance) for row in values]
        result = flood_clusters(values, graph, tolerance)
        assert result.dtype == dtype
        assert_floods(clusters, graph.colours, values, tolerance)
        np.testing.assert_array_equal(result, expected)
        changed += 0 < (result != values).mean() < 1
    assert changed


def test_channels_that_are_equal_are_one() -> None:
    clusters = np.array([[1, 2]], np.int32)
    assert graph_of(clusters, np.array([[0.5, 0.5], [0.1, 0.1]])).colours.tolist() == [[0.5], [0.1]]
    assert graph_of(clusters, np.array([[0.5, 0.5], [0.1, 0.2]])).colours.shape == (2, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_colours_are_means_and_exact_where_a_cluster_has_one(dtype: type) -> None:
    clusters = np.array([[1, 1, 1, 2, 2]], np.int32)
    image = np.array([[7, 7, 7, 1, 2]], dtype) / (1 if dtype == np.uint8 else 10)
    graph = cluster_graph(image.astype(dtype), clusters, 2)
    assert graph.colours[0, 0] == image.astype(dtype)[0, 0]
    assert graph.colours[1, 0] == pytest.approx(image[0, 3:].mean())


def test_a_flood_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flood, "FIRST", 1)
    monkeypatch.setattr(flood, "STARTS", 3)
    clusters = np.arange(1, 101, dtype=np.int32).reshape(10, 10)
    graph = graph_of(clusters, np.linspace(0, 1, 100)[:, np.newaxis])
    asked = iter([False] * 5 + [True] * 100)
    with pytest.raises(Cancelled):
        flood_clusters(np.linspace(0, 1, 100)[np.newaxis], graph, 0.5, cancelled=lambda: next(asked))
