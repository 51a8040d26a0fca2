"""What the rows of a study say: figures with 95 % intervals over patients, folds, and paired comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_refit.study.arranging import Arranged, Measured, arrange
from napari_refit.study.bootstrap import RESAMPLES, Estimate, Floats, draw_weights
from napari_refit.study.comparing import Comparison, compare
from napari_refit.study.figures import (
    FIGURES,
    VOLUME_FIGURES,
    Group,
    groups_of,
    image_dice,
    image_hd95,
)
from napari_refit.study.results import BEST_THRESHOLD, Row

FOLD_FIGURES = ("dice_mean", "dice_patient", "miou_pooled", "paper_dsc")


@dataclass(frozen=True)
class Summary:
    """One method on one class, or on the mean over all of them.

    Attributes
    ----------
    method : str
    class_number : int
        0: mean over several classes.
    class_name : str
    n_images, n_cases, n_patients : int
    n_left_out : int
        Images with no Dice: the class (with several, each of them) is in neither the mask nor the truth.
    n_with_truth : int
        Images whose truth holds the class (one of them).
    n_negative, n_false_positive : int
        Images whose truth does not hold it, and those of them on which it was marked all the same.
    n_missed : int
        Images without a finite HD95 because only one of mask and truth holds the class (with several: a class).
    figures : dict of str to Estimate
        By key of `FIGURES`, and of `VOLUME_FIGURES` where there are rows of whole volumes.
    """

    method: str
    class_number: int
    class_name: str
    n_images: int
    n_cases: int
    n_patients: int
    n_left_out: int
    n_with_truth: int
    n_negative: int
    n_false_positive: int
    n_missed: int
    figures: dict[str, Estimate]


@dataclass(frozen=True)
class FoldSummary:
    """One method on the test part of one fold; figures by key, without intervals."""

    method: str
    class_number: int
    fold: int
    n_images: int
    n_patients: int
    figures: dict[str, float]


@dataclass(frozen=True, eq=False)
class Statistics:
    """All figures of a study.

    Attributes
    ----------
    arranged : Arranged
        The rows.
    groups : list of Group
        The classes, the mean over them first where there are several.
    summaries : list of Summary
        By group, then by method, blank first.
    folds : list of FoldSummary
    comparisons : list of Comparison
        By group, then by what is compared with, then by method.
    seconds : dict of str to float
        Median per image, by method.
    resamples, seed : int
    """

    arranged: Arranged
    groups: list[Group]
    summaries: list[Summary]
    folds: list[FoldSummary]
    comparisons: list[Comparison]
    seconds: dict[str, float]
    resamples: int
    seed: int

    def of(self, method: str, class_number: int | None = None) -> Summary:
        """The summary of a method; by default of the first group.

        Raises
        ------
        KeyError
            If there is none.
        """
        number = self.groups[0].number if class_number is None and self.groups else class_number
        for item in self.summaries:
            if item.method == method and item.class_number == number:
                return item
        raise KeyError(f"no rows of method {method!r} and class {number!r}")


def analyse(
    rows: Sequence[Row],
    order: Sequence[str] = (),
    baseline: str = "gradcam",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Statistics:
    """Compute everything that a report says of the rows.

    Parameters
    ----------
    rows : sequence of Row
        In any order; what comes out does not depend on it.
    order : sequence of str
        Methods in the order of the tables; blank comes first in any case.
    baseline : str
        The others are compared with this method, and with ``best-threshold``.
    resamples : int
        Draws of the bootstrap.
    seed : int
        Of all draws.

    Raises
    ------
    ValueError
        As `napari_refit.study.arranging.arrange`.

    Examples
    --------
    >>> def row(method, patient, both):
    ...     return Row("d", 1, method, patient, patient, "image", None, None, 1, "lesion", both, 10, 10, 80, 100,
    ...                both / 10, both / (20 - both), float("nan"), float("nan"), "px", 0.1)
    >>> found = analyse([row("gradcam", "a", 4), row("gradcam", "b", 6), row("refit", "a", 5), row("refit", "b", 9)])
    >>> found.of("refit").figures["dice_mean"]
    Estimate(value=0.7, low=0.5, high=0.9, n=2, n_patients=2)
    >>> found.comparisons[0].difference.value.__round__(3), found.comparisons[0].p_sign_flip
    (0.2, 0.5)
    """
    arranged = arrange(rows, order)
    weights = draw_weights(len(arranged.patients), resamples, seed)
    groups = groups_of(arranged)
    methods = arranged.methods.values()
    return Statistics(
        arranged=arranged,
        groups=groups,
        summaries=[_summary(arranged, item, group, weights) for group in groups for item in methods],
        folds=[fold for group in groups for item in methods for fold in _folds(arranged, item, group)],
        comparisons=[
            found
            for group in groups
            for against in dict.fromkeys((baseline, BEST_THRESHOLD))
            for found in compare(arranged, group, against, weights, seed)
        ],
        seconds={item.method: _median(item.seconds) for item in methods},
        resamples=resamples,
        seed=seed,
    )


def _summary(arranged: Arranged, measured: Measured, group: Group, weights: Floats) -> Summary:
    columns = list(group.columns)
    held = (measured.in_truth[:, columns] > 0).any(axis=1)
    marked = (measured.in_mask[:, columns] > 0).any(axis=1)
    figures = {item.key: item.compute(arranged, measured, group, weights) for item in FIGURES}
    volumes = arranged.volumes.get(measured.method)
    if volumes is not None:
        figures |= {item.key: item.compute(arranged, volumes, group, weights) for item in VOLUME_FIGURES}
    return Summary(
        method=measured.method,
        class_number=group.number,
        class_name=group.name,
        n_images=len(measured.places),
        n_cases=len(np.unique(measured.cases)),
        n_patients=len(np.unique(measured.patients)),
        n_left_out=int(np.isnan(image_dice(measured, columns)).sum()),
        n_with_truth=int(held.sum()),
        n_negative=int((~held).sum()),
        n_false_positive=int((~held & marked).sum()),
        n_missed=int(np.isinf(image_hd95(measured, columns)).sum()),
        figures=figures,
    )


def _folds(arranged: Arranged, measured: Measured, group: Group) -> list[FoldSummary]:
    found = []
    compute = {item.key: item.compute for item in FIGURES if item.key in FOLD_FIGURES}
    for fold in np.unique(measured.folds):
        part = measured.part(measured.folds == fold)
        as_is = np.ones((1, len(arranged.patients)))
        figures = {key: compute[key](arranged, part, group, as_is).value for key in FOLD_FIGURES}
        n_patients = len(np.unique(part.patients))
        found.append(
            FoldSummary(measured.method, group.number, int(fold), len(part.places), n_patients, figures)
        )
    return found


def _median(values: Floats) -> float:
    kept = values[np.isfinite(values)]
    return float(np.median(kept)) if len(kept) else float("nan")
