"""What every fit asks of its inputs, and how it names a value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Resampling in float32 may leave [0, 1] by as much as this.
RANGE_SLACK = 1e-6


def check_shape(response: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse response maps that do not lie on the clusters' grid."""
    if response.shape[1:] != shape:
        raise ValueError(
            f"response must have the clusters' shape {shape} after its classes, got {response.shape}"
        )


def flat_response(response: np.ndarray) -> np.ndarray:
    """(n, n_pixels) float32 or float64 in [0, 1] without NaN, which counts as 0: no evidence."""
    from napari_refit.uss.checks import loopable

    response = loopable(response, np.float64 if response.dtype == np.float64 else np.float32)
    low, high = float(response.min()), float(response.max())
    if math.isnan(low):
        response = np.nan_to_num(response, nan=0.0, posinf=math.inf, neginf=-math.inf)
        low, high = float(response.min()), float(response.max())
    if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
        raise ValueError(f"response must be in [0, 1], got {low:g} to {high:g}: rescale it first")
    return response.reshape(len(response), -1)


def checked_numbers(numbers: tuple[int, ...], n_classes: int) -> tuple[int, ...]:
    """The mask value of each response map: 1..n where none are given."""
    numbers = numbers or tuple(range(1, n_classes + 1))
    if len(numbers) != n_classes or min(numbers) < 1:
        raise ValueError(f"class_numbers must be {n_classes} numbers from 1 up, got {numbers}")
    return numbers


def cluster_sizes(clusters: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pixels of each cluster."""
    from napari_refit.fit.boundary_kernel import count_pixels

    if clusters.min() < 1:
        raise ValueError(f"clusters must be numbered from 1, got {clusters.min()}")
    sizes = np.zeros(int(clusters.max()), np.int64)
    count_pixels(clusters.ravel(), sizes)
    if not sizes.all():
        raise ValueError(f"clusters must be numbered without gaps, {int(np.argmin(sizes)) + 1} is missing")
    return sizes


def checked_colours(colours: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Finite real colours on the clusters' grid, with or without channels at the end."""
    from napari_refit.uss.checks import real_array

    found = real_array(colours, name)
    if shape not in (found.shape, found.shape[:-1]):
        raise ValueError(f"{name} must be {shape} or {shape} with channels at the end, got {found.shape}")
    finite = np.isfinite(found)
    if not finite.all():
        raise ValueError(f"{name} has {found.size - int(finite.sum())} values that are not finite")
    return found


def rounded_down(value: float) -> str:
    """Two decimals, rounded down, so that a value just below a threshold does not read as equal to it.

    Examples
    --------
    >>> rounded_down(0.4999)
    '0.49'
    """
    return f"{math.floor(float(value) * 100 + 1e-5) / 100:.2f}"
