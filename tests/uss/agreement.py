"""How far two label maps agree, whatever their numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def agreement(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Fraction of the pixels on which two label maps agree up to renumbering.

    Each label is matched with the label of the other map that shares most pixels with it; a pixel counts if
    its two labels are each other's match. Each label thus has one partner at most: a map that has merged or
    split regions is not rewarded for it.

    Parameters
    ----------
    first, second : ndarray of int
        Of one shape.

    Returns
    -------
    float
        In [0, 1]; 1 exactly when the maps are equal up to renumbering.

    Examples
    --------
    >>> agreement(np.array([1, 1, 1, 2, 2]), np.array([7, 7, 5, 5, 5]))
    0.8
    >>> agreement(np.array([1, 1, 1, 1]), np.array([7, 7, 7, 5]))
    0.75
    """
    assert first.shape == second.shape
    ours, theirs = (np.unique(labels, return_inverse=True)[1].ravel() for labels in (first, second))
    pairs, shared = np.unique(np.stack([ours, theirs]), axis=1, return_counts=True)
    best_of_ours, best_of_theirs = (_largest(side, shared) for side in pairs)
    mutual = (best_of_ours[pairs[0]] == np.arange(len(shared))) & (
        best_of_theirs[pairs[1]] == np.arange(len(shared))
    )
    return float(shared[mutual].sum() / first.size)


def _largest(labels: NDArray[np.integer], shared: NDArray[np.integer]) -> NDArray[np.intp]:
    """For each label the position of its pair with most pixels; of equal ones, the first."""
    largest = np.full(labels.max() + 1, -1)
    order = np.lexsort((-np.arange(len(shared)), shared))
    largest[labels[order]] = order
    return largest
