"""What a slice says of the one beside it, against slow oracles and for any input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_refit.fit.carrying import Carried, Known, beside, carry, known_from_hints, known_from_mask
from napari_refit.fit.types import BACKGROUND_HINT
from napari_refit.params import PropagationParams

SHAPE = (6, 8)
MASKS = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 1, 1, 2]))
CLUSTERS = hnp.arrays(np.int32, SHAPE, elements=st.integers(1, 7))
SURE = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, BACKGROUND_HINT]))
IMAGES = hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32))
PARAMS = st.builds(PropagationParams, overlap=st.floats(0.05, 1), likeness=st.floats(0, 1))


def slow_depth(here: np.ndarray, place: tuple[int, int]) -> float:
    """Distance from a pixel's centre to the nearest border pixel of the other side, less half a pixel."""
    others = np.argwhere(~here)
    if not len(others):
        return float(np.hypot(*here.shape))
    return float(np.sqrt(((others - np.array(place)) ** 2).sum(1)).min()) - 0.5


def slow_seeds(
    known: Known, image: np.ndarray, clusters: np.ndarray, params: PropagationParams
) -> dict[int, int]:
    found = {}
    for number in np.unique(clusters).tolist():
        where = clusters == number
        best, most = 0, 0
        for value in sorted(set(known.sure[where].tolist()) - {0}):
            part = where & (known.sure == value)
            apart = abs(image[where].astype(float).mean() - known.image[part].astype(float).mean())
            if part.sum() <= most:
                continue
            if part.sum() >= params.overlap * where.sum() and apart <= params.likeness:
                best = value
            most = int(part.sum())
        if best:
            found[number] = best
    return found


@settings(max_examples=60, deadline=None)
@given(MASKS, st.floats(0, 0.9))
def test_what_an_accepted_mask_makes_sure(mask: np.ndarray, erosion: float) -> None:
    from scipy.ndimage import label

    known = known_from_mask(np.zeros(SHAPE, np.float32), mask, erosion)
    if not mask.any():
        assert not known.sure.any()
        assert not known.inside
        return
    margins = []
    for number in set(np.unique(mask).tolist()) - {0}:
        here = mask == number
        depth = np.array(
            [[slow_depth(here, (r, c)) if here[r, c] else 0 for c in range(8)] for r in range(6)]
        )
        pieces, count = label(here)
        for piece in range(1, count + 1):
            part = pieces == piece
            sure = part & (depth >= erosion * depth[part].max() - 1e-9)
            np.testing.assert_array_equal(known.sure[part] == number, sure[part])
        margins.append(erosion * depth.max())
        assert (known.inside[number][here] > 0).all()
        assert (known.inside[number][~here] < 0).all()
        assert np.abs(known.inside[number]).max() <= 1
    outside = mask == 0
    for row, column in np.argwhere(outside):
        far = slow_depth(outside, (row, column)) >= max(margins) - 1e-9
        assert (known.sure[row, column] == BACKGROUND_HINT) == far


@settings(max_examples=60, deadline=None)
@given(SURE, CLUSTERS, IMAGES, IMAGES, PARAMS)
def test_seeds_of_one_neighbour(
    sure: np.ndarray, clusters: np.ndarray, before: np.ndarray, here: np.ndarray, params: PropagationParams
) -> None:
    known = Known(before, sure, {})
    found = carry([known], here, clusters, params)
    expected = slow_seeds(known, here, clusters, params)
    for number in np.unique(clusters).tolist():
        assert set(found.hints[clusters == number].tolist()) == {expected.get(number, 0)}


@settings(max_examples=60, deadline=None)
@given(SURE, SURE, CLUSTERS, IMAGES)
def test_two_neighbours_that_disagree_say_nothing(
    one: np.ndarray, other: np.ndarray, clusters: np.ndarray, image: np.ndarray
) -> None:
    params = PropagationParams(overlap=0.5, likeness=1)
    first, second = (carry([Known(image, sure, {})], image, clusters, params).hints for sure in (one, other))
    both = carry([Known(image, one, {}), Known(image, other, {})], image, clusters, params).hints
    agree = np.where(first == 0, second, np.where((second == 0) | (second == first), first, 0))
    np.testing.assert_array_equal(both, agree)


@settings(max_examples=60, deadline=None)
@given(SURE, hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 0, 0, 1, 255])), CLUSTERS)
def test_the_user_is_always_right(carried: np.ndarray, own: np.ndarray, clusters: np.ndarray) -> None:
    found = beside(carried, own, clusters)
    for number in np.unique(clusters).tolist():
        where = clusters == number
        np.testing.assert_array_equal(found[where], (own if own[where].any() else carried)[where])
    np.testing.assert_array_equal(beside(carried, None, clusters), carried)


@settings(max_examples=40, deadline=None)
@given(
    IMAGES,
    st.floats(0, 1),
    st.floats(0.05, 0.95),
    hnp.arrays(np.float32, SHAPE, elements=st.floats(-1, 1, width=16)),
)
def test_leaning_stays_between_map_and_neighbour(
    maps: np.ndarray, trust: float, level: float, depth: np.ndarray
) -> None:
    carried = Carried(np.zeros(SHAPE, np.uint8), {1: depth.astype(np.float16)})
    (found,) = carried.leaning(maps[None], (1,), trust, level)
    alone = carried.leaning(maps[None], (1,), 1.0, level)[0]
    assert ((alone >= level - 1e-5) == (depth >= -1e-6)).all() or np.allclose(
        depth[(alone >= level) != (depth >= 0)], 0, atol=1e-3
    )
    assert (found >= np.minimum(maps, alone) - 1e-5).all()
    assert (found <= np.maximum(maps, alone) + 1e-5).all()
    np.testing.assert_array_equal(carried.leaning(maps[None], (2,), trust, level)[0], maps)


def test_hints_make_their_clusters_sure() -> None:
    clusters = np.array([[1, 1, 2], [3, 3, 2]], np.int32)
    hints = np.array([[0, 1, 0], [0, 0, 255]], np.uint8)
    known = known_from_hints(np.zeros((2, 3), np.float32), clusters, hints)
    assert known.sure.tolist() == [[1, 1, 255], [0, 0, 255]]
    assert not known.inside


def test_colour_channels_are_each_compared() -> None:
    clusters = np.array([[1, 1, 2, 2]], np.int32)
    before = np.zeros((1, 4, 3), np.float32)
    here = before.copy()
    here[0, 2:, 1] = 0.5
    known = Known(before, np.ones((1, 4), np.uint8), {})
    assert carry([known], here, clusters, PropagationParams(likeness=0.4)).hints.tolist() == [[1, 1, 0, 0]]


def test_spacing_counts() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[2:7, 2:7] = 1
    image = np.zeros(mask.shape, np.float32)
    even, flat = (known_from_mask(image, mask, 0.6, spacing).sure == 1 for spacing in (None, (10.0, 1.0)))
    assert even.sum() < flat.sum()
    assert flat[2:7, 4].all()


def test_a_neighbour_of_another_shape_is_refused() -> None:
    known = Known(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8), {})
    with pytest.raises(ValueError, match=r"a neighbour has shape \(2, 3\), this slice \(2, 4\)"):
        carry([known], np.zeros((2, 4), np.float32), np.ones((2, 4), np.int32), PropagationParams())


def test_without_leaves_a_class_out() -> None:
    carried = Carried(np.array([[1, 2, 255]], np.uint8), {1: np.ones((1, 3), np.float16)})
    left = carried.without([1])
    assert left.hints.tolist() == [[0, 2, 255]]
    assert (left.numbers, left.inside) == ((2,), {})
