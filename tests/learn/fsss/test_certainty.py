"""Soft labels, and what they say of an image, against sums written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.fit.appearance import appearance_fit
from napari_refit.fit.types import FitInput
from napari_refit.learn.fsss.certainty import (
    agreement,
    certainty,
    most_doubtful,
    soft_labels,
    strongest,
    suited_sharpness,
)
from napari_refit.params import AppearanceParams


def clipped_logit(value: float) -> float:
    value = min(max(value, 0.005), 0.995)
    return math.log(value / (1 - value))


def chances_of(responses: list[float], threshold: float, sharpness: float) -> list[float]:
    """Of background and classes, by their odds against the background."""
    odds = [1.0]
    for response in responses:
        lead = sharpness * (clipped_logit(response) - clipped_logit(threshold))
        odds.append(math.exp(lead) if response > 0 else 0.0)
    return [value / sum(odds) for value in odds]


@given(st.integers(1, 3), st.floats(0, 1), st.floats(0.1, 8), st.integers(0, 2**31), st.booleans())
@settings(max_examples=60, deadline=None)
def test_soft_labels_are_the_shares_of_the_odds_and_never_contradict_the_label_map(
    classes: int, threshold: float, sharpness: float, seed: int, finished: bool
) -> None:
    draw = np.random.default_rng(seed)
    fitted = draw.choice([0.0, 0.2, 0.5, 0.9, 1.0, float(draw.random())], (classes, 4, 5)).astype(np.float32)
    wanted = np.array(
        [
            [chances_of(fitted[:, row, column].tolist(), threshold, sharpness) for column in range(5)]
            for row in range(4)
        ]
    )
    # What the fit itself says, or whatever a last step has made of it.
    labels = (draw.integers(0, classes + 1, (4, 5)) if finished else wanted.argmax(2)).astype(np.uint8)
    soft = soft_labels(fitted, labels, threshold, sharpness)
    np.testing.assert_array_equal(strongest(soft), labels)
    assert soft.sum(axis=0, dtype=int).max() <= 255 + classes
    sure = certainty(soft)
    for row in range(4):
        for column in range(5):
            chances = wanted[row, column]
            lead = np.sort(chances)[-1] - np.sort(chances)[-2]
            if chances.argmax() == labels[row, column] and lead > 0.02:
                np.testing.assert_allclose(soft[:, row, column] / 255, chances[1:], atol=0.51 / 255)
                assert sure[row, column] == pytest.approx(lead, abs=0.01)
            elif chances.argmax() != labels[row, column] and lead > 0.02:
                assert sure[row, column] < 0.01


def test_the_soft_labels_of_a_graph_cut_are_its_own_odds_at_any_threshold() -> None:
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(1, 13, dtype=np.int32), 6).reshape(12, 6)
    image = draw.uniform(0, 1, 12).astype(np.float32)[clusters - 1]
    response = draw.uniform(0, 1, 12).astype(np.float32)[clusters - 1]
    for threshold in (0.3, 0.5, 0.8):
        result = appearance_fit(
            FitInput(response[None], clusters, image=image), AppearanceParams(threshold=threshold)
        )
        soft = soft_labels(result.fitted, result.mask.astype(np.uint8), threshold)
        np.testing.assert_array_equal(strongest(soft), result.mask)
        odds = result.fitted[0] / (1 - result.fitted[0]) * (1 - threshold) / threshold
        usual = (result.fitted[0] > 0.005) & (result.fitted[0] < 0.995)
        np.testing.assert_allclose((soft[0] / 255)[usual], (odds / (1 + odds))[usual], atol=0.003)


@given(st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_agreement_is_the_dice_of_the_label_map_with_the_chances(classes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    soft = (draw.dirichlet(np.ones(classes + 1), (3, 4)).transpose(2, 0, 1)[1:] * 255).astype(np.uint8)
    soft[:, draw.random((3, 4)) < 0.3] = 0
    labels = strongest(soft)
    values = []
    for number in range(1, classes + 1):
        inside = outside = 0.0
        for chance, label in zip(soft[number - 1].ravel() / 255, labels.ravel(), strict=True):
            inside += chance * (label == number)
            outside += chance + (label == number)
        if outside:
            values.append(2 * inside / outside)
    assert agreement(soft, labels) == pytest.approx(np.mean(values) if values else 1.0)


def test_a_certain_mask_agrees_with_itself_and_doubt_inside_or_outside_lowers_it() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 1
    certain = 255 * mask[None]
    assert agreement(certain, mask) == 1.0
    inside, outside = certain.copy(), certain.copy()
    inside[0, 2:6, 2:4] = 150
    outside[0, :, 7] = 100
    assert agreement(inside, mask) < 1
    assert agreement(outside, mask) < 1
    assert agreement(np.zeros((1, 8, 8), np.uint8), np.zeros((8, 8), np.uint8)) == 1.0


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0, 1))
def test_the_most_doubtful_are_the_lowest(values: list[float], share: float) -> None:
    places = most_doubtful(np.array(values, float), share)
    assert len(places) == int(share * len(values))
    rest = np.delete(np.array(values, float), places)
    if len(places) and len(rest):
        assert np.array(values)[places].max() <= rest.min()


def test_sharpness_by_fit() -> None:
    assert suited_sharpness("appearance") == 1.0
    assert suited_sharpness("boundary") == suited_sharpness("cam") == 4.0
    assert suited_sharpness("boundary", 2.5) == 2.5
