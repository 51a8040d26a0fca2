"""Compiled loops of Quickshift: the nearest denser pixel of every pixel, and the cut.

Planes are laid out as `napari_refit.uss.quickshift_kernel` says, densities with the same margins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

ACROSS = 2
"""Neighbours this far along both axes are compared for a stretch of a line at once, farther ones pixel by pixel."""

# Pixels that fit into the first cache with all that is compared.
STRETCH = 256


@njit(nogil=True, cache=True, error_model="numpy")
def _square_differences(line: Any, left: int, other: Any, begin: int, squares: Any) -> None:
    """Squared differences of two stretches over all channels, added up channel by channel."""
    if len(line) == 3:
        one_0, one_1, one_2 = line[0, left:], line[1, left:], line[2, left:]
        other_0, other_1, other_2 = other[0, begin:], other[1, begin:], other[2, begin:]
        for x in range(len(squares)):
            difference_0, difference_1 = one_0[x] - other_0[x], one_1[x] - other_1[x]
            difference_2 = one_2[x] - other_2[x]
            squares[x] = (
                difference_0 * difference_0 + difference_1 * difference_1 + difference_2 * difference_2
            )
        return
    squares[:] = 0
    for channel in range(len(line)):
        one, another = line[channel, left:], other[channel, begin:]
        for x in range(len(squares)):
            difference = one[x] - another[x]
            squares[x] += difference * difference


@njit(nogil=True, cache=True, error_model="numpy")
def _compare_line(
    density: Any,
    other_density: Any,
    squares: Any,
    square_y: Any,
    square_x: Any,
    step: int,
    nearest: Any,
    steps: Any,
    margin: Any,
    other_margin: Any,
    close: Any,
) -> None:
    """Take the pixel ``step`` further on where it is denser, and nearer than what was found before."""
    for x in range(len(nearest)):
        square = squares[x] + square_y + square_x
        lead = other_density[x] - density[x]
        better = (lead > 0) & (square < nearest[x])
        nearest[x] = square if better else nearest[x]
        steps[x] = step if better else steps[x]
        close[x] = 1.0 if abs(lead) < margin[x] + other_margin[x] else close[x]


@njit(nogil=True, cache=True, error_model="numpy")
def _search(
    shape: Any,
    colours: Any,
    densities: Any,
    y: int,
    x: int,
    across: int,
    rings: Any,
    lengths: Any,
    square: Any,
    step: int,
    margins: Any,
    asked: Any,
) -> tuple[Any, int, bool]:
    """Take whatever pixel of the rings is denser, and nearer than what was found before; all arrays are flat."""
    height, channels, total = shape
    # Unsigned places spare the look at their signs.
    next_channel = np.uint64(total)
    pixel, first = y * total + across + x, y * channels * total + across + x
    density, margin = densities[pixel], margins[pixel]
    close = False
    for ring in range(len(rings)):
        # An equal distance still matters: the other pixel may come first.
        if lengths[ring, 0] > square:
            break
        v = y + rings[ring, 0]
        if v < 0 or v >= height:
            continue
        there = np.uint64(pixel + rings[ring, 2])
        own, other = np.uint64(first), np.uint64(first + rings[ring, 3])
        difference = colours[own] - colours[other]
        further = difference * difference
        for _ in range(channels - 1):
            own += next_channel
            other += next_channel
            difference = colours[own] - colours[other]
            further += difference * difference
        further = further + lengths[ring, 1] + lengths[ring, 2]
        lead, to = densities[there] - density, rings[ring, 4]
        better = (lead > 0) & ((further < square) | ((further == square) & (to < step)))
        square = further if better else square
        step = to if better else step
        if abs(lead) < margin + margins[there]:
            close = True
            asked[v, x + rings[ring, 1]] = 1
    return square, step, close


@njit(nogil=True, cache=True, error_model="numpy")
def find_parents(
    start: int,
    stop: int,
    planes: Any,
    densities: Any,
    across: int,
    rings: Any,
    lengths: Any,
    margins: Any,
    parents: Any,
    distances: Any,
    unsure: Any,
    asked: Any,
) -> None:
    """Find the nearest denser pixel, by colour and place together, of every pixel in lines ``start:stop``.

    Squares are added up in the precision of the planes: channel by channel, then the lines, then the columns; the
    order decides which of two nearly equal distances is less. Of exactly equal ones the first pixel wins.

    Parameters
    ----------
    start, stop : int
    planes : ndarray of float, (H, C, width)
        In full precision.
    densities : ndarray of float64, (H, width)
        Minus infinity in the margins.
    across : int
        Width of the margins, at least `ACROSS`.
    rings : ndarray of int64, (n, 5)
        The offsets beyond the neighbours of `ACROSS` by rising length: lines, columns, and the same as a step in
        the flat densities, planes and image.
    lengths : ndarray of float, (n, 3)
        Their squared lengths, over all and along either axis, in the precision of the planes.
    margins : ndarray of float32, (H, width)
        How wrong each density may be.
    parents : ndarray of int, (H, W)
        Filled in: the place of the parent in the flat image; a pixel's own where it has none.
    distances : ndarray of float, (H, W)
        Holds the square to report where there is no parent; filled in.
    unsure : ndarray of uint8, (H, W)
        Set to 1 where what was found hangs on two densities so close, else to 0.
    asked : ndarray of uint8, (H, W)
        Set to 1 at the other ends of such comparisons, unless that is among the neighbours of `ACROSS`.
    """
    height = len(planes)
    width = parents.shape[1]
    kind = planes.dtype.type
    colours, dense, wrong = planes.ravel(), densities.ravel(), margins.ravel()
    squares, steps, close = np.empty(width, planes.dtype), np.zeros(width, np.int64), np.zeros(width)
    for y in range(start, stop):
        nearest = distances[y]
        steps[:] = 0
        close[:] = 0
        for left in range(0, width, STRETCH):
            right = min(left + STRETCH, width)
            for v in range(max(0, y - ACROSS), min(height, y + ACROSS + 1)):
                for dx in range(-ACROSS, ACROSS + 1):
                    dy = v - y
                    if dy == 0 and dx == 0:
                        continue
                    here, there = across + left, across + left + dx
                    _square_differences(planes[y], here, planes[v], there, squares[left:right])
                    _compare_line(
                        densities[y, here:],
                        densities[v, there:],
                        squares[left:right],
                        kind(dy * dy),
                        kind(dx * dx),
                        dy * width + dx,
                        nearest[left:right],
                        steps[left:right],
                        margins[y, here:],
                        margins[v, there:],
                        close[left:right],
                    )
        for x in range(width):
            square, step, doubt = nearest[x], steps[x], close[x] > 0
            if len(rings) > 0 and lengths[0, 0] <= square:
                square, step, further = _search(
                    planes.shape, colours, dense, y, x, across, rings, lengths, square, step, wrong, asked
                )
                doubt |= further
            parents[y, x] = y * width + x + step
            nearest[x] = math.sqrt(square)
            unsure[y, x] = doubt


@njit(nogil=True, cache=True, error_model="numpy")
def find_again(
    start: int,
    stop: int,
    pixels: Any,
    planes: Any,
    densities: Any,
    across: int,
    rings: Any,
    lengths: Any,
    margins: Any,
    none: Any,
    parents: Any,
    distances: Any,
    asked: Any,
) -> None:
    """Find the parents of pixels ``start:stop`` of a list, where the densities in question are exact now.

    Parameters
    ----------
    start, stop : int
    pixels : ndarray of int64, (n,)
        Places in the flat image.
    planes, densities, across, margins, parents, distances, asked
        As in `find_parents`.
    rings, lengths : ndarray
        As there, of all offsets in the window.
    none : float
        The square to report where there is no parent.
    """
    width = parents.shape[1]
    colours, dense, wrong = planes.ravel(), densities.ravel(), margins.ravel()
    for pixel in range(start, stop):
        y, x = pixels[pixel] // width, pixels[pixel] % width
        square, step, _ = _search(
            planes.shape, colours, dense, y, x, across, rings, lengths, none, 0, wrong, asked
        )
        parents[y, x] = pixels[pixel] + step
        distances[y, x] = math.sqrt(square)


@njit(nogil=True, cache=True)
def count_roots(start: int, stop: int, parents: Any, distances: Any, max_dist: Any) -> int:
    """How many of pixels ``start:stop`` are roots once links longer than ``max_dist`` are cut (see `number_roots`)."""
    count = 0
    for pixel in range(start, stop):
        count += (parents[pixel] == pixel) | (distances[pixel] > max_dist)
    return count


@njit(nogil=True, cache=True)
def number_roots(
    start: int, stop: int, parents: Any, distances: Any, max_dist: Any, first: int, labels: Any
) -> None:
    """Number the roots among pixels ``start:stop`` in their order.

    Parameters
    ----------
    start, stop : int
    parents : ndarray of int, (n,)
    distances : ndarray of float, (n,)
    max_dist : float
        Of the dtype of ``distances``.
    first : int
        Number of the first root.
    labels : ndarray of int64, (n,)
        Filled in; -1 where a pixel is no root.
    """
    number = first
    for pixel in range(start, stop):
        root = (parents[pixel] == pixel) | (distances[pixel] > max_dist)
        labels[pixel] = number if root else -1
        number += root


@njit(nogil=True, cache=True)
def follow_links(start: int, stop: int, parents: Any, labels: Any) -> None:
    """Give pixels ``start:stop`` the numbers of their roots, in ``labels`` as `number_roots` leaves them.

    Other pixels are only read: whether another thread has been there makes the way shorter or longer.
    """
    everything = stop - start == len(labels)
    for pixel in range(start, stop):
        above = pixel
        while labels[above] < 0:
            above = parents[above]
        label = labels[above]
        above = pixel
        if everything:
            while labels[above] < 0:
                labels[above] = label
                above = parents[above]
        else:
            while start <= above < stop and labels[above] < 0:
                labels[above] = label
                above = parents[above]


def warm_up() -> None:
    """Compile every loop of this file as segmenters use it, or load it from numba's cache."""
    parents, labels, flags = np.zeros((1, 8), np.int32), np.zeros(8, np.int64), np.zeros((1, 8), np.uint8)
    window = np.zeros((0, 5), np.int64), np.zeros((0, 3)), np.zeros((1, 20), np.float32)
    planes, densities, distances = np.zeros((1, 3, 20)), np.zeros((1, 20)), np.zeros((1, 8))
    find_parents(0, 1, planes, densities, 2, *window, parents, distances, flags, flags)
    find_again(0, 1, labels[:1], planes, densities, 2, *window, np.float64(1), parents, distances, flags)
    count_roots(0, 1, parents.ravel(), distances.ravel(), np.float64(1))
    number_roots(0, 1, parents.ravel(), distances.ravel(), np.float64(1), 0, labels)
    follow_links(0, 1, parents.ravel(), labels)
