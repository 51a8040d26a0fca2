"""SLIC's channels made ready on a device, held against the processor's; torch runs on the processor here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from agreement import agreement
from scipy import ndimage
from skimage import color, data

import napari_refit as refit
from napari_refit.devices import uploaded
from napari_refit.uss import channels_torch, slic

RGB = data.astronaut()[100:140, 120:170]
PLANES = torch.from_numpy(np.moveaxis(RGB / np.float32(255), -1, 0)[:, None].astype(np.float32))
VOLUME = np.random.default_rng(0).random((6, 20, 24))


def test_lab_is_that_of_scikit_image() -> None:
    found = channels_torch.lab_planes(PLANES)[:, 0].numpy()
    np.testing.assert_allclose(np.moveaxis(found, 0, -1), color.rgb2lab(RGB / 255), atol=2e-3)


@pytest.mark.parametrize("sigmas", [(0, 1.5, 0), (0, 0.7, 30), (2, 0, 0)])
def test_smoothing_is_that_of_scipy(sigmas: tuple[float, ...]) -> None:
    found = channels_torch.smooth(PLANES, sigmas).numpy()
    np.testing.assert_allclose(found, ndimage.gaussian_filter(PLANES.numpy(), (0, *sigmas)), atol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float16, np.float32, np.float64])
def test_values_are_rescaled_as_on_the_processor(dtype: type) -> None:
    values = (np.random.default_rng(1).random((2, 1, 9, 8)) * 90 - 40).astype(dtype)
    keep = np.random.default_rng(2).random((1, 9, 8)) < 0.5
    for mask in (None, keep):
        there = channels_torch.rescaled(
            torch.from_numpy(values), None if mask is None else torch.from_numpy(mask)
        )
        np.testing.assert_allclose(there.numpy(), slic._rescaled(values, mask), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_unless_masked_out(value: float) -> None:
    planes = torch.ones(1, 1, 2, 2)
    planes[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="not masked out"):
        channels_torch.rescaled(planes, None)
    keep = torch.tensor([[[False, True], [True, True]]])
    assert torch.equal(channels_torch.rescaled(planes, keep)[:, keep], torch.zeros(1, 3))


@pytest.mark.parametrize("array", [RGB[::-1], RGB.astype(">f4"), np.broadcast_to(np.float32(3), (2, 2))])
def test_any_array_can_be_uploaded(array: np.ndarray) -> None:
    assert np.array_equal(uploaded(array, torch.device("cpu")).numpy(), array)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (RGB, {}),
        (RGB[::-1].astype(np.uint16), {"sigma": 1}),
        (RGB, {"mask": RGB[..., 0] > 60, "slic_zero": True}),
        (VOLUME, {"channel_axis": None, "spacing": (2, 1, 1), "sigma": 1, "enforce_connectivity": False}),
    ],
)
def test_slic_takes_this_path_for_an_accelerator(
    monkeypatch: pytest.MonkeyPatch, image: np.ndarray, options: dict[str, Any]
) -> None:
    options = {"n_segments": 30, **options}
    here = refit.slic(image, **options)
    # A processor in an accelerator's clothes.
    monkeypatch.setattr(slic, "on_processor", lambda device: device != "cuda")
    monkeypatch.setattr("napari_refit.devices.torch_device", lambda device: torch.device("cpu"))
    there = refit.slic(image, device="cuda", **options)
    assert there.dtype == here.dtype
    assert agreement(there, here) >= 0.99
