"""SEAM's network against slow readings of the article, and its trunk against the networks it is made from."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_refit.cam.architectures import build
from napari_refit.cam.checkpoint import CheckpointMetadata, save_checkpoint
from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.own_maps import MapsItself, build_own
from napari_refit.cam.response import compute_responses, response_maps
from napari_refit.cam.seam_network import (
    PixelCorrelation,
    SeamNetwork,
    competing,
    normalised,
    with_background,
)
from napari_refit.cam.trunk import Trunk
from napari_refit.errors import ReadError

SETTINGS = {"backbone": "phantom-cnn", "background": 0, "exclusive": True, "stride": 16}


def small(classes: int = 2, channels: int = 1, seed: int = 0, **changes: object) -> SeamNetwork:
    torch.manual_seed(seed)
    network = build_own("seam", classes, channels, {**SETTINGS, **changes})
    assert isinstance(network, SeamNetwork)
    return network.eval()


def correlation_by_hand(
    module: PixelCorrelation, maps: Tensor, image: Tensor, first: Tensor, second: Tensor
) -> np.ndarray:
    """Place by place, for maps and features that are on one grid already."""
    weights = [part.weight[:, :, 0, 0].detach().double().numpy() for part in module.children()]
    count, kinds, height, width = maps.shape
    found = np.zeros(maps.shape)
    for number in range(count):
        places = [(row, column) for row in range(height) for column in range(width)]
        seen = {}
        for row, column in places:
            parts = [part[number, :, row, column].double().numpy() for part in (image, first, second)]
            joined = np.concatenate(
                [parts[0], np.maximum(weights[0] @ parts[1], 0), np.maximum(weights[1] @ parts[2], 0)]
            )
            seen[row, column] = weights[2] @ joined
        for here in places:
            alike = {}
            for there in places:
                length = math.sqrt(seen[here] @ seen[here]) * math.sqrt(seen[there] @ seen[there])
                alike[there] = max(seen[here] @ seen[there] / length, 0)
            for kind in range(kinds):
                total = sum(alike[there] * float(maps[number, kind][there]) for there in places)
                found[number, kind][here] = total / sum(alike.values())
    return found


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_correlation_module_is_the_articles(channels: int) -> None:
    torch.manual_seed(channels)
    module = PixelCorrelation(channels, (5, 7))
    maps, image = torch.rand(2, 3, 4, 5), torch.randn(2, channels, 4, 5)
    first, second = torch.randn(2, 5, 4, 5), torch.randn(2, 7, 4, 5)
    expected = correlation_by_hand(module, maps, image, first, second)
    found = module(maps, image, (first, second)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_affinities_are_shares() -> None:
    torch.manual_seed(0)
    module = PixelCorrelation(1, (5, 7))
    parts = torch.randn(2, 1, 20, 24), (torch.randn(2, 5, 10, 12), torch.randn(2, 7, 5, 6))
    affinity = module.affinity(*parts, (5, 6)).detach()
    assert affinity.shape == (2, 30, 30)
    assert float(affinity.min()) >= 0
    # Places that point apart have nothing to do with each other.
    assert bool((affinity == 0).any())
    torch.testing.assert_close(affinity.sum(2), torch.ones(2, 30))
    # Each place is most like itself, and a map that is the same everywhere stays so.
    assert torch.equal(affinity.argmax(2), torch.arange(30).expand(2, 30))
    flat = module(torch.full((2, 1, 5, 6), 0.3), *parts)
    torch.testing.assert_close(flat, torch.full((2, 1, 5, 6), 0.3))


def test_places_that_look_alike_share_their_maps() -> None:
    torch.manual_seed(0)
    module = PixelCorrelation(1, (4, 4))
    left = torch.zeros(1, 1, 6, 6)
    left[..., :3] = 1
    levels = torch.cat([left, 1 - left, left, 1 - left], 1)
    # The class activation map saw one place of the left half only.
    seen = torch.zeros(1, 1, 6, 6)
    seen[0, 0, 2, 1] = 1
    found = module(seen, left, (levels, levels))[0, 0].detach()
    assert float(found[:, :3].min()) > float(found[:, 3:].max())
    torch.testing.assert_close(found[:, :3], found[2, 1].expand(6, 3))


def test_gradients_reach_the_correlation_module_alone() -> None:
    network = small()
    x = torch.rand(2, 1, 64, 64, requires_grad=True)
    cam, refined = network.maps(x)
    refined[:, 1].sum().backward()
    reached = {name for name, value in network.named_parameters() if value.grad is not None}
    assert reached == {f"correlation.{part}.weight" for part in ("shallow", "deep", "join")}
    network.zero_grad()
    cam.sum().backward()
    reached = {name for name, value in network.named_parameters() if value.grad is not None}
    assert "classifier.weight" in reached
    assert "trunk.network.features.0.0.weight" in reached
    assert not any(name.startswith("correlation") for name in reached)


def test_normalising_and_competing() -> None:
    cam = torch.tensor([[[[2.0, 1.0], [-1.0, 0.0]], [[0.5, 4.0], [1.0, -3.0]]]])
    torch.testing.assert_close(
        normalised(cam), torch.tensor([[[[1.0, 0.5], [0, 0]], [[0.125, 1.0], [0.25, 0]]]]), atol=1e-4, rtol=0
    )
    found = competing(cam)
    expected = torch.tensor([[[[0.0, 0.0], [0.75, 1.0]], [[1.0, 0.0], [0, 0]], [[0, 1.0], [0.25, 0]]]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    # Nothing but background where no class has a positive score.
    assert torch.equal(competing(-cam.abs() - 1)[:, 0], torch.ones(1, 2, 2))
    assert torch.equal(with_background(torch.full((1, 2, 3, 3), 0.25))[:, 0], torch.full((1, 3, 3), 0.75))


def test_classes_background_and_logits() -> None:
    x = torch.rand(2, 1, 64, 64)
    network = small(3, background=1)
    cam = network.maps(x).cam
    logits = network(x)
    assert cam.shape[1] == 2
    torch.testing.assert_close(logits, network.logits(cam))
    torch.testing.assert_close(logits[:, [0, 2]], cam.mean((2, 3)))
    assert torch.equal(logits[:, 1], torch.zeros(2))
    together = small(3, background=1, exclusive=False)(x)
    torch.testing.assert_close(together[:, 1], -together[:, [0, 2]].amax(1))
    assert small(3, background=None).maps(x).cam.shape[1] == 3
    with pytest.raises(ValueError, match="not the background"):
        small(1, background=0)


def test_maps_are_summed_over_sizes_and_mirror_images() -> None:
    network = small(3, 2, background=0)
    assert isinstance(network, MapsItself)
    x = torch.rand(1, 2, 64, 48)
    total = torch.zeros(1, 2, 64, 48)
    with torch.no_grad():
        for height, width in ((32, 24), (64, 48), (96, 72), (128, 96)):
            view = functional.interpolate(x, (height, width), mode="bilinear", antialias=True)
            for turn in (lambda maps: maps, lambda maps: maps.flip(3)):
                refined = turn(network.maps(turn(view)).refined[:, 1:])
                total += functional.interpolate(refined, (64, 48), mode="bilinear")
        maps, logits = network.own_maps(x)
    assert maps.shape == (1, 3, 64, 48)
    torch.testing.assert_close(maps[:, 1:], total, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(maps[:, 0], 1 - normalised(total).amax(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(logits, network(x))
    assert float(maps.min()) >= 0
    # Mirrored images have mirrored maps.
    with torch.no_grad():
        torch.testing.assert_close(network.own_maps(x.flip(3))[0], maps.flip(3), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "stride", "strides"),
    [
        ("phantom-cnn", 16, (2, 4, 8)),
        ("efficientnet-lite0", 16, (8, 16, 16)),
        ("efficientnet-lite0", 8, (8, 8, 8)),
        ("resnet18", 16, (8, 16, 16)),
        ("mobilenet_v2", 16, (8, 16, 16)),
        ("densenet121", 16, (8, 16, 32)),
    ],
)
def test_levels_of_architectures(architecture: str, stride: int, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    trunk = Trunk(build(architecture, 5, 1), 1, stride).eval()
    with torch.no_grad():
        levels = trunk(torch.rand(1, 1, 96, 128))
    for level, features, expected in zip(trunk.levels, levels, strides, strict=True):
        assert level.stride == expected
        assert features.shape == (1, level.channels, 96 // expected, 128 // expected)
    assert not any(isinstance(part, nn.Linear) for part in trunk.modules())


@pytest.mark.parametrize("architecture", ["efficientnet-lite0", "resnet18", "resnet50"])
def test_finer_stages_compute_what_the_coarse_ones_do_in_between(architecture: str) -> None:
    """Taking out a stride and spreading what follows keeps every second value, away from the borders."""
    torch.manual_seed(0)
    coarse = build(architecture, 5, 1).eval()
    weights = {name: value.clone() for name, value in coarse.state_dict().items()}
    fine = build(architecture, 5, 1).eval()
    fine.load_state_dict(weights)
    rough, finer = Trunk(coarse, 1, 32).eval(), Trunk(fine, 1, 16).eval()
    x = torch.rand(1, 1, 512, 512)
    with torch.no_grad():
        one, other = rough(x)[2], finer(x)[2]
    assert other.shape[2] == 2 * one.shape[2]
    # Padding at the borders reaches further in the spread stage.
    start = 1 if architecture == "efficientnet-lite0" else 0
    kept = other[..., start::2, start::2]
    inside = (..., slice(6, 10), slice(6, 10))
    torch.testing.assert_close(kept[inside], one[inside], atol=1e-4, rtol=1e-3)


def test_torchvisions_own_dilation_is_the_same() -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    ours = build("resnet50", 1000).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 96, 96)
    expected = []
    theirs.layer4.register_forward_hook(lambda part, inputs, output: expected.append(output))
    with torch.no_grad():
        theirs(x)
        torch.testing.assert_close(Trunk(ours, 3, 8).eval()(x)[2], expected[0])


def test_a_network_without_stages_is_named() -> None:
    with pytest.raises(ValueError, match=r"features at 1 resolutions, three are needed.*efficientnet-lite0"):
        build_own("seam", 2, 3, {**SETTINGS, "backbone": "vit_b_32"})


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    network = small(3, 2, background=2)
    path = tmp_path / "seam.safetensors"
    metadata = CheckpointMetadata(
        architecture="seam",
        settings={**SETTINGS, "background": 2},
        classes=("a", "b", "nothing"),
        background=2,
        input_size=64,
        in_channels=2,
    )
    save_checkpoint(path, network, metadata)
    loaded = load_classifier(path)
    image = np.random.default_rng(0).random((1, 64, 64, 2)).astype(np.float32)
    found = compute_responses(loaded, image, [0, 1])
    with torch.no_grad():
        maps, logits = network.own_maps(loaded.prepare(image))
    np.testing.assert_allclose(found.raw, maps[:, :2].numpy(), atol=1e-5)
    np.testing.assert_allclose(found.logits, logits.numpy(), atol=1e-6)
    np.testing.assert_array_equal(found.predicted, logits[:, :2].numpy() > 0)
    assert response_maps(loaded, image).shape == (1, 2, 64, 64)
    save_checkpoint(path, network, metadata.model_copy(update={"settings": {"backbone": "phantom-cnn"}}))
    with pytest.raises(ReadError, match="seam cannot be built from the settings"):
        load_classifier(path)


def test_frozen_norms_stay_as_they_are() -> None:
    network = small()
    network.freeze_norms()
    network.train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.maps(torch.rand(4, 1, 64, 64)).cam.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert network.dropout.training
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    assert all(not part.training and part.weight.grad is None for part in norms)


def test_half_precision_keeps_sums_in_float32() -> None:
    network = small()
    x = torch.rand(1, 1, 128, 128)
    with torch.no_grad():
        exact = network.maps(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network.maps(x)
    assert rough.cam.dtype == torch.bfloat16
    assert rough.refined.dtype == torch.float32
    torch.testing.assert_close(rough.refined, exact.refined, atol=0.05, rtol=0)
