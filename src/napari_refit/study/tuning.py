"""The best single threshold on training and validation images: the only thing that a study chooses by masks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

THRESHOLDS: NDArray[np.float64] = (np.arange(1, 101) / 100).astype(np.float64)
"""0.01, 0.02, ..., 1."""


def overlap_by_threshold(
    maps: NDArray[np.floating],
    open_maps: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    truth: NDArray,
    n_classes: int,
) -> dict[str, NDArray[np.int64]]:
    """Pixels of each plane and class at every threshold.

    Parameters
    ----------
    maps : ndarray, (D, n, H, W)
        Response maps, or fitted ones, in [0, 1].
    open_maps : ndarray of bool, (D, n)
        Those that the gate lets through; where several are highest, the first one wins.
    numbers : ndarray of int, (D, n)
        Class number of each map.
    truth : ndarray of int, (D, H, W)
    n_classes : int

    Returns
    -------
    dict
        ``both`` and ``in_mask`` (D, n_classes, 100), ``in_truth`` (D, n_classes).

    Examples
    --------
    >>> maps = np.array([[[[0.39, 0.4, 0.8]]]])
    >>> found = overlap_by_threshold(maps, np.array([[True]]), np.array([[1]]), np.array([[[0, 1, 1]]]), 1)
    >>> found["in_mask"][0, 0, [38, 39, 40]], found["both"][0, 0, [38, 39, 40]], found["in_truth"]
    (array([3, 2, 1]), array([2, 2, 1]), array([[2]]))
    """
    count = len(maps)
    both = np.zeros((count, n_classes, len(THRESHOLDS)), np.int64)
    in_mask = np.zeros_like(both)
    in_truth = np.stack(
        [np.array([np.count_nonzero(plane == k + 1) for k in range(n_classes)], np.int64) for plane in truth]
    )
    # The comparison itself, not an estimate of it: how many of the thresholds a value reaches, in its own precision.
    steps = THRESHOLDS.astype(maps.dtype)
    for number in range(count):
        opened = np.flatnonzero(open_maps[number])
        if not len(opened):
            continue
        plane = maps[number][opened]
        winner = numbers[number][opened][plane.argmax(axis=0)]
        reached = np.searchsorted(steps, plane.max(axis=0), side="right")
        for k in range(n_classes):
            inside = winner == k + 1
            in_mask[number, k] = _at_least(reached[inside])
            both[number, k] = _at_least(reached[inside & (truth[number] == k + 1)])
    return {"both": both, "in_mask": in_mask, "in_truth": in_truth}


def best_threshold(tables: Iterable[dict[str, NDArray[np.int64]]]) -> tuple[float, float]:
    """The threshold with the highest mean foreground Dice over images, and that mean.

    Parameters
    ----------
    tables : iterable of dict
        From `overlap_by_threshold`, for instance one per case.

    Returns
    -------
    threshold, dice : float
        The lowest of equally good ones. An image where neither mask nor truth has a class has no Dice.

    Raises
    ------
    ValueError
        If no image has any foreground.

    Examples
    --------
    >>> maps = np.array([[[[0.39, 0.4, 0.8]]]])
    >>> best_threshold([overlap_by_threshold(maps, np.array([[True]]), np.array([[1]]), np.array([[[0, 1, 1]]]), 1)])
    (0.4, 1.0)
    """
    dice = []
    for table in tables:
        total = table["in_mask"] + table["in_truth"][..., None]
        dice.append(np.divide(2.0 * table["both"], total, out=np.full(total.shape, np.nan), where=total > 0))
    scores = np.concatenate(dice) if dice else np.zeros((0, 1, len(THRESHOLDS)))
    per_image = _mean(scores, 1)
    means = _mean(per_image, 0)
    if np.isnan(means).all():
        raise ValueError("no training or validation image has any foreground: no threshold can be chosen")
    best = int(np.nanargmax(means))
    return float(THRESHOLDS[best]), float(means[best])


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    there = ~np.isnan(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _at_least(reached: NDArray[np.intp]) -> NDArray[np.int64]:
    """How many values reach each of the thresholds."""
    counts = np.bincount(reached, minlength=len(THRESHOLDS) + 1)
    return counts[::-1].cumsum()[::-1][1:].astype(np.int64)
