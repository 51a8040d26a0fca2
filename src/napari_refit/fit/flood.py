"""The flood between neighbouring clusters of nearly the same colour (``tolerance`` of BoundaryFit)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Colours come as float32: differences that equal the tolerance in exact arithmetic must count as equal.
ROUNDING = 1e-6
# Pairs of (seed, cluster or neighbour pair) looked at in one go: bounds the memory to some tens of MB.
BATCH_BUDGET = 2_000_000


def neighbour_pairs(indices: np.ndarray, n_clusters: int) -> np.ndarray:
    """Which clusters touch, across a face of a pixel or voxel.

    Parameters
    ----------
    indices : ndarray of int, shape (H, W) or (D, H, W)
        Cluster of each pixel, 0..n_clusters-1.
    n_clusters : int

    Returns
    -------
    ndarray of int64, shape (2, m)
        Each touching pair once, the lower cluster in row 0.

    Examples
    --------
    >>> import numpy as np
    >>> neighbour_pairs(np.array([[0, 0, 1], [2, 2, 1]]), 3).T.tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    codes = []
    for axis in range(indices.ndim):
        along = np.moveaxis(indices, axis, 0)
        first, second = along[:-1], along[1:]
        differs = first != second
        one, other = first[differs].astype(np.int64), second[differs].astype(np.int64)
        codes.append(np.minimum(one, other) * n_clusters + np.maximum(one, other))
    pairs = np.unique(np.concatenate(codes))
    return np.stack(np.divmod(pairs, n_clusters))


def cluster_colours(simplified: np.ndarray, indices: np.ndarray, n_clusters: int) -> np.ndarray:
    """Mean colour of each cluster, exact where a cluster has one colour.

    Parameters
    ----------
    simplified : ndarray, shape of ``indices`` with an optional channel axis at the end
    indices : ndarray of int, shape (H, W) or (D, H, W)
        Cluster of each pixel, 0..n_clusters-1.
    n_clusters : int

    Returns
    -------
    ndarray of float64, shape (n_clusters, channels)
    """
    flat = indices.ravel()
    pixels = simplified.reshape(flat.size, -1).astype(np.float64)
    anchors = np.zeros((n_clusters, pixels.shape[1]))
    anchors[flat] = pixels
    # Averaging what is left after subtracting one of its own pixels gives exact zeros for a constant cluster.
    rest = pixels - anchors[flat]
    sizes = np.bincount(flat, minlength=n_clusters)
    means = [np.bincount(flat, weights=channel, minlength=n_clusters) / sizes for channel in rest.T]
    return anchors + np.stack(means, axis=1)


def flood_clusters(
    values: np.ndarray, pairs: np.ndarray, colours: np.ndarray, tolerance: float
) -> np.ndarray:
    """Let low clusters pull down the clusters that a flood from them reaches.

    A flood that starts in cluster ``a`` passes from neighbour to neighbour as long as no channel of the
    neighbour's colour differs from the colour of ``a`` by more than ``tolerance`` times the range of all
    colours. Each cluster gets the lowest value among the clusters whose flood reaches it, its own included.
    The order of the floods does not matter.

    Parameters
    ----------
    values : ndarray of float, shape (n_clusters,)
        Fitted response of each cluster.
    pairs : ndarray of int, shape (2, m)
        Touching clusters, see `neighbour_pairs`.
    colours : ndarray of float64, shape (n_clusters, channels)
    tolerance : float
        In [0, 1].

    Returns
    -------
    ndarray of float, shape (n_clusters,)

    Notes
    -----
    Reach is not transitive, for each flood measures against its own start: hence one flood per start,
    ``O(n (n + m))`` for n clusters and m touching pairs in the worst case. Starts are taken from the lowest
    value up, many at once, and left out when nothing with a higher value is left within their colours, or
    when a lower start of the same colour has reached them.

    Examples
    --------
    >>> import numpy as np
    >>> pairs = np.array([[0, 1, 2], [1, 2, 3]])
    >>> colours = np.array([[0.0], [0.1], [0.2], [1.0]])
    >>> flood_clusters(np.array([0.1, 0.9, 0.8, 0.7]), pairs, colours, tolerance=0.1).tolist()
    [0.1, 0.1, 0.8, 0.7]
    """
    n_clusters, limit = len(values), float(np.ptp(colours)) * (tolerance + ROUNDING)
    result = values.copy()
    near = np.abs(colours[pairs[0]] - colours[pairs[1]]).max(axis=1) <= 2 * limit
    # Two clusters within reach of one start differ by at most twice the limit: other pairs never matter.
    pairs = pairs[:, near]
    n_islands, islands = connected_components(_graph(pairs[0], pairs[1], n_clusters), directed=False)
    superseded = np.zeros(n_clusters, bool)
    # Islands do not touch each other: one after the other, each from its lowest value up.
    order = np.lexsort((values, islands))
    largest = max(1, BATCH_BUDGET // (n_clusters + pairs.shape[1] + 1))
    position, batch = 0, min(8, largest)
    while position < n_clusters:
        starts = order[position : position + batch]
        position, batch = position + batch, min(2 * batch, largest)
        highest = np.full(n_islands, -np.inf)
        np.maximum.at(highest, islands, result)
        starts = starts[~superseded[starts] & (values[starts] < highest[islands[starts]])]
        if not starts.size:
            continue
        used = np.zeros(n_islands, bool)
        used[islands[starts]] = True
        nodes = np.flatnonzero(used[islands])
        distance = _distances(colours[starts], colours[nodes])
        inside = (distance <= limit) & (islands[nodes] == islands[starts, None])
        useful = (inside & (result[nodes] > values[starts, None])).any(axis=1)
        if not useful.any():
            continue
        starts, inside, distance = starts[useful], inside[useful], distance[useful]
        local = np.searchsorted(nodes, pairs[:, used[islands[pairs[0]]]])
        reached = _reached(np.searchsorted(nodes, starts), inside, local)
        pulled = np.where(reached, values[starts, None], np.inf).min(axis=0)
        result[nodes] = np.minimum(result[nodes], pulled)
        superseded[nodes] |= (reached & (distance == 0)).any(axis=0)
    return result


def _distances(starts: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Largest difference over the channels: (starts, clusters)."""
    distance = np.zeros((len(starts), len(colours)))
    for one, other in zip(starts.T, colours.T, strict=True):
        np.maximum(distance, np.abs(other - one[:, None]), out=distance)
    return distance


def _reached(starts: np.ndarray, inside: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which clusters each start reaches through clusters that are inside its colours: (starts, clusters)."""
    node = (np.cumsum(inside.ravel()) - 1).reshape(inside.shape)
    copy, pair = np.nonzero(inside[:, pairs[0]] & inside[:, pairs[1]])
    graph = _graph(node[copy, pairs[0, pair]], node[copy, pairs[1, pair]], int(inside.sum()))
    _, parts = connected_components(graph, directed=False)
    own = parts[node[np.arange(len(starts)), starts]]
    reached = np.zeros_like(inside)
    reached[inside] = parts == np.repeat(own, inside.sum(axis=1))
    return reached


def _graph(one: np.ndarray, other: np.ndarray, n_nodes: int) -> coo_array:
    return coo_array((np.ones(len(one), np.float32), (one, other)), shape=(n_nodes, n_nodes)).tocsr()
