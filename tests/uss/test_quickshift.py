"""Quickshift promises scikit-image's signature, semantics and results."""

from __future__ import annotations

from functools import cache
from itertools import count, product

import numpy as np
import pytest
from agreement import agreement
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage import data, segmentation
from skimage.util import img_as_float

import napari_refit as refit
from napari_refit import bands
from napari_refit.errors import Cancelled
from napari_refit.params import QuickshiftParams
from napari_refit.uss import quickshift_processor
from napari_refit.uss.quickshift import QuickshiftTree, quickshift_tree
from napari_refit.uss.superpixels import quickshift_segmenter

RNG = np.random.default_rng(3)
GREY = RNG.random((24, 31))
RGB = RNG.random((24, 31, 3))
UP = np.linspace(0, 1, 80)
TIGHT = {"kernel_size": 2, "max_dist": 4}


def part(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[100:180, 120:210])


@cache
def pictures() -> dict[str, np.ndarray]:
    camera = part(data.camera())
    astronaut = part(data.astronaut())
    dark = data.astronaut()[330:410, :90]
    return {
        "astronaut": astronaut,
        "astronaut, single": (astronaut / 255).astype(np.float32),
        "black parts": np.where(dark < 40, 0, dark),
        "coffee": part(data.coffee()),
        "cells": part(data.immunohistochemistry()),
        "camera": camera,
        "camera as lightness": camera / 255 * 100,
        "camera as lightness, single": (camera / 255 * 100).astype(np.float32),
        "camera, 12 bits, as they are": camera.astype(np.float64) * 16,
        "coins": part(data.coins()),
        "page": data.page()[20:100, 40:130],
        "blobs": data.binary_blobs(80, rng=1),
        "ramp": UP[None].repeat(60, axis=0),
        "ramp down": UP[:, None].repeat(60, axis=1),
        "ramp, single": UP[None].repeat(60, axis=0).astype(np.float32),
        "ramp in colour": np.stack([*np.meshgrid(UP, UP), np.full((80, 80), 0.3)], axis=-1),
        "flat": np.full((60, 80), 0.4),
        "flat, single": np.full((60, 80, 3), 0.4, np.float32),
        "checks": (np.indices((72, 72)).sum(0) // 8 % 2).astype(np.float64),
        "noise, 2 channels": 5 * RNG.random((60, 70, 2)),
        "noise, 4 channels": RNG.random((60, 70, 4)),
    }


@pytest.mark.parametrize(("name", "kernel_size"), product(pictures(), [1, 3, 5, 10]))
def test_links_and_clusters_are_those_of_scikit_image(name: str, kernel_size: int) -> None:
    picture = pictures()[name]
    colour = picture.shape[2:] == (3,)
    options = {
        "kernel_size": kernel_size,
        "max_dist": 2 * kernel_size,
        "convert2lab": colour,
        "return_tree": True,
    }
    ours = refit.quickshift(picture, **options)
    theirs = [np.asarray(array) for array in segmentation.quickshift(picture, **options)]
    assert [array.dtype for array in ours] == [array.dtype for array in theirs]
    assert agreement(ours[0], theirs[0]) >= 0.999
    same = ours[1] == theirs[1]
    # Colours that were converted to Lab by other roundings make other ties.
    assert same.all() if not colour else same.mean() >= 0.999
    np.testing.assert_allclose(ours[2][same], theirs[2][same], rtol=1e-4)


@pytest.mark.parametrize(
    ("image", "arguments"),
    [
        (RGB, {}),
        (RGB, {"ratio": 0.3, "kernel_size": 2, "max_dist": 6, "sigma": 0.7, "rng": 5}),
        (GREY * 100, {"convert2lab": False, "kernel_size": 2.3, "sigma": 1.5}),
        (GREY * 100, {"convert2lab": False, **TIGHT, "rng": 7}),
        (np.moveaxis(RGB, -1, 0), {"channel_axis": 0, **TIGHT}),
        (np.moveaxis(RGB, -1, 1), {"channel_axis": 1, **TIGHT}),
        ((RGB * 255).astype(np.uint8), {"kernel_size": 1.5}),
        ((GREY * 2e4 - 1e4).astype(np.int16), {"convert2lab": False, **TIGHT}),
        (RGB.astype(np.float32), TIGHT),
        (RGB.astype(np.float16), TIGHT),
        (np.asfortranarray(RGB)[::-1, ::2], TIGHT),
        (GREY[:1], {"convert2lab": False, **TIGHT}),
        (GREY[:, :1], {"convert2lab": False, **TIGHT}),
        (GREY[:1, :1], {"convert2lab": False, **TIGHT}),
        (GREY, {"convert2lab": False, **TIGHT, "channel_axis": 0}),
        (GREY * 1e6, {"convert2lab": False, **TIGHT}),
        (GREY * 1e-6, {"convert2lab": False, **TIGHT}),
        (GREY, {"convert2lab": False, **TIGHT, "ratio": 0}),
        (GREY, {"convert2lab": False, **TIGHT, "max_dist": 0}),
        (GREY, {"convert2lab": False, **TIGHT, "max_dist": np.inf}),
        (GREY, {"convert2lab": False, **TIGHT, "max_dist": np.nan}),
    ],
)
def test_arguments_mean_what_they_mean_to_scikit_image(image: np.ndarray, arguments: dict) -> None:
    assert np.array_equal(refit.quickshift(image, **arguments), segmentation.quickshift(image, **arguments))


def test_a_generator_goes_on_where_it_was() -> None:
    generator = np.random.default_rng(8)
    options = {"image": np.zeros((20, 20)), "convert2lab": False, **TIGHT}
    assert np.array_equal(refit.quickshift(**options, rng=generator), refit.quickshift(**options, rng=8))
    assert not np.array_equal(refit.quickshift(**options, rng=generator), refit.quickshift(**options, rng=8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_are_not_finite_stay_alone_as_in_scikit_image(dtype: type) -> None:
    image = (RGB * 5).astype(dtype)
    image[3, 4, 1], image[18, 25, 0], image[20, 3, 2] = np.nan, np.inf, -np.inf
    options = {"convert2lab": False, "kernel_size": 1, "return_tree": True}
    for ours, theirs in zip(
        refit.quickshift(image, **options), segmentation.quickshift(image, **options), strict=True
    ):
        assert np.array_equal(ours, theirs)


few_levels = arrays.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
    elements=st.sampled_from([0, 0.5, 1, 2, 3, 7]),
    fill=st.just(0),
)


@settings(max_examples=60, deadline=None)
@given(image=few_levels, kernel_size=st.sampled_from([1, 1.2, 2.5, 4]))
def test_ties_are_broken_as_in_scikit_image(image: np.ndarray, kernel_size: float) -> None:
    options = {"kernel_size": kernel_size, "convert2lab": False, "return_tree": True}
    ours = refit.quickshift(image, **options)
    theirs = segmentation.quickshift(image, **options)
    assert np.array_equal(ours[1], theirs[1])
    assert np.array_equal(ours[0], theirs[0])


@settings(max_examples=40, deadline=None)
@given(
    image=few_levels,
    seed=st.integers(0, 5),
    distances=st.lists(st.floats(0, 12), min_size=2, max_size=4).map(sorted),
)
def test_a_cut_is_a_forest_and_longer_links_merge_clusters(
    image: np.ndarray, seed: int, distances: list[float]
) -> None:
    tree = quickshift_tree(image, kernel_size=2, convert2lab=False, rng=seed)
    places = np.arange(tree.parents.size)
    before = None
    for max_dist in distances:
        labels = tree.cut(max_dist)
        fresh = refit.quickshift(image, kernel_size=2, max_dist=max_dist, convert2lab=False, rng=seed)
        assert np.array_equal(labels, fresh)
        flat = labels.ravel()
        assert np.array_equal(np.unique(flat), np.arange(flat.max() + 1))
        roots = np.where(tree.distances.ravel() > max_dist, places, tree.parents.ravel())
        assert (flat[roots] == flat).all()
        # As many trees as pixels that are their own parents: no links in circles.
        assert (roots == places).sum() == flat.max() + 1
        assert before is None or all(len(set(flat[before == label])) == 1 for label in set(before))
        before = flat


def test_a_cut_keeps_links_of_exactly_that_length() -> None:
    tree = QuickshiftTree(np.array([[1, 1, 1]], np.int32), np.array([[2.0, 1e9, 3.0]], np.float32))
    assert tree.cut(2).tolist() == [[0, 0, 1]]
    assert tree.cut(3).tolist() == [[0, 0, 0]]
    assert tree.cut(1).tolist() == [[0, 1, 2]]
    assert tree.cut(3).dtype == np.int64


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neither_threads_nor_pieces_change_anything(
    monkeypatch: pytest.MonkeyPatch, threads: int, dtype: type
) -> None:
    image = pictures()["black parts"].astype(dtype)
    expected = refit.quickshift(image, return_tree=True, **TIGHT)
    monkeypatch.setattr(bands, "n_threads", lambda: threads)
    monkeypatch.setattr(quickshift_processor, "n_threads", lambda: threads)
    for ours, theirs in zip(refit.quickshift(image, return_tree=True, **TIGHT), expected, strict=True):
        assert np.array_equal(ours, theirs)
    for name in ("PAIRS", "EXACT_PAIRS", "SEARCHED_LINES"):
        monkeypatch.setattr(quickshift_processor, name, 3)
    monkeypatch.setattr(quickshift_processor, "STRETCH", 16)
    for ours, theirs in zip(refit.quickshift(image, return_tree=True, **TIGHT), expected, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_it_stops_when_asked(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    for name in ("PAIRS", "EXACT_PAIRS"):
        monkeypatch.setattr(quickshift_processor, name, 1)
    asked = count()
    with pytest.raises(Cancelled):
        quickshift_tree(RGB, kernel_size=2, cancelled=lambda: next(asked) >= after)


@settings(max_examples=60, deadline=None)
@given(
    image=arrays.arrays(
        np.float64,
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=9),
        elements=st.sampled_from([0, 0, 0, 0, 1]),
    ),
    down=st.integers(0, 3),
    across=st.integers(2, 4),
)
def test_flat_windows(image: np.ndarray, down: int, across: int) -> None:
    window = quickshift_processor._Window(down, across, 1, 1.0)
    planes, _, _ = window.planes(image)
    flat = quickshift_processor._flat_windows(window, planes, image.shape[:2])
    size = (2 * down + 1, 2 * across + 1, 1)
    highest, lowest = ndimage.maximum_filter(image, size), ndimage.minimum_filter(image, size)
    assert np.array_equal(flat, (highest == lowest).all(axis=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0.5}, "kernel_size must be at least 1, got 0.5"),
        ({"kernel_size": np.nan}, "got nan"),
        ({"kernel_size": np.inf}, "kernel_size must be finite"),
        ({"sigma": -1}, "sigma must be at least 0, got -1"),
        ({"image": GREY}, "only RGB can be converted to Lab, got 1 channels"),
        ({"image": RGB[None]}, r"got shape \(1, 24, 31, 3\)"),
        ({"device": "toaster"}, "unknown device 'toaster'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refit.quickshift(**{"image": RGB, **arguments})


def test_the_image_stays_as_it_is() -> None:
    image = img_as_float(pictures()["astronaut"])
    kept = image.copy()
    refit.quickshift(image, sigma=1, ratio=0.5, **TIGHT)
    assert np.array_equal(image, kept)


def test_the_segmenter_links_once_and_cuts_at_every_move() -> None:
    kept: dict = {}
    links: list = []

    def memo(key, compute):
        if key not in kept:
            links.append(key)
            kept[key] = compute()
        return kept[key]

    image = img_as_float(pictures()["astronaut"])
    cuts = {"max_dist": 3}, {"max_dist": 9}
    others = {"kernel_size": 1}, {"seed": 4}, {"ratio": 0.3}, {"sigma": 2.5}
    for changes in ({}, *cuts, *others, *cuts):
        params = QuickshiftParams(**{"kernel_size": 2, **changes})
        expected = quickshift_segmenter(image, params)
        assert np.array_equal(quickshift_segmenter(image, params, memo=memo), expected)
        assert np.array_equal(quickshift_segmenter(image, params, memo=memo, device="cpu"), expected)
    assert len(links) == 5


def test_the_segmenter_stops_when_asked() -> None:
    with pytest.raises(Cancelled):
        quickshift_segmenter(RGB, QuickshiftParams(), cancelled=lambda: True)
