"""Compiled loops over the graph of touching clusters: all floods at once.

A link between two clusters can be passed by floods that begin at a colour near both: in terms of the ranks of
colours, channel by channel, within a box. The starts are halved by colour again and again. On entering a part, the
links that can be passed from all its starts are contracted, those that can be passed from none are dropped, and so is
what none of its floods reaches, or lowers. Then one flood after the other is let loose, until that has cost more than
it takes to enter the halves with the starts that are left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

NOWHERE, SOMEWHERE, EVERYWHERE = range(3)


@njit(nogil=True, cache=True)
def bound_starts(pairs: Any, ranks: Any, orders: Any, limit: float, bounds: Any) -> None:
    """From which starts each link can be passed, as ranks of colours.

    Parameters
    ----------
    pairs : ndarray of int32, (2, m)
    ranks : ndarray of int32, (n, channels)
        Of each cluster's colour; of equal ones the lowest.
    orders : ndarray of float64, (channels, n)
        The colours of each channel, rising.
    limit : float
        How far a channel may be from where the flood began.
    bounds : ndarray of int32, (m, 2 * channels)
        Filled in: the lowest and the highest rank, channel after channel.
    """
    n = orders.shape[1]
    firsts, lasts = np.empty(n, np.int32), np.empty(n, np.int32)
    for channel in range(len(orders)):
        order = orders[channel]
        first = last = 0
        for rank in range(n):
            while order[rank] - order[first] > limit:
                first += 1
            while last < n - 1 and order[last + 1] - order[rank] <= limit:
                last += 1
            firsts[rank], lasts[rank] = first, last
        for place in range(pairs.shape[1]):
            one, other = ranks[pairs[0, place], channel], ranks[pairs[1, place], channel]
            bounds[place, 2 * channel] = max(firsts[one], firsts[other])
            bounds[place, 2 * channel + 1] = min(lasts[one], lasts[other])


@njit(nogil=True, cache=True)
def _root(parents: Any, node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(nogil=True, cache=True)
def _join(parents: Any, one: int, other: int) -> None:
    one, other = _root(parents, one), _root(parents, other)
    parents[max(one, other)] = min(one, other)


@njit(nogil=True, cache=True)
def _measure(starts: Any, ranks: Any, box: Any) -> None:
    """The lowest and the highest rank of the starts, channel after channel."""
    for channel in range(ranks.shape[1]):
        low = high = ranks[starts[0], channel]
        for start in starts:
            low, high = min(low, ranks[start, channel]), max(high, ranks[start, channel])
        box[2 * channel], box[2 * channel + 1] = low, high


@njit(nogil=True, cache=True)
def _passed(bound: Any, box: Any) -> int:
    """From how many places of the box a link is passed."""
    passed = EVERYWHERE
    for side in range(0, len(box), 2):
        if bound[side] > box[side + 1] or bound[side + 1] < box[side]:
            return NOWHERE
        if bound[side] > box[side] or bound[side + 1] < box[side + 1]:
            passed = SOMEWHERE
    return passed


@njit(nogil=True, cache=True)
def _contract(starts: Any, pairs: Any, bounds: Any, ranks: Any, n_nodes: int) -> Any:
    """Join nodes whose links all starts pass.

    Returns the node that stands for each one, int32 (n_nodes,), and which links between different ones are left
    that some start passes.
    """
    box = np.empty(bounds.shape[1], np.int32)
    _measure(starts, ranks, box)
    parents, left = np.arange(n_nodes).astype(np.int32), np.empty(pairs.shape[1], np.int32)
    n_left = 0
    for link in range(pairs.shape[1]):
        passed = _passed(bounds[link], box)
        if passed == EVERYWHERE:
            _join(parents, pairs[0, link], pairs[1, link])
        elif passed == SOMEWHERE:
            left[n_left] = link
            n_left += 1
    _flatten(parents)
    count = 0
    for place in range(n_left):
        link = left[place]
        if parents[pairs[0, link]] != parents[pairs[1, link]]:
            left[count] = link
            count += 1
    return parents, left[:count]


@njit(nogil=True, cache=True)
def _flatten(parents: Any) -> None:
    """Hang each node on its root; roots come before what hangs on them."""
    for node in range(len(parents)):
        parents[node] = parents[parents[node]]


@njit(nogil=True, cache=True)
def _highest(groups: Any, values: Any, n_groups: int) -> Any:
    """The highest values among the nodes of each group; below 0 is no group."""
    highest = np.full((n_groups, values.shape[1]), -np.inf)
    for node in range(len(groups)):
        if groups[node] >= 0:
            for k in range(values.shape[1]):
                highest[groups[node], k] = max(highest[groups[node], k], values[node, k])
    return highest


@njit(nogil=True, cache=True)
def _enter(starts: Any, nodes: Any, pairs: Any, bounds: Any, ranks: Any, values: Any, known: Any) -> Any:
    """The part as `flood` takes it without ``ranks`` and ``values``, contracted; first the new name of each node.

    Nodes are left out (-1) that none of the starts reaches, starts that lower nothing they might reach.
    """
    parents, left = _contract(starts, pairs, bounds, ranks, len(known))
    reach = parents.copy()
    for link in left:
        _join(reach, pairs[0, link], pairs[1, link])
    _flatten(reach)
    highest = _highest(reach, known, len(known))
    reached = np.zeros(len(known), np.bool_)
    new_starts, new_nodes = np.empty(len(starts), np.int64), np.empty(len(starts), np.int32)
    n_starts = 0
    for place in range(len(starts)):
        lowers = False
        for k in range(values.shape[1]):
            lowers |= values[starts[place], k] < highest[reach[nodes[place]], k]
        if lowers:
            reached[reach[nodes[place]]] = True
            new_starts[n_starts], new_nodes[n_starts] = starts[place], nodes[place]
            n_starts += 1
    names = np.full(len(known), -1, np.int32)
    n_nodes = 0
    for node in range(len(known)):
        if parents[node] != node:
            names[node] = names[parents[node]]
        elif reached[reach[node]]:
            names[node] = n_nodes
            n_nodes += 1
    new_pairs = np.empty((2, len(left)), np.int32)
    new_bounds = np.empty((len(left), bounds.shape[1]), np.int32)
    n_links = 0
    for link in left:
        if names[pairs[0, link]] >= 0:
            for end in range(2):
                new_pairs[end, n_links] = names[pairs[end, link]]
            for side in range(bounds.shape[1]):
                new_bounds[n_links, side] = bounds[link, side]
            n_links += 1
    for place in range(n_starts):
        new_nodes[place] = names[new_nodes[place]]
    new_known = _highest(names, known, n_nodes)
    return (
        names,
        new_starts[:n_starts],
        new_nodes[:n_starts],
        new_pairs[:, :n_links],
        new_bounds[:n_links],
        new_known,
    )


@njit(nogil=True, cache=True)
def halve(starts: Any, nodes: Any, ranks: Any) -> Any:
    """Cut starts and their nodes in two by the colour in which they differ most; both keep their order."""
    box = np.empty(2 * ranks.shape[1], np.int32)
    _measure(starts, ranks, box)
    channel = 0
    for other in range(1, ranks.shape[1]):
        if box[2 * other + 1] - box[2 * other] > box[2 * channel + 1] - box[2 * channel]:
            channel = other
    keys = np.empty(len(starts), np.int32)
    for place in range(len(starts)):
        keys[place] = ranks[starts[place], channel]
    middle = len(starts) // 2
    pivot = np.partition(keys, middle)[middle]
    # Of those at the pivot, as many as are missing go to the first half.
    equal = middle
    for key in keys:
        equal -= key < pivot
    order = np.empty(len(starts), np.int64)
    first, second = 0, middle
    for place in range(len(starts)):
        before = keys[place] < pivot
        if keys[place] == pivot and equal > 0:
            before = True
            equal -= 1
        if before:
            order[first] = place
            first += 1
        else:
            order[second] = place
            second += 1
    return starts[order], nodes[order]


@njit(nogil=True, cache=True)
def _neighbours(pairs: Any, n_nodes: int) -> Any:
    """Where the links of each node begin in the list that comes second, and at last its length."""
    offsets = np.zeros(n_nodes + 2, np.int32)
    for link in range(pairs.shape[1]):
        offsets[pairs[0, link] + 2] += 1
        offsets[pairs[1, link] + 2] += 1
    for node in range(2, n_nodes + 2):
        offsets[node] += offsets[node - 1]
    links = np.empty(2 * pairs.shape[1], np.int32)
    for link in range(pairs.shape[1]):
        for end in range(2):
            node = pairs[end, link] + 1
            links[offsets[node]] = link
            offsets[node] += 1
    return offsets[: n_nodes + 1], links


@njit(nogil=True, cache=True)
def _flood_some(
    budget: int, starts: Any, nodes: Any, pairs: Any, bounds: Any, ranks: Any, values: Any, known: Any
) -> int:
    """Flood from one start after the other until the budget is spent; how many that was."""
    n_nodes, n_classes = known.shape
    n_channels = ranks.shape[1]
    offsets, links = _neighbours(pairs, n_nodes)
    seen, queue = np.full(n_nodes, -1, np.int32), np.empty(n_nodes, np.int32)
    for place in range(len(starts)):
        if budget < 0:
            return place
        start = starts[place]
        queue[0] = nodes[place]
        seen[nodes[place]] = place
        done, size = 0, 1
        while done < size:
            node = queue[done]
            done += 1
            for k in range(n_classes):
                known[node, k] = min(known[node, k], values[start, k])
            for at in range(offsets[node], offsets[node + 1]):
                link = links[at]
                other = pairs[0, link] + pairs[1, link] - node
                if seen[other] == place:
                    continue
                passed = True
                for channel in range(n_channels):
                    rank = ranks[start, channel]
                    passed &= (bounds[link, 2 * channel] <= rank) & (rank <= bounds[link, 2 * channel + 1])
                if passed:
                    seen[other] = place
                    queue[size] = other
                    size += 1
            budget -= offsets[node + 1] - offsets[node] + 1
    return len(starts)


@njit(nogil=True, cache=True)
def flood(
    starts: Any, nodes: Any, pairs: Any, bounds: Any, ranks: Any, values: Any, known: Any, patience: Any
) -> None:
    """Flood from all starts of a part.

    Parameters
    ----------
    starts : ndarray of int64, (s,)
        The clusters where the floods begin, at least one.
    nodes : ndarray of int32, (s,)
        Their nodes, each of which stands for one cluster or several.
    pairs : ndarray of int32, (2, m)
        Nodes that are linked.
    bounds : ndarray of int32, (m, 2 * channels)
        As `bound_starts` leaves them.
    ranks : ndarray of int32, (n, channels)
        Of the colours of all clusters.
    values : ndarray of float64, (n, n_classes)
        Of each cluster.
    known : ndarray of float64, (n_nodes, n_classes)
        Of each node, the highest of what its clusters are known to be lowered to; lowered where floods of this
        part reach it with less.
    patience : tuple of 2 int
        Before a part is halved, its floods may pass so many times the links that there are, and so many more.
    """
    nothing = np.empty(0, np.int32)
    # Parts that are to be entered, and (with names) those whose halves have been gone through by then.
    stack = [(starts, nodes, pairs[:, :], bounds, known, nothing, known)]
    while len(stack) > 0:
        starts, nodes, pairs, bounds, known, names, own_known = stack.pop()
        if len(names) > 0:
            _lower(names, own_known, known)
            continue
        names, starts, nodes, pairs, bounds, own_known = _enter(
            starts, nodes, pairs, bounds, ranks, values, known
        )
        if len(starts) == 0:
            continue
        budget = patience[0] * pairs.shape[1] + patience[1]
        done = _flood_some(budget, starts, nodes, pairs, bounds, ranks, values, own_known)
        stack.append((starts, nodes, pairs, bounds, known, names, own_known))
        if done < len(starts):
            starts, nodes = halve(starts[done:], nodes[done:], ranks)
            middle = len(starts) // 2
            stack.append((starts[middle:], nodes[middle:], pairs, bounds, own_known, nothing, own_known))
            if middle > 0:
                stack.append((starts[:middle], nodes[:middle], pairs, bounds, own_known, nothing, own_known))


@njit(nogil=True, cache=True)
def _lower(names: Any, found: Any, known: Any) -> None:
    """Lower what is known of nodes to what was found for their new names."""
    for node in range(len(names)):
        if names[node] >= 0:
            for k in range(known.shape[1]):
                known[node, k] = min(known[node, k], found[names[node], k])


def warm_up() -> None:
    """Compile every loop of this file, or load it from numba's cache."""
    from napari_refit.fit.flood import cluster_graph, flood_clusters

    clusters = np.array([[1, 1, 2], [3, 3, 2]], np.int32)
    graph = cluster_graph(np.array([[0, 0, 1], [2, 2, 1]], np.float32), clusters, 3)
    flood_clusters(np.array([[0.1, 0.5, 0.9]]), graph, 0.5)
