"""Labels of clusters by what each is worth to them and what their borders cost; some of them may be fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.cut import expand
from napari_refit.fit.regions import Regions

Stop = Callable[[], bool]
Values = NDArray[np.float64]
Labels = NDArray[np.int64]

EVEN = 0.5


@dataclass(frozen=True, eq=False)
class Labelling:
    """Clusters that share borders.

    Attributes
    ----------
    regions : Regions
    weights : ndarray of float64, shape (m,)
        What it costs that the two clusters of a pair have different labels.
    fixed : ndarray of int64, shape (n,), or None
        The label that a cluster must have; -1 where none is given.
    """

    regions: Regions
    weights: Values
    fixed: Labels | None = None

    def labels(self, values: Values, cancelled: Stop | None = None) -> Labels:
        """The labels of least energy.

        Parameters
        ----------
        values : ndarray of float64, shape (n_classes, n)
            What a class is worth to a cluster per size; background (label 0) is worth 0.
        cancelled : callable, optional
        """
        costs = np.concatenate([np.zeros((1, values.shape[1])), -values]) * self.regions.sizes
        if self.fixed is not None and (self.fixed >= 0).any():
            # Dearer than anything that could be gained elsewhere.
            dear = 1.0 + 2 * np.abs(costs).sum() + self.weights.sum()
            others = np.arange(len(costs))[:, np.newaxis] != self.fixed
            costs = np.where((self.fixed >= 0) & others, dear, costs)
        return expand(self.regions.network, costs, self.weights, cancelled)

    def fitted(self, values: Values, labels: Labels, cancelled: Stop | None = None) -> NDArray[np.float32]:
        """For each class and cluster the highest threshold at which the cluster is still in the mask, in [0, 1].

        With one class the mask at a threshold ``t`` is exactly what costs least when background is cheaper by
        ``logit(t)``. With several each class is set against all others; at 0.5 the labels decide.

        Parameters
        ----------
        values : ndarray of float64, shape (n_classes, n)
        labels : ndarray of int64, shape (n,)
            From `labels`.
        cancelled : callable, optional

        Returns
        -------
        ndarray of float32, shape (n_classes, n)
        """
        levels = np.stack([self._levels(values, k, cancelled) for k in range(len(values))])
        return chances(levels) if len(values) == 1 else on_their_side(chances(levels), labels, EVEN)

    def _levels(self, values: Values, k: int, cancelled: Stop | None) -> Values:
        """For each cluster by how much a class may be put at a disadvantage before the cluster is another one's."""
        others = np.delete(values, k, axis=0).max(axis=0, initial=0.0)
        fixed = None
        if self.fixed is not None:
            fixed = np.where(self.fixed < 0, 0, np.where(self.fixed == k + 1, 1, -1))
        regions = self.regions
        return regions.network.levels(values[k] - others, regions.sizes, self.weights, fixed, cancelled)


def border_costs(regions: Regions, smoothness: float, contrast: float) -> Values:
    """``smoothness`` times the length of a border times ``exp(-d² / (2 contrast²))``, d the difference of colours."""
    return smoothness * regions.borders * np.exp(-regions.differences / (2 * contrast**2))


def chances(log_odds: Values) -> NDArray[np.float32]:
    """Probabilities of log-odds; the inverse of `logit`."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-log_odds))).astype(np.float32)


def on_their_side(fitted: NDArray[np.float32], labels: Labels, bar: float) -> NDArray[np.float32]:
    """Fitted responses (n_classes, n) moved to that side of a threshold on which the labels are.

    Examples
    --------
    >>> on_their_side(np.array([[0.2, 0.9]], np.float32), np.array([1, 0]), 0.5).round(3).tolist()
    [[0.5, 0.5]]
    """
    inside = labels == np.arange(1, len(fitted) + 1)[:, np.newaxis]
    level = np.float32(bar)
    return np.where(inside, fitted.clip(level, None), fitted.clip(None, np.nextafter(level, np.float32(0))))


def logit(values: Values | float) -> Values:
    """Log-odds of probabilities strictly between 0 and 1.

    Examples
    --------
    >>> float(logit(0.5))
    0.0
    """
    return np.asarray(np.log(values) - np.log1p(np.negative(values)))
