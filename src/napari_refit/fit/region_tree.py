"""Clusters merged two by two into ever larger regions, as a tree."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check
from napari_refit.fit.flood import ClusterGraph

ASK_EVERY = 256


@dataclass(frozen=True, eq=False)
class RegionTree:
    """A binary tree whose leaves are the clusters; where clusters do not all touch, several trees.

    Attributes
    ----------
    children : ndarray of int64, shape (m, 2)
        The two regions that became region ``n_leaves + k``, the k-th merge. Children come before parents.
    n_leaves : int
        Clusters, which are regions 0 to n_leaves - 1.
    """

    children: NDArray[np.int64]
    n_leaves: int

    @property
    def n_regions(self) -> int:
        """Leaves and merged regions together."""
        return self.n_leaves + len(self.children)

    def sums(self, of_leaves: NDArray[np.floating]) -> NDArray[np.float64]:
        """For every region the sum over its clusters, along the first axis of ``of_leaves``.

        Examples
        --------
        >>> RegionTree(np.array([[0, 2], [1, 3]]), 3).sums(np.array([1.0, 2.0, 4.0])).tolist()
        [1.0, 2.0, 4.0, 5.0, 7.0]
        """
        found = np.zeros((self.n_regions, *of_leaves.shape[1:]))
        found[: self.n_leaves] = of_leaves
        for region, (one, other) in enumerate(self.children.tolist(), start=self.n_leaves):
            found[region] = found[one] + found[other]
        return found

    def top_down(self, of_regions: NDArray[np.int64]) -> NDArray[np.int64]:
        """For every leaf the value of the highest region above it (or itself) that has one; below 0 means none.

        Examples
        --------
        >>> tree = RegionTree(np.array([[0, 2], [1, 3]]), 3)
        >>> tree.top_down(np.array([7, -1, 8, 9, -1])).tolist()
        [9, -1, 9]
        """
        found = np.array(of_regions, np.int64)
        for region in range(self.n_regions - 1, self.n_leaves - 1, -1):
            if found[region] >= 0:
                found[self.children[region - self.n_leaves]] = found[region]
        return found[: self.n_leaves]

    def cut(self, n_regions: int) -> NDArray[np.int64]:
        """The region of each leaf when merging stops at so many regions (or at as few as there can be).

        Returns
        -------
        ndarray of int64, shape (n_leaves,)
            Numbers of regions.

        Examples
        --------
        >>> RegionTree(np.array([[0, 2], [1, 3]]), 3).cut(2).tolist()
        [3, 1, 3]
        """
        n_merges = min(len(self.children), max(0, self.n_leaves - n_regions))
        there = np.full(self.n_regions, -1, np.int64)
        there[: self.n_leaves + n_merges] = np.arange(self.n_leaves + n_merges)
        return self.top_down(there)


def region_tree(
    graph: ClusterGraph,
    sizes: NDArray[np.int64] | NDArray[np.float64],
    cancelled: Callable[[], bool] | None = None,
) -> RegionTree:
    """Merge touching regions, those first whose merging adds least to the spread of colours within regions.

    Parameters
    ----------
    graph : ClusterGraph
        Touching clusters and their colours.
    sizes : ndarray of int64 or float64, shape (n_clusters,)
        Pixels of each cluster, or any multiple of that.
    cancelled : callable, optional

    Returns
    -------
    RegionTree
        The same for the same input: of equal merges the one of the lower regions comes first.

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    References
    ----------
    Ward, "Hierarchical grouping to optimize an objective function" (JASA 58, 1963), on touching regions only.

    Examples
    --------
    >>> graph = ClusterGraph(np.array([[0, 1], [1, 2]]), np.array([[0.0], [0.1], [0.9]]))
    >>> region_tree(graph, np.array([4, 4, 4])).children.tolist()
    [[0, 1], [2, 3]]
    """
    colours = [list(colour) for colour in graph.colours.tolist()]
    weight = [float(size) for size in sizes.tolist()]
    touching: list[set[int]] = [set() for _ in weight]
    for one, other in graph.pairs.T.tolist():
        touching[one].add(other)
        touching[other].add(one)

    def cost(one: int, other: int) -> float:
        apart = sum((a - b) ** 2 for a, b in zip(colours[one], colours[other], strict=True))
        return weight[one] * weight[other] / (weight[one] + weight[other]) * apart

    queue = [(cost(one, other), one, other) for one, other in graph.pairs.T.tolist()]
    heapq.heapify(queue)
    children: list[tuple[int, int]] = []
    merged: set[int] = set()
    while queue:
        _, one, other = heapq.heappop(queue)
        if one in merged or other in merged:
            continue
        if len(children) % ASK_EVERY == 0:
            check(cancelled)
        region = len(weight)
        total = weight[one] + weight[other]
        colours.append(
            [
                (weight[one] * a + weight[other] * b) / total
                for a, b in zip(colours[one], colours[other], strict=True)
            ]
        )
        weight.append(total)
        children.append((one, other))
        merged |= {one, other}
        neighbours = (touching[one] | touching[other]) - {one, other}
        touching.append(neighbours)
        for neighbour in neighbours:
            touching[neighbour] -= {one, other}
            touching[neighbour].add(region)
            heapq.heappush(queue, (cost(neighbour, region), neighbour, region))
    return RegionTree(np.array(children, np.int64).reshape(-1, 2), len(sizes))
