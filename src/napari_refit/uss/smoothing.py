"""Gaussian smoothing of float32 planes and volumes, on all cores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop, n_threads, run_bands

# About 20 ms of one core.
_VALUES_PER_BAND = 4_000_000


def smooth(
    planes: NDArray[np.float32], sigmas: Sequence[float], *, cancelled: Stop | None = None
) -> NDArray[np.float32]:
    """Smooth each channel of an image.

    The result is that of `scipy.ndimage.gaussian_filter` with its defaults, to float32's precision.

    Parameters
    ----------
    planes : ndarray of float32, (C, D, H, W)
        A plane has depth 1.
    sigmas : sequence of 3 float
        Standard deviations along z, y and x in pixels; an axis with 0 is left as it is.
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    ndarray of float32, (C, D, H, W)
        ``planes`` itself where there is nothing to smooth.

    Raises
    ------
    ValueError
        If a standard deviation is below 0 or not finite.
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> edge = np.array([0, 0, 0, 1, 1, 1], np.float32).reshape(1, 1, 1, 6)
    >>> (smooth(edge, (0, 0, 0.5)).ravel() * 100).round().astype(int)
    array([  0,   0,  11,  89, 100, 100])
    """
    from napari_refit.uss import smoothing_kernel as kernel

    halves = [half_kernel(float(sigma)) for sigma in sigmas]
    source = np.ascontiguousarray(planes, dtype=np.float32)
    n_channels, depth, height, width = source.shape
    result = source
    for stack, down, along in (
        ((n_channels, depth, height, width), halves[0], np.ones(1, np.float32)),
        ((n_channels * depth, height, 1, width), halves[1], halves[2]),
    ):
        if down.size == along.size == 1:
            continue
        target = np.empty(stack, np.float32)
        n_bands = max(n_threads(), source.size * (down.size + along.size) // 4 // _VALUES_PER_BAND)
        run_bands(
            kernel.smooth, stack[0] * stack[1] * stack[2], result.reshape(stack), down, along, target,
            n_bands=n_bands, cancelled=cancelled,
        )  # fmt: skip
        result = target.reshape(source.shape)
    return result


def half_kernel(sigma: float) -> NDArray[np.float32]:
    """Weights from the middle outwards; they end where scipy's do, after four standard deviations."""
    if not 0 <= sigma < np.inf:
        raise ValueError(f"a standard deviation must be 0 or more and finite, got {sigma!r}")
    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return np.ones(1, np.float32)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    return (weights / (2 * weights.sum() - 1)).astype(np.float32)
