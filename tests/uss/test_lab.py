"""Colours on the scale of Lab, held against scikit-image's."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_refit.uss.lab import rgb_to_lab


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-4)])
def test_lab_is_that_of_scikit_image(dtype: type, tolerance: float) -> None:
    levels = np.array([0, 1e-6, 0.01, 0.04044, 0.04046, 0.2, 0.5, 1], dtype)
    rgb = np.concatenate(
        [np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3), np.eye(3), 1 - np.eye(3)]
    )
    rgb = np.stack([rgb, rgb * 1.3 - 0.1], axis=1).astype(dtype)
    lab = rgb_to_lab(rgb)
    assert lab.dtype == dtype
    np.testing.assert_allclose(lab, rgb2lab(rgb), rtol=0, atol=tolerance)


def test_what_is_not_finite_stays_so() -> None:
    rgb = np.array([[[np.nan, 0, 0], [np.inf, 0, 0], [0.2, 0.3, 0.4]]])
    assert np.isfinite(rgb_to_lab(rgb)).all(axis=2).tolist() == [[False, False, True]]
