"""The last touch on a mask: pieces, sizes, holes, against slow versions and in the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label

from napari_refit import Refit, RefitParams
from napari_refit.fit.finishing import finish_mask
from napari_refit.fit.hints import BACKGROUND_HINT
from napari_refit.params import FinishParams

SHAPES = st.sampled_from([(7, 9), (3, 5, 6)])
PARAMS = st.builds(
    FinishParams,
    support=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    minimum_size=st.sampled_from([0.0, 2.0, 5.0]),
    fill_holes=st.booleans(),
)


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    mask = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 1, 2])))
    return mask, np.random.default_rng(draw(st.integers(0, 999))).random((2, *shape))


def slow_pieces(mask: np.ndarray, response: np.ndarray, params: FinishParams, size: float) -> np.ndarray:
    """Piece by piece, with another library's labels; holes are left open."""
    found = np.zeros_like(mask)
    for number, values in ((1, response[0]), (2, response[1])):
        pieces = label(mask == number, connectivity=1)
        highest = max((values[pieces == k].max() for k in range(1, pieces.max() + 1)), default=0)
        for k in range(1, pieces.max() + 1):
            piece = pieces == k
            if piece.sum() * size >= params.minimum_size and values[piece].max() >= params.support * highest:
                found[piece] = number
    return found


@settings(max_examples=120, deadline=None)
@given(masks(), PARAMS)
def test_pieces_stay_as_the_parameters_say(
    example: tuple[np.ndarray, np.ndarray], params: FinishParams
) -> None:
    mask, response = example
    before = mask.copy()
    spacing = (0.5,) * mask.ndim
    found = finish_mask(mask, response, (1, 2), params, spacing)
    open_holes = params.model_copy(update={"fill_holes": False})
    kept = slow_pieces(mask, response, open_holes, 0.5**mask.ndim)
    np.testing.assert_array_equal(finish_mask(mask, response, (1, 2), open_holes, spacing), kept)
    np.testing.assert_array_equal(mask, before)
    np.testing.assert_array_equal(found[kept > 0], kept[kept > 0])
    if not params.fill_holes:
        np.testing.assert_array_equal(found, kept)
    for number in (1, 2):
        # What was filled is walled in by its class: it reaches no border of the image.
        filled = (found == number) & (kept != number)
        pieces = label(found != number, connectivity=1)
        assert not (pieces[filled] > 0).any()
    np.testing.assert_array_equal(finish_mask(mask, response, (1, 2), FinishParams()), mask)


def ring() -> np.ndarray:
    mask = np.zeros((9, 9), np.uint8)
    mask[1:8, 1:8] = 1
    mask[3:6, 3:6] = 0
    return mask


def test_holes_are_filled_unless_a_hint_says_that_they_are_none() -> None:
    response = np.ones((1, 9, 9))
    params = FinishParams(fill_holes=True)
    assert finish_mask(ring(), response, (1,), params)[3:6, 3:6].all()
    hints = np.zeros((9, 9), np.uint8)
    hints[4, 4] = BACKGROUND_HINT
    np.testing.assert_array_equal(finish_mask(ring(), response, (1,), params, hints=hints), ring())


def test_another_class_in_the_hole_stays() -> None:
    mask = ring()
    mask[4, 4] = 2
    found = finish_mask(mask, np.ones((2, 9, 9)), (1, 2), FinishParams(fill_holes=True))
    assert found[4, 4] == 2
    assert (found[1:8, 1:8] > 0).all()


def test_a_hinted_piece_stays_however_small() -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[0, 0] = mask[3, 3] = 1
    hints = np.zeros((6, 6), np.uint8)
    hints[3, 3] = 1
    found = finish_mask(mask, np.ones((1, 6, 6)), (1,), FinishParams(minimum_size=4), hints=hints)
    assert np.argwhere(found).tolist() == [[3, 3]]


@pytest.mark.parametrize("supervoxels", [False, True])
def test_in_the_pipeline_it_is_the_last_touch_and_reruns_the_fit_alone(supervoxels: bool) -> None:
    scan = np.zeros((3, 32, 40), np.float32)
    scan[:, 4:14, 4:14] = 1
    scan[:, 22:29, 29:36] = 0.9
    params = RefitParams(n_segments=200, sigma=0, spread=0).replace(supervoxels=supervoxels)
    refit = Refit(scan, response=scan, params=params)
    before = refit.slice(1)
    assert before.mask[26, 32] == before.mask[8, 8] == 1
    refit.params = params.replace(minimum_size=220.0 if supervoxels else 70.0)
    after = refit.slice(1)
    assert after.mask[26, 32] == 0
    assert after.mask[8, 8] == 1
    assert after.seconds["clusters"] == after.seconds["response"] == 0
    np.testing.assert_array_equal(after.fitted, before.fitted)
    refit.params = params.replace(minimum_size=1e5)
    gone = refit.slice(1)
    assert not gone.mask.any()
    assert "No piece of the mask is left" in gone.message


def test_keys_and_old_files() -> None:
    params = RefitParams().with_texts({"finish.support": "0.5", "fill_holes": "true"})
    assert params.changed() == {"finish.support": 0.5, "finish.fill_holes": True}
    old = RefitParams().model_dump(mode="json")
    del old["finish"]
    assert RefitParams(**old) == RefitParams()
