"""slic and quickshift promise scikit-image's signature, semantics and results."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from skimage import segmentation

import napari_refit as refit
from napari_refit.devices import check_device

RNG = np.random.default_rng(3)
GREY = RNG.random((24, 31))
RGB = RNG.random((24, 31, 3))
VOLUME = RNG.random((6, 12, 10))


@pytest.mark.parametrize("name", ["slic", "quickshift"])
def test_signature_is_that_of_scikit_image_and_a_device(name: str) -> None:
    ours = dict(inspect.signature(getattr(refit, name)).parameters)
    theirs = inspect.signature(getattr(segmentation, name)).parameters
    device = ours.pop("device")
    assert device.default is None
    assert device.kind is inspect.Parameter.KEYWORD_ONLY
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


@pytest.mark.parametrize(
    ("image", "arguments"),
    [
        (GREY, {"channel_axis": None}),
        (GREY, {"channel_axis": None, "n_segments": 20, "compactness": 0.1, "sigma": 1, "start_label": 0}),
        (RGB, {}),
        (RGB, {"n_segments": 10, "convert2lab": False, "slic_zero": True, "max_num_iter": 3}),
        (RGB, {"enforce_connectivity": False, "min_size_factor": 0.1, "max_size_factor": 2}),
        (np.moveaxis(RGB, -1, 0), {"channel_axis": 0}),
        (RGB, {"mask": GREY > 0.2, "n_segments": 12}),
        (VOLUME, {"channel_axis": None, "n_segments": 15, "spacing": (3, 1, 1), "sigma": 1}),
        (np.stack([VOLUME, VOLUME**2], axis=-1), {"n_segments": 15, "compactness": 0.5}),
        ((GREY * 255).astype(np.uint8), {"channel_axis": None}),
        (GREY.astype(np.float16), {"channel_axis": None}),
        (GREY.astype(np.float32), {"channel_axis": None}),
        ((GREY * 1000 - 500).astype(np.int16), {"channel_axis": None}),
        (GREY > 0.5, {"channel_axis": None}),
    ],
)
def test_slic_is_that_of_scikit_image(image: np.ndarray, arguments: dict) -> None:
    expected = segmentation.slic(image, **arguments)
    assert np.array_equal(refit.slic(image, **arguments), expected)


def test_lists_are_images_too() -> None:
    expected = refit.slic(GREY, channel_axis=None)
    assert np.array_equal(refit.slic(GREY.tolist(), channel_axis=None), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_segments": 0}, "n_segments must be at least 1, got 0"),
        ({"compactness": 0}, "compactness must be above 0, got 0"),
        ({"compactness": -2.5}, "got -2.5"),
        ({"compactness": np.nan}, "got nan"),
        ({"mask": np.zeros((24, 31), bool)}, "mask has no pixel"),
        ({"start_label": 2}, "start_label"),
        ({"device": "toaster"}, "unknown device 'toaster'"),
    ],
)
def test_slic_names_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refit.slic(RGB, **arguments)


@pytest.mark.parametrize("function", [refit.slic, refit.quickshift])
def test_bad_images_are_refused(function) -> None:
    with pytest.raises(ValueError, match="empty"):
        function(np.zeros((0, 5, 3)))
    with pytest.raises(TypeError, match="complex"):
        function(RGB.astype(complex))
    with pytest.raises(TypeError, match="object"):
        function(RGB.astype(object))


def test_slic_refuses_nan_as_scikit_image_does() -> None:
    with pytest.raises(ValueError, match="NaN"):
        refit.slic(np.where(GREY > 0.9, np.nan, GREY), channel_axis=None)


def test_slic_of_a_plane_without_channels_needs_to_be_told() -> None:
    with pytest.raises(ValueError, match="channel_axis"):
        refit.slic(GREY)


def test_devices() -> None:
    import torch

    for device in (None, "cpu", "cuda", "cuda:1", "mps", torch.device("cpu")):
        check_device(device)
    with pytest.raises(TypeError, match="got 3"):
        check_device(3)
    with pytest.raises(ValueError, match="unknown device ''"):
        check_device("")
