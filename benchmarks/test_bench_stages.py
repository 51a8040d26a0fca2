"""Each stage beside a peer that does the same work, on the same input, in the same run.

Where both should give the same answer, that is checked too: a fast wrong one cannot win.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import napari_refit as refit

SIDE = 192


@pytest.fixture(scope="session")
def plane() -> np.ndarray:
    """One slice of a phantom, float32 in [0, 1]."""
    from napari_refit.io.phantom import phantom

    image = phantom(seed=11, shape=(SIDE, SIDE, 16)).image[:, :, 8].T.astype(np.float32)
    return (image - image.min()) / np.ptp(image)


@pytest.fixture(scope="session")
def clusters(plane: np.ndarray) -> np.ndarray:
    from napari_refit.uss.edges import connected_clusters

    return connected_clusters(refit.slic(plane, n_segments=250, compactness=0.1, channel_axis=None))


@pytest.fixture(scope="session")
def response() -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.exp(-((rows - 90) ** 2 + (columns - 100) ** 2) / 2500).astype(np.float32)


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    path = Path(__file__).parents[1] / "tests" / "fit" / "flood_oracle.py"
    spec = importlib.util.spec_from_file_location("flood_oracle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(benchmark: Any, way: str, function: Callable[[], Any]) -> Any:
    benchmark.extra_info["way"] = way
    return benchmark(function)


def skimage_slic(image: np.ndarray, **options: Any) -> np.ndarray:
    from skimage.segmentation import slic

    return slic(image, **options)


SLIC = {"n_segments": 250, "compactness": 0.1, "channel_axis": None}
SLIC_WAYS = {"refit.slic": refit.slic, "peer scikit-image": skimage_slic}


@pytest.mark.benchmark(group=f"SLIC, {SIDE} x {SIDE} grey, 250 clusters")
@pytest.mark.parametrize("way", SLIC_WAYS)
def test_slic(benchmark: Any, way: str, plane: np.ndarray) -> None:
    labels = measure(benchmark, way, lambda: SLIC_WAYS[way](plane, **SLIC))
    assert np.array_equal(labels, skimage_slic(plane, **SLIC))


@pytest.mark.benchmark(group="SLIC, 16 x 64 x 64 supervoxels, 300 clusters")
@pytest.mark.parametrize("way", SLIC_WAYS)
def test_slic_volume(benchmark: Any, way: str) -> None:
    volume = np.random.default_rng(0).random((16, 64, 64), np.float32)
    options = {"n_segments": 300, "compactness": 0.1, "channel_axis": None, "spacing": (2.5, 1.0, 1.0)}
    labels = measure(benchmark, way, lambda: SLIC_WAYS[way](volume, **options))
    assert labels.shape == volume.shape


def skimage_quickshift(image: np.ndarray, **options: Any) -> np.ndarray:
    from skimage.segmentation import quickshift

    return quickshift(image, **options)


QUICKSHIFT_WAYS = {"refit.quickshift": refit.quickshift, "peer scikit-image": skimage_quickshift}


@pytest.mark.benchmark(group="Quickshift, 96 x 96 RGB", max_time=2.0)
@pytest.mark.parametrize("way", QUICKSHIFT_WAYS)
def test_quickshift(benchmark: Any, way: str, plane: np.ndarray) -> None:
    colour = np.stack([plane[::2, ::2]] * 3, axis=-1)
    options = {"kernel_size": 3, "max_dist": 8, "ratio": 0.5}
    labels = measure(benchmark, way, lambda: QUICKSHIFT_WAYS[way](colour, **options))
    assert np.array_equal(labels, skimage_quickshift(colour, **options))


def scikit_image_minimum(response: np.ndarray, clusters: np.ndarray, threshold: float) -> np.ndarray:
    from skimage.measure import regionprops_table

    table = regionprops_table(clusters, response, properties=("label", "intensity_min"))
    lowest = np.zeros(clusters.max() + 1, np.float32)
    lowest[table["label"]] = table["intensity_min"]
    return lowest[clusters] >= threshold


@pytest.mark.benchmark(group=f"BoundaryFit, {SIDE} x {SIDE}, coverage 1")
@pytest.mark.parametrize("way", ["refit.boundary_fit", "peer flood fill", "peer regionprops"])
def test_boundary_fit(
    benchmark: Any, way: str, response: np.ndarray, clusters: np.ndarray, oracle: ModuleType
) -> None:
    ways: dict[str, Callable[..., np.ndarray]] = {
        "refit.boundary_fit": refit.boundary_fit,
        "peer flood fill": oracle.flooded_mask,
        "peer regionprops": scikit_image_minimum,
    }
    mask = measure(benchmark, way, lambda: ways[way](response, clusters, 0.5))
    assert np.array_equal(mask > 0, refit.boundary_fit(response, clusters, 0.5) > 0)
    assert mask.any()


@pytest.mark.benchmark(group="BoundaryFit, 32 x 192 x 192 supervoxels")
def test_boundary_fit_volume(benchmark: Any, response: np.ndarray, clusters: np.ndarray) -> None:
    layers = np.arange(32)[:, None, None] // 4
    volume = (clusters + layers * clusters.max()).astype(np.int32)
    maps = np.broadcast_to(response, volume.shape)
    mask = measure(benchmark, "refit.boundary_fit", lambda: refit.boundary_fit(maps, volume, 0.5))
    assert mask.any()


@pytest.fixture(scope="session")
def network() -> Any:
    import torch
    import torchvision

    torch.set_num_threads(2)
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=2).eval()


@pytest.mark.benchmark(group="Grad-CAM, ResNet-18, 4 slices of 128 x 128, one class", max_time=3.0)
@pytest.mark.parametrize("way", ["refit.response_maps", "peer grad-cam"])
def test_response_maps(benchmark: Any, way: str, network: Any) -> None:
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    images = np.random.default_rng(0).random((4, 128, 128, 3), np.float32)

    def direct() -> np.ndarray:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        with GradCAM(network, [network.layer4[-1]]) as cam:
            return cam(batch, [ClassifierOutputTarget(1)] * len(images))

    ways = {
        "refit.response_maps": lambda: refit.response_maps(network, images, classes=[1], device="cpu"),
        "peer grad-cam": direct,
    }
    maps = measure(benchmark, way, ways[way])
    np.testing.assert_allclose(np.squeeze(maps), direct(), atol=1e-5)


@pytest.mark.benchmark(group="live: the threshold slider moves (192 x 192)")
def test_threshold_moves(benchmark: Any, plane: np.ndarray, response: np.ndarray) -> None:
    run = refit.Refit(plane, response=response)
    run.slice(0)
    values = iter(np.linspace(0.2, 0.8, 100_000))

    def move() -> Any:
        run.params = run.params.replace(threshold=float(next(values)))
        return run.slice(0)

    result = measure(benchmark, "Refit.slice", move)
    assert result.seconds["clusters"] == 0.0


@pytest.mark.benchmark(group="a fresh interpreter imports", max_time=3.0)
@pytest.mark.parametrize("way", ["import napari_refit", "peer import numpy"])
def test_import(benchmark: Any, way: str) -> None:
    statement = way.removeprefix("peer ")
    measure(benchmark, way, lambda: subprocess.run([sys.executable, "-c", statement], check=True))
