"""Classifiers of several modalities, where the modalities are slices of one of the image's axes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from napari_refit import Refit, RefitParams
from napari_refit.cam.checkpoint import CheckpointMetadata, save_checkpoint
from napari_refit.cam.classifier import Classifier
from napari_refit.cam.cmer_network import CmerNetwork
from napari_refit.cli import main
from napari_refit.modalities import fed_planes, parse_modalities, picked_channels
from napari_refit.planes import Planes

PLAIN = RefitParams(n_segments=16, sigma=0).replace(gate="off")


class Difference(nn.Module):
    """Maps of the first modality minus the second: what it is fed, and in which order, shows."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            weights = torch.linspace(1, -0.7, channels)
            self.features.weight.copy_(
                torch.stack([weights, -weights])[:, :, None, None].expand(-1, -1, 3, 3) / 9
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x).mean((2, 3))


def classifier(channels: int = 2) -> Classifier:
    return Classifier(Difference(channels).eval(), ("background", "lesion"), in_channels=channels)


@pytest.fixture
def pair() -> np.ndarray:
    """Two modalities of five slices, different from each other everywhere."""
    rng = np.random.default_rng(3)
    values = rng.random((2, 5, 24, 28)).astype(np.float32)
    values[0, :, 6:14, 8:18] += 1.5
    return values


def of_channels(values: np.ndarray, slice_index: int, params: RefitParams = PLAIN) -> np.ndarray:
    """The response where the modalities are channels already."""
    refit = Refit(np.moveaxis(values, 0, -1), classifier(), params, rgb=True)
    return refit.slice(slice_index).response


@pytest.mark.parametrize("shown", [0, 1])
def test_slices_of_the_modality_axis_are_fed_as_channels(pair: np.ndarray, shown: int) -> None:
    found = Refit(pair, classifier(), PLAIN).slice((shown, 3), (0, 1))
    np.testing.assert_array_equal(found.response, of_channels(pair, 3))
    np.testing.assert_array_equal(found.image, Refit(pair, params=PLAIN).slice((shown, 3), (0, 1)).image)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_whichever_axis_is_cut(pair: np.ndarray, axis: int) -> None:
    found = Refit(pair, classifier(), PLAIN).slice((1, 4), (0, axis))
    channels = np.moveaxis(pair, 0, -1)
    expected = Refit(channels, classifier(), PLAIN, rgb=True).slice(4, axis - 1)
    np.testing.assert_array_equal(found.response, expected.response)


def test_they_are_fed_in_the_order_that_is_asked_for(pair: np.ndarray) -> None:
    three = np.concatenate([np.zeros_like(pair[:1]), pair[::-1]])
    # A third modality must not move the range of grey values.
    params = PLAIN.replace(mode="window", window_level=1.25, window_width=2.5)
    expected = of_channels(pair, 3, params)
    refit = Refit(three, classifier(), params, modalities=(2, 1))
    np.testing.assert_array_equal(refit.slice((0, 3), (0, 1)).response, expected)
    assert refit.describe()["modalities"] == [2, 1]
    channels = Refit(np.moveaxis(three, 0, -1), classifier(), params, rgb=True, modalities=(2, 1))
    np.testing.assert_array_equal(channels.slice(3).response, expected)


def test_two_images_on_top_of_each_other(pair: np.ndarray) -> None:
    found = Refit(pair[:, 2], classifier(), PLAIN).slice(0)
    expected = Refit(np.moveaxis(pair[:, 2], 0, -1), classifier(), PLAIN, rgb=True).slice()
    np.testing.assert_array_equal(found.response, expected.response)


def test_the_simplified_image_is_one_of_each_modality(pair: np.ndarray) -> None:
    params = PLAIN.replace(cam_input="simplified")
    refit = Refit(pair, classifier(), params)
    seen: list[np.ndarray] = []
    source = refit.stages.source
    respond = source.respond

    def spy(indices, inputs, *rest):  # type: ignore[no-untyped-def]
        seen.extend(inputs)
        return respond(indices, inputs, *rest)

    source.respond = spy
    found = refit.slice((1, 3), (0, 1))
    assert seen[0].shape == (24, 28, 2)
    np.testing.assert_array_equal(seen[0][..., 1], found.simplified)
    np.testing.assert_array_equal(seen[0][..., 0], refit.slice((0, 3), (0, 1)).simplified)
    assert len(seen) == 1, "both modalities' planes have one response map"


def test_a_whole_volume_and_every_modality_of_it(pair: np.ndarray) -> None:
    found = Refit(pair, classifier(), PLAIN).volume(axis=1, keep_response=True)
    assert found.mask.shape == pair.shape
    np.testing.assert_array_equal(found.response[:, 0], found.response[:, 1])
    np.testing.assert_allclose(found.response[:, 0, 3], of_channels(pair, 3), atol=1e-3)


