"""Compiled loops over label maps: connected regions, edges, means per cluster.

Every function takes the image as lines: ``(n_lines, width)``, where the lines of a volume's slices follow one
another and ``height`` lines make a slice. A plane is one slice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def _root(parents: Any, number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


@njit(nogil=True, cache=True)
def _join(parents: Any, one: int, other: int) -> int:
    """The lower root wins: a region's root is then the number of its first pixel."""
    one, other = _root(parents, one), _root(parents, other)
    if one < other:
        parents[other] = one
        return one
    parents[one] = other
    return other


@njit(nogil=True, cache=True)
def _meet(parents: Any, number: int, other: int) -> int:
    return other if number < 0 else _join(parents, number, other)


@njit(nogil=True, cache=True)
def join_lines(start: int, stop: int, labels: Any, height: int, regions: Any, parents: Any) -> int:
    """Number the regions of lines ``start:stop`` for themselves, from ``start * width`` on.

    Parameters
    ----------
    start, stop : int
    labels : ndarray of int, (n_lines, width)
    height : int
    regions : ndarray of int32, (n_lines, width)
        Filled in: a number for each pixel, rising with the place of the region's first pixel.
    parents : ndarray of int32, (n_lines * width,)
        Filled in: a lower number of the same region, or the number itself.

    Returns
    -------
    int
        The end of the numbers used.
    """
    width = labels.shape[1]
    fresh = start * width
    for line in range(start, stop):
        above = line % height != 0 and line > start
        behind = line - height >= start
        own, numbers = labels[line], regions[line]
        up, up_numbers = labels[line - above], regions[line - above]
        back, back_numbers = labels[line - behind * height], regions[line - behind * height]
        number, before = -1, own[0]
        left = same_up = same_back = False
        for x in range(width):
            left = x > 0 and own[x] == before
            if not left:
                number = -1
            before = own[x]
            # Where the pixel to the left matches in both lines, the two have been joined there.
            joined = left and same_up
            same_up = above and up[x] == before
            if same_up and not joined:
                number = _meet(parents, number, up_numbers[x])
            joined = left and same_back
            same_back = behind and back[x] == before
            if same_back and not joined:
                number = _meet(parents, number, back_numbers[x])
            if number < 0:
                number = fresh
                parents[fresh] = fresh
                fresh += 1
            numbers[x] = number
    return fresh


@njit(nogil=True, cache=True)
def join_bands(starts: Any, ends: Any, labels: Any, height: int, regions: Any, parents: Any) -> int:
    """Join what bands of `join_lines` have in common, and number the regions 1, 2, ... by their first pixels.

    Parameters
    ----------
    starts, ends : ndarray of int64, (n_bands,)
        First line of each band, and what `join_lines` returned.
    labels, height, regions
        As `join_lines`.
    parents : ndarray of int32
        Filled in: the final number of each number that `join_lines` gave.

    Returns
    -------
    int
        How many regions there are.
    """
    n_lines, width = labels.shape
    for band in range(1, len(starts)):
        first = starts[band]
        last = starts[band + 1] if band + 1 < len(starts) else n_lines
        for line in range(first, min(last, first + height)):
            if line == first and line % height != 0:
                _join_line(line, line - 1, labels, regions, parents)
            if line >= height:
                _join_line(line, line - height, labels, regions, parents)
    count = 0
    for band in range(len(starts)):
        for number in range(starts[band] * width, ends[band]):
            if parents[number] == number:
                count += 1
                parents[number] = count
            else:
                parents[number] = parents[parents[number]]
    return count


@njit(nogil=True, cache=True)
def _join_line(line: int, other: int, labels: Any, regions: Any, parents: Any) -> None:
    for x in range(labels.shape[1]):
        if labels[line, x] == labels[other, x]:
            _join(parents, regions[line, x], regions[other, x])


@njit(nogil=True, cache=True)
def look_up(start: int, stop: int, numbers: Any, table: Any) -> None:
    """Replace the numbers on lines ``start:stop`` by what ``table`` holds for them."""
    for line in range(start, stop):
        for x in range(numbers.shape[1]):
            numbers[line, x] = table[np.uint64(numbers[line, x])]


