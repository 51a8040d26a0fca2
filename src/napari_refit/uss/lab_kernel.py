"""sRGB to Lab in double precision, compiled: roots by iteration, so that several pixels are converted at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_FRACTION = np.int64(52)
# Dividing the bits of a number by n divides its logarithm; these are the bits of 1 less as many n-ths of themselves.
_ONE = 1023 << 52
_FIFTH, _THIRD = np.int64(_ONE - _ONE // 5), np.int64(_ONE - _ONE // 3)


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _curve(value: float) -> float:
    """``value ** 2.4`` of a number from 0.05 to 1.05, and roughly up to 1e6."""
    bits = np.float64(value).view(np.int64)
    # A first guess within 4 %, from a linear logarithm; each round of Newton's method squares the error.
    root = np.int64(np.int64(np.float64(bits) * 0.2) + _FIFTH).view(np.float64)
    for _ in range(4):
        square = root * root
        root = 0.8 * root + 0.2 * value / (square * square)
    return value * value * root * root


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _cube_root(value: float) -> float:
    bits = np.float64(value).view(np.int64)
    root = np.int64(np.int64(np.float64(bits) * (1 / 3)) + _THIRD).view(np.float64)
    for _ in range(3):
        # Halley's method cubes the error.
        cube = root * root * root
        root = root * (cube + 2 * value) / (2 * cube + value)
    return root


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _straighten(line: Any) -> None:
    for x in range(len(line)):
        value = line[x]
        curved = _curve((value + 0.055) / 1.055)
        line[x] = curved if value > 0.04045 else value / 12.92


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _mix(red: Any, green: Any, blue: Any, share: Any, white: float, mixed: Any) -> None:
    for x in range(len(mixed)):
        value = (red[x] * share[0] + green[x] * share[1] + blue[x] * share[2]) / white
        root = _cube_root(value)
        mixed[x] = root if value > 0.008856 else 7.787 * value + 16 / 116


@njit(nogil=True, cache=True)
def lab_lines(start: int, stop: int, rgb: Any, lab: Any) -> None:
    """Convert lines ``start:stop`` of sRGB to Lab (D65, 2 degrees).

    Parameters
    ----------
    start, stop : int
    rgb : ndarray of float, (H, W, 3)
        In [0, 1]; where a channel is NaN or infinite, so is the result.
    lab : ndarray of float, (H, W, 3)
        Filled in: L in [0, 100], a and b.
    """
    width = rgb.shape[1]
    red, green, blue = np.empty(width), np.empty(width), np.empty(width)
    x, y, z = np.empty(width), np.empty(width), np.empty(width)
    for line in range(start, stop):
        for pixel in range(width):
            red[pixel], green[pixel], blue[pixel] = (
                rgb[line, pixel, 0],
                rgb[line, pixel, 1],
                rgb[line, pixel, 2],
            )
        _straighten(red)
        _straighten(green)
        _straighten(blue)
        _mix(red, green, blue, (0.412453, 0.357580, 0.180423), 0.95047, x)
        _mix(red, green, blue, (0.212671, 0.715160, 0.072169), 1.0, y)
        _mix(red, green, blue, (0.019334, 0.119193, 0.950227), 1.08883, z)
        for pixel in range(width):
            lab[line, pixel, 0] = 116 * y[pixel] - 16
            lab[line, pixel, 1] = 500 * (x[pixel] - y[pixel])
            lab[line, pixel, 2] = 200 * (y[pixel] - z[pixel])


def warm_up() -> None:
    """Compile every loop of this file as segmenters use it, or load it from numba's cache."""
    lab_lines(0, 1, np.zeros((1, 1, 3)), np.zeros((1, 1, 3)))
