"""A network with response maps of its own is asked for those wherever response maps are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_refit import Refit, RefitParams
from napari_refit.cam import own_maps
from napari_refit.cam.checkpoint import CheckpointMetadata, save_checkpoint
from napari_refit.cam.classifier import PREDICTED, load_classifier
from napari_refit.cam.response import compute_responses, response_maps
from napari_refit.errors import Cancelled, ReadError
from napari_refit.params import CamParams


class Brightness(nn.Module):
    """Its map is the image itself, every second pixel, times a weight; background is the rest."""

    def __init__(self, channels: int, gain: float, scaled: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, 1, 1, bias=False)
        nn.init.constant_(self.mix.weight, gain / channels)
        self.maps_are_scaled = scaled

    def own_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert not self.training
        light = self.mix(x)[..., ::2, ::2]
        return torch.cat([1 - light, light], 1), self(x)

    def forward(self, x: Tensor) -> Tensor:
        light = self.mix(x).amax((1, 2, 3))
        return torch.stack([torch.full_like(light, 0.25), light], 1)


def build_brightness(n_classes: int, in_channels: int, settings: dict[str, Any]) -> nn.Module:
    assert n_classes == 2
    return Brightness(in_channels, settings["gain"], settings["scaled"])


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(own_maps.OWN_NETWORKS, "brightness", f"{__name__}:build_brightness")


def checkpoint(path: Path, gain: float = 0.5, scaled: bool = True) -> Path:
    settings = {"gain": gain, "scaled": scaled}
    metadata = CheckpointMetadata(
        architecture="brightness",
        settings=settings,
        classes=("background", "light"),
        background=0,
        in_channels=1,
    )
    save_checkpoint(path, Brightness(1, gain, scaled), metadata)
    return path


@pytest.fixture
def image() -> np.ndarray:
    plane = np.zeros((16, 20), np.float32)
    plane[4:12, 6:14] = 1
    return plane


def test_probabilities_stay_as_they_are(tmp_path: Path, image: np.ndarray) -> None:
    loaded = load_classifier(checkpoint(tmp_path / "light.safetensors"))
    maps = response_maps(loaded, image, method="scorecam")
    assert maps.shape == (1, 16, 20)
    assert maps.max() == pytest.approx(0.5)
    assert maps.min() == 0
    both = response_maps(loaded, image, classes=["background", "light"])
    np.testing.assert_allclose(both.sum(0), 1, atol=1e-6)


def test_other_maps_are_normalised_like_those_of_a_cam_method(tmp_path: Path, image: np.ndarray) -> None:
    maps = response_maps(checkpoint(tmp_path / "light.safetensors", scaled=False), image)
    assert (maps.min(), maps.max()) == (0, 1)


def test_predictions_targets_and_smoothing(tmp_path: Path, image: np.ndarray) -> None:
    loaded = load_classifier(checkpoint(tmp_path / "light.safetensors"))
    planes = np.stack([image, 0.2 * image])
    found = compute_responses(loaded, planes, [1, PREDICTED])
    assert found.predicted.tolist() == [[True, True], [False, False]]
    assert found.layers == ()
    np.testing.assert_array_equal(found.raw[0, 0], found.raw[0, 1])
    # The second plane is background: its predicted class is that.
    np.testing.assert_allclose(found.raw[1, 1], 1 - found.raw[1, 0], atol=1e-6)
    smooth = compute_responses(loaded, planes, [1], CamParams(smoothing="flips")).maps[:, 0]
    turned = compute_responses(loaded, planes[:, ::-1, ::-1], [1], CamParams(smoothing="flips")).maps[:, 0]
    np.testing.assert_allclose(smooth, turned[:, ::-1, ::-1], atol=1e-6)


def test_the_network_stays_in_its_mode_and_can_be_stopped(tmp_path: Path, image: np.ndarray) -> None:
    loaded = load_classifier(checkpoint(tmp_path / "light.safetensors"))
    loaded.module.train()
    compute_responses(loaded, image[None], [1])
    assert loaded.module.training
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        compute_responses(
            loaded, image[None], [1], CamParams(smoothing="flips"), cancelled=lambda: next(asked)
        )


def test_the_pipeline_shows_them(tmp_path: Path, image: np.ndarray) -> None:
    params = RefitParams(threshold=0.4, n_segments=40, sigma=0)
    pipeline = Refit(np.stack([image] * 2), checkpoint(tmp_path / "light.safetensors"), params)
    result = pipeline.slice(0)
    assert result.response is not None
    assert result.response.max() == pytest.approx(0.5)
    assert result.mask[6:10, 8:12].all()


def test_settings_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "light.safetensors"
    metadata = CheckpointMetadata(architecture="brightness", classes=("a", "b"), in_channels=1)
    save_checkpoint(path, Brightness(1, 1.0, True), metadata)
    with pytest.raises(ReadError, match=r"light\.safetensors.*brightness cannot be built"):
        load_classifier(path)
