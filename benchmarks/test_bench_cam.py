"""Grad-CAM beside the least it could cost, one forward pass, and beside the grad-cam package."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import photograph

STAGE = "Response maps"
OURS, FORWARD, PACKAGE = "napari-refit", "torch: the forward pass alone", "grad-cam"
CLASSES = ("background", "a", "b", "c", "d")
WITHIN = {1: 1.15, 4: 1.3}

CASES = {
    "Grad-CAM, ResNet-34, 224 x 224, 1 class": (1, 1),
    "Grad-CAM, ResNet-34, 224 x 224, 4 classes": (1, 4),
    "Grad-CAM, ResNet-34, 8 slices of 224 x 224, 1 class": (8, 1),
}


@cache
def classifier() -> Any:
    import torch

    from napari_refit.cam.classifier import load_classifier

    torch.manual_seed(0)
    return load_classifier("resnet34:none", classes=CLASSES, device="cpu")


def planes(count: int) -> np.ndarray:
    image = photograph(512, colour=True)
    return np.stack([image[24 * k : 24 * k + 224, 32 * k : 32 * k + 224] for k in range(count)])


def package_maps(count: int, n_classes: int) -> Callable[[], np.ndarray]:
    """As its users write it: built once, then one call per class."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = classifier().module
    cam = GradCAM(module, [module.layer4[-1]])
    images = planes(count)

    def run() -> np.ndarray:
        batch = classifier().prepare(images)
        maps = [cam(batch, [ClassifierOutputTarget(k)] * count) for k in range(1, n_classes + 1)]
        return np.stack(maps, axis=1)

    return run


def ways(count: int, n_classes: int) -> dict[str, Callable[[], Any]]:
    import torch

    from napari_refit.cam.response import compute_responses

    images = planes(count)
    batch = classifier().prepare(images)
    targets = range(1, n_classes + 1)

    def forward() -> Any:
        with torch.inference_mode():
            return classifier().module(batch)

    return {
        OURS: lambda: compute_responses(classifier(), images, targets).maps,
        FORWARD: forward,
        PACKAGE: package_maps(count, n_classes),
    }


@pytest.mark.parametrize(("what", "way"), product(CASES, [OURS, FORWARD, PACKAGE]))
def test_grad_cam(benchmark: Any, races: Any, what: str, way: str) -> None:
    count, n_classes = CASES[what]
    reach = {FORWARD: {"within": WITHIN[n_classes]}} if count == 1 else None
    lap = races.measure(benchmark, what, way, lambda: ways(count, n_classes), stage=STAGE, reach=reach)
    ours = races.result(what, OURS)
    if way == PACKAGE and ours is not None:
        assert float(ours.max()) == 1.0
        np.testing.assert_allclose(ours, lap.result, atol=1e-5)
