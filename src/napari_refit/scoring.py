"""Scores of a refined volume beside what it must beat: the blank mask and the CAM alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.fitting import threshold_maps
from napari_refit.results import VolumeResult

THRESHOLDS = np.linspace(0.0, 1.0, 101)[1:]


def score_rows(
    result: VolumeResult, truth: NDArray[Any], spacing: tuple[float, ...] | None
) -> dict[str, dict[str, Any]]:
    """Metrics of the blank mask, the CAM, the CAM at its best single threshold, and the refined mask.

    Parameters
    ----------
    result : VolumeResult
        With ``response`` kept, for the best single threshold.
    truth : ndarray of int
        Class numbers on the mask's grid.
    spacing : tuple of float or None
        mm per step of each axis.

    Returns
    -------
    dict
        ``blank``, ``cam``, ``cam_best_threshold`` (with its ``threshold``, found on this very truth) and
        ``refined``, each as `napari_refit.metrics.evaluate` returns it.
    """
    from napari_refit.metrics import evaluate

    truth = matching_classes(truth, result.class_numbers)
    masks: dict[str, NDArray[Any]] = {"blank": np.zeros_like(result.mask), "cam": result.cam_mask}
    extra: dict[str, dict[str, Any]] = {}
    if result.response is not None:
        threshold = best_threshold(result.response, result.class_numbers, truth)
        masks["cam_best_threshold"] = threshold_maps(result.response, result.class_numbers, threshold)
        extra["cam_best_threshold"] = {"threshold": threshold}
    masks["refined"] = result.mask
    return {
        name: {**evaluate(mask, truth, spacing=spacing, classes=result.class_numbers), **extra.get(name, {})}
        for name, mask in masks.items()
    }


def matching_classes(truth: NDArray[Any], class_numbers: tuple[int, ...]) -> NDArray[Any]:
    """The truth in the mask's numbers: any foreground counts as the class where there is only one.

    Examples
    --------
    >>> matching_classes(np.array([0, 4, 2]), (1,))
    array([0, 1, 1], dtype=uint8)
    """
    if len(class_numbers) == 1:
        return (np.asarray(truth) != 0).astype(np.min_scalar_type(class_numbers[0])) * np.asarray(
            class_numbers[0], np.min_scalar_type(class_numbers[0])
        )
    return np.asarray(truth)


def best_threshold(
    response: NDArray[np.floating[Any]], class_numbers: tuple[int, ...], truth: NDArray[Any]
) -> float:
    """The single threshold of the response maps with the highest mean foreground Dice over the whole volume.

    Parameters
    ----------
    response : ndarray, (n, ...)
        In [0, 1].
    class_numbers : tuple of int
        Mask value of each map.
    truth : ndarray of int
        Of shape ``response.shape[1:]``.

    Returns
    -------
    float
        In steps of 0.01; the lowest of equally good ones.

    Examples
    --------
    >>> best_threshold(np.array([[0.39, 0.4, 0.8]]), (1,), np.array([0, 1, 1]))
    0.4
    """
    counts = ThresholdCounts(class_numbers)
    # Slice by slice: what is counted takes many times the room of the response.
    for k in range(len(truth)) if truth.ndim > 1 else [slice(None)]:
        counts.add(response[:, k], truth[k])
    return counts.best()


class ThresholdCounts:
    """How well each single threshold would do, counted piece by piece (see `best_threshold`).

    Parameters
    ----------
    class_numbers : tuple of int
        Mask value of each map.
    """

    def __init__(self, class_numbers: tuple[int, ...]) -> None:
        self.class_numbers = class_numbers
        self._found = np.zeros((len(class_numbers), 101), np.int64)
        self._hits = np.zeros((len(class_numbers), 101), np.int64)
        self._there = np.zeros(len(class_numbers), np.int64)

    def add(self, response: NDArray[np.floating[Any]], truth: NDArray[Any]) -> None:
        """Count one piece: response maps (n, ...) in [0, 1], and the truth below them."""
        winner = response.argmax(axis=0)
        highest = response.max(axis=0).astype(np.float64)
        # A voxel passes threshold k if k <= its bin; half a step guards against rounding.
        bins = np.floor(highest * 100 + 1e-3).astype(np.int64).clip(0, 100)
        for k, number in enumerate(self.class_numbers):
            inside, is_there = winner == k, truth == number
            self._found[k] += np.bincount(bins[inside], minlength=101)
            self._hits[k] += np.bincount(bins[inside & is_there], minlength=101)
            self._there[k] += np.count_nonzero(is_there)

    def best(self) -> float:
        """The threshold with the highest mean foreground Dice; the lowest of equally good ones."""
        scores = []
        for found, hits, there in zip(self._found, self._hits, self._there, strict=True):
            total = _at_least(found) + there
            scores.append(np.divide(2 * _at_least(hits), total, out=np.full(100, np.nan), where=total > 0))
        mean = np.nanmean(np.where(np.isnan(scores), 0.0, scores), axis=0)
        return float(THRESHOLDS[int(mean.argmax())].round(2))


def _at_least(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many values reach each of the thresholds 0.01 .. 1.00, from how many there are in each bin."""
    return counts[::-1].cumsum()[::-1][1:].astype(np.float64)
