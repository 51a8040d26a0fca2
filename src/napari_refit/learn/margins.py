"""From where on a trained classifier's answer counts as "there": the margins of its classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200


def presence_margins(
    logits: NDArray[np.floating],
    shown: NDArray[np.int64],
    patients: Sequence[str],
    *,
    background: int | None,
    exclusive: bool,
    seed: int = 0,
) -> tuple[float, ...]:
    """The margin of each class, chosen on images that were not trained on.

    A class is said to be there where its logit, less the background's where classes exclude each other, is above
    its margin. Chosen is the margin nearest to 0 whose F1 score is within one standard error (bootstrap over
    patients) of the highest: what few images happen to favour is not followed, as in the one-standard-error rule of
    Breiman et al., Classification and Regression Trees, 1984.

    Parameters
    ----------
    logits : ndarray, shape (N, K)
    shown : ndarray of int, shape (N, K)
        1 where an image shows a class.
    patients : sequence of str
        Whom each image is of.
    background : int or None
        The class that means that nothing is there; its margin is 0.
    exclusive : bool
        Whether an image shows exactly one class. Without a background the highest logit decides then, and all
        margins are 0.
    seed : int
        Of the bootstrap.

    Returns
    -------
    tuple of float
        0 as well for a class that all of the images show, or none.

    Examples
    --------
    >>> logits = np.array([[-5.0], [-4.0], [-1.0], [-0.5]])
    >>> shown = np.array([[0], [0], [1], [1]])
    >>> presence_margins(logits, shown, "abcd", background=None, exclusive=False)
    (-2.5,)
    """
    count = logits.shape[1]
    if exclusive and background is None:
        return (0.0,) * count
    values = np.asarray(logits, np.float64)
    if background is not None and exclusive:
        values = values - values[:, [background]]
    _, owners = np.unique(list(patients), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(
        owners.max() + 1, np.full(owners.max() + 1, 1 / (owners.max() + 1)), RESAMPLES
    )
    return tuple(
        0.0 if k == background else _margin(values[:, k], shown[:, k] > 0, draws[:, owners])
        for k in range(count)
    )


def _margin(values: NDArray[np.float64], there: NDArray[np.bool_], draws: NDArray[np.int64]) -> float:
    if there.all() or not there.any():
        return 0.0
    steps = np.unique(values)
    candidates = np.append((steps[1:] + steps[:-1]) / 2, 0.0)
    whole = f1_scores(values, there, candidates, np.ones((1, len(values)), np.int64))[0]
    best = candidates[[int(whole.argmax())]]
    error = np.nanstd(f1_scores(values, there, best, draws))
    good = candidates[whole >= whole.max() - error]
    return float(good[np.abs(good).argmin()])


def f1_scores(
    values: NDArray[np.float64],
    there: NDArray[np.bool_],
    margins: NDArray[np.float64],
    weights: NDArray[np.int64],
) -> NDArray[np.float64]:
    """F1 = 2 TP / (2 TP + FP + FN) of ``values > margin``, for each margin and each weighting of the images.

    Parameters
    ----------
    values, there : ndarray, shape (N,)
    margins : ndarray, shape (M,)
    weights : ndarray of int, shape (B, N)

    Returns
    -------
    ndarray of float64, shape (B, M)
        NaN where nothing is there and nothing is said to be.

    Examples
    --------
    >>> f1_scores(np.array([1.0, 2.0]), np.array([False, True]), np.array([0.0, 1.5]), np.ones((1, 2), int))
    array([[0.66666667, 1.        ]])
    """
    said = values[:, None] > margins
    right = weights @ (said & there[:, None])
    marked, present = weights @ said, weights @ there
    both = marked + present[:, None]
    return np.divide(2 * right, both, out=np.full(both.shape, np.nan), where=both > 0)
