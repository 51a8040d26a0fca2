"""How well a mask matches the truth: overlap, the paper's convention, and boundary quality.

A class that is absent from both the mask and the truth has no score: it is NaN, left out of means, and counted.
Background is 0. Masks and truths may be 2-D or 3-D arrays of whole numbers of any type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

NAN = math.nan
# Labels up to this are renumbered by a table look-up, larger or negative ones by a search.
TABLE_SIZE = 65536


def dice(mask: np.ndarray, truth: np.ndarray, class_number: int | None = None) -> float:
    """Dice similarity coefficient (DSC) of the foreground, eq. (2) of the paper.

    ``DSC = 2 |M ∩ T| / (|M| + |T|)``

    Parameters
    ----------
    mask, truth : array_like of whole numbers, equal shapes
    class_number : int, optional
        The class to compare; by default everything that is not 0.

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
    >>> dice(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    0.6666666666666666
    """
    return _dice(*_overlap(mask, truth, class_number))


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
    >>> iou(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    0.5
    """
    return _iou(*_overlap(mask, truth, class_number))


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


def hd95(
    mask: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float] | None = None,
    class_number: int | None = None,
) -> float:
    """95th percentile of the Hausdorff distance between the boundaries.

    ``max(P95 of d(m, ∂T) over m in ∂M, P95 of d(t, ∂M) over t in ∂T)``. A boundary ∂ is made of the
    foreground pixels that touch the background, or the border of the array, across a face.

    Parameters
    ----------
    mask, truth : array_like of whole numbers, equal shapes
    spacing : sequence of float, optional
        Size of a pixel along each axis, in mm; by default 1, so that the result is in pixels.
    class_number : int, optional
        The class to compare; by default everything that is not 0.

    Returns
    -------
    float
        In mm; NaN when both are empty, infinity when one is.

    Raises
    ------
    ValueError
        As `dice`, and if the spacing is not one positive number per axis.

    References
    ----------
    Huttenlocher et al., "Comparing images using the Hausdorff distance", IEEE TPAMI 15 (1993).
    The same convention as MONAI's ``compute_hausdorff_distance(percentile=95)``.

    Examples
    --------
    >>> hd95(np.eye(4, dtype=int) * [1, 1, 0, 0], np.eye(4, dtype=int) * [0, 1, 1, 0], spacing=(1, 2))
    2.1242645...
    """
    return _hd95(*_distances(*_foreground(mask, truth, class_number), spacing))


