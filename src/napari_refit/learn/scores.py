"""How good a classifier is: AUROC with its interval, accuracy, confusion, calibration. numpy in, floats out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10
RESAMPLES = 1000


def area_under_curve(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Area under the ROC curve: how often a positive scores higher than a negative, ties counted half.

    Parameters
    ----------
    scores : ndarray, shape (N,)
    labels : ndarray, shape (N,)
        1 is positive, anything else negative.

    Raises
    ------
    ValueError
        If there is no positive or no negative.

    Examples
    --------
    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 0, 1, 1]))
    0.875
    """
    from scipy.stats import rankdata

    positive = labels == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        raise ValueError("the area under the curve needs both classes")
    ranks = float(rankdata(scores)[positive].sum())
    return (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def mean_area(probabilities: NDArray[Any], shown: NDArray[np.int64], background: int | None = None) -> float:
    """Mean AUROC of the classes, each against the rest.

    Parameters
    ----------
    probabilities : ndarray, shape (N, K)
    shown : ndarray of int64, shape (N, K)
        1 where an image shows the class.
    background : int, optional
        Left out of the mean, unless it is all there is.

    Returns
    -------
    float
        NaN where no class has both positives and negatives.
    """
    areas = [
        area_under_curve(probabilities[:, k], shown[:, k])
        for k in range(shown.shape[1])
        if 0 < shown[:, k].sum() < len(shown) and (k != background or shown.shape[1] == 1)
    ]
    return float(np.mean(areas)) if areas else math.nan


def area_interval(
    probabilities: NDArray[Any],
    shown: NDArray[np.int64],
    patients: Sequence[str],
    background: int | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % interval of `mean_area`: whole patients drawn with replacement (percentile bootstrap).

    Slices of one patient resemble each other; an interval that takes them for independent is too narrow.

    Parameters
    ----------
    probabilities, shown, background
        As of `mean_area`.
    patients : sequence of str
        One per image.
    seed, resamples : int

    Returns
    -------
    tuple of float
        NaN where the area is.
    """
    _, number = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    images = [np.flatnonzero(number == k) for k in range(number.max() + 1)]
    draw = np.random.default_rng([seed, 3])
    areas = []
    for _ in range(resamples):
        picks = np.concatenate([images[k] for k in draw.integers(0, len(images), len(images))])
        areas.append(mean_area(probabilities[picks], shown[picks], background))
    areas = [area for area in areas if not math.isnan(area)]
    if not areas:
        return math.nan, math.nan
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(low), float(high)


def accuracy(probabilities: NDArray[Any], shown: NDArray[np.int64], exclusive: bool) -> float:
    """Share of right answers: of images where classes exclude each other, else of images x classes."""
    if exclusive:
        return float((probabilities.argmax(1) == shown.argmax(1)).mean())
    return float(((probabilities > 0.5) == (shown == 1)).mean())


def confusion(probabilities: NDArray[Any], shown: NDArray[np.int64], exclusive: bool) -> list[list[int]]:
    """Counts of images by what they show (rows) and what was answered (columns).

    Where classes do not exclude each other: one row per class with true negatives, false positives, false
    negatives, true positives.

    Examples
    --------
    >>> confusion(np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]]), np.array([[1, 0], [0, 1], [0, 1]]), True)
    [[1, 0], [1, 1]]
    """
    classes = shown.shape[1]
    if exclusive:
        cells = shown.argmax(1) * classes + probabilities.argmax(1)
        table: list[list[int]] = (
            np.bincount(cells, minlength=classes * classes).reshape(classes, classes).tolist()
        )
        return table
    return [
        np.bincount(2 * shown[:, k] + (probabilities[:, k] > 0.5), minlength=4).tolist()
        for k in range(classes)
    ]


def calibration(
    probabilities: NDArray[Any], shown: NDArray[np.int64], exclusive: bool, bins: int = BINS
) -> dict[str, Any]:
    """How far probabilities can be believed.

    Parameters
    ----------
    probabilities, shown : ndarray, shape (N, K)
    exclusive : bool
        Whether each image shows exactly one class. Then the answer's own probability is judged (Guo et al. 2017),
        otherwise that of every class.
    bins : int
        Of equal width.

    Returns
    -------
    dict
        ``ece``: expected calibration error; ``brier``: mean squared error, summed over the classes of an image;
        ``bins``: for each that is not empty ``low``, ``high``, ``count``, ``confidence``, ``frequency``.

    Examples
    --------
    >>> calibration(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([[1, 0], [0, 1]]), True)["ece"]
    0.3
    """
    if exclusive:
        confidence = probabilities.max(1)
        right = probabilities.argmax(1) == shown.argmax(1)
    else:
        confidence, right = probabilities.ravel(), shown.ravel() == 1
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for k in np.unique(number):
        inside = number == k
        rows.append(
            {
                "low": k / bins,
                "high": (k + 1) / bins,
                "count": int(inside.sum()),
                "confidence": float(confidence[inside].mean(dtype=np.float64)),
                "frequency": float(right[inside].mean()),
            }
        )
    gaps = [row["count"] * abs(row["confidence"] - row["frequency"]) for row in rows]
    return {
        "ece": round(float(np.sum(gaps)) / len(confidence), 12),
        "brier": float(((probabilities - shown) ** 2).sum(1).mean(dtype=np.float64)),
        "bins": rows,
    }


def probabilities_of(logits: NDArray[Any], exclusive: bool, temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax, or the sigmoid of each class, of logits (N, K) divided by a temperature."""
    from scipy.special import expit, softmax

    scaled = np.asarray(logits, dtype=np.float64) / temperature
    found: NDArray[np.float64] = softmax(scaled, axis=1) if exclusive else expit(scaled)
    return found


