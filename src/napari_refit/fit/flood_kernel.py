"""Compiled loops over the graph of touching clusters: who touches, and all floods at once.

A link between two clusters can be passed by floods that begin at a colour near both. The starts are halved by colour
again and again. On entering a part, the links that can be passed from all its starts are joined, those that can be
passed from none are dropped, and the others wait for the part's halves; on leaving it, what it joined is parted.
Where no link waits, the joined clusters are what the floods of the part reach.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Columns of a part on the stack: its starts, its links in ``waiting``, how many joints there were before it, and how
# far it is.
FIRST, LAST, BEGIN, END, JOINTS, STEP = range(6)
NOWHERE, SOMEWHERE, EVERYWHERE = range(3)


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
    for pixel in range(len(clusters)):
        cluster = clusters[pixel] - 1
        if sizes[cluster] == 0:
            for channel in range(n_channels):
                means[cluster, channel] = image[pixel, channel]
        sizes[cluster] += 1
        for channel in range(n_channels):
            # What is left after subtracting one of its own pixels adds up to exactly 0 if all are equal.
            rest[cluster, channel] += image[pixel, channel] - means[cluster, channel]
    for cluster in range(len(means)):
        for channel in range(n_channels):
            means[cluster, channel] += rest[cluster, channel] / sizes[cluster]


@njit(nogil=True, cache=True)
def _root(parents: Any, node: int) -> int:
    """Without short cuts: they would be in the way of undoing."""
    while parents[node] != node:
        node = parents[node]
    return node


@njit(nogil=True, cache=True)
def bound_links(pairs: Any, colours: Any, bounds: Any) -> None:
    """Write the lower and the higher colour of each link, channel by channel.

    Parameters
    ----------
    pairs : ndarray of int64, (2, m)
    colours : ndarray of float64, (n, channels)
    bounds : ndarray of float64, (m, 2, channels)
        Filled in.
    """
    for place in range(pairs.shape[1]):
        for channel in range(colours.shape[1]):
            one, other = colours[pairs[0, place], channel], colours[pairs[1, place], channel]
            bounds[place, 0, channel] = min(one, other)
            bounds[place, 1, channel] = max(one, other)


@njit(nogil=True, cache=True)
def flood(budget: int, limit: float, values: Any, pairs: Any, bounds: Any, colours: Any, state: Any) -> bool:
    """Go on flooding until the budget is spent.

    Parameters
    ----------
    budget : int
        Links to look at.
    limit : float
        How far a channel may be from where the flood began.
    values : ndarray of float64, (n, n_classes)
    pairs, bounds
        As `bound_links`; links whose ends never lie within reach of one start may be left out.
    colours : ndarray of float64, (n, channels)
    state : tuple
        ``heights``: ndarray of int64, (2,), how many parts and joints there are, at first 1 and 0. ``stack``:
        ndarray of int64, (depth, 6), the parts, at first the whole. ``starts``: ndarray of int64, (n,), the
        nodes, part by part. ``waiting``: ndarray of int32, the links of the parts on the stack that are yet to
        be joined, at first all. ``trees``: ndarray of int32, (3, n), the node on which each one hangs, at first
        itself; how many hang together; and the roots that have been hung on others, one per joint. ``lowest``:
        ndarray of float64, (n, n_classes), at first infinite, at last the result. ``kept``: like it.

    Returns
    -------
    bool
        Whether there is more to do.
    """
    heights, stack, starts, waiting, trees, lowest, kept = state
    box = np.empty((2, colours.shape[1]))
    while heights[0] > 0:
        if budget <= 0:
            return True
        part = stack[heights[0] - 1]
        part[STEP] += 1
        budget -= 1
        if part[STEP] == 1:
            part[JOINTS] = heights[1]
            own = starts[part[FIRST] : part[LAST]]
            _measure(own, colours, box)
            budget -= len(own) + part[END] - part[BEGIN]
            top = part[END]
            for place in range(part[BEGIN], part[END]):
                pair = waiting[place]
                passed = _passed(bounds[pair], box, limit)
                if passed == EVERYWHERE:
                    _join(pairs[0, pair], pairs[1, pair], heights, trees, lowest, kept)
                elif passed == SOMEWHERE:
                    waiting[top] = pair
                    top += 1
            part[BEGIN], part[END] = part[END], top
            if part[BEGIN] == part[END]:
                # From all these starts, the flood passes the same links.
                for start in own:
                    _lower(lowest, _root(trees[0], start), values, start)
                part[STEP] = 3
            else:
                _halve(own, colours, _widest(box))
        elif part[STEP] <= 3:
            middle = (part[FIRST] + part[LAST]) // 2
            child = stack[heights[0]]
            child[FIRST] = part[FIRST] if part[STEP] == 2 else middle
            child[LAST] = middle if part[STEP] == 2 else part[LAST]
            child[BEGIN], child[END], child[STEP] = part[BEGIN], part[END], 0
            heights[0] += 1
        else:
            while heights[1] > part[JOINTS]:
                _undo_joint(heights, trees, lowest, kept)
            heights[0] -= 1
    return False


@njit(nogil=True, cache=True)
def _measure(nodes: Any, colours: Any, box: Any) -> None:
    """The lowest and the highest of the nodes' colours, channel by channel."""
    for channel in range(colours.shape[1]):
        low = high = colours[nodes[0], channel]
        for node in nodes:
            low, high = min(low, colours[node, channel]), max(high, colours[node, channel])
        box[0, channel], box[1, channel] = low, high


