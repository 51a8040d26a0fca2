"""slic and quickshift promise scikit-image's signature, semantics and results."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from agreement import agreement
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
    ours = refit.slic(image, **arguments)
    assert ours.dtype == np.int64
    assert agreement(ours, segmentation.slic(image, **arguments)) >= 0.99


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
        ({"start_label": 2}, "start_label must be 0 or 1, got 2"),
        (
            {"mask": np.ones((24, 30), bool)},
            r"mask of shape \(24, 30\) does not fit an image of shape \(24, 31\)",
        ),
        ({"spacing": (1, 2, 3)}, r"spacing needs 2 numbers, one for each axis, got \(1, 2, 3\)"),
        ({"spacing": (0, 1)}, r"spacing must be positive and finite, got \(0, 1\)"),
        ({"sigma": (1,)}, r"sigma needs 2 numbers, one for each axis, got \(1,\)"),
        ({"sigma": (-1, 1)}, "standard deviation must be 0 or more and finite, got -1.0"),
        ({"channel_axis": None, "spacing": (1, 2)}, "spacing needs 3 numbers"),
        ({"channel_axis": 3}, "axis 3 is out of bounds"),
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
    with pytest.raises(ValueError, match="infinities"):
        refit.slic(np.where(GREY > 0.9, np.inf, GREY), channel_axis=None)


def test_slic_refuses_other_numbers_of_axes_and_channels() -> None:
    with pytest.raises(ValueError, match="2 or 3 axes beside its channels, got 1"):
        refit.slic(GREY[0], channel_axis=None)
    with pytest.raises(ValueError, match="2 or 3 axes beside its channels, got 4"):
        refit.slic(VOLUME[None], channel_axis=None)
    with pytest.raises(ValueError, match="three channels of RGB, got 2"):
        refit.slic(RGB[..., :2], convert2lab=True)


@pytest.mark.parametrize("arguments", [{"spacing": 2}, {"sigma": None}])
def test_slic_refuses_other_types(arguments: dict) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(arguments))} must be"):
        refit.slic(RGB, **arguments)


def test_slic_leaves_its_input_alone() -> None:
    for image in (RGB, RGB.astype(np.float32), (RGB * 255).astype(np.uint8)):
        before = image.copy()
        refit.slic(image, sigma=1)
        assert np.array_equal(image, before)


def test_slic_on_a_device_that_is_not_there() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ValueError, match="'cuda' cannot be used here"):
        refit.slic(RGB, device="cuda")


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
