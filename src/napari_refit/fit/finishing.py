"""The last touch on a mask: which pieces stay, and whether holes are filled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.types import BACKGROUND_HINT
from napari_refit.fit_params import FinishParams


def finish_mask(
    mask: NDArray[Any],
    response: NDArray[np.floating[Any]],
    class_numbers: Sequence[int],
    params: FinishParams,
    spacing: Sequence[float] | None = None,
    hints: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Keep some pieces of each class and fill their holes.

    Parameters
    ----------
    mask : ndarray of unsigned int, (H, W) or (D, H, W)
        Class numbers, 0 is background. A piece is what is connected through faces of pixels, within one class.
    response : ndarray, (n,) + shape of ``mask``
        One map per class.
    class_numbers : sequence of int
        Mask value of each map.
    params : FinishParams
        With its defaults the mask comes back as it is.
    spacing : sequence of float, optional
        mm per step of each axis; 1 when left out.
    hints : ndarray of int, optional
        See `napari_refit.fit.FitInput`. A piece that holds a hint of its class stays, and a hole that holds a hint
        for the background stays open.

    Returns
    -------
    ndarray
        A new array, or ``mask`` itself where there was nothing to do.

    Examples
    --------
    >>> mask = np.array([[1, 1, 0, 1], [1, 1, 0, 0]], np.uint8)
    >>> finish_mask(mask, np.ones((1, 2, 4)), (1,), FinishParams(minimum_size=2)).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]
    """
    if params == FinishParams() or not mask.any():
        return mask
    found = mask.copy()
    size = math.prod(spacing) if spacing is not None else 1.0
    for number, values in zip(class_numbers, response, strict=True):
        inside = mask == number
        if not inside.any():
            continue
        kept = _kept_pieces(inside, values, params, size, None if hints is None else hints == number)
        found[inside & ~kept] = 0
        if params.fill_holes:
            _fill(found, number, None if hints is None else hints == BACKGROUND_HINT)
    return found


def _kept_pieces(
    inside: NDArray[np.bool_],
    values: NDArray[np.floating[Any]],
    params: FinishParams,
    size: float,
    hinted: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    from scipy.ndimage import label

    pieces, count = label(inside)
    flat = pieces.ravel()
    keeps = np.bincount(flat, minlength=count + 1) * size >= params.minimum_size
    if params.support > 0:
        highest = np.zeros(count + 1)
        np.maximum.at(highest, flat, values.ravel())
        keeps &= highest >= params.support * highest[1:].max()
    if hinted is not None:
        keeps[np.unique(pieces[hinted])] = True
    keeps[0] = False
    stays: NDArray[np.bool_] = keeps[pieces]
    return stays


def _fill(mask: NDArray[Any], number: int, background: NDArray[np.bool_] | None) -> None:
    """Fill what a class surrounds, in place; pixels of other classes stay."""
    from scipy.ndimage import binary_fill_holes, label

    inside = mask == number
    holes = binary_fill_holes(inside) & (mask == 0)
    if background is not None and (background & holes).any():
        pieces, _ = label(holes)
        holes &= ~np.isin(pieces, np.unique(pieces[background & holes]))
    mask[holes] = number
