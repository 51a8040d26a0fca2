from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.pixels import ArrayPixels


def make_pixels(
    count: int = 24, size: tuple[int, int] = (32, 32), n_classes: int = 1, channels: int = 0, seed: int = 0
) -> ArrayPixels:
    """Noise with bright squares, of the second class striped; every third image has none. Two images per patient."""
    draw = np.random.default_rng(seed)
    images = draw.uniform(0.05, 0.2, (count, *size)).astype(np.float32)
    labels = np.zeros((count, *size), np.uint8)
    for number in range(count):
        for k in range(1, n_classes + 1):
            if number % 3 == 0 or (number + k) % 4 == 0:
                continue
            row, column = draw.integers(0, size[0] - 11), draw.integers(0, size[1] - 11)
            labels[number, row : row + 11, column : column + 11] = k
        striped = (labels[number] == 2) & (np.arange(size[0]) % 2 == 0)[:, None]
        images[number] += 0.7 * ((labels[number] == 1) | striped)
    if channels:
        images = np.repeat(images[..., None], channels, axis=3)
        images[..., 0] *= 0.8
    classes = [f"class {chr(97 + k)}" for k in range(n_classes)]
    return ArrayPixels(images, labels, classes, [f"patient {number // 2}" for number in range(count)])


@pytest.fixture
def pixels() -> Callable[..., ArrayPixels]:
    """Makes images with label maps."""
    return make_pixels


def make_quick(**changes: object) -> FsssParams:
    values: dict[str, object] = {
        "network": "unet",
        "weights": "none",
        "input_size": 32,
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "threads": 1,
    }
    return FsssParams.model_validate(values | changes)


@pytest.fixture
def quick() -> Callable[..., FsssParams]:
    """Parameters of a training of a second."""
    return make_quick
