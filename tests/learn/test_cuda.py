"""A training on a real CUDA device: it learns, repeats itself and resumes, as on the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_refit.cam.classifier import load_classifier
from napari_refit.errors import Cancelled
from napari_refit.learn.samples import ArraySamples
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.training import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.mark.parametrize("architecture", ["phantom-cnn", "efficientnet-lite0", "resnet18"])
@pytest.mark.parametrize("precision", ["auto", "float16", "float32"])
def test_it_learns_repeats_itself_and_resumes(
    blobs: Callable[..., ArraySamples],
    quick: Callable[..., TrainingParams],
    tmp_path: Path,
    architecture: str,
    precision: str,
) -> None:
    samples, state = blobs(96), tmp_path / "state.pt"
    params = quick(architecture=architecture, precision=precision, epochs=6)
    whole, again = (train(samples, params, device="cuda") for _ in range(2))
    if architecture != "efficientnet-lite0":
        assert whole.report["validation"]["auroc"] > 0.95
    rows: list[object] = []
    with pytest.raises(Cancelled):
        train(
            samples,
            params,
            device="cuda",
            state=state,
            on_epoch=rows.append,
            cancelled=lambda: len(rows) >= 2,
        )
    resumed = train(samples, params, device="cuda", resume_from=state)
    expected = whole.classifier.module.state_dict()
    for other in (again, resumed):
        assert all(
            torch.equal(value, expected[name]) for name, value in other.classifier.module.state_dict().items()
        )
    whole.save(tmp_path / "a.safetensors")
    assert load_classifier(tmp_path / "a.safetensors", device="cpu").classes == samples.classes
