"""Compiled loops of Quickshift: the density of every pixel, fast and nearly right.

The pair of pixels is the unit of work. Both its ends get the same weight ``exp(-distance**2 / (2 * kernel**2))``, so
each pair is computed once, from its upper pixel. Pairs are taken offset by offset along a stretch of a line short
enough for the first cache, in two passes over it: one processor lacks the registers to overlap enough of the long
chain of dependent operations that a single pass would be.

Planes are ``(H, C, width)``: the lines of the channels lie behind each other, with a margin at both ends as wide as
the window's reach (and `SPARE` more to the right), in which the first channel is so far off that every weight
vanishes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

FAR = 1e18
"""The colour of the margins."""

SPARE = 8
"""So many pixels more may be read, to work on whole registers."""

_f4 = np.float32
_i4 = np.int32
# 2**-x on [-0.5, 0.5] within 8e-8 of its value; the errors of equal distances are equal.
_C0, _C1, _C2 = _f4(1.0000000716546262), _f4(-0.6931469670629377), _f4(0.2402211972403107)
_C3, _C4, _C5 = _f4(-0.05550713276474701), _f4(0.00967554132677341), _f4(-0.0013276471030279485)
# Added to a number below 2**22 it leaves the nearest whole number in the lowest bits.
_ROUND = _f4(1.5 * 2.0**23)
_EXPONENT = _i4(23)
# 2**-120 is nothing beside a density, which is at least 1, and still a normal number.
_LEAST = _f4(120)


@njit(nogil=True, cache=True)
def lay_out(start: int, stop: int, colours: Any, across: int, planes: Any) -> tuple[float, bool]:
    """Lay lines ``start:stop`` of an image out as planes with margins.

    Parameters
    ----------
    start, stop : int
    colours : ndarray of float, (H, W, C)
    across : int
        Width of the left margin; what is left over to the right is margin too.
    planes : ndarray of float, (H, C, width)
        Filled in.

    Returns
    -------
    float
        The largest finite magnitude.
    bool
        Whether all colours are finite.
    """
    width, channels = colours.shape[1:]
    largest, finite = 0.0, True
    for y in range(start, stop):
        for channel in range(channels):
            line = planes[y, channel]
            line[:across] = line[across + width :] = 0.0 if channel else FAR
            for x in range(width):
                value = colours[y, x, channel]
                line[across + x] = value
                if not abs(value) <= largest:
                    if math.isfinite(value):
                        largest = abs(value)
                    else:
                        finite = False
    return largest, finite


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _split_of_one(one: Any, other: Any, scale: Any, constant: Any, whole: Any, part: Any) -> None:
    """Split ``scale * squared difference + constant`` into a whole number (in its low bits) and a part."""
    for x in range(len(whole)):
        difference = one[x] - other[x]
        exponent = difference * difference * scale + constant
        exponent = exponent if exponent < _LEAST else _LEAST
        rounded = exponent + _ROUND
        part[x] = exponent - (rounded - _ROUND)
        whole[x] = rounded


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _split_of_three(
    one_0: Any,
    one_1: Any,
    one_2: Any,
    other_0: Any,
    other_1: Any,
    other_2: Any,
    scale: Any,
    constant: Any,
    whole: Any,
    part: Any,
) -> None:
    for x in range(len(whole)):
        difference_0 = one_0[x] - other_0[x]
        difference_1 = one_1[x] - other_1[x]
        difference_2 = one_2[x] - other_2[x]
        squares = difference_0 * difference_0 + difference_1 * difference_1 + difference_2 * difference_2
        exponent = squares * scale + constant
        exponent = exponent if exponent < _LEAST else _LEAST
        rounded = exponent + _ROUND
        part[x] = exponent - (rounded - _ROUND)
        whole[x] = rounded


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _add_squares(one: Any, other: Any, squares: Any) -> None:
    for x in range(len(squares)):
        difference = one[x] - other[x]
        squares[x] += difference * difference


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _split(squares: Any, scale: Any, constant: Any, whole: Any, part: Any) -> None:
    for x in range(len(whole)):
        exponent = squares[x] * scale + constant
        exponent = exponent if exponent < _LEAST else _LEAST
        rounded = exponent + _ROUND
        part[x] = exponent - (rounded - _ROUND)
        whole[x] = rounded


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _add_weights(whole: Any, part: Any, sums: Any, other_sums: Any) -> None:
    """Add ``2**-(whole + part)`` to the densities at both ends."""
    for x in range(len(whole)):
        f = part[x]
        square = f * f
        power = (_C0 + _C1 * f) + square * ((_C2 + _C3 * f) + square * (_C4 + _C5 * f))
        bits = _i4(_f4(power).view(_i4) - (_f4(whole[x]).view(_i4) << _EXPONENT))
        weight = bits.view(_f4)
        sums[x] += weight
        other_sums[x] += weight


@njit(nogil=True, cache=True)
def _flush(sums: Any, totals: Any) -> None:
    for x in range(len(sums)):
        totals[x] += sums[x]
        sums[x] = 0


@njit(nogil=True, cache=True)
def add_densities(
    start: int, stop: int, planes: Any, reach: Any, length: int, kernel_size: float, totals: Any
) -> None:
    """Add up the weights of all pairs whose upper pixel (in one line: the left one) is in lines ``start:stop``.

    Parameters
    ----------
    start, stop : int
    planes : ndarray of float32, (H, C, width)
        See the module; ``width`` is ``length`` times a whole number, and the margins.
    reach : tuple of int
        How many lines and columns the window extends to each side.
    length : int
        Of a stretch, in pixels.
    kernel_size : float
        In pixels.
    totals : ndarray of float64, (stop - start + reach[0], width)
        Zeros, filled in for line ``start`` and those below.
    """
    height, channels, width = planes.shape
    down, across = reach
    scale = 0.5 * math.log2(math.e) / (kernel_size * kernel_size)
    squares, whole, part = np.empty(length, _f4), np.empty(length, _f4), np.empty(length, _f4)
    # Sums of single precision stay small: one line of the window each.
    own, below = np.zeros(length, _f4), np.zeros(length + 2 * across, _f4)
    for y in range(start, stop):
        for left in range(across, width - across - SPARE, length):
            right = left + length
            totals[y - start, left:right] += 1
            for dy in range(min(down, height - 1 - y) + 1):
                for dx in range(-across if dy > 0 else 1, across + 1):
                    constant = _f4(scale * (dy * dy + dx * dx))
                    begin, end = left + dx, right + dx
                    if channels == 3:
                        _split_of_three(
                            planes[y, 0, left:right],
                            planes[y, 1, left:right],
                            planes[y, 2, left:right],
                            planes[y + dy, 0, begin:end],
                            planes[y + dy, 1, begin:end],
                            planes[y + dy, 2, begin:end],
                            _f4(scale),
                            constant,
                            whole,
                            part,
                        )
                    elif channels == 1:
                        one, other = planes[y, 0, left:right], planes[y + dy, 0, begin:end]
                        _split_of_one(one, other, _f4(scale), constant, whole, part)
                    else:
                        squares[:] = 0
                        for channel in range(channels):
                            one, other = planes[y, channel, left:right], planes[y + dy, channel, begin:end]
                            _add_squares(one, other, squares)
                        _split(squares, _f4(scale), constant, whole, part)
                    _add_weights(whole, part, own, below[across + dx : across + dx + length])
                _flush(own, totals[y - start, left:right])
                _flush(below, totals[y - start + dy, left - across : right + across])


@njit(nogil=True, cache=True)
def join_densities(start: int, stop: int, totals: Any, lines: int, densities: Any) -> None:
    """Add what each block of lines has added up for lines ``start:stop`` to the densities.

    Parameters
    ----------
    start, stop : int
        Lines of the image.
    totals : ndarray of float64, (n_blocks, lines + reach, width)
        Of blocks of ``lines`` lines each, as `add_densities` leaves them.
    lines : int
    densities : ndarray of float64, (H, width)
        Holds the noise that breaks ties; filled in.
    """
    _, depth, width = totals.shape
    for y in range(start, stop):
        line = densities[y]
        for block in range(max(0, (y - depth) // lines + 1), y // lines + 1):
            part = totals[block, y - block * lines]
            for x in range(width):
                line[x] += part[x]


def warm_up() -> None:
    """Compile every loop of this file as segmenters use it, or load it from numba's cache."""
    planes, totals = np.zeros((1, 3, 20), _f4), np.zeros((1, 1, 20))
    for laid_out in (planes, np.zeros((1, 3, 20))):
        lay_out(0, 1, np.zeros((1, 8, 3)), 2, laid_out)
    add_densities(0, 1, planes, (0, 2), 8, 1.0, totals[0])
    join_densities(0, 1, totals, 1, np.zeros((1, 20)))
