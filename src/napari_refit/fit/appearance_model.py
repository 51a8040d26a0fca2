"""What the clusters of a label look like: a mixture of normal distributions over their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Features have deviation 1; a distribution is never narrower than this variance along any of them.
NARROWEST = 0.15
ROUNDS = 10


def log_odds(
    features: Values, sizes: Values, labels: NDArray[np.int64], n_classes: int, parts: int, limit: float
) -> Values:
    """How much more each cluster looks like those of a class than like the background.

    Parameters
    ----------
    features : ndarray of float64, shape (n, f)
        Standardised.
    sizes : ndarray of float64, shape (n,)
        A cluster counts by its size.
    labels : ndarray of int64, shape (n,)
        0 is background, k the k-th class.
    n_classes : int
    parts : int
        Normal distributions that the background is a mixture of; a class is one.
    limit : float
        Largest value of either sign.

    Returns
    -------
    ndarray of float64, shape (n_classes, n)
        0 for a class that no cluster has, and everywhere if none is background or nothing tells clusters apart.

    Examples
    --------
    >>> features = np.array([[-1.0], [-1.0], [1.0], [1.1]])
    >>> found = log_odds(features, np.ones(4), np.array([0, 0, 1, 0]), 1, 1, 3.0)[0]
    >>> bool(found[2] > 0 > found[0])
    True
    """
    found = np.zeros((n_classes, len(features)))
    behind = sizes * (labels == 0)
    if not features.shape[1] or not behind.any():
        return found
    other = log_density(features, behind, parts)
    for k in range(n_classes):
        inside = sizes * (labels == k + 1)
        if inside.any():
            found[k] = (log_density(features, inside, 1) - other).clip(-limit, limit)
    return found


def log_density(features: Values, weights: Values, parts: int) -> Values:
    """Logarithm of a mixture's density, up to a constant that depends on the number of features only.

    The mixture is fitted by expectation maximisation from a cut of what is weighed into equal parts across the
    direction in which it varies most.

    Parameters
    ----------
    features : ndarray of float64, shape (n, f)
    weights : ndarray of float64, shape (n,)
        Of which the mixture is to be; 0 or more, some above.
    parts : int

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    total = weights.sum()
    shares = np.ones((len(features), 1))
    if parts > 1:
        mean, covariance = _moments(features, weights)
        along = (features - mean) @ np.linalg.eigh(covariance)[1][:, -1]
        order = np.argsort(along, kind="stable")
        below = np.empty(len(along))
        below[order] = np.cumsum(weights[order]) - weights[order] / 2
        place = np.minimum((below / total * parts).astype(np.int64), parts - 1)
        shares = np.equal(place[:, np.newaxis], np.arange(parts)).astype(np.float64)
    for _ in range(ROUNDS if parts > 1 else 1):
        parts_of = [weights * share for share in shares.T]
        each = np.stack(
            [
                _log_normal(features, part) + np.log(part.sum() / total)
                for part in parts_of
                if part.sum() > 1e-9 * total
            ],
            axis=1,
        )
        highest = each.max(axis=1, keepdims=True)
        shares = np.exp(each - highest)
        whole = shares.sum(axis=1, keepdims=True)
        shares /= whole
    return np.asarray((np.log(whole) + highest)[:, 0])


def _log_normal(features: Values, weights: Values) -> Values:
    mean, covariance = _moments(features, weights)
    factor = np.linalg.cholesky(covariance + NARROWEST * np.eye(len(mean)))
    apart = np.linalg.solve(factor, (features - mean).T)
    return np.asarray(-0.5 * (apart**2).sum(axis=0) - np.log(np.diag(factor)).sum())


def _moments(features: Values, weights: Values) -> tuple[Values, Values]:
    shares = weights / weights.sum()
    mean = shares @ features
    apart = features - mean
    return mean, (apart.T * shares) @ apart
