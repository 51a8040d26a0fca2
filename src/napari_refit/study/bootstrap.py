"""Percentile intervals of a cluster bootstrap: whole patients are drawn with replacement, never single images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
# Entries of a block of (draws, images): 8 bytes each, several at a time.
_BLOCK = 4_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes
    ----------
    value : float
        NaN if nothing was there to compute it from.
    low, high : float
        NaN with fewer than two patients: an interval says how much patients differ, and one says nothing of that.
    n, n_patients : int
        Values it is made of, and patients that they are of.
    """

    value: float
    low: float
    high: float
    n: int
    n_patients: int


def draw_weights(n_patients: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """How often each patient is in each draw.

    Parameters
    ----------
    n_patients : int
    resamples : int
    seed : int

    Returns
    -------
    ndarray of float64, (1 + resamples, n_patients)
        Whole numbers. The first row is all ones, the patients as they are: what is computed with it is the figure
        itself, so that figure and interval come from one formula.

    Examples
    --------
    >>> weights = draw_weights(3, resamples=2)
    >>> weights.shape, weights.sum(axis=1).tolist(), weights[0].tolist()
    ((3, 3), [3.0, 3.0, 3.0], [1.0, 1.0, 1.0])
    """
    weights = np.ones((1 + resamples, n_patients))
    if n_patients:
        drawn = np.random.default_rng([seed, 1]).integers(n_patients, size=(resamples, n_patients))
        drawn += np.arange(resamples)[:, None] * n_patients
        counts = np.bincount(drawn.ravel(), minlength=resamples * n_patients)
        weights[1:] = counts.reshape(resamples, n_patients)
    return weights


def sums_of(values: NDArray, patients: NDArray[np.int64], n_patients: int) -> Floats:
    """Sum per patient.

    Parameters
    ----------
    values : ndarray, (N,) or (N, K)
    patients : ndarray of int64, (N,)

    Returns
    -------
    ndarray of float64, (n_patients,) or (n_patients, K)

    Examples
    --------
    >>> sums_of(np.array([1, 2, 4]), np.array([0, 2, 0]), 3)
    array([5., 0., 2.])
    """
    table = np.zeros((n_patients, *values.shape[1:]))
    np.add.at(table, patients, values)
    return table


def mean_draws(weights: Floats, values: Floats, patients: NDArray[np.int64]) -> Floats:
    """Mean of the finite values in each draw; NaN where a draw has none."""
    kept = np.isfinite(values)
    n_patients = weights.shape[1]
    totals = weights @ sums_of(values[kept], patients[kept], n_patients)
    counts = weights @ sums_of(np.ones(np.count_nonzero(kept)), patients[kept], n_patients)
    return np.divide(totals, counts, out=np.full(len(weights), np.nan), where=counts > 0)


def median_draws(weights: Floats, values: Floats, patients: NDArray[np.int64]) -> Floats:
    """Median of the finite values in each draw; NaN where a draw has none."""
    kept = np.isfinite(values)
    values, patients = values[kept], patients[kept]
    order = np.argsort(values, kind="stable")
    values, patients = values[order], patients[order]
    medians = np.full(len(weights), np.nan)
    if not len(values):
        return medians
    for part in _blocks(len(weights), len(values)):
        upto = np.cumsum(weights[part][:, patients], axis=1)
        size = upto[:, -1]
        # An even number of values has two in the middle.
        middle = [(upto > np.floor(rank)[:, None]).argmax(axis=1) for rank in ((size - 1) / 2, size / 2)]
        medians[part] = np.where(size > 0, (values[middle[0]] + values[middle[1]]) / 2, np.nan)
    return medians


def estimate(draws: Floats, n: int, n_patients: int) -> Estimate:
    """The figure (first draw) and the percentiles of the others.

    Parameters
    ----------
    draws : ndarray of float64, (1 + resamples,)
        As computed with `draw_weights`.
    n, n_patients : int
        Values, and patients with values.
    """
    value = float(draws[0])
    others = draws[1:]
    others = others[np.isfinite(others)]
    if n_patients < 2 or not len(others) or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan, n, n_patients)
    margin = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(others, [margin, 100 - margin])
    return Estimate(value, float(low), float(high), n, n_patients)


def mean_estimate(weights: Floats, values: Floats, patients: NDArray[np.int64]) -> Estimate:
    """Mean of the finite values and its interval.

    Examples
    --------
    >>> weights = draw_weights(2)
    >>> mean_estimate(weights, np.array([0.5, 0.75, np.nan]), np.array([0, 1, 1]))
    Estimate(value=0.625, low=0.5, high=0.75, n=2, n_patients=2)
    """
    return estimate(mean_draws(weights, values, patients), *_sizes(values, patients))


def median_estimate(weights: Floats, values: Floats, patients: NDArray[np.int64]) -> Estimate:
    """Median of the finite values and its interval."""
    return estimate(median_draws(weights, values, patients), *_sizes(values, patients))


def _sizes(values: Floats, patients: NDArray[np.int64]) -> tuple[int, int]:
    kept = np.isfinite(values)
    return int(np.count_nonzero(kept)), len(np.unique(patients[kept]))


def _blocks(n_draws: int, n_values: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(n_values, 1))
    for start in range(0, n_draws, step):
        yield slice(start, start + step)
