"""Compiled loops of BoundaryFit: order statistics per cluster, and back to pixels.

Pixels are flat; ``clusters`` holds 1..n for each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def count_pixels(clusters: Any, sizes: Any) -> None:
    """Add the number of pixels of each cluster to ``sizes`` (int64, from cluster 1)."""
    begin = 0
    while begin < len(clusters):
        end = _end_of_run(clusters, begin)
        sizes[clusters[begin] - 1] += end - begin
        begin = end


@njit(nogil=True, cache=True)
def _end_of_run(clusters: Any, begin: int) -> int:
    """Neighbouring pixels mostly share a cluster, so that loops do well to go from run to run."""
    end = begin + 1
    while end < len(clusters) and clusters[end] == clusters[begin]:
        end += 1
    return end


@njit(nogil=True, cache=True)
def find_lowest(start: int, stop: int, clusters: Any, response: Any, lowest: Any) -> None:
    """Lower ``lowest[k, cluster - 1]`` to the lowest response, for the classes ``start:stop``.

    Parameters
    ----------
    start, stop : int
    clusters : ndarray of int32, (n_pixels,)
    response : ndarray of float, (n, n_pixels)
    lowest : ndarray of float, (n, n_clusters)
    """
    for k in range(start, stop):
        values, found = response[k], lowest[k]
        for pixel in range(len(clusters)):
            place = np.uint64(clusters[pixel] - 1)
            if values[pixel] < found[place]:
                found[place] = values[pixel]


@njit(nogil=True, cache=True)
def group_pixels(start: int, stop: int, clusters: Any, firsts: Any, response: Any, grouped: Any) -> None:
    """Bring the responses of the classes ``start:stop`` cluster by cluster into ``grouped``.

    Parameters
    ----------
    start, stop : int
    clusters : ndarray of int32, (n_pixels,)
    firsts : ndarray of int64, (n_clusters,)
        Where each cluster begins in ``grouped``.
    response, grouped : ndarray of float, (n, n_pixels)
    """
    places = firsts.copy()
    begin = 0
    while begin < len(clusters):
        end = _end_of_run(clusters, begin)
        place = places[clusters[begin] - 1]
        places[clusters[begin] - 1] += end - begin
        for k in range(start, stop):
            values, target = response[k], grouped[k]
            for step in range(end - begin):
                target[np.uint64(place + step)] = values[np.uint64(begin + step)]
        begin = end


@njit(nogil=True, cache=True)
def sort_small(start: int, stop: int, bounds: Any, longest: int, grouped: Any) -> None:
    """Sort the clusters ``start:stop`` of every class that have at most ``longest`` pixels, by insertion.

    Parameters
    ----------
    start, stop : int
    bounds : ndarray of int64, (n_clusters + 1,)
        Where each cluster begins in ``grouped``, at last its length.
    longest : int
    grouped : ndarray of float, (n, n_pixels)
    """
    for cluster in range(start, stop):
        begin, end = bounds[cluster], bounds[cluster + 1]
        if end - begin > longest:
            continue
        for k in range(len(grouped)):
            values = grouped[k, begin:end]
            for taken in range(1, len(values)):
                value, place = values[taken], taken
                while place > 0 and values[place - 1] > value:
                    values[place] = values[place - 1]
                    place -= 1
                values[place] = value


@njit(nogil=True, cache=True)
def spread(start: int, stop: int, clusters: Any, table: Any, maps: Any) -> None:
    """Give pixels ``start:stop`` of every map what ``table`` holds for their clusters.

    Parameters
    ----------
    start, stop : int
    clusters : ndarray of int32, (n_pixels,)
    table : ndarray, (n, n_clusters)
    maps : ndarray, (n, n_pixels)
        Filled in.
    """
    for k in range(len(maps)):
        values, target = table[k], maps[k]
        for pixel in range(start, stop):
            target[pixel] = values[np.uint64(clusters[pixel] - 1)]


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    clusters = np.array([1, 1, 2], np.int32)
    count_pixels(clusters, np.zeros(2, np.int64))
    for dtype in (np.float32, np.float64):
        response, lowest = np.zeros((1, 3), dtype), np.zeros((1, 2), dtype)
        find_lowest(0, 1, clusters, response, lowest)
        group_pixels(0, 1, clusters, np.array([0, 2]), response, response.copy())
        sort_small(0, 2, np.array([0, 2, 3]), 2, response)
    for kind in (np.uint8, np.float32):
        table: NDArray[Any] = np.zeros((1, 2), kind)
        spread(0, 3, clusters, table, np.zeros((1, 3), kind))
