"""Masks against reference masks: the rows of one case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.metrics.overlap import dice_of, iou_of
from napari_refit.metrics.surface import boundary_distances, hd95_of, surface_dice_of

TOLERANCE = 1.0
"""Of surface Dice, in mm, or in pixels where there are none."""


def score_case(
    mask: NDArray[Any],
    truth: NDArray[Any],
    class_names: Sequence[str],
    *,
    is_volume: bool,
    places: Sequence[tuple[int | None, int | None]],
    spacing: tuple[float, ...] | None,
    seconds: float,
) -> list[dict[str, Any]]:
    """All metrics of a case: of every plane, and of a volume as a whole.

    Parameters
    ----------
    mask, truth : ndarray, (D, H, W), or (H, W) for a picture
        Class numbers.
    class_names : sequence of str
    is_volume : bool
    places : sequence of (axis, index)
        Of the planes in the file.
    spacing : tuple of float, optional
        mm along each axis; pixels count without it.
    seconds : float
        That the method took for the case.

    Returns
    -------
    list of dict
        What `napari_refit.study.results.Row` holds, but for dataset, fold, method, case and patient.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if mask.shape != truth.shape:
        raise ValueError(f"the mask has shape {mask.shape}, the reference {truth.shape}")
    unit = "px" if spacing is None else "mm"
    steps = spacing or (1.0,) * mask.ndim
    masks, truths = (mask, truth) if is_volume else (mask[None], truth[None])
    rows: list[dict[str, Any]] = []
    for number, (axis, index) in enumerate(places):
        where = {"level": "image", "axis": axis, "index": index, "seconds": seconds / len(places)}
        scores = _scores(masks[number], truths[number], class_names, steps[-2:])
        rows += [{**where, "unit": unit, **found} for found in scores]
    if is_volume:
        where = {"level": "case", "axis": None, "index": None, "seconds": seconds}
        rows += [{**where, "unit": unit, **found} for found in _scores(mask, truth, class_names, steps)]
    return rows


def _scores(
    mask: NDArray[Any], truth: NDArray[Any], class_names: Sequence[str], steps: tuple[float, ...]
) -> list[dict[str, Any]]:
    background = int(np.count_nonzero((mask == 0) & (truth == 0)))
    rows = []
    for number, name in enumerate(class_names, start=1):
        one, other = mask == number, truth == number
        counts = tuple(int(np.count_nonzero(part)) for part in (one & other, one, other))
        distances = boundary_distances(one, other, steps)
        rows.append(
            {
                "class_number": number,
                "class_name": name,
                "both": counts[0],
                "in_mask": counts[1],
                "in_truth": counts[2],
                "both_background": background,
                "pixels": int(mask.size),
                "dice": dice_of(*counts),
                "iou": iou_of(*counts),
                "hd95": hd95_of(*distances),
                "surface_dice": surface_dice_of(*distances, TOLERANCE),
            }
        )
    return rows
