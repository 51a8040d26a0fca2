"""Compiled loops over a tree of regions: what encloses each region, and the best regions at every threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def add_inner_borders(pairs: Any, weights: Any, parents: Any, inner: Any) -> None:
    """Add the weight of every pair of clusters to the smallest region that holds both.

    Parameters
    ----------
    pairs : ndarray of int64, (2, m)
    weights : ndarray of float64, (m,)
    parents : ndarray of int64, (n_regions,)
        -1 at the top; else a higher number than the region's own.
    inner : ndarray of float64, (n_regions,)
    """
    for pair in range(pairs.shape[1]):
        one, other = pairs[0, pair], pairs[1, pair]
        while one != other and one >= 0 and other >= 0:
            if one < other:
                one = parents[one]
            else:
                other = parents[other]
        if one == other:
            inner[one] += weights[pair]


@njit(nogil=True, cache=True)
def _merge(one: int, other: int, keys: Any, left: Any, right: Any) -> int:
    """Join two skew heaps with the lowest key on top; -1 is an empty one."""
    if one < 0:
        return other
    if other < 0:
        return one
    if keys[other] < keys[one]:
        one, other = other, one
    top = one
    while True:
        rest = right[one]
        right[one] = left[one]
        if rest < 0:
            left[one] = other
            return top
        if keys[other] < keys[rest]:
            rest, other = other, rest
        left[one] = rest
        one = rest


@njit(nogil=True, cache=True)
def best_regions(children: Any, sizes: Any, costs: Any, levels: Any) -> None:
    """Find for every cluster the highest threshold at which it lies in one of the best regions.

    Parameters
    ----------
    children : ndarray of int64, (n_regions - n, 2)
        Children before parents.
    sizes : ndarray of float64, (n,)
    costs : ndarray of float64, (n_regions,)
        What choosing a region costs, 0 or more.
    levels : ndarray of float64, (n_regions,)
        Of the clusters, the first n: the response that goes in (infinite: in at any rate; minus infinite: out),
        and what comes out.

    Notes
    -----
    Below a region, the best that can be gained at threshold t is ``sum_i w_i max(0, t_i - t)``: a heap of blocks
    (t_i, w_i). The region as a whole is better than that up to one threshold, which is found by melting the lowest
    blocks into one, and the whole is worth more than its best parts by what is saved in costs.
    """
    n = len(sizes)
    left, right = np.full(len(costs), -1), np.full(len(costs), -1)
    tops, into = np.full(len(costs), -1), np.arange(len(costs))
    weights, least = np.zeros(len(costs)), costs.copy()
    for leaf in range(n):
        levels[leaf] -= costs[leaf] / sizes[leaf]
        weights[leaf], tops[leaf] = sizes[leaf], leaf
    for merge in range(len(children)):
        region = n + merge
        one, other = children[merge]
        top = _merge(tops[one], tops[other], levels, left, right)
        saved = least[one] + least[other] - costs[region]
        if saved <= 0:
            least[region], tops[region] = least[one] + least[other], top
            continue
        gain, weight = saved, 0.0
        while top >= 0 and (weight == 0 or gain > levels[top] * weight):
            gain += levels[top] * weights[top]
            weight += weights[top]
            into[top] = region
            top = _merge(left[top], right[top], levels, left, right)
        levels[region], weights[region] = gain / weight, weight
        tops[region] = _merge(top, region, levels, left, right)
    for region in range(len(costs) - 1, -1, -1):
        if into[region] != region:
            levels[region] = levels[into[region]]


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    parents, inner = np.array([2, 2, -1]), np.zeros(3)
    add_inner_borders(np.array([[0], [1]]), np.ones(1), parents, inner)
    best_regions(np.array([[0, 1]]), np.ones(2), np.ones(3), np.zeros(3))
