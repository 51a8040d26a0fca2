"""Superpixels on a real CUDA device, held against the processor's and scikit-image's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from agreement import agreement
from skimage import data, segmentation

import napari_refit as refit
from napari_refit.params import NetworkParams, QuickshiftParams, SlicParams
from napari_refit.uss import channels_torch, network_torch
from napari_refit.uss.block import Block
from napari_refit.uss.colour import lab_planes
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.network import network_segmenter
from napari_refit.uss.quickshift import quickshift_tree
from napari_refit.uss.quickshift_torch import torch_links
from napari_refit.uss.smoothing import smooth
from napari_refit.uss.superpixels import quickshift_segmenter, slic_segmenter
from napari_refit.uss.supervoxels import slic_supervoxels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

RGB = data.astronaut()[:160, 180:380]
GREY = data.camera()[60:200, 150:330]
SINGLE = (RGB / 255).astype(np.float32)
FLAT = np.zeros((90, 100), np.float32)
VOLUME = np.stack([GREY[shift : shift + 60, shift : shift + 70] for shift in range(0, 24, 2)])
MASK = np.hypot(*(np.mgrid[:160, :200] - np.array([80, 100])[:, None, None])) < 70


def with_nan() -> np.ndarray:
    image = RGB / 255.0
    image[40, 50] = np.nan
    return image


QUICKSHIFT: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "uint8": (RGB, {}),
    "float32": (SINGLE, {}),
    "float64": (SINGLE.astype(np.float64), {}),
    "smoothed": (SINGLE, {"sigma": 1, "ratio": 0.5}),
    "grey": (GREY, {"convert2lab": False}),
    "grey of a hundred": ((GREY / 2.55).astype(np.float32), {"convert2lab": False}),
    "flat": (FLAT, {"convert2lab": False}),
    "flat, float64": (FLAT.astype(np.float64), {"convert2lab": False}),
    "NaN": (with_nan(), {"convert2lab": False}),
    "a line": (SINGLE[:1], {}),
    "five channels": (np.concatenate([SINGLE, SINGLE[..., :2]], axis=2), {"convert2lab": False}),
}


@pytest.mark.parametrize("name", QUICKSHIFT)
def test_quickshift_is_that_of_the_processor_and_of_scikit_image(name: str) -> None:
    image, options = QUICKSHIFT[name]
    options = {"kernel_size": 3, "max_dist": 6, **options}
    ours = refit.quickshift(image, device="cuda", **options)
    assert agreement(ours, refit.quickshift(image, **options)) >= 0.999
    assert agreement(ours, segmentation.quickshift(image, rng=42, **options)) >= 0.999
    assert np.array_equal(ours, refit.quickshift(image, device="cuda", **options))


@pytest.mark.parametrize("name", QUICKSHIFT)
def test_links_are_those_of_the_processor(name: str) -> None:
    image, options = QUICKSHIFT[name]
    options = {key: value for key, value in options.items() if key != "max_dist"}
    there, here = (
        quickshift_tree(image, kernel_size=3, device=device, **options) for device in ("cuda", None)
    )
    assert (there.parents == here.parents).mean() >= 0.9995
    assert there.distances.dtype == here.distances.dtype
    same = there.parents == here.parents
    np.testing.assert_allclose(there.distances[same], here.distances[same], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_links_without_triton_are_those_of_the_processor(dtype: type) -> None:
    colours = np.ascontiguousarray(np.moveaxis(lab_planes(np.moveaxis(SINGLE, -1, 0)), 0, -1)).astype(dtype)
    found = torch_links(colours, 3, np.random.default_rng(42), torch.device("cuda"))
    expected = quickshift_tree(colours, kernel_size=3, convert2lab=False)
    assert (found[0].cpu().numpy() == expected.parents).mean() >= 0.999


SLIC: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "uint8": (RGB, {}),
    "float32": (SINGLE, {}),
    "smoothed": (SINGLE, {"sigma": 1}),
    "grey": (GREY, {"channel_axis": None, "compactness": 0.1}),
    "flat": (FLAT, {"channel_axis": None}),
    "flat and large": (np.zeros((1024, 1024)), {"channel_axis": None}),
    "volume": (VOLUME, {"channel_axis": None, "compactness": 0.1}),
    "spacing": (VOLUME, {"channel_axis": None, "compactness": 0.1, "spacing": (3, 1, 1), "sigma": 1}),
    "mask": (RGB, {"mask": MASK}),
    "masked NaN": (with_nan(), {"mask": ~np.isnan(with_nan()).any(axis=2)}),
    "SLICO": (RGB, {"slic_zero": True}),
    "SLICO in a mask": (RGB, {"slic_zero": True, "mask": MASK}),
    "crowded": (RGB, {"n_segments": 8000}),
    "five channels": (np.concatenate([SINGLE, SINGLE[..., :2]], axis=2), {"compactness": 0.1}),
    "pieces that are too large": (RGB, {"max_size_factor": 1.1}),
    "not connected": (RGB, {"enforce_connectivity": False}),
}


@pytest.mark.parametrize("name", SLIC)
def test_slic_is_that_of_the_processor_and_of_scikit_image(name: str) -> None:
    image, options = SLIC[name]
    options = {"n_segments": 120, **options}
    ours = refit.slic(image, device="cuda", **options)
    here = refit.slic(image, **options)
    assert (ours.shape, ours.dtype) == (here.shape, here.dtype)
    assert agreement(ours, here) >= 0.99
    assert agreement(ours, segmentation.slic(image, **options)) >= 0.98
    assert np.array_equal(ours, refit.slic(image, device="cuda", **options))


def test_slic_without_triton_is_that_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    here = refit.slic(RGB, n_segments=120)
    monkeypatch.setattr("napari_refit.uss.llvm.triton_runs", lambda device: False)
    assert agreement(refit.slic(RGB, n_segments=120, device="cuda"), here) >= 0.99


def test_errors_are_those_of_the_processor() -> None:
    for value in (np.nan, np.inf):
        image = SINGLE.copy()
        image[0, 0, 0] = value
        with pytest.raises(ValueError, match="not masked out"):
            refit.slic(image, device="cuda")


def test_channels_are_those_of_the_processor() -> None:
    planes = np.ascontiguousarray(np.moveaxis(SINGLE, -1, 0))[:, None]
    there = channels_torch.lab_planes(torch.from_numpy(planes).cuda())
    np.testing.assert_allclose(there.cpu().numpy(), lab_planes(planes), atol=2e-3)
    for sigmas in ((0, 1.5, 0), (0, 0.7, 60)):
        soft = channels_torch.smooth(torch.from_numpy(planes).cuda(), sigmas)
        np.testing.assert_allclose(soft.cpu().numpy(), smooth(planes, sigmas), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 700, 800), (20, 90, 110)])
@pytest.mark.parametrize("n_labels", [1, 2, 3])
def test_regions_are_those_of_the_processor(shape: tuple[int, ...], n_labels: int) -> None:
    from napari_refit.uss.llvm import triton_runs

    if not triton_runs(torch.device("cuda")):
        pytest.skip("triton does not run here")
    from napari_refit.uss.regions_triton import connected_regions

    labels = np.random.default_rng(5).integers(0, n_labels, shape).astype(np.int32)
    regions, firsts = connected_regions(torch.from_numpy(labels).cuda())
    expected = connected_clusters(labels if shape[0] > 1 else labels[0]).reshape(shape)
    assert np.array_equal(regions.cpu().numpy(), expected)
    assert np.array_equal(firsts.cpu().numpy(), np.unique(expected, return_index=True)[1])


@pytest.mark.parametrize("guide", [True, False])
def test_a_recorded_training_is_the_same_step_by_step(guide: bool) -> None:
    image = SINGLE[:100, :120]
    pixels = image - image.mean(axis=(0, 1))
    superpixels = refit.slic(image, n_segments=60, start_label=0) if guide else None
    params = NetworkParams(steps=8)
    found = []
    for kind in (network_torch.TorchTraining, network_torch.RecordedTraining):
        training = kind(pixels, superpixels, params, torch.device("cuda"))
        for _ in range(params.steps):
            labels, left = training.label()
            found.append((labels.cpu().numpy(), int(left)))
            training.learn()
    for (labels, left), (again, left_again) in zip(found[:8], found[8:], strict=True):
        assert np.array_equal(labels, again)
        assert left == left_again


def test_a_network_on_the_device_stops_when_asked() -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 12

    with pytest.raises(refit.Cancelled):
        list(network_segmenter(SINGLE[:60, :60], NetworkParams(steps=40), device="cuda", cancelled=cancelled))
    assert refit.uss_network(SINGLE[:60, :60], device="cuda").shape == (60, 60)


@pytest.mark.parametrize("image", [SINGLE, (GREY / 255).astype(np.float32)])
def test_segmenters_are_those_of_the_processor(image: np.ndarray) -> None:
    for segmenter, params in (
        (slic_segmenter, SlicParams(n_segments=120)),
        (quickshift_segmenter, QuickshiftParams(kernel_size=2)),
    ):
        there, here = (segmenter(image, params, device=device) for device in ("cuda", None))
        assert there.dtype == here.dtype
        assert agreement(there, here) >= 0.99
    volume = np.stack([image[:60, :70]] * 4)
    options: dict[str, Any] = {"spacing": (2, 1, 1), "block": Block(0, (4, 60, 70))}
    there, here = (
        slic_supervoxels(volume, SlicParams(n_segments=40), device=device, **options)
        for device in ("cuda", None)
    )
    assert agreement(there, here) >= 0.99


def test_threads_do_not_disturb_each_other() -> None:
    def both(_: int) -> tuple[np.ndarray, np.ndarray]:
        clusters = refit.slic(RGB, n_segments=120, device="cuda")
        return clusters, refit.quickshift(SINGLE, kernel_size=2, device="cuda")

    alone = both(0)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(both, range(8)):
            assert all(np.array_equal(one, other) for one, other in zip(alone, found, strict=True))
