"""The response spreads between touching clusters of like colour (``spread`` of BoundaryFit)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_refit.fit.flood import ClusterGraph

# Colours count as alike up to this fraction of how much touching clusters usually differ.
LIKENESS = 0.5


def spread_response(
    values: np.ndarray, graph: ClusterGraph, sizes: NDArray[np.int64] | NDArray[np.float64], strength: float
) -> np.ndarray:
    """Let every cluster's response spread to neighbours of like colour, as heat does in a body with cracks.

    Among all values ``v`` it finds those with the smallest

    ``sum_k a_k (v_k - m_k)² + strength * sum_(k, l) w_kl (v_k - v_l)²``

    with ``m`` the response of the clusters, ``a`` their sizes as multiples of the mean size, ``(k, l)`` all touching
    pairs, and ``w_kl = exp(-d_kl² / (2 s²))``. Here ``d`` is the largest difference of the two colours in any channel
    and ``s`` half the root mean square of ``d`` over all pairs. Values are scaled afterwards so that the highest of
    each class is as high as it was: a threshold keeps its meaning.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n, n_clusters)
        Response of each cluster, per class, 0 or more.
    graph : ClusterGraph
    sizes : ndarray of int64 or float64, shape (n_clusters,)
        Pixels of each cluster, or any multiple of that.
    strength : float
        0 or more; 0 leaves the values as they are.

    Returns
    -------
    ndarray of float, shape (n, n_clusters)
        Between the lowest and the highest value of each class.

    References
    ----------
    The energy is that of Zhou et al., "Learning with local and global consistency" (NIPS 2003), also known as random
    walks with restart (after Grady, "Random walks for image segmentation", PAMI 28, 2006); the weights are those of
    Rother et al., "GrabCut" (ACM Transactions on Graphics 23, 2004).

    Examples
    --------
    >>> from napari_refit.fit.flood import cluster_graph
    >>> clusters = np.array([[1, 2, 3, 4]], np.int32)
    >>> graph = cluster_graph(np.array([[0.5, 0.5, 0.5, 1.0]]), clusters, 4)
    >>> spread_response(np.array([[1.0, 0.0, 0.0, 0.0]]), graph, np.ones(4, int), 1.0).round(2).tolist()
    [[1.0, 0.4, 0.2, 0.0]]
    """
    count = values.shape[1]
    if strength == 0 or not graph.pairs.size:
        return values
    from scipy.sparse import csc_array, diags_array
    from scipy.sparse.linalg import splu

    first, second = graph.pairs
    squares = ((graph.colours[first] - graph.colours[second]) ** 2).max(axis=1)
    typical = squares.mean()
    weights = np.exp(-squares / (2 * LIKENESS**2 * typical)) if typical > 0 else np.ones(len(squares))
    links = strength * np.concatenate([weights, weights])
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    anchors = sizes / sizes.mean()
    own = anchors + np.bincount(rows, links, count)
    system = diags_array(own, format="csc") - csc_array((links, (rows, columns)), (count, count))
    solver = splu(
        system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    found: np.ndarray = solver.solve((anchors * values).T.astype(np.float64, order="F")).T
    before, after = values.max(axis=1, keepdims=True), found.max(axis=1, keepdims=True)
    scaled = np.divide(found * before, after, out=np.zeros_like(found), where=after > 0)
    # Rounding must not leave the range of what went in.
    return scaled.clip(0, before).astype(values.dtype)
