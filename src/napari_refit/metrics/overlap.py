"""Dice, IoU, mean IoU and the paper's convention, of one image or pooled over many."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from napari_refit.metrics.labels import checked_classes, checked_pair, confusion, foreground

NAN = math.nan


def dice(mask: np.ndarray, truth: np.ndarray, class_number: int | None = None) -> float:
    """Dice similarity coefficient (DSC) of the foreground, eq. (2) of the paper.

    ``DSC = 2 |M ∩ T| / (|M| + |T|)``

    Parameters
    ----------
    mask, truth : array_like of whole numbers, equal shapes
    class_number : int, optional
        The class to compare; by default everything above 0.

    Returns
    -------
    float
        In [0, 1]; NaN when both are empty, 0 when one is.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty, or a label is not a whole number.

    References
    ----------
    Dice, "Measures of the amount of ecologic association between species", Ecology 26 (1945).

    Examples
    --------
    >>> import numpy as np
    >>> dice(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    0.6666666666666666
    """
    return dice_of(*_overlap(mask, truth, class_number))


def iou(mask: np.ndarray, truth: np.ndarray, class_number: int | None = None) -> float:
    """Intersection over union (Jaccard index) of the foreground.

    ``IoU = |M ∩ T| / |M ∪ T|``

    Parameters
    ----------
    mask, truth, class_number
        As `dice`.

    Returns
    -------
    float
        In [0, 1]; NaN when both are empty, 0 when one is.

    References
    ----------
    Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11 (1912).

    Examples
    --------
    >>> import numpy as np
    >>> iou(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    0.5
    """
    return iou_of(*_overlap(mask, truth, class_number))


def mean_iou(mask: np.ndarray, truth: np.ndarray, classes: Iterable[int] | None = None) -> float:
    """Mean IoU with the background counted as a class, eq. (3) of the paper, of one image.

    ``mIoU = mean over background and classes of |M_k ∩ T_k| / |M_k ∪ T_k|``

    Parameters
    ----------
    mask, truth : array_like of whole numbers, equal shapes
    classes : iterable of int, optional
        Class numbers; every other label is background. By default all labels above 0 that occur.

    Returns
    -------
    float
        In [0, 1]. A class absent from both is left out.

    Examples
    --------
    >>> import numpy as np
    >>> mean_iou(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    0.5833333333333333
    """
    scores = PooledScores(classes)
    scores.add(mask, truth)
    return scores.mean_iou()


def paper_dsc(
    mask: np.ndarray | float, truth: np.ndarray | None = None, classes: Iterable[int] | None = None
) -> float:
    """The number that the paper prints as DSC: its mean IoU turned into a Dice score.

    ``2 mIoU / (1 + mIoU)``: background counts, so it is *not* the Dice of the foreground, and an empty mask
    scores well. It serves to compare with the paper's tables.

    Parameters
    ----------
    mask : array_like of whole numbers, or float
        The mask; or a mean IoU, when ``truth`` is left out.
    truth : array_like of whole numbers, optional
    classes : iterable of int, optional
        As `mean_iou`.

    Returns
    -------
    float
        In [0, 1].

    References
    ----------
    Every row of the ReFit paper's tables, and the authors' public scripts, which sum over all images before
    they divide: see `PooledScores.paper_dsc`.

    Examples
    --------
    >>> round(paper_dsc(0.472), 3)
    0.641
    """
    value = float(mask) if truth is None else mean_iou(np.asarray(mask), truth, classes)
    if not (0 <= value <= 1 or math.isnan(value)):
        raise ValueError(f"mean IoU must be in [0, 1], got {value!r}")
    return 2 * value / (1 + value)


class PooledScores:
    """Overlap summed over images before it is divided, beside the mean over images.

    Parameters
    ----------
    classes : iterable of int, optional
        Class numbers; every other label is background. By default all labels above 0 that occur.

    Attributes
    ----------
    n_images : int
        Images added so far.
    n_empty : int
        Those with no foreground in either the mask or the truth: they have no Dice and are left out of
        `mean_dice`.

    References
    ----------
    The authors' public scripts pool in this way before they take the mean of the two IoU.

    Examples
    --------
    >>> import numpy as np
    >>> scores = PooledScores()
    >>> scores.add(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    >>> scores.add(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 0]))
    >>> round(scores.dice(), 3), round(scores.mean_iou(), 3), scores.n_images, scores.n_empty
    (0.667, 0.679, 2, 1)
    """

    def __init__(self, classes: Iterable[int] | None = None) -> None:
        self._fixed = None if classes is None else checked_classes(classes)
        self._counts: dict[int, np.ndarray] = {number: np.zeros(3, np.int64) for number in self._fixed or ()}
        self._background = np.zeros(3, np.int64)
        self._image_dice: list[float] = []
        self.n_images = 0
        self.n_empty = 0

    @property
    def classes(self) -> tuple[int, ...]:
        """Class numbers: those given, or those met so far."""
        return tuple(sorted(self._counts))

    def add(self, mask: np.ndarray, truth: np.ndarray) -> None:
        """Count one image or volume (arguments and errors as `dice`)."""
        table, numbers = confusion(*checked_pair(mask, truth), self._fixed)
        counts = np.stack([table.diagonal(), table.sum(axis=1), table.sum(axis=0)], axis=1)
        self._background += counts[0]
        for number, row in zip(numbers, counts[1:], strict=True):
            self._counts[number] = self._counts.get(number, np.zeros(3, np.int64)) + row
        score = mean_of(dice_of(*(int(value) for value in row)) for row in counts[1:])
        self._image_dice.append(score)
        self.n_images += 1
        self.n_empty += math.isnan(score)

    def counts(self, class_number: int) -> tuple[int, int, int]:
        """Pixels of a class in both, in the masks and in the truths; 0 is the background."""
        counts = self._counts.get(class_number, np.zeros(3)) if class_number else self._background
        both, in_mask, in_truth = (int(value) for value in counts)
        return both, in_mask, in_truth

    def dice(self, class_number: int | None = None) -> float:
        """Pooled Dice of a class, or its mean over the classes; NaN when there is no foreground at all."""
        numbers = self.classes if class_number is None else (class_number,)
        return mean_of(dice_of(*self.counts(number)) for number in numbers)

    def iou(self, class_number: int | None = None) -> float:
        """Pooled IoU of a class, or its mean over the classes; NaN when there is no foreground at all."""
        numbers = self.classes if class_number is None else (class_number,)
        return mean_of(iou_of(*self.counts(number)) for number in numbers)

    def mean_iou(self) -> float:
        """Mean of the pooled IoU of background and classes; NaN before the first image."""
        return mean_of(iou_of(*self.counts(number)) for number in (0, *self.classes))

    def paper_dsc(self) -> float:
        """The pooled mean IoU in the paper's convention (see `napari_refit.metrics.paper_dsc`)."""
        return paper_dsc(self.mean_iou())

    def mean_dice(self) -> float:
        """Mean over the images of the foreground Dice; NaN when no image has any."""
        return mean_of(self._image_dice)


def dice_of(both: int, in_mask: int, in_truth: int) -> float:
    """Dice from pixel counts."""
    total = in_mask + in_truth
    return 2 * both / total if total else NAN


def iou_of(both: int, in_mask: int, in_truth: int) -> float:
    """IoU from pixel counts."""
    union = in_mask + in_truth - both
    return both / union if union else NAN


def mean_of(values: Iterable[float]) -> float:
    """Mean without the NaN; NaN when nothing is left."""
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else NAN


def _overlap(mask: np.ndarray, truth: np.ndarray, class_number: int | None) -> tuple[int, int, int]:
    mask, truth = foreground(mask, truth, class_number)
    return tuple(int(np.count_nonzero(part)) for part in (mask & truth, mask, truth))  # type: ignore[return-value]
