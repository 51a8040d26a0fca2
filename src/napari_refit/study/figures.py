"""The figures of a study, each declared once: what it is called and how it comes from the rows, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_refit.metrics.overlap import dice_of, iou_of, paper_dsc
from napari_refit.study.arranging import Arranged, Measured
from napari_refit.study.bootstrap import (
    Estimate,
    Floats,
    estimate,
    mean_estimate,
    median_estimate,
    sums_of,
)

ALL_CLASSES = "mean over classes"


@dataclass(frozen=True)
class Group:
    """A class, or the mean over all of them.

    Attributes
    ----------
    number : int
        Class number; 0 for the mean over several classes.
    name : str
    columns : tuple of int
        Positions of its classes in `Measured`.
    """

    number: int
    name: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Figure:
    """A column of the tables.

    Attributes
    ----------
    key, title : str
        Key in summary.json; head of the column.
    help : str
        What it is.
    better : str
        ``"higher"`` or ``"lower"``.
    compute : callable
        ``compute(arranged, measured, group, weights) -> Estimate``.
    has_unit : bool
        Whether it is in the rows' unit rather than a share.
    is_headline : bool
        Whether it is in the first table.
    """

    key: str
    title: str
    help: str
    better: str
    compute: Callable[[Arranged, Measured, Group, Floats], Estimate]
    has_unit: bool = False
    is_headline: bool = False


_dice_of = np.vectorize(dice_of, otypes=[float])
_iou_of = np.vectorize(iou_of, otypes=[float])


def _paper_dsc(values: Floats) -> Floats:
    # Comparing NaN, the mean IoU of draws without images, would raise a warning.
    with np.errstate(invalid="ignore"):
        return np.vectorize(paper_dsc, otypes=[float])(values)


def groups_of(arranged: Arranged) -> list[Group]:
    """What tables are made for: the mean over the classes first, where there are several, then each class.

    Returns
    -------
    list of Group
        Empty without rows.
    """
    single = [Group(number, name, (k,)) for k, (number, name) in enumerate(arranged.classes)]
    if len(single) == 1:
        return single
    return [Group(0, ALL_CLASSES, tuple(range(len(single)))), *single] if single else []


def row_mean(table: Floats) -> Floats:
    """Mean of each row without the NaN; NaN where nothing is left.

    Examples
    --------
    >>> row_mean(np.array([[1.0, np.nan], [np.nan, np.nan], [1.0, 3.0]])).tolist()
    [1.0, nan, 2.0]
    """
    kept = ~np.isnan(table)
    n = kept.sum(axis=1)
    total = np.where(kept, table, 0.0).sum(axis=1)
    return np.divide(total, n, out=np.full(len(table), np.nan), where=n > 0)


def image_dice(measured: Measured, columns: Sequence[int]) -> Floats:
    """Foreground Dice of each image, the mean over the classes that the image or its mask holds."""
    return row_mean(measured.dice[:, list(columns)])


def image_miou(measured: Measured, group: Group) -> Floats:
    """Mean IoU of each image over background and classes; of one class: that class and everything else."""
    return row_mean(_iou_of(*_with_background(measured, group)))


def case_dice(measured: Measured, columns: Sequence[int], n_cases: int) -> Floats:
    """Foreground Dice of each case, from the counts of all its images together.

    Returns
    -------
    ndarray of float64, (n_cases,)
        Mean over the classes that the case or its masks hold; NaN where there are none.
    """
    counts = (measured.both, measured.in_mask, measured.in_truth)
    return row_mean(_dice_of(*(sums_of(part[:, list(columns)], measured.cases, n_cases) for part in counts)))


def image_hd95(measured: Measured, columns: Sequence[int]) -> Floats:
    """HD95 of each image, mean over the classes; infinite if any of them is, NaN if nothing was measured."""
    return row_mean(measured.hd95[:, list(columns)])


def _dice_mean(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return mean_estimate(weights, image_dice(measured, group.columns), measured.patients)


def _dice_median(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return median_estimate(weights, image_dice(measured, group.columns), measured.patients)


def _dice_with_truth(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    columns = list(group.columns)
    held = np.where(measured.in_truth[:, columns] > 0, measured.dice[:, columns], np.nan)
    return mean_estimate(weights, row_mean(held), measured.patients)


def _dice_patient(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    of_case = case_dice(measured, group.columns, len(arranged.cases))
    patient_of = np.zeros(len(arranged.cases), np.int64)
    patient_of[measured.cases] = measured.patients
    of_patient = _per_patient(of_case, patient_of, len(arranged.patients))
    return mean_estimate(weights, of_patient, np.arange(len(of_patient)))


def _per_patient(values: Floats, patients: NDArray[np.int64], n_patients: int) -> Floats:
    kept = ~np.isnan(values)
    counts = sums_of(np.ones(np.count_nonzero(kept)), patients[kept], n_patients)
    totals = sums_of(values[kept], patients[kept], n_patients)
    return np.divide(totals, counts, out=np.full(n_patients, np.nan), where=counts > 0)


def _dice_pooled(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return _pooled(_dice_of, _foreground(measured, group), measured, weights)


def _iou_pooled(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return _pooled(_iou_of, _foreground(measured, group), measured, weights)


def _iou_background(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    first = [part[:, :1] for part in _with_background(measured, group)]
    return _pooled(_iou_of, first, measured, weights)


def _miou_pooled(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return _pooled(_iou_of, _with_background(measured, group), measured, weights)


def _paper(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return _pooled(_iou_of, _with_background(measured, group), measured, weights, _paper_dsc)


def _miou_image(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return mean_estimate(weights, image_miou(measured, group), measured.patients)


def _hd95_median(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return median_estimate(weights, image_hd95(measured, group.columns), measured.patients)


def _hd95_mean(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    return mean_estimate(weights, image_hd95(measured, group.columns), measured.patients)


def _surface_dice(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Estimate:
    values = row_mean(measured.surface_dice[:, list(group.columns)])
    return mean_estimate(weights, values, measured.patients)


def _foreground(measured: Measured, group: Group) -> list[NDArray]:
    columns = list(group.columns)
    return [part[:, columns] for part in (measured.both, measured.in_mask, measured.in_truth)]


def _with_background(measured: Measured, group: Group) -> list[NDArray]:
    """Counts (both, in the mask, in the truth) of the background and of the group's classes."""
    both, in_mask, in_truth = _foreground(measured, group)
    mask, truth = in_mask.sum(axis=1), in_truth.sum(axis=1)
    # For one class of several, the others are part of the background.
    background = (
        measured.pixels - (mask + truth - both.sum(axis=1)) if group.number else measured.both_background
    )
    rest = (background, measured.pixels - mask, measured.pixels - truth)
    return [
        np.column_stack([first, others])
        for first, others in zip(rest, (both, in_mask, in_truth), strict=True)
    ]


