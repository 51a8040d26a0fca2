"""Cuts against every possible labelling of small graphs, and against scipy's flow on larger ones."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from napari_refit.errors import Cancelled
from napari_refit.fit.cut import Network, energy, expand

MOST_NODES = 7


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    """Nodes, pairs, and weights that are whole numbers, so that equally good choices are exactly equal."""
    n_nodes = draw(st.integers(1, MOST_NODES))
    possible = [(i, j) for i in range(n_nodes) for j in range(i + 1, n_nodes)]
    chosen = draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    weights = draw(st.lists(st.integers(0, 6), min_size=len(chosen), max_size=len(chosen)))
    return n_nodes, np.array(chosen, np.int64).reshape(-1, 2).T, np.array(weights, float)


def whole_numbers(low: int, high: int, *shape: int) -> st.SearchStrategy[np.ndarray]:
    size = int(np.prod(shape))
    return st.lists(st.integers(low, high), min_size=size, max_size=size).map(
        lambda values: np.array(values, float).reshape(shape)
    )


def choices(n_nodes: int) -> list[np.ndarray]:
    return [np.array(choice, bool) for choice in product([False, True], repeat=n_nodes)]


def worth(chosen, gains, pairs, leaving, entering) -> float:
    first, second = chosen[pairs[0]], chosen[pairs[1]]
    return gains[chosen].sum() - leaving[first & ~second].sum() - entering[~first & second].sum()


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_a_cut_is_the_best_of_all_choices_and_the_largest_of_the_best(data: st.DataObject) -> None:
    n_nodes, pairs, leaving = data.draw(graphs())
    gains = data.draw(whole_numbers(-6, 6, n_nodes))
    entering = data.draw(whole_numbers(0, 6, len(leaving)))
    chosen = Network(pairs, n_nodes).cut(gains, leaving, entering)
    every = [(worth(each, gains, pairs, leaving, entering), int(each.sum())) for each in choices(n_nodes)]
    assert (worth(chosen, gains, pairs, leaving, entering), int(chosen.sum())) == max(every)


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_the_levels_are_the_best_choices_for_every_bar(data: st.DataObject) -> None:
    n_nodes, pairs, weights = data.draw(graphs())
    values, sizes = data.draw(whole_numbers(-6, 6, n_nodes)), data.draw(whole_numbers(1, 4, n_nodes))
    fixed = data.draw(whole_numbers(-1, 1, n_nodes)).astype(int) * data.draw(st.booleans())
    found = Network(pairs, n_nodes).levels(values, sizes, weights, fixed)
    assert (np.isinf(found) == (fixed != 0)).all()
    assert (np.sign(found[fixed != 0]) == fixed[fixed != 0]).all()
    allowed = [each for each in choices(n_nodes) if (each[fixed > 0]).all() and not each[fixed < 0].any()]
    free = found[fixed == 0]
    for bar in [*(free + 1e-6), *(free - 1e-6), -7.3, 0.0, 7.3]:
        gains = np.where(fixed == 0, sizes * (values - bar), 0.0)
        best = max(worth(each, gains, pairs, weights, weights) for each in allowed)
        assert worth(found >= bar, gains, pairs, weights, weights) == pytest.approx(best, abs=1e-4)


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_the_levels_differ_least_from_the_values(data: st.DataObject) -> None:
    """The sum that the levels shall make smallest: a push into any direction makes it larger."""
    n_nodes, pairs, weights = data.draw(graphs())
    values, sizes = data.draw(whole_numbers(-6, 6, n_nodes)), data.draw(whole_numbers(1, 4, n_nodes))

    def total(levels: np.ndarray) -> float:
        return (sizes * (levels - values) ** 2).sum() / 2 + (
            weights * abs(np.diff(levels[pairs], axis=0)[0])
        ).sum()

    found = Network(pairs, n_nodes).levels(values, sizes, weights)
    rng = np.random.default_rng(0)
    for scale in (1.0, 0.1, 0.01):
        for _ in range(20):
            assert total(found + scale * rng.normal(size=n_nodes)) >= total(found) - 1e-9


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_two_labels_cost_least(data: st.DataObject) -> None:
    n_nodes, pairs, weights = data.draw(graphs())
    costs = data.draw(whole_numbers(-6, 6, 2, n_nodes))
    found = energy(expand(Network(pairs, n_nodes), costs, weights), costs, pairs, weights)
    assert found == min(energy(each.astype(int), costs, pairs, weights) for each in choices(n_nodes))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_no_expansion_of_several_labels_costs_less(data: st.DataObject) -> None:
    n_nodes, pairs, weights = data.draw(graphs())
    costs = data.draw(whole_numbers(0, 6, 3, n_nodes))
    labels = expand(Network(pairs, n_nodes), costs, weights)
    found = energy(labels, costs, pairs, weights)
    assert found <= energy(costs.argmin(axis=0), costs, pairs, weights)
    for label in range(3):
        for moving in choices(n_nodes):
            assert found <= energy(np.where(moving, label, labels), costs, pairs, weights)
    best = (
        min(
            energy(np.array(each), costs, pairs, weights)
            for each in product(range(3), repeat=min(n_nodes, 5))
        )
        if n_nodes <= 5
        else 0.0
    )
    assert best <= found
    if n_nodes <= 5:
        assert found <= 2 * best


def test_the_energy_never_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    pairs, n_nodes = grid_pairs(12), 144
    costs, weights = rng.random((4, n_nodes)), rng.random(pairs.shape[1])
    seen: list[float] = []

    def watched(labels, *rest):
        value = energy(labels, *rest)
        seen.append(value)
        return value

    monkeypatch.setattr("napari_refit.fit.cut.energy", watched)
    labels = expand(Network(pairs, n_nodes), costs, weights)
    assert energy(labels, costs, pairs, weights) == min(seen) < seen[0]
    assert (np.diff(seen) <= 1e-9).all()


def grid_pairs(side: int) -> np.ndarray:
    nodes = np.arange(side * side).reshape(side, side)
    across = np.stack([nodes[:, :-1].ravel(), nodes[:, 1:].ravel()])
    down = np.stack([nodes[:-1].ravel(), nodes[1:].ravel()])
    return np.concatenate([across, down], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_as_much_flows_as_scipy_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs, n_nodes = grid_pairs(25), 625
    gains, weights = rng.integers(-20, 21, n_nodes), rng.integers(0, 15, pairs.shape[1])
    chosen = Network(pairs, n_nodes).cut(gains.astype(float), weights.astype(float))
    cut = weights[chosen[pairs[0]] != chosen[pairs[1]]].sum() + gains[(gains > 0) & ~chosen].sum()
    cut -= gains[(gains < 0) & chosen].sum()
    giving, taking = np.flatnonzero(gains > 0), np.flatnonzero(gains < 0)
    rows = np.concatenate([*pairs, np.full(len(giving), n_nodes), taking])
    columns = np.concatenate([*pairs[::-1], giving, np.full(len(taking), n_nodes + 1)])
    room = np.concatenate([weights, weights, gains[giving], -gains[taking]]).astype(np.int32)
    network = csr_array((room, (rows, columns)), (n_nodes + 2, n_nodes + 2))
    assert cut == maximum_flow(network, n_nodes, n_nodes + 1).flow_value
    assert 0 < chosen.sum() < n_nodes


def test_work_can_be_stopped() -> None:
    network = Network(grid_pairs(3), 9)
    with pytest.raises(Cancelled):
        network.levels(np.arange(9.0), np.ones(9), np.ones(12), cancelled=lambda: True)
    with pytest.raises(Cancelled):
        expand(network, np.ones((3, 9)), np.ones(12), cancelled=lambda: True)
