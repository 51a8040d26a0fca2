"""How likely a slice's mask is to be wrong, from the fit's own soft output and from the slices beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Belief:
    """How far a fit believes in its own mask.

    Attributes
    ----------
    inside, total : mapping of int to float
        For each class the sum of its probability over the pixels of its mask, and over the whole slice.
    """

    inside: Mapping[int, float]
    total: Mapping[int, float]


def belief(
    fitted: NDArray[np.floating[Any]],
    mask: NDArray[np.integer],
    class_numbers: Sequence[int],
    threshold: float,
) -> Belief:
    """What a fit's soft output says of its mask.

    A fitted response is taken for the probability of its class, bent so that the threshold is one half:
    ``p = f / (2 t)`` below it, ``1 - (1 - f) / (2 (1 - t))`` above.

    Parameters
    ----------
    fitted : ndarray of float, (n, H, W)
        In [0, 1].
    mask : ndarray of int, (H, W)
        Class numbers; 0 is background.
    class_numbers : sequence of int
        Mask value of each fitted map.
    threshold : float
        Of the fit.

    Examples
    --------
    >>> found = belief(np.array([[[1.0, 0.7, 0.2]]]), np.array([[1, 1, 0]]), [1], 0.4)
    >>> round(found.inside[1], 3), round(found.total[1], 3)
    (1.75, 2.0)
    """
    inside, total = {}, {}
    for soft, number in zip(fitted, class_numbers, strict=True):
        below = soft / max(2 * threshold, 1e-6)
        above = 1 - (1 - soft) / max(2 * (1 - threshold), 1e-6)
        chance = np.where(soft < threshold, below, above)
        inside[int(number)] = float(chance[mask == number].sum(dtype=np.float64))
        total[int(number)] = float(chance.sum(dtype=np.float64))
    return Belief(inside, total)


def uncertainty(
    mask: NDArray[np.integer], believed: Belief, beside: Sequence[NDArray[np.integer]] = ()
) -> float:
    """How much a slice is in need of a look: one minus the Dice score that is to be expected of its mask.

    The probability ``p`` of a class at a pixel is the mean over the slice, where it is what the fit believes, and the
    two beside it, where it is 1 in their masks and 0 elsewhere. Of a class the expected score is ``2 Σ p over the
    mask / (pixels of the mask + Σ p)``.

    Parameters
    ----------
    mask : ndarray of int, (H, W)
        Class numbers; 0 is background.
    believed : Belief
    beside : sequence of ndarray of int, (H, W)
        Masks of the slices on either side; one counts for two. None: the fit alone.

    Returns
    -------
    float
        In [0, 1]; mean over the classes that are there on any of the slices, 0 where there is none.

    Examples
    --------
    >>> mask = np.array([[1, 1, 0]])
    >>> sure = belief(np.array([[[1.0, 1.0, 0.0]]]), mask, [1], 0.5)
    >>> uncertainty(mask, sure), uncertainty(mask, sure, [mask, mask])
    (0.0, 0.0)
    >>> round(uncertainty(mask, sure, [mask, 0 * mask]), 3), round(uncertainty(mask, sure, [0 * mask]), 3)
    (0.2, 0.5)
    """
    numbers = {number for number, total in believed.total.items() if total > 0}
    for plane in (mask, *beside):
        numbers |= set(np.unique(plane).tolist())
    found = []
    for number in sorted(numbers - {0}):
        here = mask == number
        inside, total = believed.inside.get(number, 0.0), believed.total.get(number, 0.0)
        if beside:
            theirs = [plane == number for plane in beside]
            inside += 2 * float(np.mean([np.count_nonzero(here & other) for other in theirs]))
            total += 2 * float(np.mean([np.count_nonzero(other) for other in theirs]))
            inside, total = inside / 3, total / 3
        whole = np.count_nonzero(here) + total
        if whole > 0:
            found.append(1 - 2 * inside / whole)
    return float(np.clip(np.mean(found), 0, 1)) if found else 0.0
