"""What the user insists on: pixels that belong to a class, or to none, as hard seeds of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.types import BACKGROUND_HINT, FitResult

__all__ = ["BACKGROUND_HINT", "seeded_clusters", "with_hints"]


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


def with_hints(
    result: FitResult,
    clusters: NDArray[np.int32],
    hints: NDArray[np.integer],
    class_numbers: Sequence[int],
) -> FitResult:
    """A fit's result in which whole clusters follow the hints; for fits that do not look at hints themselves.

    Parameters
    ----------
    result : FitResult
        Stays as it is.
    clusters, hints
        As of `seeded_clusters`.
    class_numbers : sequence of int
        Mask value of each fitted map. Hints of other classes are left out.

    Examples
    --------
    >>> result = FitResult(np.array([[[0.2, 0.9, 0.4]]], np.float32), np.array([[0, 1, 0]]))
    >>> found = with_hints(result, np.array([[1, 2, 3]]), np.array([[1, 255, 0]]), [1])
    >>> found.mask.tolist(), found.fitted[0].tolist()[0][:2]
    ([[1, 0, 0]], [1.0, 0.0])
    """
    seeds = seeded_clusters(clusters, hints)
    seeds[~np.isin(seeds, (0, BACKGROUND_HINT, *class_numbers))] = 0
    if not seeds.any():
        return result
    said = seeds[clusters]
    hinted = said != 0
    mask = np.where(hinted, np.where(said == BACKGROUND_HINT, 0, said), result.mask).astype(result.mask.dtype)
    fitted = np.where(hinted, np.float32(0), result.fitted)
    for number, plane in zip(class_numbers, fitted, strict=True):
        plane[said == number] = 1
    return replace(result, fitted=fitted, mask=mask)
