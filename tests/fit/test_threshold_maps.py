"""The CAM's own mask: the highest response where it reaches the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_refit.fitting import threshold_maps

TENTHS = st.integers(0, 10).map(lambda value: value / 10)


@given(st.integers(1, 5), TENTHS, st.sampled_from([np.float32, np.float64]), st.data())
@settings(deadline=None, max_examples=60)
def test_highest_response_wins_and_the_first_of_equals(n, threshold, dtype, data) -> None:
    maps = data.draw(arrays.arrays(dtype, (n, 3, 4), elements=TENTHS | st.just(np.nan)))
    numbers = data.draw(st.permutations(range(1, n + 1)))
    mask = threshold_maps(maps, tuple(numbers), threshold)
    assert mask.dtype == np.uint8
    for pixel in np.ndindex(3, 4):
        values = maps[:, *pixel]
        reaches = values.max() >= dtype(threshold)  # not where any is NaN
        assert mask[pixel] == (numbers[int(values.argmax())] if reaches else 0)


@pytest.mark.parametrize(("numbers", "dtype"), [((7,), np.uint8), ((1, 300), np.uint16)])
def test_the_mask_is_as_narrow_as_its_numbers(numbers: tuple[int, ...], dtype: type) -> None:
    maps = np.stack([np.full((2, 3, 2), 0.2 * k) for k in range(1, len(numbers) + 1)])
    mask = threshold_maps(maps, numbers, 0.1)
    assert mask.dtype == dtype
    assert mask.shape == (2, 3, 2)
    assert (mask == numbers[-1]).all()
