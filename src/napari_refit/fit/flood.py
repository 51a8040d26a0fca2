"""The flood between neighbouring clusters of nearly the same colour (``tolerance`` of BoundaryFit)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check

# Colours come as float32: differences that equal the tolerance in exact arithmetic must count as equal.
ROUNDING = 1e-6
# Links looked at before the caller is asked whether to go on: a few milliseconds.
BUDGET = 200_000


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
    from napari_refit.fit import flood_kernel
    from napari_refit.uss.checks import loopable

    pixels = loopable(image, np.float32 if image.dtype == np.float32 else np.float64)
    means = np.zeros((n_clusters, image.size // clusters.size))
    flood_kernel.mean_colours(clusters.ravel(), pixels.reshape(clusters.size, -1), means)
    lines = clusters.reshape(-1, clusters.shape[-1])
    pairs, n_pairs = flood_kernel.touching_pairs(lines, clusters.shape[-2], n_clusters)
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
        Asked every few milliseconds.

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
    which are therefore joined for all of them at once (see `flood_kernel`): ``O((n + m) log² n)`` with one
    channel, about ``m n^(1 - 1 / channels)`` with several, for all classes together.

    Examples
    --------
    >>> import numpy as np
    >>> clusters = np.array([[1, 2, 3, 4]], np.int32)
    >>> graph = cluster_graph(np.array([[0.0, 0.1, 0.2, 1.0]]), clusters, 4)
    >>> flood_clusters(np.array([[0.1, 0.9, 0.8, 0.7]]), graph, tolerance=0.1).tolist()
    [[0.1, 0.1, 0.8, 0.7]]
    """
    from napari_refit.fit import flood_kernel

    n_clusters, pairs = len(graph.colours), graph.pairs
    limit = float(np.ptp(graph.colours)) * (tolerance + ROUNDING)
    bounds = np.empty((pairs.shape[1], 2, graph.colours.shape[1]))
    flood_kernel.bound_links(pairs, graph.colours, bounds)
    # The ends of any other link are never within reach of one start, whatever rounding adds.
    usable = np.flatnonzero((bounds[:, 1] - bounds[:, 0] <= 2.001 * limit).all(axis=1))
    depth = n_clusters.bit_length() + 2
    stack = np.zeros((depth, 6), np.int64)
    stack[0, :4] = 0, n_clusters, 0, usable.size
    waiting = np.empty((depth + 1) * usable.size, np.int32)
    waiting[: usable.size] = usable
    trees = np.zeros((3, n_clusters), np.int32)
    trees[0], trees[1] = np.arange(n_clusters), 1
    lowest, kept = np.full((2, n_clusters, len(values)), np.inf)
    starts = np.arange(n_clusters, dtype=np.int64)
    state = np.array([1, 0], np.int64), stack, starts, waiting, trees, lowest, kept
    starting = values.T.astype(np.float64, order="C")
    check(cancelled)
    while flood_kernel.flood(BUDGET, limit, starting, pairs, bounds, graph.colours, state):
        check(cancelled)
    return lowest.T.astype(values.dtype, order="C")
