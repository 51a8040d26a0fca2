"""How uncertain a slice is: against the definition pixel by pixel, and whether it finds the slices that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_refit import Refit, RefitParams, metrics
from napari_refit.fit.uncertainty import belief, uncertainty

SHAPE = (4, 5)
MASKS = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 1, 2]))
FITTED = hnp.arrays(np.float32, (2, *SHAPE), elements=st.floats(0, 1, width=32))


def expected(fitted: np.ndarray, mask: np.ndarray, beside: list[np.ndarray], threshold: float) -> float:
    """The definition, pixel by pixel."""
    scores = []
    for number in (1, 2):
        hit = area = chances = 0.0
        for place in np.ndindex(mask.shape):
            f = float(fitted[(number - 1, *place)])
            p = f / (2 * threshold) if f < threshold else 1 - (1 - f) / (2 * (1 - threshold))
            if beside:
                p = (p + 2 * sum(other[place] == number for other in beside) / len(beside)) / 3
            here = mask[place] == number
            hit, area, chances = hit + here * p, area + here, chances + p
        if area + chances > 0:
            scores.append(1 - 2 * hit / (area + chances))
    return sum(scores) / len(scores) if scores else 0.0


@settings(max_examples=80, deadline=None)
@given(FITTED, MASKS, st.lists(MASKS, max_size=2), st.floats(0.1, 0.9))
def test_it_is_what_it_is_said_to_be(
    fitted: np.ndarray, mask: np.ndarray, beside: list[np.ndarray], threshold: float
) -> None:
    found = uncertainty(mask, belief(fitted, mask, (1, 2), threshold), beside)
    assert 0 <= found <= 1
    assert found == pytest.approx(expected(fitted, mask, beside, threshold), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_a_sure_fit_among_its_like_is_not_uncertain_at_all(mask: np.ndarray) -> None:
    crisp = np.stack([mask == 1, mask == 2]).astype(np.float32)
    sure = belief(crisp, mask, (1, 2), 0.5)
    assert uncertainty(mask, sure, [mask, mask]) == 0
    assert uncertainty(mask, sure) == 0
    if mask.any():
        assert uncertainty(mask, sure, [0 * mask, 0 * mask]) > 0
        assert uncertainty(mask, sure, [mask, 0 * mask]) < uncertainty(mask, sure, [0 * mask, 0 * mask])


def test_a_threshold_at_either_end_divides_by_nothing() -> None:
    fitted = np.array([[[0.0, 0.4, 1.0]]], np.float32)
    for threshold in (0.0, 1.0):
        mask = (fitted[0] >= threshold).astype(np.uint8)
        assert 0 <= uncertainty(mask, belief(fitted, mask, (1,), threshold)) <= 1


def test_slices_that_are_wrong_come_first_in_a_volume() -> None:
    from scipy.stats import spearmanr

    truth = np.zeros((12, 48, 48), np.uint8)
    truth[:, 14:34, 14:34] = 1
    response = 0.95 * truth.astype(np.float32)
    response[2], response[6, 24:], response[9, :, 20:] = 0, 0, 0.3
    params = RefitParams(n_segments=64, sigma=0, spread=0, tolerance=0)
    found = Refit(0.8 * truth.astype(np.float32), response=response, params=params).volume()
    assert list(found.uncertainty) == [f"0:{k}" for k in range(12)]
    doubts = np.array(list(found.uncertainty.values()))
    errors = np.array([1 - metrics.dice(found.mask[k], truth[k]) for k in range(12)])
    assert set(np.argsort(doubts)[-2:].tolist()) == {2, 9}
    assert doubts[6] > max(doubts[k] for k in (0, 4, 11))
    assert spearmanr(doubts, errors)[0] > 0.5
    for k in range(12):
        beside = [found.mask[j] for j in (k - 1, k + 1) if 0 <= j < 12]
        assert doubts[k] == pytest.approx(uncertainty(found.mask[k], found.beliefs[f"0:{k}"], beside))


def test_each_volume_of_a_series_has_neighbours_of_its_own() -> None:
    truth = np.zeros((2, 3, 32, 32), np.uint8)
    truth[1, :, 8:24, 8:24] = 1
    params = RefitParams(n_segments=16, sigma=0, spread=0, tolerance=0)
    found = Refit(0.8 * truth, response=0.95 * truth.astype(np.float32), params=params).volume(axis=1)
    assert list(found.uncertainty) == [f"0:{t} 1:{k}" for t in range(2) for k in range(3)]
    assert all(found.uncertainty[f"0:0 1:{k}"] == 0 for k in range(3))
    assert len({round(found.uncertainty[f"0:1 1:{k}"], 6) for k in range(3)}) == 1
