"""Quickshift's path for accelerators, held against the one for the processor; torch runs on the processor here."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import torch
from agreement import agreement
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.color import rgb2lab

from napari_refit.errors import Cancelled
from napari_refit.uss import quickshift, quickshift_torch
from napari_refit.uss.quickshift import QuickshiftTree
from napari_refit.uss.quickshift_processor import compiled_tree

CPU = torch.device("cpu")
ASTRONAUT = rgb2lab(data.astronaut()[100:160, 120:190])
CAMERA = data.camera()[100:160, 120:190, None] / 255 * 100
NOISE = np.random.default_rng(1).random((20, 30, 2)) * 9


def generator() -> np.random.Generator:
    return np.random.default_rng(42)


@pytest.mark.parametrize("kernel_size", [1, 2.5, 4])
@pytest.mark.parametrize(
    "colours",
    [
        ASTRONAUT,
        CAMERA,
        NOISE,
        NOISE[:1],
        NOISE[:, :1],
        np.zeros((30, 20, 1)),
        *(colours.astype(np.float32) for colours in (ASTRONAUT, CAMERA, np.zeros((30, 20, 1)))),
    ],
)
def test_links_are_those_of_the_processor(colours: np.ndarray, kernel_size: float) -> None:
    parents, distances = quickshift_torch.torch_links(colours, kernel_size, generator(), CPU)
    expected = compiled_tree(colours, kernel_size, generator())
    same = parents.numpy() == expected[0]
    assert same.mean() >= 0.999
    linked = same & (expected[1] < 1e9)
    np.testing.assert_allclose(distances.numpy()[linked], expected[1][linked], rtol=1e-5)
    assert (distances.numpy()[same & ~linked] > 1e9).all()
    labels = quickshift_torch.torch_cut(parents, distances, 6).numpy()
    assert agreement(labels, QuickshiftTree(*expected).cut(6)) >= 0.99


def test_few_lines_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quickshift_torch.torch_links(NOISE, 2, generator(), CPU)
    monkeypatch.setattr(quickshift_torch, "ELEMENTS", 1000)
    pieces = quickshift_torch.torch_links(NOISE, 2, generator(), CPU)
    assert all(torch.equal(one, other) for one, other in zip(whole, pieces, strict=True))


def test_ties_in_single_precision_are_broken_by_the_noise() -> None:
    densities = torch.tensor([[2.0, 1.0, 2.0, torch.nan, 1.0]])
    noise = torch.tensor([[3e-6, 2e-6, -1e-6, 0.0, 1e-6]])
    for dtype in (torch.float32, torch.float64):
        own, theirs = quickshift_torch._ranks(densities.to(dtype), noise.to(dtype))
        assert own.tolist() == [[3, 1, 2, 5, 0]]
        assert theirs.tolist() == [[3, 1, 2, -1, 0]]


def test_a_pixel_near_what_is_not_a_number_stays_alone() -> None:
    image = NOISE.copy()
    image[4, 5, 0] = np.nan
    parents, distances = quickshift_torch.torch_links(image, 1, generator(), CPU)
    expected = compiled_tree(image, 1, generator())
    assert np.array_equal(parents.numpy(), expected[0])
    np.testing.assert_allclose(distances.numpy(), expected[1])


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 60), seed=st.integers(0, 99), max_dist=st.floats(0, 1))
def test_cuts_are_those_of_the_processor(size: int, seed: int, max_dist: float) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(size)
    parents = np.empty((1, size), np.int64)
    for place, pixel in enumerate(order):
        parents[0, pixel] = order[rng.integers(0, place + 1)]
    distances = rng.random((1, size))
    ours = quickshift_torch.torch_cut(torch.from_numpy(parents), torch.from_numpy(distances), max_dist)
    assert np.array_equal(ours.numpy(), QuickshiftTree(parents, distances).cut(max_dist))


def test_it_stops_when_asked() -> None:
    asked = count()
    with pytest.raises(Cancelled):
        quickshift_torch.torch_links(NOISE, 1, generator(), CPU, lambda: next(asked) > 3)


def test_the_public_functions_take_this_path_for_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    # A processor in an accelerator's clothes.
    monkeypatch.setattr(quickshift, "_accelerator", lambda device: CPU if device == "cuda" else None)
    image = data.astronaut()[100:140, 120:160]
    for dtype in (np.uint8, np.float32):
        options = {
            "image": (image / (1 if dtype == np.uint8 else 255)).astype(dtype),
            "kernel_size": 2,
            "max_dist": 5,
        }
        there, here = (quickshift.quickshift(**options, device=device) for device in ("cuda", None))
        assert agreement(there, here) >= 0.999
        tree = quickshift.quickshift(**options, device="cuda", return_tree=True)
        assert np.array_equal(tree[0], there)
        assert tree[1].dtype == np.int64
        assert tree[2].dtype == (np.float32 if dtype == np.float32 else np.float64)


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ValueError, match="'cuda' cannot be used here"):
        quickshift.quickshift(NOISE, convert2lab=False, device="cuda")
