"""Maps read from one run against plain automatic differentiation through the whole network."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

from napari_refit.cam.architectures import build
from napari_refit.cam.classifier import PREDICTED
from napari_refit.cam.explain import explain
from napari_refit.cam.layers import find_layer, last_convolutional_stage, layout_of
from napari_refit.cam.response import response_maps

Tiny = Callable[..., nn.Sequential]


def plain_gradients(module: nn.Module, x: Tensor, layer: str, number: int) -> tuple[Tensor, Tensor]:
    """A layer's output and its gradient, both as maps, by one ordinary backward pass.

    As in grad-cam, an operation that works on the output in place is part of it, but not of what is differentiated.
    """
    module = copy.deepcopy(module).eval()
    kept: list[Tensor] = []

    def keep(part: nn.Module, arguments: object, output: Tensor) -> Tensor:
        output.retain_grad()
        kept.extend((output, output.clone()))
        return kept[1]

    find_layer(module, layer).register_forward_hook(keep)
    module(x)[:, number].sum().backward()
    output, slope = kept[1].detach(), kept[0].grad
    assert slope is not None
    layout = layout_of(output, (x.shape[2], x.shape[3]))
    assert layout is not None
    return layout.to_map(output), layout.to_map(slope)


def slow_grad_cam(features: Tensor, slope: Tensor) -> np.ndarray:
    values = features.double().numpy(), slope.double().numpy()
    n, channels = values[0].shape[:2]
    maps = np.zeros((n, *values[0].shape[2:]))
    for image in range(n):
        for channel in range(channels):
            maps[image] += values[1][image, channel].mean() * values[0][image, channel]
    return maps.clip(0)


def small_vit() -> nn.Module:
    module = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=4
    )
    nn.init.normal_(module.heads.head.weight)
    return module


def small_swin() -> nn.Module:
    return SwinTransformer([4, 4], 12, [1, 1], [2, 2], [2, 2], num_classes=4)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return make().eval()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    name: (lambda name=name: build(name, 4))
    for name in (
        "phantom-cnn",
        "resnet18",
        "densenet121",
        "vgg11_bn",
        "convnext_tiny",
        "efficientnet_b0",
        "mobilenet_v3_small",
        "squeezenet1_1",
        "googlenet",
        "shufflenet_v2_x0_5",
    )
}
NETWORKS |= {"vit": small_vit, "swin": small_swin}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_run_gives_the_gradients_of_the_whole_network(name: str) -> None:
    module = seeded(NETWORKS[name])
    size = 32 if name == "vit" else 64
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    layer = last_convolutional_stage(module, x[:1])
    found = explain(module, x, [2, 0, PREDICTED], layers=[layer])
    with torch.no_grad():
        logits = module(x)
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-6)
    for column, number in enumerate((2, 0)):
        expected = slow_grad_cam(*plain_gradients(module, x, layer, number))
        np.testing.assert_allclose(found.raw[0][:, column], expected, rtol=1e-4, atol=1e-5 * expected.max())
    for image, number in enumerate(logits.argmax(1).tolist()):
        again = explain(module, x, [number], layers=[layer])
        assert torch.equal(found.raw[0][image, 2], again.raw[0][image, 0])


@pytest.mark.parametrize(
    "layer", ["conv1", "bn1", "layer1.0.conv1", "layer1.1.bn2", "layer2", "layer4.0.downsample"]
)
def test_any_layer_of_a_residual_network(layer: str) -> None:
    module = seeded(NETWORKS["resnet18"])
    x = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    expected = slow_grad_cam(*plain_gradients(module, x, layer, 1))
    found = explain(module, x, [1], layers=[layer]).raw[0][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())


class Curved(nn.Module):
    """No pooling and no linear layer: the scores are quadratic in the features, and neighbours interact."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.stage(x)
        return (features[..., 1:] * features[..., :-1]).amax(2).sum(2)


def test_a_head_of_any_form() -> None:
    module = seeded(Curved)
    x = torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(2))
    for number in range(3):
        expected = slow_grad_cam(*plain_gradients(module, x, "stage", number))
        found = explain(module, x, [0, 1, 2], layers=["stage"]).raw[0][:, number]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_class_that_the_layer_has_no_part_in() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage, self.other = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.stage(x).amax((2, 3)), self.other(x).amax((2, 3))], 1)

    found = explain(seeded(Split), torch.rand(1, 1, 8, 8), [0, 3], layers=["stage"])
    assert not found.raw[0][:, 1].any()


@pytest.mark.parametrize("behind", [False, True])
def test_a_network_that_switches_gradients_itself(tiny: Tiny, planes: np.ndarray, behind: bool) -> None:
    class Switching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = tiny()

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                features = self.body[0](x)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not behind):
                logits: Tensor = self.body[1:](features)
            return logits

    if behind:
        with pytest.raises(ValueError, match="does not require grad"):
            response_maps(Switching(), planes, layer="body.0")
        return
    found = response_maps(Switching(), planes, layer="body.0")
    np.testing.assert_allclose(found, response_maps(tiny(), planes, layer="0"), atol=1e-6)


def test_parameters_are_never_differentiated(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny()
    for value in module.parameters():
        value.register_hook(lambda gradient: pytest.fail("a parameter's gradient was computed"))
    assert response_maps(module, planes).max() == 1
    assert all(value.grad is None for value in module.parameters())


def test_gradients_stay_off_for_a_caller_who_has_them_off(tiny: Tiny, planes: np.ndarray) -> None:
    module = tiny()
    for mode in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with mode:
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
            response_maps(module, planes)
            assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def test_a_known_method_is_computed_without_the_package() -> None:
    program = (
        "import sys, numpy as np\n"
        "from napari_refit.cam.response import response_maps\n"
        "assert response_maps('phantom-cnn', np.random.rand(32, 32), [0, 1]).shape == (2, 32, 32)\n"
        "assert 'pytorch_grad_cam' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
