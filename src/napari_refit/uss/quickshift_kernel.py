"""Compiled loops of Quickshift: the density of every pixel, fast and nearly right.

The pair of pixels is the unit of work. Both its ends get the same weight ``exp(-distance**2 / (2 * kernel**2))``, so
each pair is computed once, from its upper pixel. Pairs are taken four offsets at a time along a stretch of a line
short enough for the first cache.

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

LANES = 16
"""So many pixels fit the widest registers."""

LONGEST = 512
"""The most pixels of a stretch, which fit the first cache with their neighbours on another line and their sums."""

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


@njit(nogil=True, cache=True)
def _aligned(shape: Any) -> Any:
    """Zeros, the first at the beginning of a cache line."""
    size = 1
    for length in shape:
        size *= length
    memory = np.zeros(size + LANES, _f4)
    begin = -(memory.ctypes.data // 4) % LANES
    return memory[begin : begin + size].reshape(shape)


@njit(nogil=True, cache=True)
def _comb(line: Any, across: int, combed: Any) -> None:
    """Lay a line of a channel out as `add_densities` wants it."""
    stretches, rows = combed.shape[:2]
    apart = (len(line) - 2 * across - SPARE) // (stretches * LANES)
    for stretch in range(stretches):
        for lane in range(LANES):
            begin = (stretch * LANES + lane) * apart
            for row in range(min(rows, len(line) - begin)):
                combed[stretch, row, lane] = line[begin + row]


@njit(nogil=True, cache=True)
def _uncomb(combed: Any, across: int, totals: Any) -> None:
    """Add what a line laid out so holds to the totals of its pixels."""
    stretches, rows = combed.shape[:2]
    apart = (len(totals) - 2 * across - SPARE) // (stretches * LANES)
    for stretch in range(stretches):
        for lane in range(LANES):
            begin = (stretch * LANES + lane) * apart
            for row in range(min(rows, len(totals) - begin)):
                totals[begin + row] += combed[stretch, row, lane]


@njit(nogil=True, cache=True)
def _constant(scale: Any, dy: int, dx: int, across: int) -> Any:
    """What an offset adds to the exponent; beyond the window nothing is left of the weight."""
    return _f4(scale * (dy * dy + dx * dx)) if dx <= across else _LEAST


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _split(exponent: Any) -> Any:
    """The whole number next to an exponent (in the low bits), and how much the exponent is above it."""
    exponent = exponent if exponent < _LEAST else _LEAST
    whole = exponent + _ROUND
    return whole, exponent - (whole - _ROUND)


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _power(whole: Any, part: Any) -> Any:
    """``2**-exponent``, of what `_split` makes of the exponent."""
    square = part * part
    power = (_C0 + _C1 * part) + square * ((_C2 + _C3 * part) + square * (_C4 + _C5 * part))
    bits = _i4(_f4(power).view(_i4) - (_f4(whole).view(_i4) << _EXPONENT))
    return bits.view(_f4)


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _weight(exponent: Any) -> Any:
    whole, part = _split(exponent)
    return _power(whole, part)


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _add_colours(
    one_0: Any,
    one_1: Any,
    one_2: Any,
    other_0: Any,
    other_1: Any,
    other_2: Any,
    scale: Any,
    constants: Any,
    sums: Any,
    other_sums: Any,
) -> None:
    """Add the weights of four offsets, one after the other, to the sums at both ends."""
    for x in range(len(sums)):
        one = one_0[x]
        d0, d1 = one - other_0[x], one - other_0[x + LANES]
        d2, d3 = one - other_0[x + 2 * LANES], one - other_0[x + 3 * LANES]
        s0, s1, s2, s3 = d0 * d0, d1 * d1, d2 * d2, d3 * d3
        one = one_1[x]
        d0, d1 = one - other_1[x], one - other_1[x + LANES]
        d2, d3 = one - other_1[x + 2 * LANES], one - other_1[x + 3 * LANES]
        s0, s1, s2, s3 = s0 + d0 * d0, s1 + d1 * d1, s2 + d2 * d2, s3 + d3 * d3
        one = one_2[x]
        d0, d1 = one - other_2[x], one - other_2[x + LANES]
        d2, d3 = one - other_2[x + 2 * LANES], one - other_2[x + 3 * LANES]
        s0, s1, s2, s3 = s0 + d0 * d0, s1 + d1 * d1, s2 + d2 * d2, s3 + d3 * d3
        w0, w1 = _weight(s0 * scale + constants[0]), _weight(s1 * scale + constants[1])
        w2, w3 = _weight(s2 * scale + constants[2]), _weight(s3 * scale + constants[3])
        sums[x] += (w0 + w1) + (w2 + w3)
        other_sums[x] += w0
        other_sums[x + LANES] += w1
        other_sums[x + 2 * LANES] += w2
        other_sums[x + 3 * LANES] += w3


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _split_greys(one: Any, other: Any, scale: Any, constants: Any, whole: Any, part: Any) -> None:
    """Split the exponents of four offsets of one channel, `LONGEST` apart."""
    for x in range(len(one)):
        here = one[x]
        d0, d1 = here - other[x], here - other[x + LANES]
        d2, d3 = here - other[x + 2 * LANES], here - other[x + 3 * LANES]
        whole[x], part[x] = _split(d0 * d0 * scale + constants[0])
        whole[x + LONGEST], part[x + LONGEST] = _split(d1 * d1 * scale + constants[1])
        whole[x + 2 * LONGEST], part[x + 2 * LONGEST] = _split(d2 * d2 * scale + constants[2])
        whole[x + 3 * LONGEST], part[x + 3 * LONGEST] = _split(d3 * d3 * scale + constants[3])


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _add_greys(whole: Any, part: Any, sums: Any, other_sums: Any) -> None:
    """What `_split_greys` begins, in a pass of its own: few processors overlap enough of so long a chain."""
    for x in range(len(sums)):
        w0, w1 = _power(whole[x], part[x]), _power(whole[x + LONGEST], part[x + LONGEST])
        w2 = _power(whole[x + 2 * LONGEST], part[x + 2 * LONGEST])
        w3 = _power(whole[x + 3 * LONGEST], part[x + 3 * LONGEST])
        sums[x] += (w0 + w1) + (w2 + w3)
        other_sums[x] += w0
        other_sums[x + LANES] += w1
        other_sums[x + 2 * LANES] += w2
        other_sums[x + 3 * LANES] += w3


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _add_squares(one: Any, other: Any, squares: Any) -> None:
    for x in range(len(squares)):
        difference = one[x] - other[x]
        squares[x] += difference * difference


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _add_one(squares: Any, scale: Any, constant: Any, sums: Any, other_sums: Any) -> None:
    for x in range(len(sums)):
        weight = _weight(squares[x] * scale + constant)
        sums[x] += weight
        other_sums[x] += weight


@njit(nogil=True, cache=True)
def _flush(sums: Any, totals: Any) -> None:
    for x in range(len(sums)):
        totals[x] += sums[x]
        sums[x] = 0


@njit(nogil=True, cache=True)
def add_densities(
    start: int, stop: int, planes: Any, reach: Any, stretches: int, kernel_size: float, totals: Any
) -> None:
    """Add up the weights of all pairs whose upper pixel (in one line: the left one) is in lines ``start:stop``.

    A line is cut into stretches, each of these into `LANES` parts, and these are laid side by side: pixels that
    follow one another are `LANES` apart. So every offset along a line is whole registers, wherever it leads, and
    the sums of four neighbouring offsets are far enough apart to be added to at once.

    Parameters
    ----------
    start, stop : int
    planes : ndarray of float, (H, C, width)
        See the module; without the margins and `SPARE`, ``width`` is a multiple of ``LANES * stretches``.
    reach : tuple of int
        How many lines and columns the window extends to each side.
    stretches : int
        How many of them, of at most `LONGEST` pixels, to a line.
    kernel_size : float
        In pixels.
    totals : ndarray of float64, (stop - start + reach[0], width)
        Zeros, filled in for line ``start`` and those below.
    """
    height, channels, width = planes.shape
    down, across = reach
    scale = _f4(0.5 * math.log2(math.e) / (kernel_size * kernel_size))
    bottom = min(stop + down, height)
    length = (width - 2 * across - SPARE) // stretches
    # Three rows more than there are pixels: the last offsets are not always four.
    shape = stretches, length // LANES + 2 * across + 3, LANES
    lines = _aligned((bottom - start, channels, stretches, shape[1] * LANES))
    for y in range(start, bottom):
        for channel in range(channels):
            combed = lines[y - start, channel].reshape(shape)
            combed[:] = 0.0 if channel else FAR
            _comb(planes[y, channel], across, combed)
    sums = np.zeros((bottom - start, stretches, shape[1] * LANES))
    # Sums of single precision stay small: one line of the window each.
    own, below, squares = _aligned((length,)), _aligned((shape[1] * LANES,)), _aligned((length,))
    whole, part = _aligned((4 * LONGEST,)), _aligned((4 * LONGEST,))
    left, right = across * LANES, across * LANES + length
    for y in range(stop - start):
        for stretch in range(stretches):
            sums[y, stretch, left:right] += 1
            for dy in range(min(down, len(lines) - 1 - y) + 1):
                one, other = lines[y], lines[y + dy]
                for dx in range(-across if dy > 0 else 1, across + 1, 4):
                    constants = (
                        _constant(scale, dy, dx, across),
                        _constant(scale, dy, dx + 1, across),
                        _constant(scale, dy, dx + 2, across),
                        _constant(scale, dy, dx + 3, across),
                    )
                    begin = left + dx * LANES
                    if channels == 3:
                        _add_colours(
                            one[0, stretch, left:right],
                            one[1, stretch, left:right],
                            one[2, stretch, left:right],
                            other[0, stretch, begin:],
                            other[1, stretch, begin:],
                            other[2, stretch, begin:],
                            scale,
                            constants,
                            own,
                            below[begin:],
                        )
                    elif channels == 1:
                        here, there = one[0, stretch, left:right], other[0, stretch, begin:]
                        _split_greys(here, there, scale, constants, whole, part)
                        _add_greys(whole, part, own, below[begin:])
                    else:
                        for constant in constants:
                            squares[:] = 0
                            for channel in range(channels):
                                here = one[channel, stretch, left:right]
                                _add_squares(here, other[channel, stretch, begin:], squares)
                            _add_one(squares, scale, constant, own, below[begin:])
                            begin += LANES
                _flush(own, sums[y, stretch, left:right])
                _flush(below, sums[y + dy, stretch])
    for y in range(len(lines)):
        _uncomb(sums[y].reshape(shape), across, totals[y])


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
    width = LANES + 4 + SPARE
    planes, totals = np.zeros((1, 3, width)), np.zeros((1, 1, width))
    lay_out(0, 1, np.zeros((1, 8, 3)), 2, planes)
    add_densities(0, 1, planes, (0, 2), 1, 1.0, totals[0])
    join_densities(0, 1, totals, 1, np.zeros((1, width)))