def surface_dice(
    mask: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float] | None = None,
    tolerance: float = 1.0,
    class_number: int | None = None,
) -> float:
    """Surface Dice (normalised surface distance): how much of both boundaries lies on the other.

    ``(|{m in ∂M: d(m, ∂T) <= t}| + |{t in ∂T: d(t, ∂M) <= t}|) / (|∂M| + |∂T|)``, boundaries as in `hd95`.

    Parameters
    ----------
    mask, truth : array_like of whole numbers, equal shapes
    spacing : sequence of float, optional
        Size of a pixel along each axis, in mm; by default 1.
    tolerance : float, default 1.0
        Boundaries this close count as equal, in mm (in pixels without spacing).
    class_number : int, optional
        The class to compare; by default everything that is not 0.

    Returns
    -------
    float
        In [0, 1]; NaN when both are empty, 0 when one is.

    Raises
    ------
    ValueError
        As `hd95`, and if the tolerance is negative.

    References
    ----------
    Nikolov et al., "Clinically applicable segmentation of head and neck anatomy", JMIR 23 (2021). Boundary
    pixels are counted, as MONAI's ``compute_surface_dice`` does without subvoxels.

    Examples
    --------
    >>> a, b = np.zeros((2, 5, 5), int)
    >>> a[:, 2], b[:, 3] = 1, 1
    >>> surface_dice(a, b, spacing=(1, 1)), surface_dice(a, b, spacing=(1, 1.5))
    (1.0, 0.0)
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 mm or more, got {tolerance!r}")
    return _surface_dice(*_distances(*_foreground(mask, truth, class_number), spacing), tolerance)


def evaluate(
    mask: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float] | None = None,
    classes: Iterable[int] | None = None,
    *,
    tolerance: float = 1.0,
) -> dict[str, float]:
    """All metrics of one image or volume.

    Parameters
    ----------
    mask, truth : array_like of whole numbers, equal shapes
    spacing : sequence of float, optional
        Size of a pixel along each axis, in mm. Without it HD95 and surface Dice are NaN.
    classes : iterable of int, optional
        Class numbers; every other label is background. By default all labels above 0 that occur, or 1.
    tolerance : float, default 1.0
        Of surface Dice, in mm.

    Returns
    -------
    dict of str to float
        Per class k ``dice_k``, ``iou_k``, ``hd95_k`` and ``surface_dice_k``; their means over the classes
        ``dice``, ``iou``, ``hd95`` and ``surface_dice``, NaN left out; ``mean_iou`` (background counted);
        ``paper_dsc``; ``n_empty``, the number of classes that are in neither. ``hd95`` is infinite when the
        mask misses a class altogether.

    Raises
    ------
    ValueError
        As the metrics themselves, and if a class number is below 1.

    Examples
    --------
    >>> scores = evaluate(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]]), spacing=(1, 1))
    >>> round(scores["dice"], 3), scores["iou"], scores["hd95"], scores["n_empty"]
    (0.667, 0.5, 0.95, 0.0)
    """
    mask, truth = _checked(mask, truth)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 mm or more, got {tolerance!r}")
    pooled = PooledScores(classes)
    pooled.add(mask, truth)
    numbers = pooled.classes or (1,)
    scores: dict[str, float] = {}
    for number in numbers:
        counts = pooled.counts(number)
        scores[f"dice_{number}"], scores[f"iou_{number}"] = _dice(*counts), _iou(*counts)
        distances = None if spacing is None else _distances(mask == number, truth == number, spacing)
        scores[f"hd95_{number}"] = NAN if distances is None else _hd95(*distances)
        scores[f"surface_dice_{number}"] = NAN if distances is None else _surface_dice(*distances, tolerance)
    for name in ("dice", "iou", "hd95", "surface_dice"):
        scores[name] = _mean(scores[f"{name}_{number}"] for number in numbers)
    scores["mean_iou"] = pooled.mean_iou()
    scores["paper_dsc"] = pooled.paper_dsc()
    scores["n_empty"] = float(sum(math.isnan(scores[f"dice_{number}"]) for number in numbers))
    return scores


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
    >>> scores = PooledScores()
    >>> scores.add(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    >>> scores.add(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 0]))
    >>> round(scores.dice(), 3), round(scores.mean_iou(), 3), scores.n_images, scores.n_empty
    (0.667, 0.679, 2, 1)
    """

    def __init__(self, classes: Iterable[int] | None = None) -> None:
        self._fixed = None if classes is None else _checked_classes(classes)
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
        table, numbers = _confusion(*_checked(mask, truth), self._fixed)
        counts = np.stack([table.diagonal(), table.sum(axis=1), table.sum(axis=0)], axis=1)
        self._background += counts[0]
        for number, row in zip(numbers, counts[1:], strict=True):
            self._counts[number] = self._counts.get(number, np.zeros(3, np.int64)) + row
        score = _mean(_dice(*(int(value) for value in row)) for row in counts[1:])
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
        return _mean(_dice(*self.counts(number)) for number in numbers)

    def iou(self, class_number: int | None = None) -> float:
        """Pooled IoU of a class, or its mean over the classes; NaN when there is no foreground at all."""
        numbers = self.classes if class_number is None else (class_number,)
        return _mean(_iou(*self.counts(number)) for number in numbers)

    def mean_iou(self) -> float:
        """Mean of the pooled IoU of background and classes; NaN before the first image."""
        return _mean(_iou(*self.counts(number)) for number in (0, *self.classes))

    def paper_dsc(self) -> float:
        """The pooled mean IoU in the paper's convention (see `napari_refit.metrics.paper_dsc`)."""
        return paper_dsc(self.mean_iou())

    def mean_dice(self) -> float:
        """Mean over the images of the foreground Dice; NaN when no image has any."""
        return _mean(self._image_dice)


def _dice(both: int, in_mask: int, in_truth: int) -> float:
    total = in_mask + in_truth
    return 2 * both / total if total else NAN


def _iou(both: int, in_mask: int, in_truth: int) -> float:
    union = in_mask + in_truth - both
    return both / union if union else NAN


