"""The label-free criterion against a version that one can read off the formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_refit.tune.label_free import explained


def slowly(mask, image, response):
    """The formula, pixel by pixel."""
    rows, columns = mask.shape
    every, boundary = [], []
    for row in range(rows):
        for column in range(columns):
            for other in ((row + 1, column), (row, column + 1)):
                if other[0] < rows and other[1] < columns:
                    apart = float(np.abs(image[row, column] - image[other]).sum())
                    every.append(apart)
                    if mask[row, column] != mask[other]:
                        boundary.append(apart)
    if not boundary or sum(every) == 0:
        return 0.0
    inside = everywhere = area = 0.0
    for row in range(rows):
        for column in range(columns):
            sure = response[row, column] ** 4
            everywhere += sure
            inside += sure if mask[row, column] else 0.0
            area += mask[row, column]
    contrast = np.mean(boundary) / (np.mean(boundary) + np.mean(every))
    return contrast * 2 * inside / (area + everywhere)


@given(
    arrays(bool, (6, 7)),
    st.integers(0, 2),
    st.integers(0, 2**32 - 1),
)
def test_it_is_its_formula(mask, channels, seed):
    draw = np.random.default_rng(seed)
    image = draw.random((6, 7, channels) if channels else (6, 7))
    response = draw.random((6, 7)) ** 2
    found = explained(mask, image, response)
    assert found == pytest.approx(slowly(mask, image, response), rel=1e-9, abs=1e-12)
    assert 0 <= found <= 1
    # Brightness and contrast of the image do not matter.
    assert explained(mask, image * 3 + 1, response) == pytest.approx(found, rel=1e-6, abs=1e-9)


def test_it_prefers_the_object_to_more_less_and_elsewhere():
    rows, columns = np.indices((48, 48))

    def disc(radius, row=24, column=24):
        return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2

    image = disc(10) * 0.6 + np.random.default_rng(0).normal(0, 0.05, (48, 48))
    response = np.exp(-((rows - 26) ** 2 + (columns - 23) ** 2) / 200)
    best = explained(disc(10), image, response)
    for other in (disc(6), disc(16), disc(10, 12, 12), disc(10, 28, 24)):
        assert explained(other, image, response) < best


@pytest.mark.parametrize("mask", [np.zeros((4, 4), bool), np.ones((4, 4), bool)])
def test_nothing_and_everything_explain_nothing(mask):
    image = np.random.default_rng(0).random((4, 4))
    assert explained(mask, image, image) == 0


def test_a_flat_image_and_no_response_explain_nothing():
    mask = np.eye(5, dtype=bool)
    varied = np.random.default_rng(0).random((5, 5))
    assert explained(mask, np.ones((5, 5)), varied) == 0
    assert explained(mask, varied, np.zeros((5, 5))) == 0
