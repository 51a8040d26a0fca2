"""By what a set of parameters is judged: means over images of what each mask is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.metrics.overlap import PooledScores, dice_of, mean_iou, mean_of
from napari_refit.metrics.surface import boundary_distances, surface_dice_of
from napari_refit.scoring import matching_classes
from napari_refit.study.scoring import TOLERANCE
from napari_refit.tune.images import TuneImage
from napari_refit.tune.label_free import explained


@dataclass(frozen=True, eq=False)
class Made:
    """What the pipeline made of an image with one set of parameters.

    Attributes
    ----------
    mask : ndarray of unsigned int, (H, W)
        As the slice is displayed.
    image : ndarray of float32, (H, W[, C])
    response : ndarray of float32, (n, H, W)
    class_numbers : tuple of int
        Of the response maps, in ``mask``.
    open : bool
        Whether the gate lets any class through.
    spacing : tuple of float or None
        mm per row and column.
    """

    mask: NDArray[Any]
    image: NDArray[np.float32]
    response: NDArray[np.float32]
    class_numbers: tuple[int, ...]
    open: bool
    spacing: tuple[float, ...] | None


@dataclass(frozen=True)
class Objective:
    """A figure to be as high as can be.

    Attributes
    ----------
    name, title : str
    of_image : callable
        ``of_image(made, truth)``: what is kept of an image; NaN where it has no figure.
    over_images : callable
        Given those, the figure; NaN where there is none.
    wants_truth : bool
    """

    name: str
    title: str
    of_image: Callable[[Made, Any], Any]
    over_images: Callable[[Sequence[Any]], float]
    wants_truth: bool = True


def _dsc(made: Made, truth: Any) -> float:
    def counts(number: int) -> tuple[int, int, int]:
        one, other = made.mask == number, truth == number
        return tuple(int(np.count_nonzero(part)) for part in (one & other, one, other))  # type: ignore[return-value]

    return mean_of(dice_of(*counts(number)) for number in made.class_numbers)


def _miou(made: Made, truth: Any) -> float:
    return mean_iou(made.mask, truth, made.class_numbers)


def _nsd(made: Made, truth: Any) -> float:
    scores = []
    for number in made.class_numbers:
        distances = boundary_distances(made.mask == number, truth == number, made.spacing)
        scores.append(surface_dice_of(*distances, TOLERANCE))
    return mean_of(scores)


def _pair(made: Made, truth: Any) -> tuple[Any, Any, tuple[int, ...]]:
    return made.mask, truth, made.class_numbers


def _pooled(pairs: Sequence[tuple[Any, Any, tuple[int, ...]]]) -> float:
    scores = PooledScores({number for _, _, numbers in pairs for number in numbers})
    for mask, truth, _ in pairs:
        scores.add(mask, truth)
    return scores.paper_dsc()


def _label_free(made: Made, truth: Any) -> float:
    del truth
    if not made.open:
        return math.nan
    scores = []
    for response, number in zip(made.response, made.class_numbers, strict=True):
        scores.append(explained(made.mask == number, made.image, response))
    return mean_of(scores)


OBJECTIVES: dict[str, Objective] = {
    each.name: each
    for each in (
        Objective("dsc", "mean Dice of the foreground", _dsc, mean_of),
        Objective("miou", "mean IoU, background counted", _miou, mean_of),
        Objective("nsd", f"mean surface Dice at {TOLERANCE:g} mm", _nsd, mean_of),
        Objective("paper", "DSC in the paper's convention, pooled", _pair, _pooled),
        Objective("label-free", "how well masks explain their images", _label_free, mean_of, False),
    )
}


def chosen_objective(name: str, images: Sequence[TuneImage]) -> Objective:
    """The objective of a name; ``auto`` goes by whether there are reference masks.

    Raises
    ------
    ValueError
        If it wants reference masks and an image has none.
    """
    without = [image.name for image in images if image.truth is None]
    if name == "auto":
        name = "label-free" if without else "dsc"
    objective = OBJECTIVES[name]
    if objective.wants_truth and without:
        raise ValueError(
            f"{name} needs reference masks, and {without[0]} has none; give one, or choose label-free"
        )
    return objective


def judged(objective: Objective, made: Made, image: TuneImage) -> Any:
    """What an image is worth, with the classes of its reference mask."""
    if image.truth is None or not objective.wants_truth:
        return objective.of_image(made, None)
    if not image.numbers:
        return objective.of_image(made, matching_classes(image.truth, made.class_numbers))
    table = np.zeros(int(made.mask.max()) + 1, np.min_scalar_type(max(image.numbers.values())))
    for own, number in image.numbers.items():
        if own < len(table):
            table[own] = number
    numbers = tuple(sorted(set(image.numbers.values())))
    return objective.of_image(replace(made, mask=table[made.mask], class_numbers=numbers), image.truth)