@njit(nogil=True, cache=True)
def mark_edges(start: int, stop: int, labels: Any, height: int, edges: Any) -> None:
    """Mark pixels of lines ``start:stop`` whose successor along any axis has another label.

    Parameters
    ----------
    start, stop : int
    labels : ndarray of int, (n_lines, width)
    height : int
    edges : ndarray of uint8, (n_lines, width)
        Filled in.
    """
    n_lines, width = labels.shape
    for line in range(start, stop):
        own, marks = labels[line], edges[line]
        for x in range(width - 1):
            marks[x] = own[x] != own[x + 1]
        marks[width - 1] = 0
        if (line + 1) % height != 0:
            below = labels[line + 1]
            for x in range(width):
                marks[x] |= own[x] != below[x]
        if line + height < n_lines:
            after = labels[line + height]
            for x in range(width):
                marks[x] |= own[x] != after[x]


@njit(nogil=True, cache=True)
def add_up(start: int, stop: int, labels: Any, values: Any, n_labels: int) -> Any:
    """Add up the colours of each label over pixels ``start:stop``; what is not finite counts as 0.

    Parameters
    ----------
    start, stop : int
    labels : ndarray of int, (n_pixels,)
        From 0 up.
    values : ndarray of float32 or float64, (n_pixels, channels)
    n_labels : int

    Returns
    -------
    ndarray of float64, (n_labels, channels)
        The sums, pixel after pixel.
    ndarray of int64, (n_labels,)
        How many pixels each label has.
    """
    channels = values.shape[1]
    sums, sizes = np.zeros((n_labels, channels)), np.zeros(n_labels, np.int64)
    begin = start
    while begin < stop:
        label = labels[begin]
        end = begin + 1
        while end < stop and labels[end] == label:
            end += 1
        sizes[label] += end - begin
        if channels == 3:
            _add_three(values, begin, end, sums[label])
        else:
            for channel in range(channels):
                total = sums[label, channel]
                for pixel in range(begin, end):
                    total += _finite(values[pixel, channel])
                sums[label, channel] = total
        begin = end
    return sums, sizes


@njit(nogil=True, cache=True)
def _add_three(values: Any, begin: int, end: int, sums: Any) -> None:
    """Three sums side by side, for one addition has to wait for the one before."""
    red, green, blue = sums[0], sums[1], sums[2]
    for pixel in range(begin, end):
        red += _finite(values[pixel, 0])
        green += _finite(values[pixel, 1])
        blue += _finite(values[pixel, 2])
    sums[0], sums[1], sums[2] = red, green, blue


@njit(nogil=True, cache=True)
def _finite(value: float) -> float:
    wide = np.float64(value)
    return wide if wide - wide == 0 else 0.0


@njit(nogil=True, cache=True)
def spread_colours(start: int, stop: int, labels: Any, colours: Any, image: Any) -> None:
    """Give pixels ``start:stop`` the colours of their labels.

    Parameters
    ----------
    start, stop : int
    labels : ndarray of int, (n_pixels,)
        From 0 up.
    colours : ndarray of float32, (n_labels, channels)
    image : ndarray of float32, (n_pixels, channels)
        Filled in.
    """
    channels = image.shape[1]
    if channels == 1:
        for pixel in range(start, stop):
            image[pixel, 0] = colours[np.uint64(labels[pixel]), 0]
    elif channels == 3:
        for pixel in range(start, stop):
            label = np.uint64(labels[pixel])
            image[pixel, 0] = colours[label, 0]
            image[pixel, 1] = colours[label, 1]
            image[pixel, 2] = colours[label, 2]
    else:
        for pixel in range(start, stop):
            for channel in range(channels):
                image[pixel, channel] = colours[labels[pixel], channel]


@njit(nogil=True, cache=True)
def mark_present(labels: Any, present: Any) -> None:
    """Set ``present[label]`` to 1 for each label, which are from 0 up."""
    for pixel in range(len(labels)):
        present[labels[pixel]] = 1


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    for dtype in (np.int32, np.int64):
        labels: NDArray[Any] = np.zeros((2, 2), dtype)
        regions, parents = np.zeros((2, 2), np.int32), np.zeros(4, np.int32)
        starts = np.array([0, 1])
        ends = np.array([join_lines(at, at + 1, labels, 2, regions, parents) for at in (0, 1)])
        join_bands(starts, ends, labels, 2, regions, parents)
        look_up(0, 2, regions, parents)
        mark_edges(0, 2, labels, 2, np.zeros((2, 2), np.uint8))
        mark_present(labels.ravel(), np.zeros(1, np.int64))
        for kind in (np.float32, np.float64):
            add_up(0, 4, labels.ravel(), np.zeros((4, 1), kind), 1)
        spread_colours(0, 4, labels.ravel(), np.zeros((1, 1), np.float32), np.zeros((4, 1), np.float32))
