"""Compiled loops that make the graph of touching clusters: who touches, and the colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def touching_pairs(clusters: Any, height: int, n_clusters: int) -> Any:
    """Which clusters touch across a face of a pixel.

    Parameters
    ----------
    clusters : ndarray of int32, (n_lines, width)
        1..n_clusters; the lines of a volume's slices below one another, ``height`` to a slice.
    height, n_clusters : int

    Returns
    -------
    ndarray of int64, (2, m or more)
        Pairs of clusters, counted from 0, each once and in order; the lower one in row 0.
    int
        m, how many pairs there are.
    """
    offsets = np.zeros(n_clusters + 1, np.int64)
    links = np.empty(0, np.int64)
    _visit_pairs(clusters, height, offsets, links)
    total = np.int64(0)
    for cluster in range(n_clusters + 1):
        here = offsets[cluster]
        offsets[cluster] = total
        total += here
    links = np.empty(total, np.int64)
    _visit_pairs(clusters, height, offsets, links)
    pairs = np.empty((2, total), np.int64)
    seen = np.full(n_clusters, -1)
    n_pairs = begin = 0
    for cluster in range(n_clusters):
        first, end = n_pairs, offsets[cluster]
        for place in range(begin, end):
            other = links[place]
            if seen[other] == cluster:
                continue
            seen[other] = cluster
            spot = n_pairs
            while spot > first and pairs[1, spot - 1] > other:
                pairs[1, spot] = pairs[1, spot - 1]
                spot -= 1
            pairs[0, n_pairs], pairs[1, spot] = cluster, other
            n_pairs += 1
        begin = end
    return pairs, n_pairs


@njit(nogil=True, cache=True)
def _visit_pairs(clusters: Any, height: int, offsets: Any, links: Any) -> None:
    """Count the pairs by their lower cluster, or put them into ``links`` when that has room."""
    n_lines, width = clusters.shape
    for line in range(n_lines):
        own, before = clusters[line], clusters[max(line - 1, 0)]
        for x in range(width - 1):
            # Most pairs go on along an edge: what the pixel before has noted is not noted again.
            if own[x] != own[x + 1] and (line == 0 or before[x] != own[x] or before[x + 1] != own[x + 1]):
                _note_pair(own[x], own[x + 1], offsets, links)
        if (line + 1) % height != 0:
            _visit_lines(own, clusters[line + 1], offsets, links)
        if line + height < n_lines:
            _visit_lines(own, clusters[line + height], offsets, links)


@njit(nogil=True, cache=True)
def _visit_lines(own: Any, after: Any, offsets: Any, links: Any) -> None:
    for x in range(len(own)):
        if own[x] != after[x] and (x == 0 or own[x - 1] != own[x] or after[x - 1] != after[x]):
            _note_pair(own[x], after[x], offsets, links)


@njit(nogil=True, cache=True)
def _note_pair(one: int, other: int, offsets: Any, links: Any) -> None:
    low, high = min(one, other) - 1, max(one, other) - 1
    if len(links):
        links[offsets[low]] = high
    offsets[low] += 1


@njit(nogil=True, cache=True)
def mean_colours(clusters: Any, image: Any, means: Any) -> None:
    """Mean colour of each cluster, exact where it has one colour.

    Parameters
    ----------
    clusters : ndarray of int32, (n_pixels,)
        1..n.
    image : ndarray of float32 or float64, (n_pixels, channels)
    means : ndarray of float64, (n, channels)
        Filled in.
    """
    n_channels = image.shape[1]
    sizes = np.zeros(len(means), np.int64)
    rest = np.zeros(means.shape)
    begin = 0
    while begin < len(clusters):
        cluster, end = clusters[begin] - 1, begin + 1
        while end < len(clusters) and clusters[end] == clusters[begin]:
            end += 1
        for channel in range(n_channels):
            if sizes[cluster] == 0:
                means[cluster, channel] = image[begin, channel]
            # What is left after subtracting one of its own pixels adds up to exactly 0 if all are equal.
            one, total = means[cluster, channel], rest[cluster, channel]
            for pixel in range(begin, end):
                total += image[pixel, channel] - one
            rest[cluster, channel] = total
        sizes[cluster] += end - begin
        begin = end
    for cluster in range(len(means)):
        for channel in range(n_channels):
            means[cluster, channel] += rest[cluster, channel] / sizes[cluster]


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    clusters = np.array([[1, 1, 2]], np.int32)
    touching_pairs(clusters, 1, 2)
    for dtype in (np.float32, np.float64):
        mean_colours(clusters.ravel(), np.zeros((3, 1), dtype), np.zeros((2, 1)))
