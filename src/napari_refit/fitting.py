"""The pipeline's last stage: the gate, then the chosen fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.memo import Memo, forgetful
from napari_refit.recipe import RefitParams
from napari_refit.registry import FITS
from napari_refit.responses import PlaneResponse
from napari_refit.segmenting import accepted

if TYPE_CHECKING:
    from napari_refit.fit.types import Partition


@dataclass(frozen=True)
class FitOutcome:
    """Fitted response maps (n, H, W), the mask, the CAM's own mask, and what to tell the user."""

    fitted: NDArray[np.float32]
    mask: NDArray[Any]
    cam_mask: NDArray[Any]
    message: str


def gate_and_fit(
    response: PlaneResponse,
    clusters: NDArray[np.int32],
    simplified: NDArray[np.float32],
    image: NDArray[np.float32],
    params: RefitParams,
    spacing: tuple[float, ...] | None,
    *,
    hints: NDArray[Any] | None = None,
    partitions: tuple[Partition, ...] = (),
    memo: Memo = forgetful,
    cancelled: Callable[[], bool] | None = None,
) -> FitOutcome:
    """Run the chosen fit on the classes that the gate lets through.

    A class that is hinted at passes the gate. ``partitions`` are those of
    `RefitParams.partitions`. ``memo`` and ``cancelled`` go to a fit that takes them.
    """
    from napari_refit.fit.finishing import finish_mask
    from napari_refit.fit.strokes import follow_strokes
    from napari_refit.fit.types import FitInput

    hints = _of_targets(hints, response.class_numbers)
    hinted = () if hints is None else np.unique(hints).tolist()
    threshold = params.mask_threshold
    gated = params.cam.gate == "positive"
    open_classes = [
        k
        for k, (positive, number) in enumerate(zip(response.predicted, response.class_numbers, strict=True))
        if positive or not gated or number in hinted
    ]
    dtype = np.min_scalar_type(max(response.class_numbers))
    if not open_classes:
        names = ", ".join(response.classes)
        message = f"Predicted negative for {names}: the gate keeps this slice empty."
        nothing = np.zeros(clusters.shape, dtype)
        return FitOutcome(np.zeros(response.maps.shape, np.float32), nothing, nothing, message)
    everything_open = len(open_classes) == len(response.maps)
    maps = response.maps if everything_open else response.maps[open_classes]
    numbers = tuple(response.class_numbers[k] for k in open_classes)
    entry = FITS[params.fit]
    function = entry.function
    classes = tuple(open_classes)
    inputs = FitInput(
        response=maps,
        clusters=clusters,
        simplified=simplified,
        image=image,
        spacing=spacing,
        hints=hints,
        class_numbers=numbers,
        partitions=tuple(replace(each, memo=_of_classes(each.memo, classes)) for each in partitions),
    )
    own_memo = _of_classes(memo, classes)
    options = accepted(function, memo=own_memo, cancelled=cancelled)
    result = function(
        inputs if entry.takes_hints else replace(inputs, hints=None), params.fit_params, **options
    )
    if hints is not None and not entry.takes_hints:
        result = follow_strokes(result, inputs, params.hints, threshold, memo=own_memo, cancelled=cancelled)
    cam_mask = threshold_maps(maps, numbers, threshold).astype(dtype, copy=False)
    mask = np.asarray(result.mask).astype(dtype, copy=False)
    finished = finish_mask(mask, maps, numbers, params.finish, spacing, hints)
    message = result.message
    if mask.any() and not finished.any():
        message = "No piece of the mask is left: lower the support or the smallest size."
    if everything_open:
        return FitOutcome(result.fitted, finished, cam_mask, message)
    fitted = np.zeros(response.maps.shape, np.float32)
    fitted[open_classes] = result.fitted
    return FitOutcome(fitted, finished, cam_mask, message)


def _of_classes(memo: Memo, classes: tuple[int, ...]) -> Memo:
    """The part of a memo that belongs to those classes that the gate lets through."""
    return lambda key, compute: memo((classes, key), compute)


def _of_targets(hints: NDArray[Any] | None, class_numbers: tuple[int, ...]) -> NDArray[Any] | None:
    """The hints without those of classes that nobody asks for; None where nothing is left."""
    from napari_refit.fit.types import BACKGROUND_HINT

    if hints is None:
        return None
    found = np.where(np.isin(hints, (BACKGROUND_HINT, *class_numbers)), hints, 0)
    return found if found.any() else None


def threshold_maps(
    maps: NDArray[np.floating[Any]], class_numbers: tuple[int, ...], threshold: float
) -> NDArray[Any]:
    """Class number of the highest response where it reaches the threshold, else 0.

    Parameters
    ----------
    maps : ndarray, (n, ...)
        Response maps in [0, 1].
    class_numbers : tuple of int
        Mask value of each map.
    threshold : float

    Examples
    --------
    >>> threshold_maps(np.array([[0.2, 0.6], [0.5, 0.7]]), (1, 2), 0.5)
    array([2, 2], dtype=uint8)
    """
    numbers = np.asarray(class_numbers, np.min_scalar_type(max(class_numbers)))
    best, mask = maps[0], np.full(maps.shape[1:], numbers[0])
    for plane, number in zip(maps[1:], numbers[1:], strict=True):
        np.copyto(mask, number, where=plane > best)
        best = np.maximum(best, plane)
    mask *= best >= threshold
    return mask
