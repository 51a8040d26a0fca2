"""Strokes where a mask is wrong, on regions whose centre line is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some
from scipy import ndimage

from napari_refit.fit.hints import BACKGROUND_HINT
from napari_refit.study.strokes import centre_line, draw_strokes, largest_region, stroke

EVERYWHERE = np.ones((3, 3))
planes = some.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def plane(rows: int, columns: int, *places: tuple[slice, slice]) -> np.ndarray:
    found = np.zeros((rows, columns), bool)
    for place in places:
        found[place] = True
    return found


def test_the_centre_line_of_a_bar_is_its_middle_row() -> None:
    line = centre_line(plane(31, 80, (slice(10, 21), slice(10, 70))))
    # At the ends, which are as deep as the middle's half at least, a skeleton turns to a corner.
    assert set(line[6:-6, 0]) == {15}
    assert set(line[:, 0]) <= {13, 14, 15, 16, 17}
    columns = sorted(line[:, 1])
    assert columns == list(range(columns[0], columns[-1] + 1))
    assert 10 < columns[0] <= 10 + 6
    assert 69 - 6 <= columns[-1] < 69


def test_the_centre_line_of_a_ring_sector_is_its_arc() -> None:
    rows, columns = np.indices((120, 120)) - 60
    away, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    line = centre_line((away > 35) & (away < 50) & (angle > -2) & (angle < 2)) - 60
    assert np.abs(np.hypot(*line.T) - 42.5).max() < 15 / 4 + 1
    assert np.abs(np.hypot(*line[6:-6].T) - 42.5).max() < 1.5
    spanned = np.arctan2(line[:, 0], line[:, 1])
    assert spanned.max() > 1.6
    assert spanned.min() < -1.6


def test_of_a_region_with_branches_the_longest_way_is_taken() -> None:
    region = plane(60, 90, (slice(20, 27), slice(5, 85)), (slice(27, 45), slice(40, 47)))
    line = centre_line(region)
    assert line[:, 0].max() <= 26
    assert np.ptp(line[:, 1]) > 65


def test_the_line_is_one_way_from_end_to_end() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        region = largest_region(ndimage.gaussian_filter(draw.normal(size=(50, 60)), 4) > 0)
        assert region is not None
        line = centre_line(region)
        steps = np.abs(np.diff(line, axis=0)).max(axis=1)
        assert (steps == 1).all()
        assert len(np.unique(line, axis=0)) == len(line)
        assert region[tuple(line.T)].all()


@given(planes)
@settings(max_examples=60, deadline=None)
def test_the_longest_way_beats_every_other_on_trees(picture: np.ndarray) -> None:
    """Held against all pairs of pixels of a thin region without loops."""
    from skimage.morphology import skeletonize

    from napari_refit.study.strokes import _longest_way

    numbers, count = ndimage.label(skeletonize(picture), EVERYWHERE)
    for number in range(1, count + 1):
        pixels = np.argwhere(numbers == number)
        apart = np.linalg.norm(pixels[:, None] - pixels[None], axis=-1)
        ways = np.where(apart < 1.5, apart, np.inf)
        links = int((np.triu(apart < 1.5, 1)).sum())
        for k in range(len(pixels)):
            ways = np.minimum(ways, ways[:, k : k + 1] + ways[k : k + 1])
        way = _longest_way(pixels)
        length = np.linalg.norm(np.diff(way, axis=0), axis=1).sum()
        if links == len(pixels) - 1:
            assert math.isclose(length, ways.max(), abs_tol=1e-6)
        else:
            assert ways.max() / 2 - 1e-6 <= length <= ways.max() + 1e-6


@given(planes, st.sampled_from([1, 3, 5]))
@settings(max_examples=100, deadline=None)
def test_the_largest_region_is_one_of_the_wrong_with_room_for_the_brush(
    wrong: np.ndarray, width: int
) -> None:
    found = largest_region(wrong, width)
    numbers, count = ndimage.label(wrong)
    sizes = {}
    for number in range(1, count + 1):
        # The brush has room where a square of its width fits in.
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(numbers == number, width), (width, width))
        if windows.all(axis=(2, 3)).any():
            sizes[number] = int((numbers == number).sum())
    if found is None:
        assert not sizes
        return
    (number,) = np.unique(numbers[found])
    assert np.array_equal(found, numbers == number)
    assert sizes[number] == max(sizes.values())


@given(planes, st.sampled_from([1, 3, 5]))
@settings(max_examples=60, deadline=None)
def test_a_stroke_stays_in_its_region_and_is_no_wider_than_the_brush(wrong: np.ndarray, width: int) -> None:
    region = largest_region(wrong, width)
    if region is None:
        return
    drawn, line = stroke(region, width), np.zeros(region.shape, bool)
    line[tuple(centre_line(region).T)] = True
    assert not (drawn & ~region).any()
    assert (drawn >= line).all()
    assert (ndimage.distance_transform_cdt(~line, "chessboard")[drawn] <= width // 2).all()
    assert np.array_equal(drawn, stroke(region, width))


def test_one_stroke_on_each_side() -> None:
    truth = plane(60, 60, (slice(10, 30), slice(10, 30)), (slice(40, 50), slice(5, 12))).astype(np.uint8)
    mask = plane(60, 60, (slice(10, 20), slice(10, 40)), (slice(50, 55), slice(50, 55))).astype(np.uint8)
    hints = np.zeros((60, 60), np.uint8)
    assert draw_strokes(mask, truth, hints) == 2
    missing, much = (truth > 0) & (mask == 0), (mask > 0) & (truth == 0)
    painted_object, painted_background = hints == 1, hints == BACKGROUND_HINT
    assert painted_object.any()
    assert not (painted_object & ~missing).any()
    assert not (painted_background & ~much).any()
    # The larger of two errors, and that alone.
    assert not painted_object[40:].any()
    assert not painted_background[50:].any()
    assert painted_background[10:20, 30:40].any()


def test_no_stroke_where_nothing_is_wrong_or_no_brush_has_room() -> None:
    truth = plane(20, 20, (slice(5, 15), slice(5, 15))).astype(np.uint8)
    hints = np.zeros((20, 20), np.uint8)
    assert draw_strokes(truth, truth, hints) == 0
    thin = plane(20, 20, (slice(5, 15), slice(5, 17))).astype(np.uint8)
    assert draw_strokes(thin, truth, hints) == 0
    assert not hints.any()
    assert draw_strokes(thin, truth, hints, width=1) == 2


def test_a_side_with_nothing_wrong_is_shown_what_is_right_once() -> None:
    truth = plane(60, 60, (slice(20, 40), slice(20, 40))).astype(np.uint8)
    small = plane(60, 60, (slice(20, 40), slice(20, 30))).astype(np.uint8)
    hints = np.zeros((60, 60), np.uint8)
    assert draw_strokes(small, truth, hints) == 2
    around = hints == BACKGROUND_HINT
    # A closed line about the object, two brushes away.
    away = ndimage.distance_transform_edt(truth == 0)
    assert away[around].min() >= 4
    assert away[around].max() <= 8
    assert ndimage.label(around, EVERYWHERE)[1] == 1
    assert ndimage.binary_fill_holes(around)[truth > 0].all()
    before = hints.copy()
    assert draw_strokes(small, truth, hints) == 1
    assert np.array_equal(hints, before)
    large = plane(60, 60, (slice(20, 40), slice(20, 55))).astype(np.uint8)
    hints[:] = 0
    assert draw_strokes(large, truth, hints) == 2
    assert (truth[hints == 1] == 1).all()
    assert (hints == 1).any()
    assert not (truth[hints == BACKGROUND_HINT]).any()


def test_a_false_alarm_gets_a_stroke_of_background_alone() -> None:
    truth, hints = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    assert draw_strokes(plane(20, 20, (slice(3, 9), slice(3, 9))).astype(np.uint8), truth, hints) == 1
    assert set(np.unique(hints)) == {0, BACKGROUND_HINT}


def test_the_class_that_lacks_most_is_hinted_at() -> None:
    truth = np.zeros((60, 60), np.uint8)
    truth[5:15, 5:15], truth[20:38, 5:35] = 1, 2
    mask, hints = np.zeros_like(truth), np.zeros_like(truth)
    assert draw_strokes(mask, truth, hints) == 2
    assert set(np.unique(hints)) == {0, 2, BACKGROUND_HINT}
    # What is marked as another class is missing too, and no background.
    mask[truth == 2] = 1
    again = np.zeros_like(truth)
    assert draw_strokes(mask, truth, again) == 2
    assert np.array_equal(again, hints)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (3, 3)])
def test_small_regions_have_a_line_too(shape: tuple[int, int]) -> None:
    line = centre_line(np.ones(shape, bool))
    assert len(line) >= 1
    assert (line < shape).all()
