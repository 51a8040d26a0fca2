"""Labels of least energy on a graph of touching clusters: cuts, the levels of all cuts at once, several labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check
from napari_refit.fit import cut_kernel

Stop = Callable[[], bool]
Values = NDArray[np.float64]

# What rounding may make of a gain of 0, as a fraction of all that flows.
ROUNDING = 1e-12
# Sweeps over all labels; two or three are usual.
MOST_SWEEPS = 20


class Network:
    """Nodes and the pairs that are linked, ready for cuts with any weights.

    Parameters
    ----------
    pairs : ndarray of int64, shape (2, m)
        Linked nodes, counted from 0; each pair once, no node with itself.
    n_nodes : int
    """

    def __init__(self, pairs: NDArray[np.int64], n_nodes: int) -> None:
        self.pairs = np.ascontiguousarray(pairs, np.int64).reshape(2, -1)
        self.n_nodes = n_nodes
        n_arcs = self.pairs.size
        self._starts = np.empty(n_nodes + 1, np.int64)
        self._targets, self._mates = np.empty(n_arcs, np.int64), np.empty(n_arcs, np.int64)
        self._places = np.empty(self.pairs.shape, np.int64)
        cut_kernel.link(self.pairs, n_nodes, self._starts, self._targets, self._mates, self._places)

    def cut(self, gains: Values, leaving: Values, entering: Values | None = None) -> NDArray[np.bool_]:
        """Choose the nodes that together are worth most.

        Chosen nodes bring their gains; a pair of which one node only is chosen costs its weight. That choice is a
        cut of least capacity in a flow network (Greig, Porteous, Seheult 1989).

        Parameters
        ----------
        gains : ndarray of float64, shape (n_nodes,)
            Of any sign.
        leaving : ndarray of float64, shape (m,)
            Cost where the first node of a pair is chosen and the second is not; 0 or more.
        entering : ndarray of float64, shape (m,), optional
            The other way round; the same when left out.

        Returns
        -------
        ndarray of bool, shape (n_nodes,)
            The largest of equally good choices.

        Examples
        --------
        >>> line = Network(np.array([[0, 1], [1, 2]]), 3)
        >>> line.cut(np.array([3.0, -1.0, -1.0]), np.array([2.0, 0.5])).tolist()
        [True, True, False]
        """
        room = np.empty(self.pairs.size)
        room[self._places[0]] = leaving
        room[self._places[1]] = leaving if entering is None else entering
        excess, levels = gains.astype(np.float64), np.empty(self.n_nodes, np.int64)
        cut_kernel.flow(self._starts, self._targets, self._mates, room, excess, levels)
        return levels == 0

    def levels(
        self,
        values: Values,
        sizes: Values,
        weights: Values,
        fixed: NDArray[np.integer] | None = None,
        cancelled: Stop | None = None,
    ) -> Values:
        """For each node the highest bar at which the best choice still holds it.

        With a bar ``t`` the gains are ``sizes * (values - t)``. The higher the bar the fewer nodes are chosen, so the
        choices for all bars are told by one number per node. These numbers are those with the smallest

        ``sum_k sizes_k (v_k - values_k)² / 2 + sum_(k, l) weights_kl |v_k - v_l|``

        Parameters
        ----------
        values : ndarray of float64, shape (n_nodes,)
        sizes : ndarray of float64, shape (n_nodes,)
            Above 0.
        weights : ndarray of float64, shape (m,)
            0 or more.
        fixed : ndarray of int, shape (n_nodes,), optional
            1 for nodes that every choice must hold, -1 for those that none may, else 0.
        cancelled : callable, optional
            Asked before each cut.

        Returns
        -------
        ndarray of float64, shape (n_nodes,)
            Infinite for fixed nodes, of the sign that they are fixed to.

        References
        ----------
        Hochbaum, "An efficient algorithm for image segmentation, Markov random fields and related problems", Journal
        of the ACM 48, 2001; Darbon and Sigelle, "Image restoration with discrete constrained total variation", Journal
        of Mathematical Imaging and Vision 26, 2006.

        Examples
        --------
        >>> line = Network(np.array([[0, 1], [1, 2]]), 3)
        >>> line.levels(np.array([4.0, 0.0, 0.0]), np.ones(3), np.array([1.0, 0.25])).tolist()
        [3.0, 0.75, 0.25]
        """
        first, second = self.pairs
        fixed = np.zeros(self.n_nodes, np.int64) if fixed is None else fixed.astype(np.int64)
        linear = values * sizes
        tolerance = ROUNDING * (np.abs(linear).sum() + weights.sum())
        # What a fixed node pulls its neighbours by does not depend on the bar.
        linear = linear + np.bincount(first, weights * fixed[second], self.n_nodes)
        linear += np.bincount(second, weights * fixed[first], self.n_nodes)
        kept, group = np.unique(fixed, return_inverse=True)
        linked, whole = (fixed[first] == 0) & (fixed[second] == 0), kept != 0
        while True:
            check(cancelled)
            # All groups at once: between them there are no links any more.
            count = len(whole)
            mean = np.bincount(group, linear, count) / np.bincount(group, sizes, count)
            gains = np.where(whole[group], 0.0, linear - sizes * mean[group])
            upper = self.cut(gains, np.where(linked, weights, 0.0)) & ~whole[group]
            apart = linked & (upper[first] != upper[second])
            worth = np.bincount(group, np.where(upper, gains, 0.0), count)
            worth -= np.bincount(group[first[apart]], weights[apart], count)
            splits = (worth > tolerance) & (
                np.bincount(group, upper, count) < np.bincount(group, None, count)
            )
            if not splits.any():
                return np.where(fixed == 0, mean[group], np.where(fixed > 0, np.inf, -np.inf))
            apart &= splits[group[first]]
            # Which of the two is higher is known from here on, so that the cost of a difference is linear.
            rising = np.where(upper[second[apart]], weights[apart], -weights[apart])
            linear = linear + np.bincount(first[apart], rising, self.n_nodes)
            linear -= np.bincount(second[apart], rising, self.n_nodes)
            linked &= ~apart
            kept, group = np.unique(2 * group + (upper & splits[group]), return_inverse=True)
            whole = ~splits[kept // 2]


def energy(labels: NDArray[np.int64], costs: Values, pairs: NDArray[np.int64], weights: Values) -> float:
    """What labels cost: each node its own cost, each linked pair with different labels its weight.

    Parameters
    ----------
    labels : ndarray of int, shape (n_nodes,)
    costs : ndarray of float64, shape (n_labels, n_nodes)
    pairs : ndarray of int64, shape (2, m)
    weights : ndarray of float64, shape (m,)
    """
    own = np.take_along_axis(costs, labels[np.newaxis], axis=0).sum()
    return float(own + weights[labels[pairs[0]] != labels[pairs[1]]].sum())


def expand(
    network: Network, costs: Values, weights: Values, cancelled: Stop | None = None
) -> NDArray[np.int64]:
    """Labels of low energy (see `energy`), by expansion moves; of least energy where there are two labels.

    Parameters
    ----------
    network : Network
    costs : ndarray of float64, shape (n_labels, n_nodes)
    weights : ndarray of float64, shape (m,)
        0 or more.
    cancelled : callable, optional
        Asked before each move.

    Returns
    -------
    ndarray of int64, shape (n_nodes,)
        No single label can be expanded so that the energy falls; at most twice the least energy.

    References
    ----------
    Boykov, Veksler, Zabih, "Fast approximate energy minimization via graph cuts", PAMI 23, 2001.

    Examples
    --------
    >>> line = Network(np.array([[0, 1], [1, 2]]), 3)
    >>> expand(line, np.array([[0.0, 2, 5], [4, 1, 4], [4, 2, 0]]), np.array([2.0, 0.5])).tolist()
    [0, 0, 2]
    """
    first, second = network.pairs
    nodes = np.arange(network.n_nodes)
    labels = costs.argmin(axis=0)
    lowest = energy(labels, costs, network.pairs, weights)
    if len(costs) == 2:
        return network.cut(costs[0] - costs[1], weights).astype(np.int64)
    idle = 0
    for move in range(MOST_SWEEPS * len(costs)):
        check(cancelled)
        label = move % len(costs)
        # A pair costs ``both`` if neither moves, ``one`` or ``other`` if only the second or the first one does.
        both = np.where(labels[first] != labels[second], weights, 0.0)
        one = np.where(labels[first] != label, weights, 0.0)
        other = np.where(labels[second] != label, weights, 0.0)
        gains = costs[labels, nodes] - costs[label]
        gains += np.bincount(first, both - other, network.n_nodes)
        gains += np.bincount(second, other, network.n_nodes)
        moved = np.where(network.cut(gains, np.zeros(len(weights)), one + other - both), label, labels)
        reached = energy(moved, costs, network.pairs, weights)
        idle += 1
        if reached < lowest:
            labels, lowest, idle = moved, reached, 0
        if idle == len(costs):
            break
    return labels
