"""Clusters as the nodes of a graph: what each looks like, and how much border each pair shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.cut import Network
from napari_refit.fit.flood import ClusterGraph, cluster_graph

# Deviations below this fraction of the grey range are not told apart.
FLAT = 0.01
# A feature that differs by less than this says nothing.
CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class Regions:
    """Everything about clusters that depends on the image and the clusters alone.

    Attributes
    ----------
    sizes : ndarray of float64, shape (n,)
        As multiples of the mean size.
    graph : ClusterGraph
        Touching pairs and mean colours.
    network : Network
        The same pairs, ready for cuts.
    borders : ndarray of float64, shape (m,)
        Length of the border (in 3-D: its area) that each pair shares, as a multiple of the mean.
    differences : ndarray of float64, shape (m,)
        Squared difference of the pair's colours in the channel where it is largest, as a multiple of the mean of all
        pairs; 0 where all clusters have one colour.
    features : ndarray of float64, shape (n, f)
        Mean 0, deviation 1, larger clusters counting more; f is 0 where all clusters look the same.
    """

    sizes: NDArray[np.float64]
    graph: ClusterGraph
    network: Network
    borders: NDArray[np.float64]
    differences: NDArray[np.float64]
    features: NDArray[np.float64]


def measure_regions(
    image: np.ndarray,
    clusters: NDArray[np.int32],
    sizes: NDArray[np.int64],
    spacing: tuple[float, ...] | None = None,
) -> Regions:
    """Measure clusters.

    Features of a cluster are, for each channel: its mean; the mean of it and its neighbours, each by the border they
    share; and the logarithm of the standard deviation of all pixels of these. So the scales are those of the
    clusters, in 2-D and 3-D, whatever the resolution.

    Parameters
    ----------
    image : ndarray of real numbers, shape of ``clusters`` with an optional channel axis at the end
        Finite, in [0, 1].
    clusters : ndarray of int32, shape (H, W) or (D, H, W)
        1..n without gaps.
    sizes : ndarray of int64, shape (n,)
        Pixels of each cluster.
    spacing : tuple of float, optional
        Size of a pixel along each axis of ``clusters``; equal when left out.

    Returns
    -------
    Regions

    Examples
    --------
    >>> clusters = np.array([[1, 1, 2], [3, 3, 2]], np.int32)
    >>> image = np.array([[0.0, 0.0, 0.5], [1.0, 1.0, 0.5]])
    >>> regions = measure_regions(image, clusters, np.array([2, 2, 2]))
    >>> regions.graph.pairs.T.tolist(), (regions.borders * 4 / 3).round(6).tolist()
    ([[0, 1], [0, 2], [1, 2]], [1.0, 2.0, 1.0])
    """
    from napari_refit.fit import regions_kernel
    from napari_refit.uss.checks import loopable

    count = len(sizes)
    graph = cluster_graph(image, clusters, count)
    pixels = loopable(image, np.float32 if image.dtype == np.float32 else np.float64)
    pixels = pixels.reshape(clusters.size, -1)[:, : graph.colours.shape[1]]
    squares = np.zeros(graph.colours.shape)
    regions_kernel.add_squares(clusters.ravel(), pixels, graph.colours, squares)
    borders = _borders(clusters, graph, count, spacing)
    first, second = graph.pairs
    differences = ((graph.colours[first] - graph.colours[second]) ** 2).max(axis=1, initial=0)
    return Regions(
        sizes / sizes.mean(),
        graph,
        Network(graph.pairs, count),
        _relative(borders),
        _relative(differences),
        _features(graph, squares / sizes[:, np.newaxis], borders, sizes),
    )


def _borders(
    clusters: NDArray[np.int32], graph: ClusterGraph, count: int, spacing: tuple[float, ...] | None
) -> NDArray[np.float64]:
    """Border that each pair shares: a face counts by the size of a pixel along the other axes."""
    from napari_refit.fit import regions_kernel

    lines = clusters.reshape(-1, clusters.shape[-1])
    starts = np.concatenate([[0], np.cumsum(np.bincount(graph.pairs[0], minlength=count))])
    faces = np.zeros((graph.pairs.shape[1], 3), np.int64)
    regions_kernel.count_faces(lines, clusters.shape[-2], graph.pairs, starts, faces)
    steps = np.ones(3)
    if spacing is not None:
        steps[-clusters.ndim :] = spacing
    return np.asarray(faces @ (steps.prod() / steps), np.float64)


def _features(
    graph: ClusterGraph,
    variances: NDArray[np.float64],
    borders: NDArray[np.float64],
    sizes: NDArray[np.int64],
) -> NDArray[np.float64]:
    around = _with_neighbours(graph.colours, graph, borders)
    squares = _with_neighbours(variances + graph.colours**2, graph, borders)
    deviations = np.sqrt(np.maximum(squares - around**2, 0))
    found = np.concatenate([graph.colours, around, np.log(deviations + FLAT)], axis=1)
    found = found - np.average(found, axis=0, weights=sizes)
    scale = np.sqrt(np.average(found**2, axis=0, weights=sizes))
    telling = scale > CONSTANT
    return np.ascontiguousarray(found[:, telling] / scale[telling])


def _with_neighbours(
    values: NDArray[np.float64], graph: ClusterGraph, borders: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Half of a cluster's own values and half of its neighbours', by the border that it shares with each."""
    first, second = graph.pairs
    count = len(values)
    total = np.bincount(first, borders, count) + np.bincount(second, borders, count)
    found = values.copy()
    for column, own in enumerate(values.T):
        sums = np.bincount(first, borders * own[second], count) + np.bincount(
            second, borders * own[first], count
        )
        others = np.divide(sums, total, out=own.copy(), where=total > 0)
        found[:, column] = (own + others) / 2
    return found


def _relative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = values.mean() if values.size else 0.0
    return values / mean if mean > 0 else np.zeros_like(values)
