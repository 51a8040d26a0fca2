"""The flood between neighbouring clusters of nearly the same colour (``tolerance`` of BoundaryFit)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check, run_bands

# Colours come as float32: differences that equal the tolerance in exact arithmetic must count as equal.
ROUNDING = 1e-6
# The starts are cut into parts of so many, but not more parts than that: a part runs on one thread to its end.
STARTS, MOST_PARTS = 500, 64
# So many floods come before: where they have been, there is mostly little left to do.
FIRST = 100
# What floods one by one may cost before a part is halved: so many times its links, and so many more.
PATIENCE = 8, 1000


@dataclass(frozen=True, eq=False)
class ClusterGraph:
    """Which clusters touch, and their colours.

    Attributes
    ----------
    pairs : ndarray of int64, shape (2, m)
        Touching clusters, counted from 0, each pair once.
    colours : ndarray of float64, shape (n_clusters, channels)
        One channel where all are equal.
    """

    pairs: NDArray[np.int64]
    colours: NDArray[np.float64]


def cluster_graph(image: np.ndarray, clusters: np.ndarray, n_clusters: int) -> ClusterGraph:
    """Which clusters touch across a face of a pixel or voxel, and what colours they have.

    Parameters
    ----------
    image : ndarray of real numbers, shape of ``clusters`` with an optional channel axis at the end
        Finite; the colour of a cluster is its mean, exact where the cluster has one colour.
    clusters : ndarray of int32, shape (H, W) or (D, H, W)
        1..n_clusters without gaps.
    n_clusters : int

    Returns
    -------
    ClusterGraph

    Examples
    --------
    >>> import numpy as np
    >>> clusters = np.array([[1, 1, 2], [3, 3, 2]], np.int32)
    >>> graph = cluster_graph(np.array([[0.0, 0.0, 0.5], [1.0, 1.0, 0.5]]), clusters, 3)
    >>> graph.pairs.T.tolist(), graph.colours.ravel().tolist()
    ([[0, 1], [0, 2], [1, 2]], [0.0, 0.5, 1.0])
    """
    from napari_refit.fit import graph_kernel
    from napari_refit.uss.checks import loopable

    pixels = loopable(image, np.float32 if image.dtype == np.float32 else np.float64)
    means = np.zeros((n_clusters, image.size // clusters.size))
    graph_kernel.mean_colours(clusters.ravel(), pixels.reshape(clusters.size, -1), means)
    lines = clusters.reshape(-1, clusters.shape[-1])
    pairs, n_pairs = graph_kernel.touching_pairs(lines, clusters.shape[-2], n_clusters)
    grey = (means == means[:, :1]).all()
    return ClusterGraph(pairs[:, :n_pairs].copy(), means[:, :1].copy() if grey else means)


def flood_clusters(
    values: np.ndarray,
    graph: ClusterGraph,
    tolerance: float,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> np.ndarray:
    """Let low clusters pull down the clusters that a flood from them reaches.

    A flood that starts in cluster ``a`` passes from neighbour to neighbour as long as no channel of the
    neighbour's colour differs from the colour of ``a`` by more than ``tolerance`` times the range of all
    colours. Each cluster gets the lowest value among the clusters whose flood reaches it, its own included.
    The order of the floods does not matter.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n, n_clusters)
        Fitted response of each cluster, per class.
    graph : ClusterGraph
    tolerance : float
        In [0, 1].
    cancelled : callable, optional
        Asked before each part of the work: every few milliseconds with some ten thousand clusters.

    Returns
    -------
    ndarray of float, shape (n, n_clusters)

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    Notes
    -----
    Reach is not transitive, for each flood measures against its own start: hence one flood per start, which for
    n clusters and m touching pairs would be ``O(n (n + m))``. Starts of like colours pass much the same links,
    which are therefore contracted for all of them at once (see `flood_kernel`), for all classes together; and where
    all that a flood may reach is lower already, it need not begin.

    Examples
    --------
    >>> import numpy as np
    >>> clusters = np.array([[1, 2, 3, 4]], np.int32)
    >>> graph = cluster_graph(np.array([[0.0, 0.1, 0.2, 1.0]]), clusters, 4)
    >>> flood_clusters(np.array([[0.1, 0.9, 0.8, 0.7]]), graph, tolerance=0.1).tolist()
    [[0.1, 0.1, 0.8, 0.7]]
    """
    from napari_refit.fit import flood_kernel

    colours, starting = graph.colours, values.T.astype(np.float64, order="C")
    limit = float(np.ptp(colours)) * (tolerance + ROUNDING)
    orders = np.sort(colours.T, axis=1)
    ranks = np.empty(colours.shape, np.int32)
    for channel, order in enumerate(orders):
        ranks[:, channel] = np.searchsorted(order, colours[:, channel])
    pairs, bounds = graph.pairs.astype(np.int32), np.empty((graph.pairs.shape[1], 2 * len(orders)), np.int32)
    flood_kernel.bound_starts(pairs, ranks, orders, limit, bounds)
    # Those that are low in any class come first: the lower a flood, the less is left for others to do.
    places = np.argsort(np.argsort(starting, axis=0, kind="stable"), axis=0, kind="stable")
    starts = np.argsort(places.min(axis=1), kind="stable")
    lowest = starting.copy()

    def flood(part: NDArray[np.int64], known: np.ndarray) -> None:
        part = np.ascontiguousarray(part)
        if part.size:
            nodes = part.astype(np.int32)
            flood_kernel.flood(part, nodes, pairs, bounds, ranks, starting, known, PATIENCE)

    flood(starts[:FIRST], lowest)
    parts = [starts[FIRST:]]
    while len(parts) < MOST_PARTS and len(parts[0]) >= 2 * STARTS:
        parts = [half for part in parts for half in _halves(part, ranks)]

    def flood_parts(first: int, last: int) -> np.ndarray:
        known = lowest.copy()
        for part in parts[first:last]:
            flood(part, known)
        return known

    check(cancelled)
    found = run_bands(flood_parts, len(parts), n_bands=len(parts), cancelled=cancelled)
    return np.minimum.reduce([lowest, *found]).T.astype(values.dtype, order="C")


def _halves(
    starts: NDArray[np.int64], ranks: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from napari_refit.fit import flood_kernel

    starts, _ = flood_kernel.halve(starts, starts.astype(np.int32), ranks)
    return starts[: len(starts) // 2], starts[len(starts) // 2 :]
