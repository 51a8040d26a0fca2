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
    winner = response.argmax(axis=0)
    highest = response.max(axis=0).astype(np.float64)
    # A voxel passes threshold k if k <= its bin; half a step guards against rounding.
    bins = np.floor(highest * 100 + 1e-3).astype(np.int64).clip(0, 100)
    scores = []
    for k, number in enumerate(class_numbers):
        inside = winner == k
        found = _at_least(bins[inside])
        hits = _at_least(bins[inside & (truth == number)])
        total = found + np.count_nonzero(truth == number)
        scores.append(np.divide(2 * hits, total, out=np.full(len(hits), np.nan), where=total > 0))
    mean = np.nanmean(np.where(np.isnan(scores), 0.0, scores), axis=0)
    return float(THRESHOLDS[int(mean.argmax())].round(2))


def _at_least(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many values reach each of the thresholds 0.01 .. 1.00."""
    counts = np.bincount(bins, minlength=101)
    return counts[::-1].cumsum()[::-1][1:].astype(np.float64)
