"""The best regions of a tree: against every choice there is, and what must hold for any input and any hint."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_refit import Refit, RefitParams
from napari_refit.errors import Cancelled
from napari_refit.fit.boundary import boundary_fit_stage
from napari_refit.fit.checks import cluster_sizes
from napari_refit.fit.hierarchy import best_levels, hierarchy_fit, region_outlines
from napari_refit.fit.region_tree import RegionTree, region_tree
from napari_refit.fit.regions import measure_regions
from napari_refit.fit.types import BACKGROUND_HINT, FitInput
from napari_refit.params import BoundaryParams, HierarchyParams

DEFAULT = HierarchyParams()


def members(tree: RegionTree) -> list[frozenset[int]]:
    """The clusters of every region."""
    found = [frozenset([leaf]) for leaf in range(tree.n_leaves)]
    for one, other in tree.children.tolist():
        found.append(found[one] | found[other])
    return found


def choices(tree: RegionTree) -> list[tuple[int, ...]]:
    """Every set of regions that do not overlap."""
    below: list[list[tuple[int, ...]]] = [[(), (leaf,)] for leaf in range(tree.n_leaves)]
    for region, (one, other) in enumerate(tree.children.tolist(), start=tree.n_leaves):
        below.append([a + b for a, b in product(below[one], below[other])] + [(region,)])
    inner = set(tree.children.ravel().tolist())
    tops = [below[region] for region in range(tree.n_regions) if region not in inner]
    return [sum(parts, ()) for parts in product(*tops)]


@st.composite
def problems(draw: st.DrawFn) -> tuple[RegionTree, np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    roots, children = list(range(n)), []
    for _ in range(draw(st.integers(0, n - 1))):
        one, other = sorted(rng.choice(len(roots), 2, replace=False).tolist())
        children.append((roots[one], roots[other]))
        del roots[other], roots[one]
        roots.append(n + len(children) - 1)
    tree = RegionTree(np.array(children, np.int64).reshape(-1, 2), n)
    scale = draw(st.sampled_from([0.0, 0.05, 0.3, 2.0]))
    costs = rng.random(tree.n_regions) * scale
    if draw(st.booleans()):
        costs[:] = scale
    whole = draw(st.booleans())
    sizes = rng.integers(1, 4, n).astype(float) if whole else rng.uniform(0.2, 3, n)
    response = rng.integers(0, 5, n) / 4 if whole else rng.random(n)
    return tree, sizes, costs, response


def worth(
    choice: tuple[int, ...],
    held: list[frozenset[int]],
    sizes: np.ndarray,
    costs: np.ndarray,
    response: np.ndarray,
    threshold: float,
) -> float:
    return sum(
        sum(sizes[k] * (response[k] - threshold) for k in held[region]) - costs[region] for region in choice
    )


@settings(max_examples=300, deadline=None)
@given(problems(), st.floats(-0.5, 1.2))
def test_no_other_choice_is_better_at_any_threshold(problem, threshold: float) -> None:
    tree, sizes, costs, response = problem
    levels = best_levels(tree, sizes, costs, response)
    held, everything = members(tree), choices(tree)
    for bar in {threshold, 0.5, *(levels + 1e-6).tolist(), *(levels - 1e-6).tolist()}:
        found = frozenset(np.flatnonzero(levels >= bar).tolist())
        values = {}
        for choice in everything:
            covered = frozenset().union(*(held[region] for region in choice))
            value = worth(choice, held, sizes, costs, response, bar)
            values[covered] = max(values.get(covered, -np.inf), value)
        best = max(values.values())
        assert found in values
        assert values[found] == pytest.approx(best, abs=1e-9)
        assert (
            all(covered <= found for covered, value in values.items() if value > best - 1e-12)
            or np.abs(levels - bar).min() < 1e-9
        )


@settings(max_examples=200, deadline=None)
@given(problems(), st.lists(st.sampled_from([-1, 0, 1]), min_size=6, max_size=6), st.floats(0, 1))
def test_hints_are_hard_constraints(problem, hints: list[int], threshold: float) -> None:
    """A choice is allowed if no region holds a cluster that is out, and every cluster that is in lies in one."""
    tree, sizes, costs, response = problem
    fixed = np.array(hints[: tree.n_leaves])
    out, kept = set(np.flatnonzero(fixed == 0).tolist()), set(np.flatnonzero(fixed == 1).tolist())
    given_response = np.where(fixed < 0, response, np.where(fixed == 1, np.inf, -np.inf))
    levels = best_levels(tree, sizes, costs, given_response)
    found = frozenset(np.flatnonzero(levels >= threshold).tolist())
    held, values = members(tree), {}
    for choice in choices(tree):
        covered = frozenset().union(*(held[region] for region in choice))
        if covered & out or not kept <= covered:
            continue
        value = worth(choice, held, sizes, costs, response, threshold)
        values[covered] = max(values.get(covered, -np.inf), value)
    assert found in values
    assert values[found] == pytest.approx(max(values.values()), abs=1e-9)


def tiles(shape: tuple[int, ...], side: int) -> np.ndarray:
    places = np.indices(shape) // side
    counts = [-(-length // side) for length in shape]
    return (np.ravel_multi_index(tuple(places), counts) + 1).astype(np.int32)


def scene(shape: tuple[int, ...] = (48, 48), channels: int = 0, seed: int = 0) -> tuple[FitInput, np.ndarray]:
    """A bright ball on a dark ground, and a response that is a smaller ball beside its centre."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    centre = [length / 2 for length in shape]
    far = np.sqrt(sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True)))
    radius = 0.26 * shape[-1]
    truth = far < radius
    off = np.sqrt(sum((axis - place - 1) ** 2 for axis, place in zip(grid, centre, strict=True)))
    response = np.exp(-((off / (0.9 * radius)) ** 2) / 2)[None].astype(np.float32)
    noise = gaussian_filter(rng.normal(size=shape), 0.5) * 0.08
    image = (np.where(truth, 0.7, 0.25) + noise).clip(0, 1).astype(np.float32)
    if channels:
        image = np.stack([image, *(rng.random((channels - 1, *shape)) * 0.1)], axis=-1).astype(np.float32)
    return FitInput(response, tiles(shape, 4), image=image), truth


