"""Regions of all sizes, of which the best are chosen: eq. (1) at every scale at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check
from napari_refit.fit.checks import check_shape, checked_numbers, cluster_sizes, flat_response
from napari_refit.fit.clustered import (
    checked_spacing,
    cluster_means,
    fixed_labels,
    image_colours,
    mask_message,
    strongest_class,
)
from napari_refit.fit.region_tree import RegionTree, region_tree
from napari_refit.fit.regions import Regions, measure_regions
from napari_refit.fit.spread import spread_response
from napari_refit.fit.types import FitInput, FitResult
from napari_refit.memo import Memo, forgetful
from napari_refit.params import HierarchyParams

Stop = Callable[[], bool]
Values = NDArray[np.float64]


def hierarchy_fit(
    inputs: FitInput,
    params: HierarchyParams,
    *,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> FitResult:
    """Fit a mask of regions of any size out of a tree of regions.

    Touching clusters merge two by two into ever larger regions (see `napari_refit.fit.region_tree`). Of all regions of
    this tree, clusters included, those that do not overlap and for which the sum is largest make the mask. A region
    counts

    ``size * (mean response - threshold) - smoothness * outline - region_cost``

    with ``outline`` the length of its border, each piece of it times ``exp(-d² / (2 contrast²))``, where ``d`` is the
    difference of the colours on its two sides over what is usual in this image.

    Parameters
    ----------
    inputs : FitInput
        Clusters are taken at their word: 1..n without gaps, each connected. ``image`` (else ``simplified``) may have
        channels at its end. Of ``hints`` the clusters that they touch are fixed, by majority where several do: no
        region that holds one for background or another class is chosen, and one for the class always lies in one.
    params : HierarchyParams
    memo : Memo
        Belongs to ``inputs``; keeps what depends on image and clusters, the tree, and the spread response.
    cancelled : callable, optional

    Returns
    -------
    FitResult
        ``fitted`` is constant within each cluster: the highest threshold at which the cluster is still in the mask.
        The mask of one class at any threshold is exactly the best choice at that threshold. Of several classes the
        one whose fitted response is highest wins.

    Raises
    ------
    ValueError
        If shapes disagree, a value is outside its range, there is no image, or hints name an unknown class.
    Cancelled
        If ``cancelled()`` answered True.

    Notes
    -----
    For one threshold this is dynamic programming over the tree: the best within a region is the region itself or the
    best within both of its children. `best_levels` does it for all thresholds at once.

    References
    ----------
    Guigues, Cocquerez, Le Men, "Scale-sets image analysis" (IJCV 68, 2006), choose regions of a tree by a sum in the
    same way, for all weights of the outline at once.

    Examples
    --------
    >>> clusters = np.repeat(np.arange(1, 7, dtype=np.int32), 4).reshape(6, 4)
    >>> image = np.array([0.1, 0.1, 0.8, 0.8, 0.1, 0.2], np.float32)[clusters - 1]
    >>> response = np.array([0.0, 0.1, 0.9, 0.65, 0.3, 0.0], np.float32)[clusters - 1]
    >>> result = hierarchy_fit(FitInput(response[None], clusters, image=image), HierarchyParams(spread=0))
    >>> result.mask[:, 0].tolist(), result.fitted[0, 2:4, 0].astype(float).round(2).tolist()
    ([0, 0, 1, 1, 0, 0], [0.8, 0.75])
    """
    from napari_refit.uss.checks import loopable, real_array

    response = real_array(inputs.response, "response")
    check_shape(response, inputs.clusters.shape)
    numbers = checked_numbers(inputs.class_numbers, len(response))
    clusters = loopable(inputs.clusters, np.int32)

    def measure() -> Regions:
        colours = image_colours(inputs, clusters.shape, "the hierarchy fit")
        spacing = checked_spacing(inputs, clusters.ndim)
        return measure_regions(colours, clusters, cluster_sizes(clusters), spacing)

    regions: Regions = memo("regions", measure)
    tree: RegionTree = memo("tree", lambda: region_tree(regions.graph, regions.sizes, cancelled))
    check(cancelled)
    means = memo("means", lambda: cluster_means(flat_response(response), clusters))
    values: Values = memo(
        ("response", params.spread),
        lambda: spread_response(means, regions.graph, regions.sizes, params.spread),
    )
    outlines = memo(("outlines", params.contrast), lambda: region_outlines(tree, regions, params.contrast))
    costs = params.smoothness * outlines + params.region_cost
    fixed = fixed_labels(inputs.hints, clusters, numbers, tree.n_leaves)
    fitted = np.stack(
        [
            best_levels(tree, regions.sizes, costs, _with_hints(each, fixed, k + 1))
            for k, each in enumerate(values)
        ]
    )
    soft = fitted.clip(0, 1).astype(np.float32)
    mask = strongest_class(soft, params.threshold, numbers)
    # At a threshold of 0 everything passes but what hints keep out.
    mask[fixed == 0] = 0
    places = clusters - 1
    message = mask_message(
        soft.max(axis=0),
        params.threshold,
        float(values.max()),
        where="cluster",
        to_shrink=", or make more clusters",
        to_grow=", the smoothness or the cost of a region, or make the clusters smaller",
    )
    return FitResult(soft[:, places], mask[places], message)


def region_outlines(tree: RegionTree, regions: Regions, contrast: float) -> Values:
    """Length of the border around each region of a tree, less where the image has an edge.

    Parameters
    ----------
    tree : RegionTree
    regions : Regions
        Of the tree's clusters.
    contrast : float
        A border counts ``exp(-d² / (2 contrast²))`` of its length, with ``d`` the difference of the colours of its
        two clusters as a multiple of the root mean square of all pairs. The frame of the image does not count.

    Returns
    -------
    ndarray of float64, shape (n_regions,)
        In mean borders of touching clusters.
    """
    from napari_refit.fit.hierarchy_kernel import add_inner_borders

    weights = regions.borders * np.exp(-regions.differences / (2 * contrast**2))
    first, second = regions.graph.pairs
    n_leaves = tree.n_leaves
    own = np.bincount(first, weights, n_leaves) + np.bincount(second, weights, n_leaves)
    parents = np.full(tree.n_regions, -1)
    parents[tree.children] = np.arange(n_leaves, tree.n_regions)[:, np.newaxis]
    inner = np.zeros(tree.n_regions)
    add_inner_borders(regions.graph.pairs, weights, parents, inner)
    found = own.tolist()
    for (one, other), between in zip(tree.children.tolist(), inner[n_leaves:].tolist(), strict=True):
        found.append(found[one] + found[other] - 2 * between)
    # Rounding must not make a border shorter than none.
    return np.array(found).clip(0, None)


def best_levels(tree: RegionTree, sizes: Values, costs: Values, response: Values) -> Values:
    """The highest threshold at which each cluster lies in one of the best regions.

    Parameters
    ----------
    tree : RegionTree
    sizes : ndarray of float64, shape (n_leaves,)
        Above 0.
    costs : ndarray of float64, shape (n_regions,)
        What each region costs when chosen, 0 or more.
    response : ndarray of float64, shape (n_leaves,)
        Infinite: always in; minus infinite: never.

    Returns
    -------
    ndarray of float64, shape (n_leaves,)
        The clusters with at least ``t`` are covered by regions that do not overlap and for which the sum of
        ``size * (mean response - t) - cost`` is largest, whatever ``t`` is; of several such choices, by the one that
        covers most.

    Notes
    -----
    Choosing a whole region instead of the best of its parts pays up to one threshold, because its worth falls faster
    with the threshold than theirs; so choices at higher thresholds lie within those at lower ones.

    Examples
    --------
    Two clusters that cost 0.1 each, or 0.1 together:

    >>> tree = RegionTree(np.array([[0, 1]]), 2)
    >>> best_levels(tree, np.ones(2), np.full(3, 0.1), np.array([0.8, 0.6])).round(3).tolist()
    [0.7, 0.6]
    >>> best_levels(tree, np.ones(2), np.array([0.1, 0.1, 0.0]), np.array([0.8, 0.6])).round(3).tolist()
    [0.7, 0.7]
    """
    from napari_refit.fit.hierarchy_kernel import best_regions

    levels = np.zeros(tree.n_regions)
    levels[: tree.n_leaves] = response
    best_regions(tree.children, np.asarray(sizes, np.float64), np.asarray(costs, np.float64), levels)
    return levels[: tree.n_leaves]


def _with_hints(response: Values, fixed: NDArray[np.int64], label: int) -> Values:
    """Response of one class, infinite where hints say that clusters belong to it, or do not."""
    return np.where(fixed < 0, response, np.where(fixed == label, np.inf, -np.inf))
