"""The search space: what is declared, what is typed, what is tried."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_refit.declare import declarations
from napari_refit.recipe import RefitParams, group_models
from napari_refit.registry import FITS, SEGMENTERS
from napari_refit.tune.samplers import distributions, grid_points, grid_size
from napari_refit.tune.space import (
    Range,
    applied,
    check_space,
    current_values,
    default_space,
    full_key,
    parse_range,
    range_of,
    tunable_keys,
)

NUMBERS = [
    f"{group}.{item.name}"
    for group, model in group_models().items()
    for item in declarations(model)
    if item.kind in ("int", "float") and item.low is not None
]


@st.composite
def number_ranges(draw):
    """Any range that is allowed, with or without a step."""
    key = draw(st.sampled_from(NUMBERS))
    whole, item = range_of(key), declared(key)
    kind = st.integers if item.kind == "int" else st.floats
    bounds = (int(item.low), int(item.high)) if item.kind == "int" else (float(item.low), float(item.high))
    low, high = sorted(draw(st.lists(kind(*bounds), min_size=2, max_size=2)))
    if not float(high) - float(low) > 1e-6 * max(abs(low), abs(high), 1e-3):
        low, high = whole.low, whole.high
    step = None
    if draw(st.booleans()):
        share = draw(st.floats(0.02, 1))
        step = max(1, math.floor((high - low) * share)) if item.kind == "int" else (high - low) * share
    return Range(key, float(low), float(high), step, log=item.log and step is None and low > 0)


def declared(key):
    group, _, name = key.partition(".")
    return next(item for item in declarations(group_models()[group]) if item.name == name)


@given(number_ranges(), st.floats(0, 1), st.integers(1, 9))
def test_what_is_tried_lies_in_the_range_and_is_valid(space, share, count):
    value = space.rounded(space.low + share * (space.high - space.low))
    assert space.low <= value <= space.high
    assert space.rounded(value) == value
    levels = space.levels(count)
    assert list(levels) == sorted(set(levels))
    assert space.low <= levels[0] <= levels[-1] <= space.high
    assert space.step is not None or len(levels) <= count
    for each in (value, *levels):
        group, _, name = space.key.partition(".")
        fresh = group_models()[group](**{name: each})
        assert getattr(fresh, name) == each
        assert isinstance(each, int) == space.is_whole


@given(number_ranges())
def test_ranges_survive_writing_and_reading(space):
    assert Range(**space.as_dict()) == space
    params = RefitParams()
    group = space.key.partition(".")[0]
    changes = {"segmenter": group} if group in SEGMENTERS else {"fit": group} if group in FITS else {}
    again = parse_range(space.text(), params.replace(**changes))
    assert again.key == space.key
    for one, other in ((again.low, space.low), (again.high, space.high), (again.step or 0, space.step or 0)):
        assert one == pytest.approx(other, rel=1e-9)


@given(st.lists(number_ranges(), min_size=1, max_size=3, unique_by=lambda each: each.key), st.integers(1, 3))
def test_a_grid_is_every_combination_once(space, levels):
    size = grid_size(space, levels)
    if size > 2000:
        return
    points = grid_points(space, levels)
    assert len(points) == size == len({tuple(point.items()) for point in points})
    for each in space:
        assert {point[each.key] for point in points} == set(each.levels(levels))
    # The last parameter changes most often.
    first = [point[space[0].key] for point in points]
    assert sum(one != other for one, other in itertools.pairwise(first)) == len(set(first)) - 1


@pytest.mark.parametrize("segmenter", SEGMENTERS.names)
@pytest.mark.parametrize("fit", FITS.names)
def test_the_default_space_is_what_the_stages_in_use_declare(segmenter, fit):
    params = RefitParams(segmenter=segmenter, fit=fit)
    space = default_space(params)
    check_space(space, params)
    groups = {each.key.partition(".")[0] for each in space}
    assert groups == {segmenter, fit}
    for each in space:
        item = declared(each.key)
        assert not item.advanced
        assert item.low <= each.low < each.high <= item.high
        assert (each.low, each.high) == tuple(map(float, item.search or (item.low, item.high)))
        assert not each.log or item.log
    assert set(distributions(space)) == {each.key for each in space}
    assert {each.key for each in space} <= set(tunable_keys(params))
    changed = applied(params, {each.key: each.levels(3)[-1] for each in space})
    assert current_values(changed, space) == {each.key: each.levels(3)[-1] for each in space}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threshold=0.3:0.5:0.1", (0.3, 0.4, 0.5)),
        ("slic.n_segments=50:400", (50, 141, 400)),
        ("slic.slic_zero=false,true", (False, True)),
        ("cam.gate=off", ("off",)),
        ("fit=boundary,appearance", ("boundary", "appearance")),
        ("sigma=0:1", (0.0, 0.5, 1.0)),
    ],
)
def test_typed_ranges(text, expected):
    levels = parse_range(text, RefitParams()).levels(3)
    assert levels == expected
    assert [type(each) for each in levels] == [type(each) for each in expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("treshold=0:1", "unknown parameter 'treshold'; did you mean"),
        ("slic.nothing=0:1", "unknown parameter 'slic.nothing'"),
        ("threshold=0.5:0.5", "is empty"),
        ("threshold=0.6:0.5", "is empty"),
        ("threshold=0:2", "allowed is 0 to 1"),
        ("threshold=0", "write threshold=LOW:HIGH"),
        ("threshold=a:b", "write threshold=LOW:HIGH"),
        ("threshold=0:1:0", "step 0 must be above 0"),
        ("threshold=0:1:2", "step 2 must be"),
        ("threshold=0:nan", "lowest and a highest"),
        ("n_segments=2.5:10", "whole numbers"),
        ("n_segments=2:10:1.5", "whole number"),
        ("cam.gate=shut", "'shut' is none of off, positive"),
        ("cam.gate=", "name the choices"),
        ("cam.gate=off,off", "twice"),
        ("cam.method=gradcam", "cannot be searched"),
        ("cam.scales=1:2", "cannot be searched"),
        ("fit=nothing", "'nothing' is none of boundary"),
    ],
)
def test_ranges_that_make_no_sense(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_range(text, RefitParams())


def test_spaces_that_make_no_sense():
    params = RefitParams()
    with pytest.raises(ValueError, match="nothing to tune"):
        check_space([], params)
    with pytest.raises(ValueError, match="two ranges"):
        check_space([range_of("boundary.threshold")] * 2, params)
    with pytest.raises(ValueError, match=r"quickshift\.ratio is of quickshift, which is not in use"):
        check_space([range_of("quickshift.ratio")], params)
    check_space([range_of("quickshift.ratio"), Range("segmenter", choices=("slic", "quickshift"))], params)
    with pytest.raises(ValueError, match="unknown parameter"):
        full_key("smoothness_of_all", params)