def random_inputs(seed: int, n_classes: int = 1, shape: tuple[int, ...] = (20, 24)) -> FitInput:
    rng = np.random.default_rng(seed)
    response = gaussian_filter(rng.random((n_classes, *shape)), (0, *[2] * len(shape)))
    response = (response - response.min()) / np.ptp(response)
    image = gaussian_filter(rng.random(shape), 1).astype(np.float32)
    return FitInput(response.astype(np.float32), tiles(shape, 4), image=image)


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("shape", [(48, 48), (12, 32, 32)])
def test_an_object_is_found_better_than_by_any_threshold(shape: tuple[int, ...], channels: int) -> None:
    inputs, truth = scene(shape, channels)
    mask = hierarchy_fit(inputs, DEFAULT).mask > 0
    rivals = [inputs.response[0] >= level for level in np.arange(0.05, 1, 0.05)]
    found, *others = (2 * (each & truth).sum() / (each.sum() + truth.sum()) for each in (mask, *rivals))
    assert found > 0.8
    assert found > np.mean(others) + 0.1


@given(st.integers(0, 10**6), st.floats(0, 20), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_without_costs_it_is_a_threshold_on_every_cluster(seed: int, spread: float, threshold: float) -> None:
    """Eq. (1) with the mean in place of the lowest response."""
    inputs = random_inputs(seed)
    flat = inputs.clusters - 1
    means = np.bincount(flat.ravel(), inputs.response[0].ravel()) / np.bincount(flat.ravel())
    even = replace(inputs, response=means[flat][None])
    params = HierarchyParams(smoothness=0, region_cost=0, spread=spread, threshold=threshold)
    paper = BoundaryParams(coverage=1, tolerance=0, spread=spread, threshold=threshold)
    ours, theirs = hierarchy_fit(inputs, params), boundary_fit_stage(even, paper)
    np.testing.assert_allclose(ours.fitted, theirs.fitted, atol=1e-5)
    near = np.abs(theirs.fitted[0] - threshold) < 1e-5
    np.testing.assert_array_equal(ours.mask[~near], theirs.mask[~near])


def test_outlines_are_counted_pixel_by_pixel() -> None:
    inputs = random_inputs(3, shape=(8, 12))
    clusters = inputs.clusters
    regions = measure_regions(inputs.image, clusters, cluster_sizes(clusters))
    tree = region_tree(regions.graph, regions.sizes)
    found = region_outlines(tree, regions, 0.7)
    weight = dict(zip(map(tuple, regions.graph.pairs.T.tolist()), regions.differences.tolist(), strict=True))
    faces = [(clusters[1:], clusters[:-1]), (clusters[:, 1:], clusters[:, :-1])]
    steps = [
        (a - 1, b - 1)
        for one, other in faces
        for a, b in zip(one.ravel(), other.ravel(), strict=True)
        if a != b
    ]
    mean = len(steps) / regions.graph.pairs.shape[1]
    for region, held in enumerate(members(tree)):
        length = sum(
            np.exp(-weight[min(a, b), max(a, b)] / (2 * 0.7**2))
            for a, b in steps
            if (a in held) != (b in held)
        )
        assert found[region] == pytest.approx(length / mean, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0, 2), st.floats(0, 3), st.floats(0, 20))