def best_temperature(logits: NDArray[Any], shown: NDArray[np.int64], exclusive: bool) -> float:
    """The temperature at which the labels are likeliest (Guo et al. 2017), between 0.05 and 20.

    1 where every answer is right: nothing can be measured then, the lower the likelier.

    Examples
    --------
    >>> logits = np.array([[4.0, 0.0]] * 4)
    >>> round(best_temperature(logits, np.array([[1, 0], [1, 0], [1, 0], [0, 1]]), True), 2)
    3.64
    """
    from scipy.optimize import minimize_scalar

    if accuracy(probabilities_of(logits, exclusive), shown, exclusive) == 1:
        return 1.0

    def surprise(log_temperature: float) -> float:
        return mean_surprise(np.asarray(logits, np.float64) / math.exp(log_temperature), shown, exclusive)

    found = minimize_scalar(
        surprise, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-6}
    )
    return float(math.exp(found.x))


def mean_surprise(logits: NDArray[Any], shown: NDArray[np.int64], exclusive: bool) -> float:
    """Mean negative log-likelihood of the labels: per image, or per image and class."""
    logits = np.asarray(logits, dtype=np.float64)
    if exclusive:
        from scipy.special import log_softmax

        return float(-(log_softmax(logits, axis=1) * shown).sum(1).mean())
    return float((np.logaddexp(0, logits) - logits * shown).mean())


def report(
    logits: NDArray[Any],
    shown: NDArray[np.int64],
    patients: Sequence[str],
    classes: Sequence[str],
    *,
    background: int | None,
    exclusive: bool,
    temperature: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that is said of a classifier's answers to one set of images.

    Parameters
    ----------
    logits, shown : ndarray, shape (N, K)
    patients : sequence of str
    classes : sequence of str
    background : int or None
    exclusive : bool
    temperature : float
        For the calibration after scaling.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``images``, ``patients``, ``loss``, ``accuracy``, ``balanced_accuracy``, ``auroc``, ``auroc_95``,
        ``auroc_by_class``, ``confusion``, ``calibration``, ``calibration_scaled``.
    """
    chances = probabilities_of(logits, exclusive)
    table = confusion(chances, shown, exclusive)
    return {
        "images": len(shown),
        "patients": len(set(patients)),
        "loss": mean_surprise(logits, shown, exclusive),
        "accuracy": accuracy(chances, shown, exclusive),
        "balanced_accuracy": _balanced(table, exclusive),
        "auroc": mean_area(chances, shown, background),
        "auroc_95": list(area_interval(chances, shown, patients, background, seed=seed)),
        "auroc_by_class": {
            name: mean_area(chances[:, k : k + 1], shown[:, k : k + 1]) for k, name in enumerate(classes)
        },
        "confusion": table,
        "calibration": calibration(chances, shown, exclusive),
        "calibration_scaled": calibration(probabilities_of(logits, exclusive, temperature), shown, exclusive),
    }


def _balanced(table: list[list[int]], exclusive: bool) -> float:
    if exclusive:
        recalls = [row[k] / sum(row) for k, row in enumerate(table) if sum(row)]
    else:
        pairs = [((tn, tn + fp), (tp, tp + fn)) for tn, fp, fn, tp in table]
        recalls = [right / all_ for pair in pairs for right, all_ in pair if all_]
    return float(np.mean(recalls)) if recalls else math.nan
