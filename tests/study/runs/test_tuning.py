from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit import metrics
from napari_refit.recipe import RefitParams
from napari_refit.study.cases import Stack
from napari_refit.study.responding import CaseResponse, refit_of, thresholded, with_threshold
from napari_refit.study.tuning import THRESHOLDS, best_threshold, overlap_by_threshold


def response_of(maps: np.ndarray, opened: np.ndarray) -> CaseResponse:
    numbers = np.tile(np.arange(1, maps.shape[1] + 1), (len(maps), 1))
    return CaseResponse(maps, opened, numbers, np.zeros((len(maps), 1), np.float32), 0.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_counts_are_those_of_the_masks_themselves(seed: int, n_classes: int) -> None:
    draw = np.random.default_rng(seed)
    # Values on the very thresholds, where a rounding error would show.
    maps = (draw.integers(0, 101, (3, n_classes, 6, 5)) / 100).astype(np.float32)
    opened = draw.random((3, n_classes)) < 0.7
    truth = draw.integers(0, n_classes + 1, (3, 6, 5))
    response = response_of(maps, opened)
    found = overlap_by_threshold(maps, opened, response.numbers, truth, n_classes)
    for place in draw.integers(0, 100, 12):
        mask = thresholded(response, float(THRESHOLDS[place]))
        for k in range(n_classes):
            inside = mask == k + 1
            assert found["in_mask"][:, k, place].tolist() == inside.sum(axis=(1, 2)).tolist()
            both = inside & (truth == k + 1)
            assert found["both"][:, k, place].tolist() == both.sum(axis=(1, 2)).tolist()
    assert found["in_truth"].tolist() == [[(t == k + 1).sum() for k in range(n_classes)] for t in truth]


@pytest.mark.parametrize("changes", [{}, {"coverage": 1.0, "tolerance": 0.0}, {"tolerance": 0.3}])
def test_a_fitted_response_at_a_threshold_is_the_mask(changes: dict[str, float]) -> None:
    draw = np.random.default_rng(5)
    image = draw.random((40, 40)).astype(np.float32)
    maps = np.round(draw.random((1, 2, 40, 40)), 2).astype(np.float32)
    response = response_of(maps, np.array([[True, True]]))
    stack = Stack(image, False, None, 0, None)
    params = RefitParams(n_segments=40).replace(**changes)
    fitted = refit_of(stack, response, params).slice(0).fitted
    assert fitted is not None
    again = response_of(fitted[None], response.open)
    for threshold in (0.2, 0.31, 0.5, 0.77):
        mask = refit_of(stack, response, with_threshold(params, threshold)).slice(0).mask
        assert np.array_equal(thresholded(again, threshold)[0], mask)


def test_best_threshold_is_the_best_mean_dice_over_images_in_steps_of_a_hundredth() -> None:
    draw = np.random.default_rng(2)
    truth = draw.random((5, 12, 12)) < 0.3
    truth[4] = False
    maps = (0.5 * truth + 0.6 * draw.random(truth.shape))[:, None].clip(0, 1).astype(np.float32)
    response = response_of(maps, np.ones((5, 1), bool))
    table = overlap_by_threshold(maps, response.open, response.numbers, truth.astype(int), 1)
    # A brute force over the masks.
    means = [
        np.nanmean([metrics.dice(mask, t) for mask, t in zip(thresholded(response, t), truth, strict=True)])
        for t in THRESHOLDS
    ]
    threshold, dice = best_threshold(
        [{k: v[:2] for k, v in table.items()}, {k: v[2:] for k, v in table.items()}]
    )
    assert dice == pytest.approx(max(means))
    assert threshold == THRESHOLDS[int(np.argmax(means))]


def test_no_threshold_without_foreground() -> None:
    nothing = overlap_by_threshold(
        np.zeros((1, 1, 3, 3), np.float32),
        np.zeros((1, 1), bool),
        np.ones((1, 1), int),
        np.zeros((1, 3, 3), int),
        1,
    )
    with pytest.raises(ValueError, match="no training or validation image has any foreground"):
        best_threshold([nothing])


def test_a_fit_without_a_threshold_says_so() -> None:
    params = RefitParams()
    assert with_threshold(params, 0.4).fit_params.threshold == 0.4
