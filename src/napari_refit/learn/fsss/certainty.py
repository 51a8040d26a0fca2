"""How certain a fit is of each pixel, as a label to train on; and of each image, to leave out those in doubt."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EVERYTHING = 255
"""A soft label that is certain."""
# Fits whose response is a probability, and what makes the most of any other as one: chosen on BUSI's training images.
_PROBABILITIES = ("appearance",)
_SHARPNESS = 4.0
# Probabilities of 0 and 1 would outweigh any other evidence.
_LIMITS = (0.005, 0.995)


def soft_labels(
    fitted: NDArray[np.floating[Any]],
    label_map: NDArray[np.uint8],
    threshold: float = 0.5,
    sharpness: float = 1.0,
) -> NDArray[np.uint8]:
    """Probabilities of the classes at each pixel, from fitted responses.

    A fitted response at the threshold is an even chance. With one class the log-odds are ``sharpness`` times the
    difference of the response's logit and the threshold's: for a graph cut, whose mask at another threshold is the one
    that costs least when background is by that difference cheaper, they are the energy's own. Several classes and the
    background share out the whole by these odds.

    Where the label map says otherwise than the response, because a last step has filled a hole or taken a piece away,
    the pixel is in doubt: an even chance, on the label map's side.

    Parameters
    ----------
    fitted : ndarray of float, shape (K, H, W)
        In [0, 1]; 0 of a class that the image is known not to show.
    label_map : ndarray of uint8, shape (H, W)
        0 background, k + 1 the k-th class.
    threshold : float
        Of the fit, in [0, 1].
    sharpness : float
        More than 0; large: next to 0 or 1 everywhere.

    Returns
    -------
    ndarray of uint8, shape (K, H, W)
        In 255ths; what is missing to 255 is the background's. `strongest` gives the label map back.

    Examples
    --------
    >>> fitted = np.array([[[0.5, 0.8, 0.2, 0.8]]])
    >>> soft_labels(fitted, np.array([[1, 1, 0, 0]], np.uint8)).tolist()
    [[[128, 204, 51, 127]]]
    """
    odds = sharpness * (_logit(fitted) - _logit(np.float64(threshold)))
    odds = np.where(fitted > 0, odds, -np.inf)
    top = odds.max(axis=0, initial=0.0)
    parts = np.exp(odds - top)
    chances = parts / (parts.sum(axis=0) + np.exp(-top))
    found = np.rint(EVERYTHING * chances).astype(np.uint8)
    astray = strongest(found) != label_map
    if astray.any():
        even = np.zeros((len(found), int(astray.sum())), np.uint8)
        labels = label_map[astray].astype(np.int64)
        named = labels > 0
        even[labels[named] - 1, np.flatnonzero(named)] = EVERYTHING // 2 + 1
        even[odds[:, astray].argmax(axis=0)[~named], np.flatnonzero(~named)] = EVERYTHING // 2
        found[:, astray] = even
    return found


def strongest(soft: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label map of soft labels: the most probable class of each pixel, background where none leads it.

    Parameters
    ----------
    soft : ndarray of uint8, shape (K, H, W)
        From `soft_labels`.
    """
    rest = EVERYTHING - soft.sum(axis=0, dtype=np.int64)
    return np.where(soft.max(axis=0) > rest, soft.argmax(axis=0) + 1, 0).astype(np.uint8)


def certainty(soft: NDArray[np.uint8]) -> NDArray[np.float64]:
    """By how much the most probable of classes and background leads the next: (H, W), in [0, 1].

    Parameters
    ----------
    soft : ndarray of uint8, shape (K, H, W)

    Examples
    --------
    >>> certainty(np.array([[[0, 51, 255]]], np.uint8)).tolist()
    [[1.0, 0.6, 1.0]]
    """
    rest = EVERYTHING - soft.sum(axis=0, dtype=np.int64)
    ordered = np.sort(np.concatenate([soft, rest[np.newaxis]]), axis=0)
    found: NDArray[np.float64] = (ordered[-1] - ordered[-2]) / EVERYTHING
    return found


def agreement(soft: NDArray[np.uint8], label_map: NDArray[np.uint8]) -> float:
    """The Dice that the label map can expect if the soft labels are right about the chances.

    Parameters
    ----------
    soft : ndarray of uint8, shape (K, H, W)
    label_map : ndarray of uint8, shape (H, W)

    Returns
    -------
    float
        In [0, 1], the mean over the classes that either of them shows; 1 where there are none. Low where the mask is
        uncertain inside, or much outside may belong to it.

    Examples
    --------
    >>> agreement(np.array([[[0, 204, 51]]], np.uint8), np.array([[0, 1, 0]], np.uint8))
    0.8
    """
    values = []
    for number, chances in enumerate(soft, start=1):
        inside = label_map == number
        expected, area = float(chances.sum(dtype=np.int64)) / EVERYTHING, int(inside.sum())
        if expected or area:
            values.append(2 * float(chances[inside].sum(dtype=np.int64)) / EVERYTHING / (expected + area))
    return float(np.mean(values)) if values else 1.0


def most_doubtful(agreements: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """The places of the lowest agreements, a share of all, rounded down.

    Parameters
    ----------
    agreements : ndarray of float, shape (N,)
        From `agreement`; of equal ones the first go first.
    share : float
        In [0, 1].

    Examples
    --------
    >>> most_doubtful(np.array([0.9, 0.2, 0.8, 0.3, 0.7]), 0.5).tolist()
    [1, 3]
    """
    order = np.argsort(agreements, kind="stable")
    return np.sort(order[: int(share * len(order))])


def suited_sharpness(fit: str, wanted: float = 0.0) -> float:
    """The sharpness of `soft_labels` for what a fit yields.

    Parameters
    ----------
    fit : str
        Its name.
    wanted : float
        Taken where it is more than 0.
    """
    return wanted or (1.0 if fit in _PROBABILITIES else _SHARPNESS)


def _logit(value: Any) -> Any:
    value = np.clip(np.asarray(value, np.float64), *_LIMITS)
    return np.log(value) - np.log1p(-value)
