"""Greedy clicks on clusters, held against examples worked out by hand and against trying every click."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.study.clicking import click_clusters
from napari_refit.study.correcting import plane_dice


def row(*values: int) -> np.ndarray:
    return np.array([values])


def test_the_cluster_that_gains_most_comes_first() -> None:
    clusters = row(1, 1, 2, 2, 2, 3, 3, 4)
    truth = row(1, 1, 1, 1, 1, 0, 0, 0)
    # In: 2 (Dice 6/8), then 1 (10/10); the false alarm in 4 goes first where it costs more.
    found = click_clusters(row(0, 0, 0, 0, 0, 0, 0, 0), truth, [clusters], 1.0, 9)
    assert found.dice == (0.0, 0.75, 1.0)
    assert found.reached
    assert found.count == 2
    found = click_clusters(row(1, 1, 1, 1, 1, 1, 1, 1), truth, [clusters], 1.0, 9)
    assert found.dice == (10 / 13, 10 / 11, 1.0)


def test_it_stops_when_it_is_good_enough_or_had_enough_clicks() -> None:
    clusters, truth = row(*range(1, 9)), row(1, 1, 1, 1, 1, 1, 1, 1)
    nothing = row(*[0] * 8)
    assert click_clusters(nothing, truth, [clusters], 0.6, 99).count == 4
    few = click_clusters(nothing, truth, [clusters], 1.0, 3)
    assert (few.count, few.reached) == (3, False)
    assert click_clusters(truth, truth, [clusters], 0.9, 9).count == 0


def test_clusters_across_the_border_are_the_bound() -> None:
    clusters, truth = row(1, 1, 1, 2, 2, 2), row(0, 1, 1, 1, 0, 0)
    found = click_clusters(row(0, 0, 0, 0, 0, 0), truth, [clusters], 0.9, 9)
    assert not found.reached
    assert found.bound == pytest.approx(4 / 6)
    # Both clusters taken: 6 / 9; 1 alone: 4 / 6. Equal is no gain.
    assert found.dice == (0.0, pytest.approx(4 / 6))


def test_a_higher_level_saves_clicks_and_never_costs_any_here() -> None:
    fine = row(1, 2, 3, 4, 5, 6, 7, 8)
    coarse = row(1, 1, 1, 1, 2, 2, 2, 2)
    truth = row(1, 1, 1, 1, 0, 0, 0, 0)
    nothing = row(*[0] * 8)
    assert click_clusters(nothing, truth, [fine], 1.0, 9).count == 4
    assert click_clusters(nothing, truth, [fine, coarse], 1.0, 9).count == 1


def test_a_region_with_most_of_it_marked_is_taken_out() -> None:
    # What one click in the dock does: two thirds are marked, so the click clears, and cannot fill.
    clusters, truth = row(1, 1, 1, 2), row(1, 1, 1, 0)
    found = click_clusters(row(1, 1, 0, 0), truth, [clusters], 1.0, 9)
    assert found.count == 0
    assert found.dice == (0.8,)


def test_each_class_has_its_click() -> None:
    clusters, truth = row(1, 1, 2, 2, 3, 3), row(1, 1, 2, 2, 0, 0)
    found = click_clusters(row(2, 2, 0, 0, 0, 0), truth, [clusters], 1.0, 9)
    assert found.reached
    assert found.count == 2


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_click_is_the_best_of_all_that_the_dock_offers(data: st.DataObject) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n_classes = data.draw(st.integers(1, 3))
    fine = np.sort(draw.integers(1, 9, size=40)).reshape(1, 40)
    levels = [fine, fine // 2, fine // 4]
    truth, mask = draw.integers(0, n_classes + 1, (2, 1, 40))
    truth[0, 0] = 1
    found = click_clusters(mask, truth, levels, 1.0, 6)
    now = mask.copy()
    assert found.dice[0] == pytest.approx(plane_dice(now, truth))
    for dice in found.dice[1:]:
        tried = []
        for level in levels:
            for region in np.unique(level):
                for number in range(1, n_classes + 1):
                    here = level == region
                    after = now.copy()
                    after[here] = 0 if (now[here] == number).mean() > 0.5 else number
                    tried.append((plane_dice(after, truth), after))
        best = max(value for value, _ in tried)
        assert dice == pytest.approx(best)
        # Several clicks may gain as much; go on from the one with the same future only if it is the only one.
        same = [after for value, after in tried if value > best - 1e-9]
        now = same[0]
        if any(not np.array_equal(each, now) for each in same):
            return


def test_the_same_twice() -> None:
    draw = np.random.default_rng(1)
    fine = draw.integers(1, 30, (20, 20))
    mask, truth = draw.integers(0, 2, (2, 20, 20))
    assert click_clusters(mask, truth, [fine], 0.9, 20) == click_clusters(mask, truth, [fine], 0.9, 20)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2\), \(1, 2\), \(1, 3\)"):
        click_clusters(row(0, 0), row(1, 0), [row(1, 2, 3)], 0.9, 9)
    with pytest.raises(ValueError, match="truth is empty"):
        click_clusters(row(1, 0), row(0, 0), [row(1, 2)], 0.9, 9)