def _pooled(
    score: Callable[..., Floats],
    counts: Sequence[NDArray],
    measured: Measured,
    weights: Floats,
    convert: Callable[[Floats], Floats] | None = None,
) -> Estimate:
    """A score of counts that are summed over the images of each draw; mean over the columns."""
    sums = (sums_of(part, measured.patients, weights.shape[1]) for part in counts)
    draws = row_mean(score(*(weights @ part for part in sums)))
    n, n_patients = len(measured.places), len(np.unique(measured.patients))
    return estimate(draws if convert is None else convert(draws), n, n_patients)


_OVER_CLASSES = "With several classes: the mean over those that are there."
FIGURES = (
    Figure(
        "dice_mean",
        "DSC per image",
        "Foreground Dice, mean over the images. Images without the class in truth and mask have none and are left "
        f"out; an image in which something is marked that is not there counts 0. {_OVER_CLASSES}",
        "higher",
        _dice_mean,
        is_headline=True,
    ),
    Figure("dice_median", "median", "The median of the same.", "higher", _dice_median),
    Figure(
        "dice_mean_with_truth",
        "DSC, truth not empty",
        "Foreground Dice, mean over only the images whose truth holds the class: false alarms do not count.",
        "higher",
        _dice_with_truth,
    ),
    Figure(
        "dice_patient",
        "DSC per patient",
        "Foreground Dice of each case from the pixel counts of all its images together (of slices: the 3-D Dice of "
        "the volume); mean over each patient's cases, then over the patients.",
        "higher",
        _dice_patient,
        is_headline=True,
    ),
    Figure(
        "dice_pooled",
        "DSC pooled",
        "Foreground Dice from the pixel counts of all images together.",
        "higher",
        _dice_pooled,
    ),
    Figure(
        "iou_pooled",
        "IoU foreground",
        "Foreground IoU from the pixel counts of all images together.",
        "higher",
        _iou_pooled,
    ),
    Figure(
        "iou_background",
        "IoU background",
        "IoU of the background from the pixel counts of all images together.",
        "higher",
        _iou_background,
    ),
    Figure(
        "miou_pooled",
        "mIoU pooled",
        "Mean of the pooled IoU of background and classes. Of one class among several: of it and everything else.",
        "higher",
        _miou_pooled,
        is_headline=True,
    ),
    Figure(
        "miou_image",
        "mIoU per image",
        "Mean IoU over background and classes of each image, mean over the images.",
        "higher",
        _miou_image,
    ),
    Figure(
        "paper_dsc",
        "paper's convention",
        "2 mIoU / (1 + mIoU) of the pooled mIoU: what the ReFit paper prints as DSC. The background counts, so it is "
        "no Dice of the foreground, and a blank mask scores well.",
        "higher",
        _paper,
        is_headline=True,
    ),
    Figure(
        "hd95_median",
        "HD95 median",
        "95th percentile of the distances between the outlines, median over the images on which it is finite. Images "
        "that a method misses altogether have none, and are counted beside it.",
        "lower",
        _hd95_median,
        has_unit=True,
        is_headline=True,
    ),
    Figure("hd95_mean", "HD95 mean", "The mean of the same.", "lower", _hd95_mean, has_unit=True),
    Figure(
        "surface_dice",
        "NSD",
        "Surface Dice: the share of both outlines that lies within the tolerance of the other; mean over the images.",
        "higher",
        _surface_dice,
        is_headline=True,
    ),
)
_BY_KEY = {figure.key: figure for figure in FIGURES}
VOLUME_FIGURES = tuple(
    replace(
        _BY_KEY[key],
        key=f"{key}_volume",
        title=f"{_BY_KEY[key].title} (3-D)",
        help=f"Of whole volumes: {what}.",
    )
    for key, what in (
        ("hd95_median", "the median of the finite HD95"),
        ("hd95_mean", "the mean of the finite HD95"),
        ("surface_dice", "the mean surface Dice"),
    )
)
"""Where there are rows of whole volumes beside those of images."""
