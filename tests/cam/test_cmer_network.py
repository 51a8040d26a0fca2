"""The network of WSS-CMER: separate modalities, maps whose means are the logits, checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_refit import Refit, RefitParams
from napari_refit.cam.checkpoint import CheckpointMetadata, save_checkpoint
from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.cmer_network import CmerNetwork
from napari_refit.cam.own_maps import MapsItself, build_own
from napari_refit.cam.response import compute_responses, response_maps
from napari_refit.errors import ReadError
from napari_refit.io.volume import Volume
from napari_refit.params import CamParams


@pytest.fixture
def network() -> CmerNetwork:
    torch.manual_seed(0)
    return CmerNetwork(3, 2, width=4).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 2, 20, 28, generator=torch.Generator().manual_seed(1))


def test_logits_are_the_means_of_the_maps(network: CmerNetwork, images: torch.Tensor) -> None:
    maps = network.class_maps(images)
    assert maps.shape == (2, 2, 3, 20, 28)
    expected = maps.detach().numpy().mean((0, 3, 4))
    np.testing.assert_allclose(network(images).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    own, logits = network.own_maps(images)
    np.testing.assert_allclose(own.detach(), np.maximum(maps.detach().numpy(), 0).mean(0), atol=1e-6)
    np.testing.assert_allclose(logits.detach(), expected, rtol=1e-4, atol=1e-6)
    assert isinstance(network, MapsItself)
    assert not network.maps_are_scaled


def test_a_modality_sees_itself_alone(network: CmerNetwork, images: torch.Tensor) -> None:
    other = images.clone()
    other[:, 1] = torch.rand(2, 20, 28)
    before, after = network.class_maps(images), network.class_maps(other)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_each_modality_is_brought_to_one_scale(network: CmerNetwork, images: torch.Tensor) -> None:
    scales = torch.tensor([0.3, 5.0])[:, None, None]
    shifted = network(images * scales + 0.2)
    torch.testing.assert_close(shifted, network(images), rtol=1e-3, atol=1e-5)


def test_a_blank_image_gives_numbers(network: CmerNetwork) -> None:
    maps, logits = network.own_maps(torch.full((1, 2, 16, 16), 0.3))
    assert torch.isfinite(maps).all()
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("modality", "index"), [("first", 0), ("second", 1)])
def test_one_modality_can_be_chosen(images: torch.Tensor, modality: str, index: int) -> None:
    network = CmerNetwork(2, 2, width=4, modality=modality).eval()
    maps = network.class_maps(images)[index]
    own, logits = network.own_maps(images)
    torch.testing.assert_close(own, maps.relu())
    torch.testing.assert_close(logits, maps.mean((2, 3)))
    torch.testing.assert_close(network(images), maps.mean((2, 3)))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="compares two modalities; these images have one"):
        CmerNetwork(2, 1)
    with pytest.raises(ValueError, match="modality = 'third', but the images have 2 channels"):
        CmerNetwork(2, 2, modality="third")
    with pytest.raises(ValueError, match=r"modality must be one of average, first.*'best'"):
        CmerNetwork(2, 2, modality="best")
    with pytest.raises(ValueError, match=r"cmer cannot be built from the settings \{\}: 'width'"):
        build_own("cmer", 2, 2, {})


@pytest.fixture
def checkpoint(tmp_path: Path, network: CmerNetwork) -> Path:
    metadata = CheckpointMetadata(
        architecture="cmer",
        settings={"width": 4, "modality": "average"},
        classes=("background", "oedema", "tumour"),
        background=0,
        input_size=32,
        in_channels=2,
    )
    save_checkpoint(tmp_path / "two.safetensors", network, metadata)
    return tmp_path / "two.safetensors"


def test_a_checkpoint_comes_back(checkpoint: Path, network: CmerNetwork) -> None:
    loaded = load_classifier(checkpoint)
    assert isinstance(loaded.module, CmerNetwork)
    planes = np.random.default_rng(0).random((3, 32, 32, 2), np.float32)
    x = loaded.prepare(planes)
    with torch.no_grad():
        assert torch.equal(loaded.module(x), network(x))
        expected = network.own_maps(x)[0][:, 1:]
    found = compute_responses(loaded, planes, [1, 2])
    np.testing.assert_array_equal(found.raw, expected)
    smooth = compute_responses(loaded, planes, [1, 2], CamParams(smoothing="flips")).raw
    turned = compute_responses(loaded, planes[:, ::-1], [1, 2], CamParams(smoothing="flips")).raw
    np.testing.assert_allclose(smooth, turned[:, :, ::-1], atol=1e-5)


def test_a_checkpoint_of_another_width_is_refused(tmp_path: Path, network: CmerNetwork) -> None:
    metadata = CheckpointMetadata(
        architecture="cmer",
        settings={"width": 8, "modality": "average"},
        classes=("a", "b", "c"),
        in_channels=2,
    )
    save_checkpoint(tmp_path / "wide.safetensors", network, metadata)
    with pytest.raises(ReadError, match=r"wide\.safetensors.*no checkpoint of cmer"):
        load_classifier(tmp_path / "wide.safetensors")


def test_one_image_of_two_modalities_or_several(checkpoint: Path) -> None:
    planes = np.random.default_rng(0).random((3, 40, 36, 2), np.float32)
    several = response_maps(checkpoint, planes)
    assert several.shape == (3, 2, 40, 36)
    one = response_maps(checkpoint, planes[0])
    np.testing.assert_allclose(one, several[0], atol=1e-5)
    with pytest.raises(ValueError, match="planes have 1 channels, the classifier two wants 2"):
        response_maps(checkpoint, planes[..., 0])


@pytest.mark.parametrize("segmenter", ["slic", "quickshift", "felzenszwalb", "watershed", "network"])
def test_a_volume_of_two_modalities_is_refined(checkpoint: Path, segmenter: str) -> None:
    volume = np.random.default_rng(0).integers(0, 200, (3, 40, 36, 2)).astype(np.uint8)
    volume[1, 10:25, 8:24, 1] += 50
    params = RefitParams(segmenter=segmenter, gate="off")
    pipeline = Refit(volume, checkpoint, params, rgb=True, device="cpu")
    assert pipeline.shape == (3, 40, 36)
    result = pipeline.slice(1)
    assert result.mask.shape == (40, 36)
    assert result.response is not None
    assert np.isfinite(result.response).all()


def test_a_file_of_two_channels_is_refined_like_its_array(checkpoint: Path) -> None:
    array = np.random.default_rng(0).integers(0, 200, (3, 40, 36, 2)).astype(np.uint8)
    params = RefitParams(gate="off", n_segments=30)
    volume = Volume.from_array(array.transpose(2, 1, 0, 3), ("x", "y", "z", "c"))
    one = Refit(volume, checkpoint, params, device="cpu")
    other = Refit(array, checkpoint, params, rgb=True, device="cpu")
    found = one.volume()
    assert found.mask.shape == (36, 40, 3)
    np.testing.assert_array_equal(found.mask.transpose(2, 1, 0), other.volume().mask)