def test_a_coarse_answer_is_fed_both_modalities_too() -> None:
    rng = np.random.default_rng(0)
    pair = rng.random((2, 3, 300, 300)).astype(np.float32)
    coarse: list[np.ndarray] = []
    refit = Refit(pair, classifier(), RefitParams(segmenter="quickshift").replace(gate="off"))
    sharp = refit.plane({0: 0, 1: 1}, on_coarse=lambda found: coarse.append(found.response))
    assert coarse[0].shape == sharp.response.shape
    assert np.abs(coarse[0] - sharp.response).mean() < 0.15


def test_grey_planes_still_stand_for_the_colours_of_a_photograph() -> None:
    stack = np.random.default_rng(1).random((3, 4, 16, 16)).astype(np.float32)
    photographs = classifier(3)
    found = Refit(stack, photographs, PLAIN).slice((1, 2), (0, 1)).response
    np.testing.assert_array_equal(
        found,
        Refit(np.repeat(stack[..., None], 3, -1), photographs, PLAIN, rgb=True)
        .slice((1, 2), (0, 1))
        .response,
    )
    named = Refit(stack, photographs, PLAIN, modality_axis=0).slice((1, 2), (0, 1)).response
    channels = Refit(np.moveaxis(stack, 0, -1), photographs, PLAIN, rgb=True).slice(2).response
    np.testing.assert_array_equal(named, channels)
    assert not np.array_equal(named, found)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (9, 16, 16),
            {},
            r"wants 2 modalities, but the image \(9 × 16 × 16\) has none there: put the modalities",
        ),
        ((16, 16), {}, "wants 2 modalities.*Merge to Stack"),
        ((3, 4, 16, 16), {"modality_axis": 0}, "wants 2 modalities, the image has 3 .* such as 0, 1"),
        ((3, 4, 16, 16), {}, r"the image has 3 \(axis 0 of 3 × 4 × 16 × 16\); say which, such as 0, 1"),
        ((3, 4, 16, 16), {"modalities": (0, 5)}, "modalities 0, 5 are chosen, but the image"),
        ((3, 4, 16, 16), {"modalities": (0, 1, 2)}, "3 modalities are chosen .*, but the classifier wants 2"),
    ],
)
def test_an_image_that_lacks_them_is_told_what_to_do(
    shape: tuple[int, ...], options: dict[str, object], message: str
) -> None:
    refit = Refit(np.random.default_rng(2).random(shape), classifier(), PLAIN, **options)
    cut = dict.fromkeys(range(len(shape) - 2), 0)
    with pytest.raises(ValueError, match=message):
        refit.plane(cut)


def test_bad_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="modalities are positions from 0"):
        Refit(np.zeros((2, 8, 8)), classifier(), modalities=(-1, 0))
    with pytest.raises(ValueError, match="modality_axis = 3"):
        Refit(np.zeros((2, 8, 8)), modality_axis=3)
    with pytest.raises(ValueError, match="got 'first'"):
        parse_modalities("first, 2")
    with pytest.raises(ValueError, match="the image has 3 channels"):
        picked_channels(np.zeros((4, 4, 3), np.float32), 2, (0, 3))


def test_the_modality_axis_must_not_be_displayed() -> None:
    planes = Planes(np.zeros((2, 9, 8, 8)))
    with pytest.raises(ValueError, match=r"axis 0 .* holds its modalities and is displayed"):
        fed_planes(planes, ((2, 3), (3, 3)), 2, named=0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = CmerNetwork(2, 2, width=4)
    metadata = CheckpointMetadata(
        architecture="cmer",
        classes=("background", "tumour"),
        in_channels=2,
        input_size=None,
        settings={"width": 4, "modality": "average"},
    )
    path = tmp_path / "two.safetensors"
    save_checkpoint(path, network, metadata)
    return path


def test_the_command_line_takes_a_scan_of_several_modalities(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = np.random.default_rng(5).random((24, 20, 3, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    command = ["refine", str(tmp_path / "scan.nii.gz"), "--model", str(checkpoint), "--set", "gate=off"]
    assert main([*command, "--out", str(tmp_path / "a"), "--modalities", "1,3"]) == 0
    sidecar = json.loads((tmp_path / "a" / "scan_refined.refit.json").read_text())
    assert sidecar["modalities"] == [1, 3]
    mask = nib.load(tmp_path / "a" / "scan_refined.nii.gz")
    assert mask.shape == scan.shape
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "b")]) == 1
    assert "the classifier wants 2 modalities" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "b"), "--modalities", "FLAIR"]) == 2
    assert "got 'FLAIR'" in capsys.readouterr().err