def _mean(values: Iterable[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else NAN


def _checked(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mask, truth = np.asarray(mask), np.asarray(truth)
    if mask.shape != truth.shape:
        raise ValueError(f"mask {mask.shape} and truth {truth.shape} differ in shape")
    if mask.size == 0:
        raise ValueError(f"mask and truth are empty, of shape {mask.shape}")
    return _whole(mask, "mask"), _whole(truth, "truth")


def _whole(labels: np.ndarray, name: str) -> np.ndarray:
    if labels.dtype.kind in "ib":
        return labels
    if labels.dtype.kind == "u":
        return labels if labels.dtype.itemsize < 8 else labels.astype(np.int64)
    if labels.dtype.kind != "f":
        raise TypeError(f"{name} must be whole numbers, got {labels.dtype}")
    whole = np.isfinite(labels) & (np.floor(labels) == labels)
    if not whole.all():
        raise ValueError(f"{name} must be whole numbers, got {labels[~whole][0]!r}")
    return labels.astype(np.int64)


def _checked_classes(classes: Iterable[int]) -> tuple[int, ...]:
    numbers = tuple(sorted({int(number) for number in classes}))
    if not numbers or numbers[0] < 1:
        raise ValueError(f"classes must be numbers from 1 up (background is always counted), got {numbers}")
    return numbers


def _foreground(
    mask: np.ndarray, truth: np.ndarray, class_number: int | None
) -> tuple[np.ndarray, np.ndarray]:
    mask, truth = _checked(mask, truth)
    if class_number is None:
        return mask != 0, truth != 0
    return mask == class_number, truth == class_number


def _overlap(mask: np.ndarray, truth: np.ndarray, class_number: int | None) -> tuple[int, int, int]:
    mask, truth = _foreground(mask, truth, class_number)
    return tuple(int(np.count_nonzero(part)) for part in (mask & truth, mask, truth))  # type: ignore[return-value]


def _confusion(
    mask: np.ndarray, truth: np.ndarray, classes: tuple[int, ...] | None
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Pixel counts (mask, truth) over background and classes, and the class numbers."""
    if classes is None:
        present = {int(number) for labels in (mask, truth) for number in _labels(labels)}
        classes = tuple(sorted(number for number in present if number > 0))
    size = len(classes) + 1
    codes = _renumber(mask, classes) * size + _renumber(truth, classes)
    return np.bincount(codes.ravel(), minlength=size * size).reshape(size, size), classes


def _labels(labels: np.ndarray) -> np.ndarray:
    if 0 <= labels.min() and labels.max() < TABLE_SIZE:
        return np.flatnonzero(np.bincount(labels.ravel()))
    return np.unique(labels)


def _renumber(labels: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """Place of each label in ``classes``, counted from 1; 0 for any other."""
    if 0 <= labels.min() and labels.max() < TABLE_SIZE:
        table = np.zeros(max(int(labels.max()), *classes, 0) + 1, np.intp)
        table[list(classes)] = np.arange(1, len(classes) + 1)
        return table[labels.astype(np.uint16)]
    known = np.array((0, *classes))
    place = np.minimum(np.searchsorted(known, labels), len(classes))
    return np.where(known[place] == labels, place, 0)


def _distances(
    mask: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the other boundary from each point of the mask's and of the truth's boundary."""
    steps: Any = np.ones(mask.ndim) if spacing is None else np.asarray(spacing, float)
    if steps.shape != (mask.ndim,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(f"spacing must be {mask.ndim} positive numbers, got {spacing!r}")
    either = mask | truth
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(either.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(used[0], used[-1] + 1) if used.size else slice(0, 0))
    one, other = (_boundary(part[tuple(box)]) for part in (mask, truth))
    return _to_boundary(one, other, steps), _to_boundary(other, one, steps)


def _boundary(region: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return region & ~binary_erosion(region)


def _to_boundary(points: np.ndarray, boundary: np.ndarray, steps: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    if not boundary.any():
        return np.full(np.count_nonzero(points), np.inf)
    return distance_transform_edt(~boundary, sampling=steps)[points]


def _hd95(from_mask: np.ndarray, from_truth: np.ndarray) -> float:
    if not from_mask.size and not from_truth.size:
        return NAN
    if not from_mask.size or not from_truth.size:
        return math.inf
    return float(max(np.percentile(from_mask, 95), np.percentile(from_truth, 95)))


def _surface_dice(from_mask: np.ndarray, from_truth: np.ndarray, tolerance: float) -> float:
    both = np.concatenate([from_mask, from_truth])
    return float(np.mean(both <= tolerance)) if both.size else NAN
