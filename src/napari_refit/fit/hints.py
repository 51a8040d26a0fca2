"""What the user insists on: pixels that belong to a class, or to none, as hard seeds of regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.types import BACKGROUND_HINT

__all__ = ["BACKGROUND_HINT", "seeded_clusters"]


def seeded_clusters(clusters: NDArray[np.int32], hints: NDArray[np.integer]) -> NDArray[np.int64]:
    """The hint of each cluster.

    Parameters
    ----------
    clusters : ndarray of int32, (H, W) or (D, H, W)
        Numbered 1..n.
    hints : ndarray of int, of the same shape
        0 nothing, a class number, or `BACKGROUND_HINT`.

    Returns
    -------
    ndarray of int64, (n + 1,)
        By cluster number; 0 where there is no hint. Of several the one with the most pixels counts, of as many
        the lowest.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> seeded_clusters(np.array([[1, 1, 2, 3]]), np.array([[0, 2, 255, 0]])).tolist()
    [0, 2, 255, 0]
    """
    if hints.shape != clusters.shape:
        raise ValueError(f"hints have shape {hints.shape}, the clusters {clusters.shape}")
    seeds = np.zeros(int(clusters.max(initial=0)) + 1, np.int64)
    where = np.flatnonzero(hints)
    pairs = np.stack([clusters.ravel()[where], hints.ravel()[where]], axis=1).astype(np.int64)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    # The last one written to a cluster is the one with the most pixels, then the lowest value.
    order = np.lexsort((-found[:, 1], counts))
    seeds[found[order, 0]] = found[order, 1]
    return seeds
