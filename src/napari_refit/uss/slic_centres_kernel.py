"""SLIC's centres between two assignments of pixels, compiled: list them per block, move them, adapt their weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

PIXELS = 64


@njit(nogil=True, cache=True)
def bucket(centres: Any, reach: Any, shape: Any, shifts: Any, blocks: Any) -> Any:
    """List for each block the centres whose windows touch it, in the order of their numbers.

    Returns where each block's list starts, int64 (blocks + 1,), and the lists in a row, int32.
    """
    n = centres.shape[0]
    spans = np.zeros((n, 6), np.int32)
    starts = np.zeros(blocks[0] * blocks[1] * blocks[2] + 1, np.int64)
    for k in range(n):
        if np.isnan(centres[k, 0]):
            continue
        for axis in range(3):
            low = int(max(centres[k, axis] - reach[axis], 0.0))
            high = int(min(centres[k, axis] + reach[axis] + 1, float(shape[axis])))
            if low < high:
                spans[k, 2 * axis] = low >> shifts[axis]
                spans[k, 2 * axis + 1] = ((high - 1) >> shifts[axis]) + 1
        for z in range(spans[k, 0], spans[k, 1]):
            for y in range(spans[k, 2], spans[k, 3]):
                for x in range(spans[k, 4], spans[k, 5]):
                    starts[(z * blocks[1] + y) * blocks[2] + x + 1] += 1
    for block in range(starts.shape[0] - 1):
        starts[block + 1] += starts[block]
    members = np.empty(starts[-1], np.int32)
    ends = starts.copy()
    for k in range(n):
        for z in range(spans[k, 0], spans[k, 1]):
            for y in range(spans[k, 2], spans[k, 3]):
                for x in range(spans[k, 4], spans[k, 5]):
                    block = (z * blocks[1] + y) * blocks[2] + x
                    members[ends[block]] = k
                    ends[block] += 1
    return starts, members


@njit(nogil=True, cache=True)
def settle(sums: Any, members: Any, centres: Any, counts: Any) -> None:
    """Add up what each centre has won in every block; ``centres`` become sums, ``counts`` the pixels."""
    fields = centres.shape[1]
    centres[:] = 0
    counts[:] = 0
    for e in range(members.shape[0]):
        if sums[e, 0] > 0:
            k = members[e]
            counts[k] += sums[e, 0]
            for field in range(fields):
                centres[k, field] += sums[e, 1 + field]


@njit(nogil=True, cache=True)
def add_lost(labels: Any, pixels: Any, tile: Any, rows: int, columns: int, centres: Any, counts: Any) -> None:
    """Add the pixels that keep a label although no window holds them any more."""
    for t in range(labels.shape[0]):
        for i in range(PIXELS):
            if labels[t, i] < -1:
                k = -2 - labels[t, i]
                counts[k] += 1
                centres[k, 0] += t // (rows * columns) * tile[0] + i // (tile[1] * tile[2])
                centres[k, 1] += t // columns % rows * tile[1] + i // tile[2] % tile[1]
                centres[k, 2] += t % columns * tile[2] + i % tile[2]
                for c in range(centres.shape[1] - 3):
                    centres[k, 3 + c] += pixels[t, c * PIXELS + i]


@njit(nogil=True, cache=True)
def widest(first: int, last: int, labels: Any, pixels: Any, inside: Any, centres: Any) -> Any:
    """Greatest squared distance in the channels between each centre and its pixels in some tiles, float32 (K,)."""
    n_channels = centres.shape[1] - 3
    greatest = np.zeros(centres.shape[0], np.float32)
    for t in range(first, last):
        for i in range(PIXELS):
            k = labels[t, i]
            if k < -1:
                k = -2 - k
            if k < 0 or not inside[t] >> np.uint64(i) & np.uint64(1):
                continue
            distance = np.float32(0)
            for c in range(n_channels):
                away = pixels[t, c * PIXELS + i] - np.float32(centres[k, 3 + c])
                distance += away * away
            if distance > greatest[k]:
                greatest[k] = distance
    return greatest


def warm_up() -> None:
    """Compile the loops, or load them from numba's cache."""
    centres = np.zeros((1, 4))
    _, members = bucket(centres, (2.0, 2.0, 2.0), (1, 8, 8), (0, 3, 3), (1, 1, 1))
    labels, pixels = np.zeros((1, PIXELS), np.int32), np.zeros((1, PIXELS), np.float32)
    settle(np.zeros((1, 5)), members, centres, np.zeros(1))
    add_lost(labels, pixels, (1, 8, 8), 1, 1, centres, np.zeros(1))
    widest(0, 1, labels, pixels, np.zeros(1, np.uint64), centres)
