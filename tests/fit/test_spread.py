"""The spread of the response over the graph of clusters, against a dense system and against what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_refit.fit.boundary import boundary_fit, boundary_fit_stage
from napari_refit.fit.flood import ClusterGraph, cluster_graph
from napari_refit.fit.spread import LIKENESS, spread_response
from napari_refit.fit.types import FitInput
from napari_refit.params import BoundaryParams
from napari_refit.uss.edges import connected_clusters, simplify


def random_graph(seed: int, channels: int = 1) -> tuple[ClusterGraph, np.ndarray, np.ndarray]:
    """Clusters of a random image, their sizes, and responses of two classes."""
    rng = np.random.default_rng(seed)
    shape = (18, 21) if seed % 2 else (6, 8, 9)
    smooth = gaussian_filter(rng.normal(size=shape), 1)
    clusters = connected_clusters(np.digitize(smooth, np.quantile(smooth, [0.25, 0.5, 0.75])))
    count = int(clusters.max())
    palette = rng.random((count, channels)) if channels > 1 else rng.random(count)
    graph = cluster_graph(palette[clusters - 1], clusters, count)
    return graph, np.bincount(clusters.ravel())[1:], rng.random((2, count))


def energy(
    values: np.ndarray, response: np.ndarray, graph: ClusterGraph, sizes: np.ndarray, strength: float
) -> float:
    """What the spread makes as small as possible, summed term by term."""
    differences = [np.abs(graph.colours[k] - graph.colours[m]).max() for k, m in graph.pairs.T]
    width = LIKENESS * np.sqrt(np.mean(np.square(differences)))
    own = sum(size / sizes.mean() * (v - m) ** 2 for size, v, m in zip(sizes, values, response, strict=True))
    shared = sum(
        np.exp(-(d**2) / (2 * width**2)) * (values[k] - values[m]) ** 2
        for d, (k, m) in zip(differences, graph.pairs.T, strict=True)
    )
    return float(own + strength * shared)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strength", [0.5, 20.0])
def test_nothing_has_a_lower_energy(seed: int, channels: int, strength: float) -> None:
    graph, sizes, response = random_graph(seed, channels)
    rng = np.random.default_rng(seed)
    for before, after in zip(response, spread_response(response, graph, sizes, strength), strict=True):
        # The scale of the result is free: the best one is found here.
        scales = np.linspace(0.2, 1.0, 20001)
        at = [energy(scale * after, before, graph, sizes, strength) for scale in (0.0, 1.0, 2.0)]
        bend, slope = (at[2] - 2 * at[1] + at[0]) / 2, (4 * at[1] - at[2] - 3 * at[0]) / 2
        scale = scales[np.argmin(bend * scales**2 + slope * scales)]
        lowest = energy(scale * after, before, graph, sizes, strength)
        for _ in range(20):
            nearby = scale * after + 0.01 * rng.normal(size=len(after))
            assert energy(nearby, before, graph, sizes, strength) > lowest


@given(st.integers(0, 50), st.floats(0, 1000), st.sampled_from([1, 3]))
@settings(deadline=None, max_examples=60)
def test_values_stay_in_their_range_and_the_highest_as_high(
    seed: int, strength: float, channels: int
) -> None:
    graph, sizes, response = random_graph(seed, channels)
    found = spread_response(response, graph, sizes, strength)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.max(axis=1), response.max(axis=1), rtol=1e-9)
    np.testing.assert_allclose(
        spread_response(response[::-1] / 2, graph, sizes, strength), found[::-1] / 2, rtol=1e-7
    )


@given(st.integers(0, 50), st.floats(0, 1000))
@settings(deadline=None, max_examples=30)
def test_an_even_response_stays_even(seed: int, strength: float) -> None:
    graph, sizes, response = random_graph(seed)
    even = np.full_like(response, 0.375)
    np.testing.assert_allclose(spread_response(even, graph, sizes, strength), even, rtol=1e-7)


def test_no_strength_changes_nothing() -> None:
    graph, sizes, response = random_graph(1)
    np.testing.assert_array_equal(spread_response(response, graph, sizes, 0.0), response)


def test_zero_stays_zero() -> None:
    graph, sizes, response = random_graph(2)
    assert not spread_response(0 * response, graph, sizes, 10.0).any()


def test_like_colours_share_and_unlike_ones_do_not() -> None:
    clusters = np.arange(1, 7, dtype=np.int32)[None]
    graph = cluster_graph(np.array([[0.2, 0.2, 0.2, 0.9, 0.9, 0.9]]), clusters, 6)
    found = spread_response(np.array([[0.9, 0.0, 0.0, 0.1, 0.1, 0.1]]), graph, np.ones(6, int), 1000.0)[0]
    assert found[:3] == pytest.approx([0.9] * 3, rel=0.02)
    assert found[3:] == pytest.approx([0.3] * 3, rel=0.2)


def two_lesions() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An image with a bright disc, strips that cross it, and a response that sees only half of it."""
    rows, columns = np.indices((40, 40))
    truth = (rows - 20) ** 2 + (columns - 20) ** 2 < 100
    image = (0.2 + 0.6 * truth).astype(np.float32)
    clusters = connected_clusters(columns // 4 + 100 * (rows // 4) + 10_000 * truth)
    response = np.clip(1 - np.hypot(rows - 16, columns - 16) / 14, 0, 1).astype(np.float32)
    return image, truth, clusters, response


def test_the_mask_reaches_what_looks_alike() -> None:
    image, truth, clusters, response = two_lesions()
    simplified = simplify(image, clusters)
    options = {"threshold": 0.5, "coverage": 0.5, "simplified": simplified}
    alone, wide = (boundary_fit(response, clusters, spread=value, **options) > 0 for value in (0.0, 50.0))
    assert (alone & truth).sum() / truth.sum() < 0.7
    assert (wide == truth).all()


def test_function_and_stage_agree_with_a_memo_and_without() -> None:
    image, _, clusters, response = two_lesions()
    kept: dict[object, object] = {}

    def memo(key, compute):
        if key not in kept:
            kept[key] = compute()
        return kept[key]

    inputs = FitInput(np.stack([response, 1 - response]), clusters, simplified=simplify(image, clusters))
    for spread, tolerance in ((5.0, 0.0), (5.0, 0.05), (0.0, 0.05), (20.0, 0.0), (0.0, 0.0)):
        params = BoundaryParams(threshold=0.6, coverage=0.5, spread=spread, tolerance=tolerance)
        expected = boundary_fit(
            inputs.response,
            clusters,
            0.6,
            coverage=0.5,
            spread=spread,
            tolerance=tolerance,
            simplified=inputs.simplified,
        )
        np.testing.assert_array_equal(boundary_fit_stage(inputs, params).mask, expected)
        np.testing.assert_array_equal(boundary_fit_stage(inputs, params, memo=memo).mask, expected)


def test_the_threshold_alone_spreads_nothing_again() -> None:
    image, _, clusters, response = two_lesions()
    computed: dict[object, object] = {}

    def memo(key, compute):
        if key not in computed:
            computed[key] = compute()
        return computed[key]

    inputs = FitInput(response[None], clusters, simplified=simplify(image, clusters))
    boundary_fit_stage(inputs, BoundaryParams(threshold=0.3, spread=5, tolerance=0), memo=memo)
    before = set(computed)
    boundary_fit_stage(inputs, BoundaryParams(threshold=0.7, spread=5, tolerance=0), memo=memo)
    assert set(computed) == before
    boundary_fit_stage(inputs, BoundaryParams(threshold=0.7, spread=6, tolerance=0), memo=memo)
    assert {key[0] for key in set(computed) - before} == {"spread", "fitted"}


@pytest.mark.parametrize("spread", [-1.0, float("nan"), float("inf")])
def test_a_bad_spread_is_named(spread: float) -> None:
    with pytest.raises(ValueError, match="spread"):
        boundary_fit(np.ones((2, 2)), np.ones((2, 2), int), spread=spread)


def test_spread_needs_colours() -> None:
    with pytest.raises(ValueError, match=r"spread 3.0 compares colours"):
        boundary_fit(np.ones((1, 2)), np.array([[1, 2]]), spread=3.0)
