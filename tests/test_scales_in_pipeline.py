"""Scales in the pipeline: what they make run again, what stays cached, and what the coarse answer does without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_refit import Refit, RefitParams
from napari_refit.cam.classifier import Classifier
from napari_refit.plane import refine_plane
from napari_refit.stages import Run


class Watched(nn.Module):
    """A small classifier that notes the size of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.stage = nn.Sequential(
                nn.Conv2d(1, 6, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1)
            )
            self.head = nn.Linear(8, 2)
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(int(x.shape[-1]))
        found: Tensor = self.head(self.stage(x).relu().mean((2, 3)))
        return found


def pipeline(input_size: int | None = None) -> tuple[Refit, Watched]:
    network = Watched()
    classifier = Classifier(network, ["background", "lesion"], in_channels=1, input_size=input_size)
    volume = np.random.default_rng(3).random((3, 80, 96)).astype(np.float32)
    params = RefitParams(gate="off", n_segments=40, layer="stage")
    return Refit(volume, classifier, params, device="cpu"), network


def test_other_scales_run_the_classifier_again_and_nothing_else() -> None:
    refit, network = pipeline()
    first = refit.slice(1)
    assert network.sizes == [96]
    refit.params = refit.params.replace(scales=(0.5, 1), smoothing="mirror")
    again = refit.slice(1)
    assert network.sizes[1:] == [96, 96, 48, 48]
    assert again.seconds["clusters"] == 0
    assert again.seconds["response"] > 0
    assert first.response is not None
    assert again.response is not None
    assert not np.allclose(first.response, again.response)
    assert again.probabilities == pytest.approx(first.probabilities)
    refit.params = refit.params.replace(threshold=0.3)
    refit.slice(1)
    refit.params = refit.params.replace(scales=(1,), smoothing="none")
    assert np.array_equal(refit.slice(1).response, first.response)
    assert len(network.sizes) == 5


@pytest.mark.parametrize("input_size", [None, 64])
def test_the_coarse_answer_takes_one_run(input_size: int | None) -> None:
    refit, network = pipeline(input_size)
    refit.params = refit.params.replace(scales=(0.5, 1, 1.5), smoothing="flips")
    seen: list[tuple[list[int], bool]] = []
    result = refit.plane({0: 1}, on_coarse=lambda found: seen.append((list(network.sizes), found.coarse)))
    usual = 96 if input_size is None else 64
    assert seen == [([48 if input_size is None else 64], True)]
    assert network.sizes[1:] == [side for scale in (1, 0.5, 1.5) for side in [round(usual * scale)] * 4]
    plain = pipeline(input_size)[0]
    plain.params = refit.params
    assert np.array_equal(result.response, plain.slice(1).response)


def test_a_whole_volume_is_run_in_batches() -> None:
    refit, network = pipeline(64)
    refit.params = refit.params.replace(scales=(0.5, 1), batch_size=2)
    found = refit.volume(keep_response=True)
    assert network.sizes == [64, 32, 64, 32]
    one, _ = pipeline(64)
    one.params = refit.params
    for k in range(3):
        expected = refine_plane(one.stages, ((0, k),), one.params, Run()).response
        np.testing.assert_allclose(found.response[:, k], expected, atol=1e-3)


def test_what_a_slice_will_take_is_learned_for_each_choice_of_scales() -> None:
    refit, _ = pipeline()
    pixels = 80 * 96
    refit.slice(0)
    refit.slice(1)
    assert refit.stages.seconds_expected(((0, 2),), refit.params, pixels) is not None
    refit.params = refit.params.replace(scales=(0.5, 1))
    assert refit.stages.seconds_expected(((0, 2),), refit.params, pixels) is None


def test_a_scale_that_is_too_small_for_the_network_is_named() -> None:
    refit, network = pipeline(8)
    network.stage[0] = nn.Conv2d(1, 6, 5)
    refit.params = refit.params.replace(scales=(0.25, 1))
    with pytest.raises(ValueError, match=r"scale 0\.25, on 2 x 2 pixels"):
        refit.slice(0)
