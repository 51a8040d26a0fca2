"""Merging of SLIC's stray pieces, compiled: one flood over the image, in the order of its pixels.

The order is part of the result (which neighbour a stray piece joins, where a piece that is too large is cut), so
that this stays on one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Codes of pixels below are those not visited yet: -2 - label. The border and what is masked out stay closed.
CLOSED = np.int32(-1)


@njit(nogil=True, cache=True)
def connect(labels: Any, least: int, most: int, start: int, out: Any) -> None:
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


def warm_up() -> None:
    """Compile the loops, or load them from numba's cache."""
    labels = np.zeros((1, 1, 1), np.int32)
    for dtype in (np.int32, np.int64):
        connect(labels, 0, 1, 1, np.empty((1, 1, 1), dtype))
