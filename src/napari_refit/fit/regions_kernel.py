"""Compiled loops that measure clusters: how much grey values vary in each, and how long their borders are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from napari_refit.fit.graph_kernel import touching_pairs


@njit(nogil=True, cache=True)
def add_squares(clusters: Any, image: Any, means: Any, squares: Any) -> None:
    """Sum of the squared differences from the cluster's mean, per cluster and channel.

    Parameters
    ----------
    clusters : ndarray of int32, (n_pixels,)
        1..n.
    image : ndarray of float32 or float64, (n_pixels, channels)
    means : ndarray of float64, (n, channels)
    squares : ndarray of float64, (n, channels)
        Added to.
    """
    for pixel in range(len(clusters)):
        cluster = clusters[pixel] - 1
        for channel in range(image.shape[1]):
            difference = image[pixel, channel] - means[cluster, channel]
            squares[cluster, channel] += difference * difference


@njit(nogil=True, cache=True)
def count_faces(clusters: Any, height: int, pairs: Any, starts: Any, faces: Any) -> None:
    """Faces of pixels across which two clusters touch, per pair and axis.

    Parameters
    ----------
    clusters : ndarray of int32, (n_lines, width)
        1..n; the lines of a volume's slices below one another, ``height`` to a slice.
    height : int
    pairs : ndarray of int64, (2, m)
        From `napari_refit.fit.graph_kernel.touching_pairs`.
    starts : ndarray of int64, (n + 1,)
        Where the pairs of each lower cluster begin.
    faces : ndarray of int64, (m, 3)
        Added to; across slices, lines, and columns.
    """
    n_lines, width = clusters.shape
    for line in range(n_lines):
        own = clusters[line]
        for x in range(width):
            if x + 1 < width and own[x] != own[x + 1]:
                faces[_place(own[x], own[x + 1], pairs, starts), 2] += 1
            if (line + 1) % height != 0 and own[x] != clusters[line + 1, x]:
                faces[_place(own[x], clusters[line + 1, x], pairs, starts), 1] += 1
            if line + height < n_lines and own[x] != clusters[line + height, x]:
                faces[_place(own[x], clusters[line + height, x], pairs, starts), 0] += 1


@njit(nogil=True, cache=True)
def _place(one: int, other: int, pairs: Any, starts: Any) -> int:
    """Which pair it is, by halving: those of a lower cluster rise by their other cluster."""
    lower, upper = min(one, other) - 1, max(one, other) - 1
    low, high = starts[lower], starts[lower + 1]
    while high - low > 1:
        middle = (low + high) // 2
        if pairs[1, middle] <= upper:
            low = middle
        else:
            high = middle
    return low


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    clusters = np.array([[1, 1, 2]], np.int32)
    pairs, n_pairs = touching_pairs(clusters, 1, 2)
    count_faces(clusters, 1, pairs[:, :n_pairs].copy(), np.array([0, 1, 1]), np.zeros((1, 3), np.int64))
    for dtype in (np.float32, np.float64):
        add_squares(clusters.ravel(), np.zeros((3, 1), dtype), np.zeros((2, 1)), np.zeros((2, 1)))
