"""Small pictures to tune on: a noisy square, and a response map that is a blurred and shifted copy of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_refit.pipeline import Refit
from napari_refit.recipe import RefitParams
from napari_refit.tune.images import TuneImage

SIDE = 40
BASE = RefitParams(n_segments=40, sigma=0.5, spread=0, tolerance=0)


def made_picture(number: int) -> tuple[Any, Any, Any]:
    """Image, truth and response map."""
    draw = np.random.default_rng([11, number])
    truth = np.zeros((SIDE, SIDE), np.uint8)
    row, column = draw.integers(4, 16, 2)
    truth[row : row + 16, column : column + 14] = 1
    image = (0.5 * truth + draw.normal(0, 0.12, truth.shape)).astype(np.float32)
    response = gaussian_filter(np.roll(truth.astype(np.float32), draw.integers(-3, 4, 2), (0, 1)), 4)
    return image, truth, (response / response.max()).astype(np.float32)


def made_images(count: int = 8, *, with_truth: bool = True) -> list[TuneImage]:
    found = []
    for number in range(count):
        image, truth, response = made_picture(number)
        refit = Refit(image, response=response, params=RefitParams())
        found.append(
            TuneImage(f"picture {number}", f"patient {number // 2}", refit, {}, truth if with_truth else None)
        )
    return found
