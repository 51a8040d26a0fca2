"""Planes, intensity, cache and scoring: the small parts that the pipeline is made of."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_refit.cache import StageCache, array_bytes
from napari_refit.intensity import IntensityRange, measure_range, normalise
from napari_refit.params import IntensityParams
from napari_refit.planes import Planes, looks_rgb
from napari_refit.scoring import THRESHOLDS, best_threshold, matching_classes

REAL_DTYPES = st.sampled_from(["u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8", "?", ">i2", ">f4"])


@settings(max_examples=60, deadline=None)
@given(
    REAL_DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9)))
)
def test_any_real_dtype_becomes_zero_to_one(values):
    limits = measure_range(values, IntensityParams())
    scaled = normalise(values, limits, IntensityParams())
    assert scaled.dtype == np.float32
    assert scaled.shape == values.shape
    assert np.isfinite(scaled).all()
    assert scaled.min() >= 0
    assert scaled.max() <= 1


def test_nan_and_infinity_do_not_move_the_range():
    values = np.linspace(0, 1, 101)
    spoilt = np.concatenate([values, [np.nan, np.inf, -np.inf]])
    params = IntensityParams(low_percentile=0, high_percentile=100)
    assert measure_range(spoilt, params) == measure_range(values, params)
    assert normalise(spoilt, IntensityRange(0, 1), params)[-3:].tolist() == [0, 1, 0]


def test_a_window_needs_no_measuring():
    params = IntensityParams(mode="window", window_level=40, window_width=80)
    assert measure_range(None, params) == IntensityRange(0, 80)
    assert normalise(np.array([-5, 40, 200]), IntensityRange(0, 80), params).tolist() == [0, 0.5, 1]


def test_floor_sets_low_values_black():
    params = IntensityParams(floor=0.5)
    assert normalise(np.array([0.4, 0.5, 0.9]), IntensityRange(0, 1), params).tolist() == pytest.approx(
        [0, 0.5, 0.9]
    )


def test_a_constant_or_all_nan_volume_is_black():
    for values in (np.full((4, 4), 7.0), np.full((4, 4), np.nan)):
        assert not normalise(values, measure_range(values, IntensityParams()), IntensityParams()).any()


def test_complex_values_are_refused():
    with pytest.raises(TypeError, match="complex64"):
        measure_range(np.zeros((2, 2), np.complex64), IntensityParams())


def test_the_cache_stays_within_its_budget():
    cache = StageCache(1000)
    rng = np.random.default_rng(0)
    for k in range(200):
        cache.put(int(rng.integers(20)), (np.zeros(int(rng.integers(1, 400)), np.uint8), "text"))
        held = sum(array_bytes(cache.get(key)) for key in range(20) if cache.get(key) is not None)
        assert held == cache.n_bytes <= 1000, k
    cache.put("large", np.zeros(2000, np.uint8))
    assert cache.get("large") is None
    cache.clear()
    assert cache.n_bytes == 0


def test_the_least_recently_used_result_goes_first():
    cache = StageCache(2)
    cache.put("a", np.zeros(1, np.uint8))
    cache.put("b", np.zeros(1, np.uint8))
    cache.get("a")
    cache.put("c", np.zeros(1, np.uint8))
    assert cache.get("a") is not None
    assert cache.get("b") is None


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 64, 3), True),
        ((64, 64, 4), True),
        ((10, 64, 64), False),
        ((64, 64), False),
        ((5, 64, 64, 3), True),
    ],
)
def test_colour_is_guessed_from_the_shape(shape, expected):
    assert looks_rgb(shape) is expected


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_planes_cover_the_array_once_along_every_axis(rgb, lazy):
    array = np.arange(2 * 3 * 4 * 5 * (3 if rgb else 1)).reshape((2, 3, 4, 5) + ((3,) if rgb else ()))
    planes = Planes(da.from_array(array) if lazy else array, rgb)
    for axis in (1, 2, 3):
        seen = np.zeros(planes.shape, int)
        for index in planes.stack(axis):
            assert np.array_equal(planes.read(index), array[planes.slices(index)])
            seen[planes.slices(index)] += 1
        assert (seen == 1).all()


def test_bad_planes_are_named():
    planes = Planes(np.zeros((4, 5, 6)))
    with pytest.raises(IndexError, match="slice 4 is outside axis 0"):
        planes.index({0: 4})
    with pytest.raises(ValueError, match="axis 3"):
        planes.index({3: 0})
    with pytest.raises(ValueError, match="needs 1 position"):
        planes.index({})
    with pytest.raises(ValueError, match="axis of length 0"):
        Planes(np.zeros((4, 0, 6)))
    with pytest.raises(ValueError, match="at least two axes"):
        Planes(np.zeros(4))


def test_opacity_is_no_grey_value():
    picture = np.zeros((20, 20, 4), np.uint8)
    assert Planes(picture, rgb=True).read(()).shape == (20, 20, 3)


def test_the_best_threshold_is_the_best_of_a_slow_search():
    rng = np.random.default_rng(3)
    for _ in range(20):
        truth = rng.integers(0, 3, 400)
        maps = np.clip(rng.random((2, 400)) * 0.7 + 0.3 * (truth == np.array([[1], [2]])), 0, 1).round(3)
        slow = []
        for threshold in THRESHOLDS:
            winner = np.where(maps.max(0) >= threshold - 1e-9, maps.argmax(0) + 1, 0)
            dice = [
                2 * ((winner == c) & (truth == c)).sum() / ((winner == c).sum() + (truth == c).sum())
                for c in (1, 2)
            ]
            slow.append(np.mean(dice))
        assert best_threshold(maps, (1, 2), truth) == pytest.approx(THRESHOLDS[int(np.argmax(slow))])


def test_one_class_matches_any_foreground():
    assert matching_classes(np.array([0, 3, 1]), (2,)).tolist() == [0, 2, 2]
    assert matching_classes(np.array([0, 3, 1]), (1, 3)).tolist() == [0, 3, 1]
