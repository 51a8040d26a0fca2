"""Gaussian smoothing along two axes in one go, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def _mirrored(i: int, length: int) -> int:
    """The index that lies under index ``i`` of an array continued by its mirror images."""
    i %= 2 * length
    return i if i < length else 2 * length - 1 - i


@njit(nogil=True, cache=True, fastmath={"contract", "nsz"})
def _scale(target: Any, source: Any, weight: Any) -> None:
    for i in range(target.size):
        target[i] = weight * source[i]


@njit(nogil=True, cache=True, fastmath={"contract", "nsz"})
def _add(target: Any, left: Any, right: Any, weight: Any) -> None:
    for i in range(target.size):
        target[i] += weight * (left[i] + right[i])


@njit(nogil=True, cache=True)
def smooth(first: int, last: int, source: Any, down: Any, along: Any, target: Any) -> None:
    """Smooth rows ``first`` to ``last`` of an array, float32 (N, A, B, W), down its second axis and along them.

    ``down`` and ``along``, float32, are halves of symmetric kernels, the middle first. Beyond its edges the
    array is continued by its mirror image.
    """
    _, length, rows, width = source.shape
    margin = along.size - 1
    padded = np.empty(width + 2 * margin, np.float32)
    middle = padded[margin : margin + width]
    for row in range(first, last):
        n, at, b = row // (length * rows), row // rows % length, row % rows
        _scale(middle, source[n, at, b], down[0])
        for k in range(1, down.size):
            before, after = _mirrored(at - k, length), _mirrored(at + k, length)
            _add(middle, source[n, before, b], source[n, after, b], down[k])
        for k in range(1, margin + 1):
            padded[margin - k] = middle[_mirrored(-k, width)]
            padded[margin + width - 1 + k] = middle[_mirrored(width - 1 + k, width)]
        out = target[n, at, b]
        _scale(out, middle, along[0])
        for k in range(1, margin + 1):
            _add(
                out,
                padded[margin - k : margin - k + width],
                padded[margin + k : margin + k + width],
                along[k],
            )


def warm_up() -> None:
    """Compile the loop, or load it from numba's cache."""
    plane, half = np.zeros((1, 2, 1, 2), np.float32), np.ones(2, np.float32)
    smooth(0, 2, plane, half, half, np.empty_like(plane))
