"""The tree of regions against a slow version, and what can be asked of it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.errors import Cancelled
from napari_refit.fit.flood import ClusterGraph, cluster_graph
from napari_refit.fit.region_tree import RegionTree, region_tree
from napari_refit.uss.edges import connected_clusters


@st.composite
def clusterings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.sampled_from([(4, 5), (6, 6), (2, 3, 4)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    labels = rng.integers(1, draw(st.integers(2, 6)), shape)
    clusters = connected_clusters(labels.reshape(-1, shape[-1])).reshape(shape) if len(shape) == 2 else labels
    if len(shape) == 3:
        clusters = np.unique(labels, return_inverse=True)[1].reshape(shape) + 1
    channels = draw(st.sampled_from([1, 3]))
    return clusters.astype(np.int32), rng.random((*shape, channels))


def slow_tree(graph: ClusterGraph, sizes: np.ndarray) -> list[frozenset[int]]:
    """Every pair of touching regions is looked at before each merge; the regions in the order they are made."""
    regions = {k: frozenset([k]) for k in range(len(sizes))}
    pairs = {frozenset(pair) for pair in graph.pairs.T.tolist()}
    made = []
    for number in range(len(sizes), 2 * len(sizes)):
        costs = []
        for one, other in combinations(sorted(regions), 2):
            if not any(frozenset((a, b)) in pairs for a in regions[one] for b in regions[other]):
                continue
            a, b = (sorted(regions[k]) for k in (one, other))
            total_a, total_b = sizes[a].sum(), sizes[b].sum()
            mean_a = (graph.colours[a] * sizes[a][:, None]).sum(0) / total_a
            mean_b = (graph.colours[b] * sizes[b][:, None]).sum(0) / total_b
            costs.append(
                (total_a * total_b / (total_a + total_b) * ((mean_a - mean_b) ** 2).sum(), one, other)
            )
        if not costs:
            break
        _, one, other = min(costs)
        regions[number] = regions.pop(one) | regions.pop(other)
        made.append(regions[number])
    return made


@settings(max_examples=60, deadline=None)
@given(clusterings())
def test_the_cheapest_merge_comes_first(example: tuple[np.ndarray, np.ndarray]) -> None:
    clusters, image = example
    n = int(clusters.max())
    sizes = np.bincount(clusters.ravel(), minlength=n + 1)[1:]
    graph = cluster_graph(image, clusters, n)
    tree = region_tree(graph, sizes)
    members = [frozenset([k]) for k in range(n)]
    for one, other in tree.children.tolist():
        members.append(members[one] | members[other])
    assert members[n:] == slow_tree(graph, sizes)
    np.testing.assert_allclose(tree.sums(sizes), [sizes[sorted(region)].sum() for region in members])


@settings(max_examples=40, deadline=None)
@given(clusterings(), st.integers(1, 12))
def test_a_cut_has_so_many_regions_and_they_nest(example: tuple[np.ndarray, np.ndarray], wanted: int) -> None:
    clusters, image = example
    n = int(clusters.max())
    tree = region_tree(cluster_graph(image, clusters, n), np.bincount(clusters.ravel(), minlength=n + 1)[1:])
    least = n - len(tree.children)
    finer, coarser = tree.cut(wanted + 1), tree.cut(wanted)
    assert len(np.unique(coarser)) == max(least, min(wanted, n))
    for region in np.unique(finer):
        assert len(np.unique(coarser[finer == region])) == 1


def test_what_does_not_touch_is_not_merged() -> None:
    tree = region_tree(ClusterGraph(np.array([[0], [1]]), np.zeros((3, 1))), np.ones(3, np.int64))
    assert tree.children.tolist() == [[0, 1]]
    assert tree.cut(1).tolist() == [3, 3, 2]


def test_one_cluster_and_cancelling() -> None:
    alone = region_tree(ClusterGraph(np.zeros((2, 0), np.int64), np.zeros((1, 1))), np.ones(1, np.int64))
    assert alone.n_regions == 1
    assert alone.cut(5).tolist() == [0]
    with pytest.raises(Cancelled):
        region_tree(ClusterGraph(np.array([[0], [1]]), np.zeros((2, 1))), np.ones(2, np.int64), lambda: True)
    assert RegionTree(np.zeros((0, 2), np.int64), 2).top_down(np.array([-1, 4])).tolist() == [-1, 4]
