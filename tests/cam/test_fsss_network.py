"""The segmentation networks: what they answer, for which images, and what they say where MONAI is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.cam.architectures import build
from napari_refit.cam.efficientnet_lite import EFFICIENTNET_LITE0
from napari_refit.cam.fsss_network import build_fsss, image_logits
from napari_refit.cam.own_maps import MapsItself, build_own

NETWORKS = ("unet", "efficientnet-lite0")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("channels", "classes", "size"), [(1, 2, (33, 70)), (3, 4, (64, 32)), (5, 3, (20, 20))]
)
def test_any_image_gets_a_score_per_pixel_and_class(
    name: str, channels: int, classes: int, size: tuple[int, int]
) -> None:
    network = build_own("fsss", classes, channels, {"network": name}).eval()
    assert isinstance(network, MapsItself)
    assert network.maps_are_scaled
    x = torch.rand(2, channels, *size)
    with torch.no_grad():
        scores = network.pixel_logits(x)
        maps, logits = network.own_maps(x)
        assert torch.equal(network(x), logits)
    assert scores.shape == maps.shape == (2, classes, *size)
    assert logits.shape == (2, classes)
    torch.testing.assert_close(maps, scores.exp() / scores.exp().sum(1, keepdim=True))


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_class_is_predicted_where_it_wins_a_pixel(classes: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(3, classes, 2, 2)).astype(np.float32)
    logits = image_logits(torch.from_numpy(scores)).numpy()
    winners = scores.argmax(1)
    for image in range(3):
        assert logits[image, 0] == 0
        for number in range(1, classes):
            assert (logits[image, number] > 0) == (winners[image] == number).any()
    if classes == 2:
        np.testing.assert_allclose(logits[:, 1], (scores[:, 1] - scores[:, 0]).max((1, 2)), rtol=1e-6)


def test_a_stronger_answer_moves_with_the_image() -> None:
    network = build_fsss(2, 1, {"network": "unet"}).eval()
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        wide = network.pixel_logits(torch.cat([x, x[..., -1:].expand(-1, -1, -1, 32)], 3))
        padded = network.pixel_logits(torch.cat([x, x[..., -1:].expand(-1, -1, -1, 7)], 3))
    torch.testing.assert_close(padded, wide[..., :71])


def test_the_encoder_is_the_classifiers() -> None:
    encoder = build_fsss(2, 1, {"network": EFFICIENTNET_LITE0}).body.encoder
    classifier = build(EFFICIENTNET_LITE0, 2, 1)
    state = classifier.state_dict()
    assert {name: value.shape for name, value in encoder.state_dict().items()}.items() <= {
        name: value.shape for name, value in state.items()
    }.items()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    x = torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        found = encoder.eval()(x)
        expected = classifier.eval().features[:8](x)
    torch.testing.assert_close(found[-1], expected)
    assert [tuple(level.shape[-2:]) for level in found] == [(64 >> k, 96 >> k) for k in range(6)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_missing_monai_is_an_error_that_says_how_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("monai", "monai.networks.nets.unet", "monai.networks.nets.flexible_unet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "napari-refit\[fsss\]"'):
        build_fsss(2, 1, {"network": name})


def test_monai_is_imported_by_no_import() -> None:
    program = (
        "import sys, napari_refit.learn.fsss.files, napari_refit.cam.loading; print('monai' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="unknown FSSS network 'vnet'; there are: efficientnet-lite0, unet"):
        build_fsss(2, 1, {"network": "vnet"})
    with pytest.raises(ValueError, match="got 1 classes, 1 channels"):
        build_fsss(1, 1, {"network": "unet"})


def test_a_checkpoint_keeps_the_activation_that_it_was_trained_with() -> None:
    before = build_fsss(2, 1, {"network": EFFICIENTNET_LITE0})
    now = build_fsss(2, 1, {"network": EFFICIENTNET_LITE0, "activation": "leaky"})
    assert (before.activation, now.activation) == ("relu", "leaky")
    now.load_state_dict(before.state_dict())
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(before.eval().pixel_logits(x), now.eval().pixel_logits(x))
    with pytest.raises(ValueError, match="unknown activation 'tanh'; there are: relu, leaky"):
        build_fsss(2, 1, {"network": EFFICIENTNET_LITE0, "activation": "tanh"})


def test_last_channels_that_all_speak_for_the_background_can_still_be_turned() -> None:
    x = torch.rand(2, 1, 64, 64)
    gradients = {}
    for activation in ("relu", "leaky"):
        network = build_fsss(2, 1, {"network": EFFICIENTNET_LITE0, "activation": activation}).train()
        last = [
            module for module in network.body.decoder.modules() if isinstance(module, torch.nn.BatchNorm2d)
        ][-1]
        with torch.no_grad():
            # As after a few steps towards the background that were too large.
            last.bias.fill_(-20.0)
        network.pixel_logits(x)[:, 1].sum().backward()
        gradients[activation] = float(last.bias.grad.abs().sum())
    assert gradients["relu"] == 0
    assert gradients["leaky"] > 0
