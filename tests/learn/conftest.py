from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_refit.learn.samples import ArraySamples
from napari_refit.learn.settings import TrainingParams


def blob_images(count: int, positive: np.ndarray, size: int = 32, seed: int = 0) -> np.ndarray:
    """Noise, with a bright square somewhere in the positive ones."""
    draw = np.random.default_rng(seed)
    images = draw.uniform(0.1, 0.3, (count, size, size)).astype(np.float32)
    for number in np.flatnonzero(positive):
        row, column = draw.integers(2, size - 12, 2)
        images[number, row : row + 9, column : column + 9] += 0.4
    return images


def make_blobs(count: int = 64, share: float = 0.5, per_patient: int = 4, seed: int = 0) -> ArraySamples:
    labels = (np.arange(count) % round(1 / share) == 0).astype(int)
    patients = [f"patient {number // per_patient}" for number in range(count)]
    return ArraySamples(blob_images(count, labels, seed=seed), labels, ["background", "blob"], patients)


@pytest.fixture
def blobs() -> Callable[..., ArraySamples]:
    """Makes labelled images with and without a bright square."""
    return make_blobs


def make_quick(**changes: object) -> TrainingParams:
    values: dict[str, object] = {
        "architecture": "phantom-cnn",
        "weights": "none",
        "input_size": 32,
        "epochs": 4,
        "learning_rate": 3e-3,
        "threads": 1,
    }
    return TrainingParams(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def quick() -> Callable[..., TrainingParams]:
    """Parameters of a training of a second."""
    return make_quick
