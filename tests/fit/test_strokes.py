"""What strokes make of a fit's result: held against a slow version, and what must hold for any input."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit import Refit, RefitParams
from napari_refit.errors import Cancelled
from napari_refit.fit import FitInput, FitResult
from napari_refit.fit.strokes import BACKGROUND_HINT, cut_finer, follow_strokes
from napari_refit.params import HintParams


def tiles(shape: tuple[int, int], side: int) -> np.ndarray:
    rows, columns = (np.arange(length) // side for length in shape)
    return (rows[:, None] * (columns.max() + 1) + columns + 1).astype(np.int32)


def random_case(seed: int, n_classes: int = 1, shape: tuple[int, int] = (6, 8)) -> tuple[FitResult, FitInput]:
    generator = np.random.default_rng(seed)
    clusters = tiles(shape, 2)
    fitted = generator.random((n_classes, int(clusters.max()))).astype(np.float32)[:, clusters - 1]
    mask = np.where(fitted.max(0) >= 0.5, fitted.argmax(0) + 1, 0).astype(np.uint8)
    hints = np.zeros(shape, np.uint8)
    kinds = [BACKGROUND_HINT, *range(1, n_classes + 1)]
    for _ in range(int(generator.integers(1, 4))):
        hints[tuple(generator.integers(0, shape))] = generator.choice(kinds)
    image = generator.random(shape).astype(np.float32)
    return FitResult(fitted, mask), FitInput(fitted, clusters, image=image, hints=hints)


def slow_labels(result: FitResult, inputs: FitInput, params: HintParams) -> tuple[float, float]:
    """Energy of the result, and the least energy of all labellings (one class, clusters uncut)."""
    clusters, image, hints = inputs.clusters, inputs.image.astype(float), inputs.hints
    count = int(clusters.max())
    where = [clusters == k for k in range(1, count + 1)]
    colour = [image[inside].mean() for inside in where]
    centre = [np.argwhere(inside).mean(0) for inside in where]
    border: dict[tuple[int, int], int] = {}
    for one, other in [(clusters[:-1], clusters[1:]), (clusters[:, :-1], clusters[:, 1:])]:
        for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
            if a != b:
                pair = (min(a, b) - 1, max(a, b) - 1)
                border[pair] = border.get(pair, 0) + 1
    difference = {pair: (colour[pair[0]] - colour[pair[1]]) ** 2 for pair in border}
    usual, length = np.mean(list(difference.values())), np.mean(list(border.values()))
    away = np.full((count, count), np.inf)
    np.fill_diagonal(away, 0)
    for (a, b), apart in difference.items():
        step = np.linalg.norm(centre[a] - centre[b]) / math.sqrt(clusters.size)
        away[a, b] = away[b, a] = step * (1 + params.stroke_edges * apart / usual)
    for k, i, j in itertools.product(range(count), repeat=3):
        away[i, j] = min(away[i, j], away[i, k] + away[k, j])
    said = {}
    for k, inside in enumerate(where):
        votes = {int(v): int((hints[inside] == v).sum()) for v in np.unique(hints[inside]) if v}
        if votes:
            said[k] = min(votes, key=lambda v: (-votes[v], v))

    def loud(kind: int, k: int) -> float:
        nearest = min((away[s, k] for s, v in said.items() if v == kind), default=np.inf)
        return (
            math.exp(-nearest / params.stroke_reach)
            if math.exp(-nearest / params.stroke_reach) >= 0.01
            else 0.0
        )

    values, fixed = [], []
    for k, inside in enumerate(where):
        belief = float(np.clip(result.fitted[0][inside][0], 0.02, 0.98))
        inside_before = bool(result.mask[inside][0])
        belief = max(belief, 0.6) if inside_before else min(belief, 0.4)
        one, other = loud(1, k), loud(BACKGROUND_HINT, k)
        values.append(math.log((one + params.fit_trust * belief) / (other + params.fit_trust * (1 - belief))))
        if k in said:
            fixed.append(said[k] == 1)
        else:
            fixed.append(inside_before if max(one, other) < 0.01 else None)

    def energy(chosen: tuple[bool, ...]) -> float:
        total = -sum(v * len(np.argwhere(w)) / 4 for v, w, c in zip(values, where, chosen, strict=True) if c)
        for (a, b), edge in border.items():
            if chosen[a] != chosen[b]:
                contrast = math.exp(-difference[a, b] / usual / (2 * params.stroke_contrast**2))
                total += params.stroke_smoothness * edge / length * contrast
        return total

    choices = [[f] if f is not None else [False, True] for f in fixed]
    found = follow_strokes(result, inputs, params).mask
    mine = tuple(bool(np.bincount(found[inside]).argmax()) for inside in where)
    assert all(f is None or f == m for f, m in zip(fixed, mine, strict=True))
    return energy(mine), min(energy(chosen) for chosen in itertools.product(*choices))


@given(st.integers(0, 10**6), st.floats(0.02, 0.5), st.floats(0.05, 2), st.floats(0, 20))
@settings(deadline=None, max_examples=40)
def test_no_labels_cost_less(seed: int, reach: float, trust: float, edges: float) -> None:
    params = HintParams(stroke_reach=reach, fit_trust=trust, stroke_edges=edges, fineness=1)
    found, least = slow_labels(*random_case(seed), params)
    assert found == pytest.approx(least, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_each_drawn_pixel_is_what_it_says(seed: int, n_classes: int, fineness: int) -> None:
    result, inputs = random_case(seed, n_classes, (24, 30))
    before = (result.fitted.copy(), result.mask.copy())
    found = follow_strokes(result, inputs, HintParams(fineness=fineness))
    drawn = inputs.hints != 0
    said = np.where(inputs.hints == BACKGROUND_HINT, 0, inputs.hints)
    np.testing.assert_array_equal(found.mask[drawn], said[drawn])
    # The mask is where the fitted response reaches the threshold.
    winner = np.where(found.fitted.max(0) >= 0.5, found.fitted.argmax(0) + 1, 0)
    np.testing.assert_array_equal(found.mask, winner)
    np.testing.assert_array_equal(result.fitted, before[0])
    np.testing.assert_array_equal(result.mask, before[1])
    again = follow_strokes(result, inputs, HintParams(fineness=fineness))
    np.testing.assert_array_equal(found.fitted, again.fitted)


@given(st.integers(0, 10**6), st.floats(0.005, 0.05))
@settings(deadline=None, max_examples=30)
def test_far_from_strokes_nothing_changes(seed: int, reach: float) -> None:
    result, inputs = random_case(seed, 2, (60, 60))
    found = follow_strokes(result, inputs, HintParams(stroke_reach=reach))
    from scipy.ndimage import distance_transform_edt

    # A way over pieces is no shorter than the line between the middles of the pieces at its ends.
    far = distance_transform_edt(inputs.hints == 0) > 60 * reach * math.log(100) + 2 * 4
    np.testing.assert_array_equal(found.mask[far], result.mask[far])
    np.testing.assert_array_equal(found.fitted[:, far], result.fitted[:, far])


@pytest.fixture
def disc() -> tuple[FitResult, FitInput, np.ndarray]:
    """A bright disc beside a bright square, of which a fit has found the square only."""
    rows, columns = np.mgrid[:96, :96]
    truth = (rows - 40) ** 2 + (columns - 30) ** 2 < 20**2
    square = (rows > 60) & (columns > 60)
    noise = np.random.default_rng(0).normal(0, 0.03, truth.shape)
    image = (0.2 + 0.6 * (truth | square) + noise).astype(np.float32)
    clusters = tiles(truth.shape, 12)
    fitted = np.where(square, 0.9, 0.1).astype(np.float32)
    return (
        FitResult(fitted[None], square.astype(np.uint8)),
        FitInput(fitted[None], clusters, image=image),
        truth,
    )


def test_a_stroke_brings_the_object_up_to_its_edge_and_another_takes_what_is_wrong(disc) -> None:
    result, inputs, truth = disc
    hints = np.zeros(truth.shape, np.uint8)
    hints[40, 20:40] = 1
    params = HintParams(stroke_reach=0.15)
    found = follow_strokes(result, replace(inputs, hints=hints), params).mask > 0
    outside = np.s_[:, :56]
    both = 2 * (found & truth)[outside].sum() / (found[outside].sum() + truth.sum())
    assert both > 0.9
    assert found[75:90, 75:90].all()
    hints[65:90, 78] = BACKGROUND_HINT
    found = follow_strokes(result, replace(inputs, hints=hints), params).mask > 0
    assert found[65:90, 65:90].mean() < 0.1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_the_threshold_is_that_of_the_fit(disc) -> None:
    result, inputs, truth = disc
    hints = np.zeros(truth.shape, np.uint8)
    hints[40, 20:40] = 1
    for threshold in (0.3, 0.65, 0.85):
        found = follow_strokes(result, replace(inputs, hints=hints), HintParams(), threshold)
        np.testing.assert_array_equal(found.mask > 0, found.fitted[0] >= threshold)
        assert found.mask[75:90, 75:90].all()


@pytest.mark.parametrize("fineness", [1, 6, 12])
def test_pieces_lie_in_one_cluster_and_are_connected(fineness: int) -> None:
    from skimage.measure import label

    _, inputs = random_case(0, shape=(60, 72))
    inputs = replace(inputs, clusters=tiles((60, 72), 12))
    places = cut_finer(inputs.clusters, inputs.image, fineness) - 1
    for number in range(places.max() + 1):
        inside = places == number
        assert len(np.unique(inputs.clusters[inside])) == 1
        assert label(inside, connectivity=1).max() == 1
    assert (places.max() + 1 > 2 * inputs.clusters.max()) == (fineness > 1)


def test_in_a_volume_clusters_stay_whole() -> None:
    clusters = np.repeat(tiles((8, 8), 4)[None], 3, 0)
    image = np.random.default_rng(0).random(clusters.shape).astype(np.float32)
    hints = np.zeros(clusters.shape, np.uint8)
    hints[1, 0, 0] = 1
    result = FitResult(np.full((1, *clusters.shape), 0.1, np.float32), np.zeros(clusters.shape, np.uint8))
    inputs = FitInput(result.fitted, clusters, image=image, hints=hints, spacing=(3.0, 1.0, 1.0))
    found = follow_strokes(result, inputs, HintParams(fit_trust=10, stroke_reach=0.01))
    np.testing.assert_array_equal(found.mask > 0, clusters == 1)


def test_what_is_emptied_or_filled_is_said(disc) -> None:
    result, inputs, truth = disc
    hints = np.full(truth.shape, BACKGROUND_HINT, np.uint8)
    assert "leave nothing" in follow_strokes(result, replace(inputs, hints=hints), HintParams()).message
    assert (
        "fills the frame"
        in follow_strokes(result, replace(inputs, hints=hints * 0 + 1), HintParams()).message
    )
    untouched = follow_strokes(result, replace(inputs, hints=hints * 0), HintParams())
    assert untouched is result
    assert follow_strokes(result, inputs, HintParams()) is result


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"hints": np.zeros((4, 4), int)}, ValueError, "hints must have"),
        ({"hints": np.full((6, 8), 7)}, ValueError, "hints hold 7"),
        ({"hints": np.zeros((6, 8))}, TypeError, "whole numbers"),
        ({"image": None}, ValueError, "pass the image too"),
        ({"spacing": (1.0, -1.0)}, ValueError, "positive numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict, kind: type[Exception], words: str) -> None:
    result, inputs = random_case(0)
    with pytest.raises(kind, match=words):
        follow_strokes(result, replace(inputs, **changes), HintParams())


def test_it_can_be_cancelled() -> None:
    result, inputs = random_case(0)
    with pytest.raises(Cancelled):
        follow_strokes(result, inputs, HintParams(), cancelled=lambda: True)


@pytest.mark.parametrize("fit", ["boundary", "appearance"])
def test_sliders_of_strokes_rerun_nothing_where_nothing_is_drawn(fit: str) -> None:
    scan = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
    hints = np.zeros(scan.shape, np.uint8)
    refit = Refit(scan, response=(scan > 0.5).astype(np.float32), params=RefitParams(fit=fit), hints=hints)
    refit.slice(0)
    refit.params = refit.params.replace(stroke_reach=0.2)
    assert refit.slice(0).seconds["fit"] == 0
    hints[0, 3, 3:9] = 1
    first = refit.slice(0)
    assert first.mask[3, 3:9].all()
    refit.params = refit.params.replace(stroke_reach=0.02)
    second = refit.slice(0)
    assert second.seconds["fit"] > 0
    assert second.seconds["clusters"] == second.seconds["response"] == 0
