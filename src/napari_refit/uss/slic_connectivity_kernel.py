"""Merging of SLIC's stray pieces, compiled.

What is meant is one flood over the image in the order of its pixels, `flood`: that order is part of the result
(which neighbour a stray piece joins, where one that is too large is cut), so that it stays on one core. Mostly
nothing is too large; then the regions can be found on all cores, and only small ones are flooded, `name_regions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Codes of pixels below are those not visited yet: -2 - label. The border and what is masked out stay closed.
CLOSED = np.int32(-1)


@njit(nogil=True, cache=True)
def flood(labels: Any, least: int, most: int, start: int, out: Any) -> None:
    """Cut ``labels``, int32 (D, H, W), into connected pieces and number them from ``start`` on, into ``out``.

    A negative label is no label; such pixels get ``start`` - 1. A piece is flooded from its first pixel over
    the four (in a volume six) neighbours until it has ``most`` pixels; what is left of its region becomes a
    piece of its own. A piece of fewer than ``least`` pixels joins the last other one that its flood met, or,
    where it met none, the next one that is numbered.
    """
    depth, height, width = labels.shape
    margin = 0 if depth == 1 else 1
    row, slice_ = width + 2, (width + 2) * (height + 2)
    steps = (1, -1, row, -row, slice_, -slice_)
    n_steps = 4 if depth == 1 else 6
    codes = np.full((depth + 2 * margin) * slice_, CLOSED)
    for z in range(depth):
        for y in range(height):
            o = np.uint64((z + margin) * slice_ + (y + 1) * row + 1)
            for x in range(width):
                label = labels[z, y, x]
                codes[o + np.uint64(x)] = -2 - label if label >= 0 else CLOSED
    queue = np.empty(max(most, 1), np.int64)
    number = np.int32(0)
    for z in range(depth):
        for y in range(height):
            first = (z + margin) * slice_ + (y + 1) * row + 1
            for seed in range(first, first + width):
                own = codes[seed]
                if own >= CLOSED:
                    continue
                codes[seed] = number
                queue[0] = seed
                size, done, neighbour = 1, 0, number
                while done < size < most:
                    at = queue[done]
                    done += 1
                    for step in range(n_steps):
                        next_ = at + steps[step]
                        code = codes[next_]
                        if code == own:
                            codes[next_] = number
                            queue[size] = next_
                            size += 1
                            if size >= most:
                                break
                        elif code >= 0 and code != number:
                            neighbour = code
                if size < least:
                    for i in range(size):
                        codes[queue[i]] = neighbour
                else:
                    number += 1
    for z in range(depth):
        for y in range(height):
            o = np.uint64((z + margin) * slice_ + (y + 1) * row + 1)
            for x in range(width):
                out[z, y, x] = codes[o + np.uint64(x)] + start


@njit(nogil=True, cache=True)
def measure_regions(first: int, last: int, regions: Any, n_regions: int) -> Any:
    """First pixel and size of each region 1..n on the lines ``first`` to ``last``, int64 (2, n + 1).

    ``regions`` is int32 (lines, W). The first pixel of a region that is not there is beyond the last one.
    """
    measures = np.zeros((2, n_regions + 1), np.int64)
    measures[0] = regions.size
    width = regions.shape[1]
    for line in range(first, last):
        x = 0
        while x < width:
            region = regions[line, x]
            begin = x
            while x < width and regions[line, x] == region:
                x += 1
            if measures[1, region] == 0:
                measures[0, region] = line * width + begin
            measures[1, region] += x - begin
    return measures


@njit(nogil=True, cache=True)
def name_regions(
    regions: Any, height: int, firsts: Any, sizes: Any, least: int, start: int, names: Any
) -> None:
    """Name each region as `flood` names its pieces, where none is too large.

    ``regions`` is int32 (D * H, W), numbered from 1 in the order of their first pixels; ``names``, int32
    (n + 1,), come with 0, and with -1 for regions without a label.
    """
    queue = np.empty(max(least, 1), np.int64)
    passed = np.zeros(regions.size, np.bool_)
    number = start
    for region in range(1, names.size):
        if names[region] < 0:
            names[region] = start - 1
        elif sizes[region] >= least:
            names[region] = number
            number += 1
        else:
            names[region] = _neighbour(
                region, firsts[region], regions, height, passed, queue, names, number, start
            )


@njit(nogil=True, cache=True)
def _neighbour(
    region: int,
    first: int,
    regions: Any,
    height: int,
    passed: Any,
    queue: Any,
    names: Any,
    number: int,
    start: int,
) -> int:
    """The name of the last region with a lower number that a flood of this one meets; ``number`` if none."""
    width = regions.shape[1]
    steps = (1, -1, width, -width, width * height, -width * height)
    pixels = regions.reshape(regions.size)
    name = number
    queue[0] = first
    passed[first] = True
    size, done = 1, 0
    while done < size:
        at = queue[done]
        done += 1
        x = at % width
        y = at // width % height
        for side in range(6):
            to = at + steps[side]
            if to < 0 or to >= pixels.size:
                continue
            if (side == 0 and x + 1 == width) or (side == 1 and x == 0):
                continue
            if (side == 2 and y + 1 == height) or (side == 3 and y == 0):
                continue
            other = pixels[to]
            if other == region:
                if not passed[to]:
                    passed[to] = True
                    queue[size] = to
                    size += 1
            elif other < region and start <= names[other] != number:
                name = names[other]
    return name


def warm_up() -> None:
    """Compile the loops, or load them from numba's cache."""
    labels = np.zeros((1, 1, 1), np.int32)
    for dtype in (np.int32, np.int64):
        flood(labels, 0, 1, 1, np.empty((1, 1, 1), dtype))
    firsts, sizes = measure_regions(0, 1, labels[0] + 1, 1)
    name_regions(labels[0] + 1, 1, firsts, sizes, 0, 1, np.zeros(2, np.int32))
