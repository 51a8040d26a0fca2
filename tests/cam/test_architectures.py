from __future__ import annotations

import urllib.error

import pytest
import torch
from torchvision import models

from napari_refit.cam.architectures import PhantomNetwork, build, list_architectures
from napari_refit.errors import ReadError


def test_lists_classifiers_only() -> None:
    names = list_architectures()
    assert names[0] == "phantom-cnn"
    assert {"resnet18", "resnet34", "resnet50", "resnet101", "vit_b_16"} <= set(names)
    assert not any(word in name for name in names for word in ("deeplab", "fcn", "rcnn", "raft", "r3d"))


@pytest.mark.parametrize("in_channels", [1, 4])
@pytest.mark.parametrize(
    "architecture",
    [
        "phantom-cnn",
        "resnet18",
        "squeezenet1_1",
        "googlenet",
        "shufflenet_v2_x0_5",
    ],
)
def test_built_network_takes_the_channels_and_gives_the_classes(architecture: str, in_channels: int) -> None:
    network = build(architecture, n_classes=5, in_channels=in_channels).train()
    assert network(torch.rand(2, in_channels, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("in_channels", [1, 2])
def test_folded_convolution_answers_grey_images_as_the_published_one(in_channels: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        published = models.resnet18(weights=None).eval()
        torch.manual_seed(3)
        folded = build("resnet18", 1000, in_channels).eval()
    grey = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        expected = published(grey.repeat(1, 3, 1, 1))
        torch.testing.assert_close(folded(grey.repeat(1, in_channels, 1, 1)), expected, rtol=1e-4, atol=1e-4)


def test_published_head_is_kept_where_it_fits() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        published = models.resnet18(weights=None)
        torch.manual_seed(3)
        kept = build("resnet18", 1000)
    assert torch.equal(kept.fc.weight, published.fc.weight)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet33", 2), "resnet33"),
        (("fcn_resnet50", 2), "fcn_resnet50"),
        (("resnet18", 0), "n_classes"),
        (("resnet18", 2, 0), "in_channels"),
        (("resnet18", 2, 3, "IMAGENET9"), "IMAGENET9"),
        (("phantom-cnn", 2, 1, "imagenet"), "phantom-cnn"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(*arguments)


def test_no_network_is_one_line_with_three_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ReadError) as caught:
        build("resnet18", 2, weights="imagenet")
    text = str(caught.value)
    assert "\n" not in text
    for words in (
        "resnet18:imagenet",
        "network",
        "local checkpoint file",
        "resnet18:none",
        "no route to host",
    ):
        assert words in text


def test_phantom_network_is_small_and_keeps_one_value_per_eight_pixels() -> None:
    network = PhantomNetwork(2)
    assert network.features(torch.zeros(1, 1, 192, 192)).shape[2:] == (24, 24)
    assert sum(part.numel() for part in network.state_dict().values()) * 4 < 3e6


@pytest.mark.parametrize("axis", [2, 3])
def test_phantom_network_with_symmetric_kernels_answers_mirrored_images_in_mirror(axis: int) -> None:
    network = PhantomNetwork(2).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.weight.copy_((part.weight + part.weight.flip(axis)) / 2)
        image = torch.rand(1, 1, 64, 64)
        mirrored = network.features(image.flip(axis)).flip(axis)
        torch.testing.assert_close(mirrored, network.features(image), rtol=1e-4, atol=1e-5)
