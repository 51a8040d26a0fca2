"""Grey values to [0, 1], with one range for a whole volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.params import IntensityParams

SAMPLE_VOXELS = 16_000_000


@dataclass(frozen=True)
class IntensityRange:
    """The grey values that become 0 and 1."""

    low: float
    high: float


def measure_range(values: Any, params: IntensityParams) -> IntensityRange:
    """The grey-value range of a volume.

    Parameters
    ----------
    values : array-like
        Any shape and real dtype; NaN and infinities are left out. Of an array above 16 million voxels, evenly
        spaced slices along the first axis are read.
    params : IntensityParams
        Percentiles, or a window that needs no measuring.

    Returns
    -------
    IntensityRange
        ``low == high`` if there is no contrast or no finite value.

    Examples
    --------
    >>> measure_range(np.arange(101.0), IntensityParams(low_percentile=0, high_percentile=50))
    IntensityRange(low=0.0, high=50.0)
    """
    if params.mode == "window":
        half = params.window_width / 2
        return IntensityRange(params.window_level - half, params.window_level + half)
    sample, is_own = _sample(values)
    finite = sample.reshape(-1)
    if sample.dtype.kind == "f" and not (usable := np.isfinite(finite)).all():
        finite, is_own = finite[usable], True
    if finite.size == 0:
        return IntensityRange(0.0, 0.0)
    # Of a large volume, a sample that nobody else sees is sorted where it is.
    low, high = np.percentile(finite, (params.low_percentile, params.high_percentile), overwrite_input=is_own)
    return IntensityRange(float(low), float(high))


def normalise(plane: NDArray[Any], limits: IntensityRange, params: IntensityParams) -> NDArray[np.float32]:
    """Scale grey values to [0, 1]; NaN becomes 0, values outside the range are clipped.

    Parameters
    ----------
    plane : ndarray
        Any shape and real dtype.
    limits : IntensityRange
        The values that become 0 and 1 (measured on this plane instead where ``params.scope`` is "slice").
    params : IntensityParams

    Returns
    -------
    ndarray of float32
        All 0 where the range has no width.

    Examples
    --------
    >>> normalise(np.array([0, 5, 20]), IntensityRange(0, 10), IntensityParams())
    array([0. , 0.5, 1. ], dtype=float32)
    """
    plane = np.asarray(plane)
    if params.scope == "slice" and params.mode == "percentile":
        limits = measure_range(plane, params)
    width = limits.high - limits.low
    if not width > 0:
        return np.zeros(plane.shape, np.float32)
    scaled = (plane.astype(np.float64) - limits.low) / width
    scaled = np.nan_to_num(scaled, copy=False, nan=0.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0)
    if params.floor > 0:
        scaled[scaled < params.floor] = 0.0
    return scaled.astype(np.float32)


def extremes(values: Any) -> tuple[float, float]:
    """Smallest and largest value of an array, read slice by slice along its first axis.

    Parameters
    ----------
    values : array-like
        Of a real dtype, numpy or lazy (dask, zarr); NaN is left out.

    Returns
    -------
    tuple of float
        ``(nan, nan)`` where everything is NaN.

    Examples
    --------
    >>> extremes(np.array([[0.5, np.nan], [2.0, -1.0]]))
    (-1.0, 2.0)
    """
    low, high = np.nan, np.nan
    parts: Any = [values]
    if hasattr(values, "slabs"):  # stays in its file
        parts = values.slabs()
    elif values.ndim > 2 and not isinstance(values, np.ndarray):
        parts = (values[k] for k in range(values.shape[0]))
    for part in parts:
        found = np.asarray(part)
        low = np.fmin(low, np.fmin.reduce(found, axis=None))
        high = np.fmax(high, np.fmax.reduce(found, axis=None))
    return float(low), float(high)


def _sample(values: Any) -> tuple[NDArray[Any], bool]:
    """Values to measure, and whether they are a copy of our own."""
    if not hasattr(values, "shape"):
        values = np.asarray(values)
    size = int(np.prod(values.shape, dtype=np.int64))
    is_own = False
    if values.ndim < 3 or (size <= SAMPLE_VOXELS and isinstance(values, np.ndarray)):
        sample = np.asarray(values)
    else:
        # A lazy array is never asked for as a whole, however small.
        n_slices = min(values.shape[0], max(1, values.shape[0] * SAMPLE_VOXELS // size))
        picks = np.unique(np.linspace(0, values.shape[0] - 1, n_slices).round().astype(int))
        first = np.asarray(values[int(picks[0])])
        sample, is_own = np.empty((len(picks), *first.shape), first.dtype), True
        for k, pick in enumerate(picks):
            sample[k] = np.asarray(values[int(pick)])
    if sample.dtype.kind == "c" or sample.dtype.kind not in "biuf":
        raise TypeError(f"grey values must be real numbers, got dtype {sample.dtype}")
    # Percentiles subtract: not defined for bool, and float16 overflows.
    if sample.dtype == np.float16 or sample.dtype.kind == "b":
        return sample.astype(np.float32), True
    return sample, is_own
