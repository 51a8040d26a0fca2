"""Every stage on a graphics card, beside peers on it or on that machine's processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks import test_bench_cam, test_bench_network
from benchmarks.pictures import photograph
from benchmarks.race import Unavailable

import napari_refit as refit

STAGE = "Graphics card"
OURS, PROCESSOR, THEIRS = "napari-refit on CUDA", "napari-refit on the processor", "scikit-image"
FORWARD, PACKAGE = "torch: the forward pass alone, CUDA", "grad-cam on CUDA"
CONVOLUTIONS = "torch: its convolutions, CUDA"
QUICKSHIFT, SLIC = "Quickshift, 1024 x 1024 RGB, kernel 5, CUDA", "SLIC, 1024 x 1024 RGB, 1000 clusters, CUDA"
CAM = "Grad-CAM, ResNet-34, 224 x 224, 4 classes, CUDA"
NETWORK = "USS network, 240 x 240 RGB, 64 steps, CUDA"
WAYS = {
    QUICKSHIFT: (OURS, PROCESSOR, THEIRS),
    SLIC: (OURS, PROCESSOR, THEIRS),
    CAM: (OURS, FORWARD, PACKAGE),
    NETWORK: (OURS, CONVOLUTIONS),
}
REACH: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    QUICKSHIFT: {THEIRS: {"faster": 300}},
    SLIC: {THEIRS: {"faster": 60}},
}
AGREE = {QUICKSHIFT: 0.999, SLIC: 0.99}


def ways(what: str) -> dict[str, Callable[[], Any] | Unavailable]:
    import torch

    if not torch.cuda.is_available():
        return dict.fromkeys(WAYS[what], Unavailable("there is no CUDA device here"))
    if what == CAM:
        return cam_ways()
    if what == NETWORK:
        return network_ways()
    return superpixel_ways(what)


def superpixel_ways(what: str) -> dict[str, Callable[[], Any]]:
    from skimage import segmentation

    image = photograph(1024, colour=True)
    if what == QUICKSHIFT:
        ours, theirs, options = refit.quickshift, segmentation.quickshift, {"kernel_size": 5}
    else:
        ours, theirs, options = refit.slic, segmentation.slic, {"n_segments": 1000}
    return {
        OURS: partial(ours, image, device="cuda", **options),
        PROCESSOR: partial(ours, image, **options),
        THEIRS: partial(theirs, image, **options),
    }


def cam_ways() -> dict[str, Callable[[], Any]]:
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from napari_refit.cam.classifier import load_classifier
    from napari_refit.cam.response import compute_responses

    torch.manual_seed(0)
    classifier = load_classifier("resnet34:none", classes=test_bench_cam.CLASSES, device="cuda")
    images = test_bench_cam.planes(1)
    batch = classifier.prepare(images, classifier.device)
    targets = range(1, 5)
    package = GradCAM(classifier.module, [classifier.module.layer4[-1]])

    def forward() -> None:
        with torch.inference_mode():
            classifier.module(batch)
        torch.cuda.synchronize()

    return {
        OURS: lambda: compute_responses(classifier, images, targets).maps,
        FORWARD: forward,
        PACKAGE: lambda: np.stack([package(batch, [ClassifierOutputTarget(k)]) for k in targets], axis=1),
    }


def network_ways() -> dict[str, Callable[[], Any]]:
    import torch

    image, guide = test_bench_network.picture_and_guide()
    run = test_bench_network.convolutions(channels_last=True, device="cuda")

    def convolutions() -> None:
        run()
        torch.cuda.synchronize()

    options = {
        "steps": test_bench_network.STEPS,
        "min_labels": 2,
        "max_labels": test_bench_network.MAX_LABELS,
    }
    return {
        OURS: partial(refit.uss_network, image, guide, device="cuda", **options),
        CONVOLUTIONS: convolutions,
    }


@pytest.mark.parametrize(
    ("what", "way"), [pair for what, names in WAYS.items() for pair in product([what], names)]
)
def test_cuda(benchmark: Any, races: Any, agreement: Any, what: str, way: str) -> None:
    lap = races.measure(benchmark, what, way, lambda: ways(what), stage=STAGE, reach=REACH.get(what))
    ours = races.result(what, OURS)
    if way == THEIRS and ours is not None:
        benchmark.extra_info["agreement"] = agreement(ours, lap.result)
        assert benchmark.extra_info["agreement"] >= AGREE[what]
