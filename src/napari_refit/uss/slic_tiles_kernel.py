"""An image as tiles of 64 pixels and back: the layout that SLIC's compiled loops work on.

A tile is 8 x 8 pixels of a plane or 4 x 4 x 4 voxels of a volume, so that its pixels lie near one another along
every axis and eight of them fit one vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

PIXELS = 64
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(nogil=True, cache=True)
def cut_tiles(
    first: int,
    last: int,
    values: Any,
    shape: Any,
    keep: Any,
    masked: bool,
    tile: Any,
    pixels: Any,
    boxes: Any,
    inside: Any,
) -> None:
    """Fill tiles ``first`` to ``last`` of ``pixels``, ``boxes`` and ``inside``.

    ``values`` are float32, in the order of ``shape``, (C, D, H, W). Of each tile: its pixels, channel after
    channel; the middle and half the range of each channel; and a bit for each pixel that is in the image, kept,
    and finite in all channels.
    """
    n_channels, depth, height, width = shape
    deep, high, wide = tile
    rows = (height + high - 1) // high
    columns = (width + wide - 1) // wide
    for t in range(first, last):
        z0 = t // (rows * columns) * deep
        y0 = t // columns % rows * high
        x0 = t % columns * wide
        cut = z0 + deep > depth or y0 + high > height or x0 + wide > width
        bits = ALL
        if masked or cut:
            bits = _kept(keep, masked, z0, y0, x0, tile, shape)
        for c in range(n_channels):
            i = np.uint64(c * PIXELS)
            for z in range(z0, z0 + deep):
                for y in range(y0, y0 + high):
                    row = ((c * depth + min(z, depth - 1)) * height + min(y, height - 1)) * width
                    for x in range(x0, x0 + wide):
                        pixels[t, i] = values[np.uint64(row + min(x, width - 1))]
                        i += np.uint64(1)
            values_of_tile = pixels[t, c * PIXELS : (c + 1) * PIXELS]
            if not np.isfinite(_sum(values_of_tile)):
                bits &= _numbers(values_of_tile)
        inside[t] = bits
        for c in range(n_channels):
            values_of_tile = pixels[t, c * PIXELS : (c + 1) * PIXELS]
            least, most = _range(values_of_tile) if bits == ALL else _range_of(values_of_tile, bits)
            middle = (least + most) * np.float32(0.5)
            boxes[t, 2 * c] = middle
            # Rounding must not let a pixel fall out of its box.
            boxes[t, 2 * c + 1] = (most - least) * np.float32(0.500001) + abs(middle) * np.float32(2e-7)


@njit(nogil=True, cache=True)
def _kept(keep: Any, masked: bool, z0: int, y0: int, x0: int, tile: Any, shape: Any) -> Any:
    bits = np.uint64(0)
    i = np.uint64(0)
    for z in range(z0, z0 + tile[0]):
        for y in range(y0, y0 + tile[1]):
            for x in range(x0, x0 + tile[2]):
                there = z < shape[1] and y < shape[2] and x < shape[3]
                if there and (not masked or keep[z, y, x]):
                    bits |= np.uint64(1) << i
                i += np.uint64(1)
    return bits


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})
def _sum(values: Any) -> Any:
    total = np.float32(0)
    for i in range(PIXELS):
        total += values[i]
    return total


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz", "nnan"})
def _range(values: Any) -> Any:
    least = np.float32(np.inf)
    most = np.float32(-np.inf)
    for i in range(PIXELS):
        least = min(least, values[i])
        most = max(most, values[i])
    return least, most


@njit(nogil=True, cache=True)
def _range_of(values: Any, bits: Any) -> Any:
    least = np.float32(np.inf)
    most = np.float32(-np.inf)
    for i in range(PIXELS):
        if bits >> np.uint64(i) & np.uint64(1):
            least = min(least, values[i])
            most = max(most, values[i])
    return least, most


@njit(nogil=True, cache=True)
def _numbers(values: Any) -> Any:
    """A bit for each finite value."""
    bits = np.uint64(0)
    for i in range(PIXELS):
        if np.isfinite(values[i]):
            bits |= np.uint64(1) << np.uint64(i)
    return bits


@njit(nogil=True, cache=True)
def lay_out(first: int, last: int, labels: Any, inside: Any, tile: Any, start: int, out: Any) -> None:
    """Write the labels of the rows ``first`` to ``last`` of tiles into ``out``, int32 or int64 (D, H, W).

    A label below -1 is that of a pixel which no centre reaches any more: it keeps its last one, -2 - label.
    A pixel that is not kept, and one that never had a label, gets ``start`` - 1.
    """
    depth, height, width = out.shape
    deep, high, wide = tile
    rows = (height + high - 1) // high
    columns = (width + wide - 1) // wide
    for row in range(first, last):
        for column in range(columns):
            t = row * columns + column
            z0 = row // rows * deep
            y0 = row % rows * high
            x0 = column * wide
            bits = inside[t]
            for z in range(z0, min(z0 + deep, depth)):
                for y in range(y0, min(y0 + high, height)):
                    o = ((z - z0) * high + y - y0) * wide
                    for x in range(x0, min(x0 + wide, width)):
                        i = np.uint64(o + x - x0)
                        label = labels[t, i]
                        if label < -1:
                            label = -2 - label
                        if not bits >> i & np.uint64(1):
                            label = -1
                        out[z, y, np.uint64(x)] = label + start


def warm_up() -> None:
    """Compile the loops, or load them from numba's cache."""
    for shape, tile in (((1, 8, 8), (1, 8, 8)), ((4, 4, 4), (4, 4, 4))):
        planes = np.zeros((1, *shape), np.float32)
        pixels, boxes = np.empty((1, PIXELS), np.float32), np.empty((1, 2), np.float32)
        inside = np.empty(1, np.uint64)
        keep = np.ones(shape, np.bool_)
        cut_tiles(0, 1, planes.reshape(-1), planes.shape, keep, False, tile, pixels, boxes, inside)
        labels = np.zeros((1, PIXELS), np.int32)
        for dtype in (np.int32, np.int64):
            lay_out(0, 1, labels, inside, tile, 1, np.empty(shape, dtype))