@njit(nogil=True, cache=True)
def _widest(box: Any) -> int:
    widest = 0
    for channel in range(box.shape[1]):
        if box[1, channel] - box[0, channel] > box[1, widest] - box[0, widest]:
            widest = channel
    return widest


@njit(nogil=True, cache=True)
def _halve(nodes: Any, colours: Any, channel: int) -> None:
    """Order the nodes so far that no colour in the first half is above one in the second (quickselect)."""
    low, high, middle = 0, len(nodes) - 1, len(nodes) // 2
    while low < high:
        pivot = colours[nodes[(low + high) // 2], channel]
        left, right = low, high
        while left <= right:
            while colours[nodes[left], channel] < pivot:
                left += 1
            while colours[nodes[right], channel] > pivot:
                right -= 1
            if left <= right:
                nodes[left], nodes[right] = nodes[right], nodes[left]
                left, right = left + 1, right - 1
        if middle <= right:
            high = right
        elif middle >= left:
            low = left
        else:
            return


@njit(nogil=True, cache=True)
def _passed(bound: Any, box: Any, limit: float) -> int:
    """Whether floods that begin with colours in the box pass a link."""
    passed = EVERYWHERE
    for channel in range(box.shape[1]):
        low, high = bound[0, channel], bound[1, channel]
        if high - box[1, channel] > limit or box[0, channel] - low > limit:
            return NOWHERE
        if high - box[0, channel] > limit or box[1, channel] - low > limit:
            passed = SOMEWHERE
    return passed


@njit(nogil=True, cache=True)
def _lower(values: Any, row: int, by: Any, other: int) -> None:
    for k in range(values.shape[1]):
        values[row, k] = min(values[row, k], by[other, k])


@njit(nogil=True, cache=True)
def _join(one: int, other: int, heights: Any, trees: Any, lowest: Any, kept: Any) -> None:
    """Hang one root on the other; what lowers that from now on lowers both, so what did before is put by."""
    root, child = _root(trees[0], one), _root(trees[0], other)
    if root == child:
        return
    if trees[1, root] < trees[1, child]:
        root, child = child, root
    trees[0, child] = root
    trees[1, root] += trees[1, child]
    trees[2, heights[1]] = child
    for k in range(lowest.shape[1]):
        kept[heights[1], k], lowest[root, k] = lowest[root, k], np.inf
    heights[1] += 1


@njit(nogil=True, cache=True)
def _undo_joint(heights: Any, trees: Any, lowest: Any, kept: Any) -> None:
    heights[1] -= 1
    child = trees[2, heights[1]]
    root = trees[0, child]
    trees[0, child] = child
    trees[1, root] -= trees[1, child]
    _lower(lowest, child, lowest, root)
    _lower(lowest, root, kept, heights[1])


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    from napari_refit.fit.flood import cluster_graph, flood_clusters

    clusters = np.array([[1, 1, 2], [3, 3, 2]], np.int32)
    graph = cluster_graph(np.array([[0, 0, 1], [2, 2, 1]], np.float32), clusters, 3)
    flood_clusters(np.array([[0.1, 0.5, 0.9]]), graph, 0.5)
