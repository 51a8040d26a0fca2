from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from napari_refit.cam.architectures import build
from napari_refit.cam.layers import (
    as_logits,
    find_layer,
    finer_stage,
    last_convolutional_stage,
    layer_names,
    layout_of,
    untouched,
)

Tiny = Callable[..., nn.Sequential]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("phantom-cnn", "features"),
        ("resnet18", "layer4"),
        ("densenet121", "features"),
        ("vgg11", "features"),
        ("convnext_tiny", "features"),
        ("efficientnet_b0", "features"),
        ("mobilenet_v3_small", "features"),
        ("squeezenet1_1", "features"),
        ("shufflenet_v2_x0_5", "conv5"),
        ("googlenet", "inception5b"),
    ],
)
def test_last_stage_of_convolutional_networks(architecture: str, expected: str) -> None:
    module = build(architecture, 2)
    assert last_convolutional_stage(module, torch.rand(1, 3, 64, 64)) == expected
    assert module.training
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("phantom-cnn", "features"),
        ("resnet18", "layer3"),
        ("densenet121", "features.denseblock3"),
        ("vgg11", "features.18"),
        ("vgg11_bn", "features.25"),
        ("alexnet", "features.10"),
        ("convnext_tiny", "features.5"),
        ("efficientnet-lite0", "features.5"),
        ("mobilenet_v3_small", "features.8"),
        ("squeezenet1_1", "features"),
        ("shufflenet_v2_x0_5", "stage3"),
        ("googlenet", "inception4e"),
        ("regnet_y_400mf", "trunk_output.block3"),
    ],
)
def test_the_stage_of_16_pixels_per_place(architecture: str, expected: str) -> None:
    module = build(architecture, 2)
    assert finer_stage(module, torch.rand(1, 3, 96, 64)) == expected
    assert module.training
    assert not any(part._forward_hooks for part in module.modules())


def test_the_stage_of_16_pixels_per_place_of_transformers() -> None:
    # The patches of the one are smaller than that; the other has windows, no convolution but the first.
    assert finer_stage(small_vit(), torch.rand(1, 3, 32, 32)) == "encoder.layers.encoder_layer_1.ln_1"
    swin = SwinTransformer([4, 4], 12, [1, 1, 1, 1], [2, 2, 2, 2], [2, 2], num_classes=3)
    assert finer_stage(swin, torch.rand(1, 3, 128, 64)) == "features.5"
    coarse = VisionTransformer(
        image_size=64, patch_size=32, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3
    )
    sample = torch.rand(1, 3, 64, 64)
    assert finer_stage(coarse, sample) == last_convolutional_stage(coarse, sample)


def small_vit() -> VisionTransformer:
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3
    )


def small_swin() -> SwinTransformer:
    return SwinTransformer([4, 4], 12, [1, 1], [2, 2], [2, 2], num_classes=3)


def test_last_stage_of_transformers() -> None:
    # The head of an untrained vision transformer is zero; its class token must still tell the layers apart.
    assert last_convolutional_stage(small_vit(), torch.rand(1, 3, 32, 32)) == (
        "encoder.layers.encoder_layer_1.ln_1"
    )
    assert last_convolutional_stage(small_swin(), torch.rand(1, 3, 48, 32)) == "features"


def test_tiny_planes_get_an_earlier_stage() -> None:
    module = build("resnet18", 2)
    assert last_convolutional_stage(module, torch.rand(1, 3, 32, 32)).startswith("layer3")
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 2, 1), nn.Flatten())
    with pytest.raises(ValueError, match="9 x 7"):
        last_convolutional_stage(flat, torch.rand(1, 1, 9, 7))


def test_layer_names_and_close_matches(tiny: Tiny) -> None:
    module = build("resnet18", 2)
    assert {"layer4", "layer4.1.conv2", "fc"} <= set(layer_names(module))
    with_map = layer_names(module, torch.rand(1, 3, 64, 64))
    assert "layer4" in with_map
    assert "fc" not in with_map
    assert "avgpool" not in with_map
    assert find_layer(module, "layer4.1") is module.layer4[1]
    with pytest.raises(ValueError, match=r"'layer5'.*layer4"):
        find_layer(module, "layer5")
    with pytest.raises(ValueError, match="no layer ''"):
        find_layer(module, "")


@given(
    st.integers(2, 9),
    st.integers(2, 9),
    st.sampled_from([11, 64, 200]),
    st.sampled_from([8, 16]),
    st.integers(0, 1),
)
def test_layouts_are_told_apart_and_undone(
    height: int, width: int, channels: int, stride: int, extra: int
) -> None:
    size = (height * stride, width * stride)
    first = torch.rand(2, channels, height, width)
    found = layout_of(first, size)
    assert found is not None
    assert (found.kind, found.grid) == ("channels_first", (height, width))
    tokens = torch.cat([torch.full((2, extra, channels), 5.0), first.flatten(2).transpose(1, 2)], dim=1)
    found = layout_of(tokens, size)
    assert found is not None
    assert (found.kind, found.grid, found.extra) == ("tokens", (height, width), extra)
    assert torch.equal(found.to_map(tokens), first)
    assert torch.equal(found.from_map(first, tokens), tokens)
    if channels > 3 * max(height, width):
        last = first.permute(0, 2, 3, 1)
        found = layout_of(last, size)
        assert found is not None
        assert found.kind == "channels_last"
        assert torch.equal(found.to_map(last), first)
        assert torch.equal(found.from_map(first, last), last)


@pytest.mark.parametrize(
    "output", [torch.zeros(2, 5), torch.zeros(2, 6, 3), None, (1, 2), torch.zeros(0, 3, 4, 4)]
)
def test_what_is_no_map(output: object) -> None:
    assert layout_of(output, (64, 64)) is None


def test_logits_in_any_wrapping() -> None:
    plain = torch.rand(2, 3)
    assert as_logits(plain) is plain
    assert torch.equal(as_logits((plain, None)), plain)
    assert torch.equal(as_logits(plain[:, :, None, None]), plain)
    assert as_logits(plain[:, 0]).shape == (2, 1)
    for wrong in (torch.rand(2, 3, 4, 4), {"out": plain}, None):
        with pytest.raises(ValueError, match="no classifier"):
            as_logits(wrong)


def test_untouched_restores_everything(tiny: Tiny) -> None:
    module = tiny()
    module[0][4].eval()
    module[3].bias.requires_grad_(False)
    module(torch.rand(2, 1, 8, 8)).sum().backward()
    gradient = module[3].weight.grad
    module.register_module("gone", None)
    before = [part.training for part in module.modules()]

    def work() -> None:
        with untouched(module):
            assert not module.training
            assert not any(value.requires_grad for value in module.parameters())
            assert None not in module._modules.values()
            module.zero_grad()
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert [part.training for part in module.modules()] == before
    assert [value.requires_grad for value in module.parameters()] == [True] * 7 + [False]
    assert module[3].weight.grad is gradient
    assert module._modules["gone"] is None
