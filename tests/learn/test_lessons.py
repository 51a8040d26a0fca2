"""What a lesson says is what a training does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_refit.cam.checkpoint import read_metadata
from napari_refit.learn import lessons
from napari_refit.learn.lessons import ClassifierLesson, find_lesson
from napari_refit.learn.optimising import Loss
from napari_refit.learn.samples import ArraySamples
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.training import train

DRAWN: list[float] = []


class Doubled(ClassifierLesson):
    """Feeds each image twice, the second time turned over, and draws a number."""

    def forward(self, network: nn.Module, images: Tensor, chance: torch.Generator) -> Any:
        DRAWN.append(float(torch.rand(1, generator=chance)))
        return [super(Doubled, self).forward(network, view, chance) for view in (images, images.flip(2))]

    def loss(self, outcome: Any, targets: Tensor, plain: Loss) -> tuple[Tensor, Tensor]:
        losses = [super(Doubled, self).loss(one, targets, plain)[1] for one in outcome]
        return outcome[0].float(), sum(losses, torch.zeros(()))


def test_a_lesson_of_ones_own(
    blobs: Callable[..., ArraySamples],
    quick: Callable[..., TrainingParams],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(lessons.LESSONS, "classifier", f"{__name__}:Doubled")
    DRAWN.clear()
    result = train(blobs(32), quick(epochs=2), device="cpu")
    steps = len(DRAWN)
    assert steps == 2 * 2
    assert len(set(DRAWN)) == steps
    again = train(blobs(32), quick(epochs=2), device="cpu")
    assert DRAWN[:steps] == DRAWN[steps:]
    state = again.classifier.module.state_dict()
    assert all(
        torch.equal(value, state[name]) for name, value in result.classifier.module.state_dict().items()
    )
    result.save(tmp_path / "doubled.safetensors")
    metadata = read_metadata(tmp_path / "doubled.safetensors")
    assert metadata is not None
    assert (metadata.architecture, metadata.settings) == ("phantom-cnn", {})


def test_an_unknown_lesson_is_named() -> None:
    with pytest.raises(ValueError, match="unknown learner 'segnet'; there are: classifier"):
        find_lesson("segnet")
