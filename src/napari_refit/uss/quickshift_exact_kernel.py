"""Compiled loops of Quickshift: the exact densities of a few pixels, rounded as scikit-image rounds.

Planes are laid out as `napari_refit.uss.quickshift_kernel` says.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from napari_refit.uss.quickshift_kernel import FAR

TOGETHER = 8
"""Sums of so many pixels grow side by side: each addition waits for the one before."""

# 2**-x on [-0.5, 0.5] within 2e-14 of its value.
_C0, _C1, _C2, _C3 = 1.0000000000000135, -0.6931471805599462, 0.2402265069564034, -0.05550410866465169
_C4, _C5, _C6 = 0.009618129193934332, -0.0013333558200792628, 0.00015403433751233942
_C7, _C8, _C9 = -1.5252672925662783e-05, 1.3259645248990812e-06, -1.0205905299251353e-07
_LOG2_E = math.log2(math.e)
# Added to a number below 2**51 it leaves the nearest whole number in the lowest bits.
_ROUND = 1.5 * 2.0**52
_EXPONENT = np.int64(52)
# 2**-900 is nothing beside a density, which is at least 1, and still a normal number.
_LEAST = np.float64(900)


@njit(nogil=True, cache=True)
def mark_flat_lines(start: int, stop: int, planes: Any, across: int, flat: Any) -> None:
    """Mark the pixels of lines ``start:stop`` that have the colour of all pixels beside them within the window.

    Parameters
    ----------
    start, stop : int
    planes : ndarray of float, (H, C, width)
    across : int
        Reach of the window and width of the margins.
    flat : ndarray of bool, (H, W)
        Filled in.
    """
    width = flat.shape[1]
    for y in range(start, stop):
        for x in range(width):
            flat[y, x] = True
        for channel in range(planes.shape[1]):
            line = planes[y, channel, across : across + width]
            # Where the run of equal pixels began that ends at the window's right end.
            began = end = 0
            for x in range(width):
                while end < min(x + across, width - 1):
                    end += 1
                    # What is not a number equals nothing.
                    if line[end] != line[end - 1]:
                        began = end
                flat[y, x] &= began <= max(0, x - across)


@njit(nogil=True, cache=True)
def mark_flat_windows(planes: Any, down: int, across: int, flat_lines: Any, flat: Any) -> None:
    """Mark the pixels whose whole window has their colour.

    Parameters
    ----------
    planes : ndarray of float, (H, C, width)
    down, across : int
        Reach of the window; the latter is the width of the margins.
    flat_lines : ndarray of bool, (H, W)
        As `mark_flat_lines` leaves it.
    flat : ndarray of bool, (H, W)
        Filled in.
    """
    height, width = flat.shape
    # How many lines up to this one are flat and of one colour.
    runs = np.zeros(width, np.int32)
    for bottom in range(height + down):
        if bottom < height:
            for x in range(width):
                runs[x] = runs[x] + 1 if flat_lines[bottom, x] else 0
            for channel in range(planes.shape[1] if bottom > 0 else 0):
                line = planes[bottom, channel, across : across + width]
                upper = planes[bottom - 1, channel, across : across + width]
                for x in range(width):
                    runs[x] = runs[x] if line[x] == upper[x] else min(runs[x], 1)
        y = bottom - down
        if y >= 0:
            wanted = min(bottom, height - 1) - max(0, y - down) + 1
            for x in range(width):
                flat[y, x] = runs[x] >= wanted


@njit(nogil=True, cache=True, error_model="numpy")
def _square_window(
    colours: Any, shape: Any, pixel: int, corner: int, middle: int, aside: Any, squares: Any
) -> None:
    """Squared distances from one pixel to some lines of its window, each step rounded to the planes' precision.

    Parameters
    ----------
    colours : ndarray of float
        The planes, flat.
    shape : tuple of int
        That of the planes.
    pixel, corner : int
        Where in ``colours`` the first channel of the pixel is, and that of the first of these lines.
    middle : int
        How many lines that one is above the pixel.
    aside : ndarray of float, (columns,)
        Squared distances along a line.
    squares : ndarray of float, (lines, columns)
        Filled in.
    """
    _, channels, total = shape
    lines, columns = squares.shape
    kind = squares.dtype.type
    for line in range(lines):
        at, out = corner + line * channels * total, squares[line]
        square_y = kind((line - middle) * (line - middle))
        if channels == 3:
            one_0, one_1, one_2 = colours[pixel], colours[pixel + total], colours[pixel + 2 * total]
            line_0, line_1 = colours[at : at + columns], colours[at + total : at + total + columns]
            line_2 = colours[at + 2 * total : at + 2 * total + columns]
            for column in range(columns):
                difference_0, difference_1 = one_0 - line_0[column], one_1 - line_1[column]
                difference_2 = one_2 - line_2[column]
                square = (
                    difference_0 * difference_0 + difference_1 * difference_1 + difference_2 * difference_2
                )
                out[column] = square + square_y + aside[column]
            continue
        out[:] = 0
        for channel in range(channels):
            one, begin = colours[pixel + channel * total], at + channel * total
            line_0 = colours[begin : begin + columns]
            for column in range(columns):
                difference = one - line_0[column]
                out[column] += difference * difference
        for column in range(columns):
            out[column] = out[column] + square_y + aside[column]


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _weigh(squares: Any, factor: Any, weights: Any) -> None:
    for column in range(len(squares)):
        exponent = np.float64(squares[column] * factor) * _LOG2_E
        exponent = exponent if exponent < _LEAST else _LEAST
        rounded = exponent + _ROUND
        f = exponent - (rounded - _ROUND)
        square = f * f
        fourth = square * square
        low = (_C0 + _C1 * f) + square * (_C2 + _C3 * f)
        middle = (_C4 + _C5 * f) + square * (_C6 + _C7 * f)
        power = low + fourth * (middle + fourth * (_C8 + _C9 * f))
        bits = np.float64(power).view(np.int64) - (np.float64(rounded).view(np.int64) << _EXPONENT)
        weights[column] = np.int64(bits).view(np.float64)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_in_turn(weights: Any, sums: Any) -> None:
    """Add up the lines of weights (TOGETHER, n) in the precision of the sums, one after the other."""
    s0, s1, s2, s3, s4, s5, s6, s7 = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]
    kind = sums.dtype.type
    for term in range(weights.shape[1]):
        s0 = kind(s0 + weights[0, term])
        s1 = kind(s1 + weights[1, term])
        s2 = kind(s2 + weights[2, term])
        s3 = kind(s3 + weights[3, term])
        s4 = kind(s4 + weights[4, term])
        s5 = kind(s5 + weights[5, term])
        s6 = kind(s6 + weights[6, term])
        s7 = kind(s7 + weights[7, term])
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7] = s0, s1, s2, s3, s4, s5, s6, s7


@njit(nogil=True, cache=True)
def exact_densities(
    start: int,
    stop: int,
    pixels: Any,
    flat: bool,
    planes: Any,
    reach: Any,
    kernel_size: Any,
    noise: Any,
    densities: Any,
) -> None:
    """Compute the densities of groups ``start:stop`` of `TOGETHER` pixels.

    They are added up in the precision of the planes, noise first, from the window's first pixel to its last: in
    single precision this order decides which of two nearly equal densities is higher.

    Parameters
    ----------
    start, stop : int
    pixels : ndarray of int64, (n,)
        Places in the flat image.
    flat : bool
        Whether the windows of these pixels hold a single colour each.
    planes : ndarray of float, (H, C, width)
        In full precision.
    reach : tuple of int
        How many lines and columns the window extends to each side; the latter is the width of the margins.
    kernel_size : float
        In pixels, in the planes' precision.
    noise : ndarray of float64, (H, W)
    densities : ndarray of float64, (H, width)
        Filled in at these pixels.
    """
    height = len(planes)
    down, across = reach
    width = noise.shape[1]
    kind = planes.dtype.type
    factor = kind(0.5 / np.float64(kernel_size * kernel_size))
    # Whole registers: the columns too many are as far off as the margins.
    lines, columns = 2 * down + 1, -(-(2 * across + 1) // 8) * 8
    aside, colourless = np.full(columns, kind(FAR)), np.empty((lines, columns), planes.dtype)
    for column in range(2 * across + 1):
        aside[column] = (column - across) * (column - across)
    for line in range(lines):
        colourless[line] = kind((line - down) * (line - down)) + aside
    colours, next_line = planes.ravel(), planes.shape[1] * planes.shape[2]
    shape = TOGETHER, lines * columns
    squares, weights, sums = np.zeros((lines, columns), kind), np.zeros(shape), np.zeros(TOGETHER, kind)
    by_place = np.empty(shape[1])
    _weigh(colourless.ravel(), factor, by_place)
    for group in range(start, stop):
        first, last = group * TOGETHER, min((group + 1) * TOGETHER, len(pixels))
        for place in range(first, last):
            y, x = pixels[place] // width, pixels[place] % width
            one = weights[place - first]
            sums[place - first] = noise[y, x]
            if flat:
                one[:] = by_place
                for column in range(min(across - x, columns)):
                    one[column::columns] = 0
                for column in range(width - x + across, columns):
                    one[column::columns] = 0
            else:
                first_line, last_line = max(0, down - y), min(lines, height - y + down)
                corner = (y - down + first_line) * next_line + x
                inside = squares[first_line:last_line]
                pixel = y * next_line + across + x
                _square_window(colours, planes.shape, pixel, corner, down - first_line, aside, inside)
                _weigh(squares.ravel(), factor, one)
            one[: max(0, down - y) * columns] = 0
            one[min(lines, height - y + down) * columns :] = 0
        _add_in_turn(weights, sums)
        for place in range(first, last):
            y, x = pixels[place] // width, pixels[place] % width
            densities[y, across + x] = sums[place - first]


def warm_up() -> None:
    """Compile every loop of this file as segmenters use it, or load it from numba's cache."""
    pixels, flat, planes = np.zeros(1, np.int64), np.zeros((1, 8), bool), np.zeros((1, 3, 20))
    exact_densities(0, 1, pixels, False, planes, (0, 2), np.float64(1), np.zeros((1, 8)), np.zeros((1, 20)))
    mark_flat_lines(0, 1, planes, 2, flat)
    mark_flat_windows(planes, 0, 2, flat, flat)
