"""All metrics of one image at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from napari_refit.metrics.labels import checked_pair
from napari_refit.metrics.overlap import PooledScores, dice_of, iou_of, mean_of
from napari_refit.metrics.surface import boundary_distances, hd95_of, surface_dice_of

Distances = tuple[np.ndarray, np.ndarray]


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
    >>> import numpy as np
    >>> scores = evaluate(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]]), spacing=(1, 1))
    >>> round(scores["dice"], 3), scores["iou"], scores["hd95"], scores["n_empty"]
    (0.667, 0.5, 0.95, 0.0)
    """
    mask, truth = checked_pair(mask, truth)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 mm or more, got {tolerance!r}")
    pooled = PooledScores(classes)
    pooled.add(mask, truth)

    def distances(number: int) -> Distances | None:
        if spacing is None:
            return None
        return boundary_distances(mask == number, truth == number, spacing)

    return scores_of(pooled, distances, tolerance)


def scores_of(
    pooled: PooledScores, distances: Callable[[int], Distances | None], tolerance: float = 1.0
) -> dict[str, float]:
    """The same from what is counted already, of a volume that is seen piece by piece.

    Parameters
    ----------
    pooled : PooledScores
        All of its pieces added.
    distances : callable
        Of a class the distances between the boundaries (`napari_refit.metrics.surface.boundary_distances`); None where
        they are not known.
    tolerance : float
        Of surface Dice, in mm.
    """
    numbers = pooled.classes or (1,)
    scores: dict[str, float] = {}
    for number in numbers:
        apart = distances(number)
        counts = pooled.counts(number)
        scores[f"dice_{number}"], scores[f"iou_{number}"] = dice_of(*counts), iou_of(*counts)
        scores[f"hd95_{number}"] = math.nan if apart is None else hd95_of(*apart)
        scores[f"surface_dice_{number}"] = math.nan if apart is None else surface_dice_of(*apart, tolerance)
    for name in ("dice", "iou", "hd95", "surface_dice"):
        scores[name] = mean_of(scores[f"{name}_{number}"] for number in numbers)
    scores["mean_iou"] = pooled.mean_iou()
    scores["paper_dsc"] = pooled.paper_dsc()
    scores["n_empty"] = float(sum(math.isnan(scores[f"dice_{number}"]) for number in numbers))
    return scores
