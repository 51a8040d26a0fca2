"""Compiled loops for cuts of a graph: the largest flow through it, by Dinic's algorithm, in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def link(pairs: Any, n_nodes: int, starts: Any, targets: Any, mates: Any, places: Any) -> None:
    """Sort the arcs of a graph by the node that they leave.

    Parameters
    ----------
    pairs : ndarray of int64, (2, m)
        Linked nodes, 0..n_nodes - 1.
    n_nodes : int
    starts : ndarray of int64, (n_nodes + 1,)
        Filled in: the arcs of a node are ``starts[node]..starts[node + 1] - 1``.
    targets, mates : ndarray of int64, (2 m,)
        Filled in: where an arc leads to, and which arc leads back.
    places : ndarray of int64, (2, m)
        Filled in: the arc of each pair that leaves its first node, and the one that leaves its second.
    """
    n_pairs = pairs.shape[1]
    starts[:] = 0
    for pair in range(n_pairs):
        starts[pairs[0, pair] + 1] += 1
        starts[pairs[1, pair] + 1] += 1
    for node in range(n_nodes):
        starts[node + 1] += starts[node]
    free = starts[:-1].copy()
    for pair in range(n_pairs):
        one, other = pairs[0, pair], pairs[1, pair]
        here, there = free[one], free[other]
        free[one] += 1
        free[other] += 1
        targets[here], targets[there] = other, one
        mates[here], mates[there] = there, here
        places[0, pair], places[1, pair] = here, there


@njit(nogil=True, cache=True)
def flow(starts: Any, targets: Any, mates: Any, room: Any, excess: Any, levels: Any) -> None:
    """Send as much as possible from the nodes that have too much to those that have too little.

    Parameters
    ----------
    starts, targets, mates : ndarray of int64
        From `link`.
    room : ndarray of float64, (2 m,)
        What each arc can take, 0 or more; what is left is written back.
    excess : ndarray of float64, (n_nodes,)
        What each node has too much, below 0 what it could take; what is left is written back.
    levels : ndarray of int64, (n_nodes,)
        Filled in: 0 for nodes from which nothing could get any further, the largest such set.
    """
    n_nodes = len(excess)
    queue = np.empty(n_nodes, np.int64)
    path = np.empty(n_nodes, np.int64)
    following = np.empty(n_nodes, np.int64)
    while _measure(starts, targets, mates, room, excess, levels, queue):
        following[:] = starts[:-1]
        for source in range(n_nodes):
            if excess[source] > 0 and levels[source] > 0:
                _send(source, starts, targets, mates, room, excess, levels, following, path)


@njit(nogil=True, cache=True)
def _measure(starts: Any, targets: Any, mates: Any, room: Any, excess: Any, levels: Any, queue: Any) -> bool:
    """Steps from each node to the nearest one that can take something, plus 1; whether any excess can get there."""
    n_queued, found = 0, False
    for node in range(len(excess)):
        levels[node] = 0
        if excess[node] < 0:
            levels[node] = 1
            queue[n_queued] = node
            n_queued += 1
    done = 0
    while done < n_queued:
        node = queue[done]
        done += 1
        for arc in range(starts[node], starts[node + 1]):
            other = targets[arc]
            if levels[other] == 0 and room[mates[arc]] > 0:
                levels[other] = levels[node] + 1
                found = found or excess[other] > 0
                queue[n_queued] = other
                n_queued += 1
    return found


@njit(nogil=True, cache=True)
def _send(
    source: int,
    starts: Any,
    targets: Any,
    mates: Any,
    room: Any,
    excess: Any,
    levels: Any,
    following: Any,
    path: Any,
) -> None:
    """Empty one node along shortest paths, as far as these lead."""
    length, node = 0, source
    while True:
        if excess[node] < 0:
            amount = min(excess[source], -excess[node])
            for step in range(length):
                amount = min(amount, room[path[step]])
            kept = length
            for step in range(length - 1, -1, -1):
                arc = path[step]
                room[arc] -= amount
                room[mates[arc]] += amount
                if room[arc] <= 0:
                    kept = step
            excess[source] -= amount
            excess[node] += amount
            if excess[source] <= 0:
                return
            # On from where the first arc is full; or from the end, which can take no more.
            length = kept
            node = source if length == 0 else targets[path[length - 1]]
            continue
        arc, end = following[node], starts[node + 1]
        while arc < end and not (room[arc] > 0 and levels[targets[arc]] == levels[node] - 1):
            arc += 1
        following[node] = arc
        if arc < end and levels[node] > 1:
            path[length] = arc
            length += 1
            node = targets[arc]
        elif length == 0:
            return
        else:
            length -= 1
            node = targets[mates[path[length]]]
            following[node] += 1


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    pairs = np.array([[0], [1]])
    starts, levels = np.empty(3, np.int64), np.empty(2, np.int64)
    targets, mates, places = np.empty(2, np.int64), np.empty(2, np.int64), np.empty((2, 1), np.int64)
    link(pairs, 2, starts, targets, mates, places)
    flow(starts, targets, mates, np.ones(2), np.array([1.0, -1.0]), levels)
