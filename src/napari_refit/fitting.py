"""The pipeline's last stage: the gate, then the chosen fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.recipe import RefitParams
from napari_refit.registry import FITS
from napari_refit.responses import PlaneResponse


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
) -> FitOutcome:
    """Run the chosen fit on the classes that the gate lets through."""
    from napari_refit.fit.types import FitInput

    threshold = float(getattr(params.fit_params, "threshold", 0.5))
    gated = params.cam.gate == "positive"
    open_classes = [k for k, positive in enumerate(response.predicted) if positive or not gated]
    dtype = np.min_scalar_type(max(response.class_numbers))
    fitted = np.zeros(response.maps.shape, np.float32)
    mask = np.zeros(clusters.shape, dtype)
    if not open_classes:
        names = ", ".join(response.classes)
        message = f"Predicted negative for {names}: the gate keeps this slice empty."
        return FitOutcome(fitted, mask, mask, message)
    numbers = tuple(response.class_numbers[k] for k in open_classes)
    result = FITS[params.fit].function(
        FitInput(
            response=response.maps[open_classes],
            clusters=clusters,
            simplified=simplified,
            image=image,
            spacing=spacing,
            hints=None,
            class_numbers=numbers,
        ),
        params.fit_params,
    )
    fitted[open_classes] = result.fitted
    cam_mask = threshold_maps(response.maps[open_classes], numbers, threshold).astype(dtype)
    return FitOutcome(fitted, np.asarray(result.mask).astype(dtype), cam_mask, result.message)


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
    return np.where(maps.max(axis=0) >= threshold, numbers[maps.argmax(axis=0)], 0).astype(numbers.dtype)