@settings(max_examples=40, deadline=None)
def test_what_holds_for_any_input(
    seed: int, n_classes: int, smoothness: float, cost: float, spread: float
) -> None:
    inputs = random_inputs(seed, n_classes)
    params = HierarchyParams(smoothness=smoothness, region_cost=cost, spread=spread, threshold=0.4)
    result = hierarchy_fit(inputs, params)
    again = hierarchy_fit(inputs, params)
    np.testing.assert_array_equal(result.fitted, again.fitted)
    assert result.fitted.dtype == np.float32
    assert result.fitted.min() >= 0
    assert result.fitted.max() <= 1
    assert set(np.unique(result.mask)) <= set(range(n_classes + 1))
    np.testing.assert_array_equal(result.mask > 0, result.fitted.max(axis=0) >= np.float32(0.4))
    for number in np.unique(inputs.clusters)[::7]:
        assert np.ptp(result.fitted[:, inputs.clusters == number], axis=1).max() == 0


@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0, 1), st.data())
@settings(max_examples=40, deadline=None)
def test_hints_are_obeyed_with_every_setting(seed: int, n_classes: int, threshold: float, data) -> None:
    inputs = random_inputs(seed, n_classes)
    numbers = (3, 7, 9)[:n_classes]
    hints = np.zeros(inputs.clusters.shape, np.uint8)
    said = data.draw(
        st.dictionaries(
            st.integers(1, int(inputs.clusters.max())), st.sampled_from([*numbers, BACKGROUND_HINT])
        )
    )
    for cluster, value in said.items():
        hints[tuple(np.argwhere(inputs.clusters == cluster)[0])] = value
    given_hints = replace(inputs, hints=hints, class_numbers=numbers)
    mask = hierarchy_fit(given_hints, HierarchyParams(threshold=threshold, region_cost=0.5)).mask
    for cluster, value in said.items():
        expected = 0 if value == BACKGROUND_HINT else value
        assert (mask[inputs.clusters == cluster] == expected).all()


@pytest.mark.parametrize(
    ("response", "changes", "text"),
    [
        (0.0, {}, "0 everywhere"),
        (0.4, {}, "Nothing passes: the best cluster reaches 0.3"),
        (1.0, {"threshold": 0.2}, "fills the frame"),
    ],
)
def test_it_says_when_the_mask_is_empty_or_full(response: float, changes: dict, text: str) -> None:
    inputs = replace(random_inputs(0), response=np.full((1, 20, 24), response, np.float32))
    result = hierarchy_fit(inputs, HierarchyParams(**{"region_cost": 0.05, **changes}))
    assert text in result.message


def test_what_it_refuses() -> None:
    inputs = random_inputs(0)
    with pytest.raises(ValueError, match="pass the image too"):
        hierarchy_fit(replace(inputs, image=None), DEFAULT)
    with pytest.raises(ValueError, match="clusters' shape"):
        hierarchy_fit(replace(inputs, response=inputs.response[:, :-1]), DEFAULT)
    with pytest.raises(ValueError, match="hints hold 4"):
        hierarchy_fit(replace(inputs, hints=np.full((20, 24), 4)), DEFAULT)
    with pytest.raises(Cancelled):
        hierarchy_fit(inputs, DEFAULT, cancelled=lambda: True)


def test_a_single_cluster_and_clusters_of_one_colour() -> None:
    flat = FitInput(np.full((1, 6, 6), 0.9, np.float32), np.ones((6, 6), np.int32), image=np.zeros((6, 6)))
    assert hierarchy_fit(flat, DEFAULT).mask.all()
    even = replace(random_inputs(1), image=np.full((20, 24), 0.5))
    assert np.isfinite(hierarchy_fit(even, DEFAULT).fitted).all()


@pytest.mark.parametrize("supervoxels", [False, True])
def test_it_runs_in_the_pipeline(supervoxels: bool) -> None:
    inputs, truth = scene((12, 32, 32))
    params = RefitParams(
        fit="hierarchy",
        **{"slic.n_segments": 40, "slic.supervoxels": supervoxels, "slic.sigma": 0.5, "cam.gate": "off"},
    )
    mask = Refit(inputs.image, response=inputs.response[0], params=params).volume(axis=0).mask > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.7
