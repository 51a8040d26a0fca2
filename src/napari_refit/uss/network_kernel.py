"""Compiled loops of the USS network's training: its convolutions, forward and back, with what goes along with them.

Images are (height, width, channels), channels side by side and padded with zeros (`padded`). Only the results of
convolutions and their slopes are kept: what is made of them pixel by pixel is made again, line by line, where it is
used. Lines are cut into parts, whatever the number of threads, and sums over pixels are kept per part: no thread waits
for another within a pass, and the results do not depend on how many there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from napari_refit.uss.network_pixels_kernel import add_squares, add_through, new_table, rectify, turn
from napari_refit.uss.network_product_kernel import PANEL, add_weight_slope, multiply, panels

# So many pixels stay in the second cache.
CHUNK = 240
ZERO = np.float32(0)
NONE, NO_COEFFICIENTS = np.empty(0, np.float32), np.empty((3, 0), np.float32)


@njit(nogil=True, cache=True)
def _lines(part: int, n_parts: int, height: int) -> tuple[int, int]:
    return part * height // n_parts, (part + 1) * height // n_parts


@njit(nogil=True, cache=True)
def _window(span: int, width: int, channels: int) -> Any:
    """Memory for the lines that windows see, framed with zeros.

    Line ``i`` is kept at ``i % span``, and a second time ``span`` lines below: so those from ``i`` on lie side by side.
    """
    return np.zeros((1 if span == 1 else 2 * span, width + span - 1, channels), np.float32)


@njit(nogil=True, cache=True)
def _keep(window: Any, span: int, place: int) -> None:
    if span > 1:
        above, below = window[place].ravel(), window[place + span].ravel()
        for number in range(len(above)):
            below[number] = above[number]


@njit(nogil=True, cache=True)
def _rectify(values: Any, table: Any, line: int, window: Any, span: int) -> None:
    """Keep a rectified line; beyond the image, zeros."""
    height, width, _ = values.shape
    place, border = line % span, span // 2
    if 0 <= line < height:
        rectify(values[line], table, window[place, border : border + width])
    else:
        window[place] = ZERO
    _keep(window, span, place)


@njit(nogil=True, cache=True)
def _turn(slope: Any, values: Any, table: Any, line: int, window: Any, span: int) -> None:
    """Keep a line of the slope of the results; beyond the image, zeros."""
    height, width, _ = values.shape
    place, border = line % span, span // 2
    if 0 <= line < height:
        turn(values[line], slope[line], table, window[place, border : border + width])
    else:
        window[place] = ZERO
    _keep(window, span, place)


@njit(nogil=True, cache=True)
def convolve(
    start: int,
    stop: int,
    given: Any,
    factor: Any,
    constant: Any,
    span: int,
    weight: Any,
    result: Any,
    sums: Any,
) -> None:
    """Convolve the parts ``start:stop`` with windows of ``span`` x ``span``.

    Parameters
    ----------
    start, stop : int
    given : ndarray of float32, (height, width, channels)
    factor, constant : ndarray of float32, (channels,)
        What is convolved is ``max(given * factor + constant, 0)``; or, if they are empty, what is given, with a frame
        of zeros around it.
    span : int
        1 or 3.
    weight : ndarray of float32
        See `panels`.
    result : ndarray of float32, (height, width, outputs)
    sums : ndarray of float64, (n_parts, 2, outputs)
        Filled in: the sums of the result and of its squares.
    """
    height, width, outputs = result.shape
    border, framed = span // 2, not factor.size
    own = new_table(outputs, NONE, NONE, NO_COEFFICIENTS)
    before = new_table(given.shape[2], factor, constant, NO_COEFFICIENTS)
    seen = given if framed else _window(span, width, given.shape[2])
    for part in range(start, stop):
        sums[part] = 0
        first, last = _lines(part, len(sums), height)
        for below in range(first - border, last + border):
            if not framed:
                _rectify(given, before, below, seen, span)
            line = below - border
            if line < first:
                continue
            top = line if framed else (line - border) % span
            for left in range(0, width, CHUNK):
                length = min(CHUNK, width - left)
                multiply(seen, top, left, span, weight, result, line, left, length)
                add_squares(result[line, left : left + length], own, sums[part])


@njit(nogil=True, cache=True)
def descend(
    start: int,
    stop: int,
    slope: Any,
    values: Any,
    factor: Any,
    constant: Any,
    coefficients: Any,
    given: Any,
    factor_before: Any,
    constant_before: Any,
    span: int,
    weight_slopes: Any,
    weight: Any,
    result: Any,
    sums: Any,
) -> None:
    """Go back through a convolution in the parts ``start:stop``, from its results to what it was given.

    Parameters
    ----------
    start, stop : int
    slope : ndarray of float32, (height, width, outputs)
        Of the rectified results. What the rectifier holds back counts as 0.
    values : ndarray of float32, (height, width, outputs)
        The results.
    factor, constant : ndarray of float32, (outputs,)
        The rectifier's; a huge constant for results that were not rectified.
    coefficients : ndarray of float32, (3, outputs)
        What the slope, the values and 1 are multiplied by to become the slope of the results.
    given, factor_before, constant_before, span
        As in `convolve`.
    weight_slopes : ndarray of float32, (n_parts, inputs, outputs)
        Filled in: each part's share of the weight's slope.
    weight : ndarray of float32
        The weight to go back by, in panels; empty where nothing lies before this convolution.
    result : ndarray of float32, (height, width, channels)
        Filled in, where there is something before: the slope of what was convolved.
    sums : ndarray of float64, (n_parts, 2, channels)
        Filled in: the sums of that slope where the rectifier lets it through, and of its products with ``given``.
    """
    height, width, outputs = values.shape
    channels = given.shape[2]
    border, framed = span // 2, not factor_before.size
    own = new_table(outputs, factor, constant, coefficients)
    before = new_table(channels, factor_before, constant_before, NO_COEFFICIENTS)
    seen = given if framed else _window(span, width, channels)
    # Without a convolution back, its lines are seen one by one.
    reach = span if weight.size else 1
    turned = _window(reach, width, outputs)
    for part in range(start, stop):
        weight_slopes[part] = 0
        sums[part] = 0
        first, last = _lines(part, len(sums), height)
        for below in range(first - border, last + border):
            if not framed:
                _rectify(given, before, below, seen, span)
            if weight.size:
                _turn(slope, values, own, below, turned, reach)
            line = below - border
            if line < first:
                continue
            if not weight.size:
                _turn(slope, values, own, line, turned, reach)
            top, place = line if framed else (line - border) % span, line % reach
            for left in range(0, width, CHUNK):
                length = min(CHUNK, width - left)
                column = left + reach // 2
                add_weight_slope(seen, top, left, span, turned, place, column, length, weight_slopes[part])
                if not weight.size:
                    continue
                multiply(turned, (line - border) % span, left, span, weight, result, line, left, length)
                known = given[line, left : left + length]
                add_through(known, result[line, left : left + length], before, sums[part])


def warm_up() -> None:
    """Compile every loop for single precision, or load it from numba's cache."""
    image, channel, sums = (
        np.zeros((1, 6, PANEL), np.float32),
        np.zeros(PANEL, np.float32),
        np.zeros((1, 2, PANEL)),
    )
    weight = np.zeros((PANEL, PANEL), np.float32)
    given = image, channel, channel, 1
    convolve(0, 1, *given, panels(weight), image, sums)
    results = image, image, channel, channel, np.zeros((3, PANEL), np.float32)
    descend(0, 1, *results, *given, weight[None], panels(weight), image.copy(), sums)
