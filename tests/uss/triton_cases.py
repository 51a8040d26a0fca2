"""Triton's kernels, interpreted: run by `test_triton` in a process of its own, which must import triton first.

Prints one line of JSON: for each case how far the kernels agree with the processor and with scikit-image.
"""

from __future__ import annotations

import json
from unittest.mock import patch

import numpy as np
import torch
from agreement import agreement
from skimage import color, data, segmentation

import napari_refit as refit
from napari_refit.uss import slic, slic_triton
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.quickshift_processor import compiled_tree
from napari_refit.uss.quickshift_triton import triton_links
from napari_refit.uss.regions_triton import connected_regions

CPU = torch.device("cpu")
RGB = data.astronaut()[100:132, 120:152]
LAB = color.rgb2lab(RGB)[:9, :30]
FLAT = np.zeros((9, 20, 1), np.float32)


def quickshift(colours: np.ndarray) -> float:
    parents, distances = triton_links(colours, 1, np.random.default_rng(42), CPU)
    here = compiled_tree(colours, 1, np.random.default_rng(42))
    there = segmentation.quickshift(colours, kernel_size=1, convert2lab=False, rng=42, return_tree=True)
    np.testing.assert_allclose(distances.numpy(), there[2], rtol=1e-6)
    return float(((parents.numpy() == here[0]) & (parents.numpy() == there[1])).mean())


def with_nan(colours: np.ndarray) -> np.ndarray:
    spoilt = colours.copy()
    spoilt[4, 5, 0] = np.nan
    return spoilt


def clusters(image: np.ndarray, **options: object) -> float:
    options = {"n_segments": 16, "max_num_iter": 3, **options}
    here, there = refit.slic(image, **options), segmentation.slic(image, **options)
    # A processor in a graphics card's clothes.
    with (
        patch.object(slic, "on_processor", lambda device: device != "cuda"),
        patch("napari_refit.devices.torch_device", lambda device: CPU),
        patch("napari_refit.uss.llvm.triton_runs", lambda device: True),
    ):
        ours = refit.slic(image, device="cuda", **options)
    assert ours.dtype == here.dtype
    return min(agreement(ours, here), agreement(ours, there))


def crowded() -> float:
    with patch.object(slic_triton, "_ROOM", 4):
        return clusters(RGB)


def regions() -> float:
    random = np.random.default_rng(5)
    for shape in ((1, 12, 33), (1, 1, 40), (1, 50, 1), (3, 7, 13)):
        for n_labels in (1, 3):
            labels = random.integers(0, n_labels, shape).astype(np.int32)
            found, firsts = connected_regions(torch.from_numpy(labels))
            expected = connected_clusters(labels if shape[0] > 1 else labels[0]).reshape(shape)
            assert np.array_equal(found.numpy(), expected)
            assert np.array_equal(firsts.numpy(), np.unique(expected, return_index=True)[1])
    return 1.0


def main() -> None:
    volume = np.random.default_rng(0).random((5, 14, 12))
    mask = np.zeros(RGB.shape[:2], bool)
    mask[4:30, 5:28] = True
    cases = {
        "links, float64": lambda: quickshift(LAB),
        "links, float32": lambda: quickshift(LAB.astype(np.float32)),
        "links, flat float32": lambda: quickshift(FLAT),
        "links, NaN": lambda: quickshift(with_nan(LAB[:8, :12])),
        "links, five channels": lambda: quickshift(np.concatenate([LAB, LAB[..., :2]], axis=2)[:6, :9]),
        "clusters": lambda: clusters(RGB),
        "clusters, smoothed": lambda: clusters((RGB / 255).astype(np.float32), sigma=1),
        "clusters, mask": lambda: clusters(RGB, mask=mask),
        "clusters, SLICO": lambda: clusters(RGB, slic_zero=True),
        "clusters, volume": lambda: clusters(
            volume, channel_axis=None, spacing=(2, 1, 1), sigma=1, compactness=0.1
        ),
        "clusters, large pieces": lambda: clusters(RGB, max_size_factor=1.1),
        "clusters, crowded": crowded,
        "regions": regions,
    }
    print(json.dumps({name: case() for name, case in cases.items()}))


if __name__ == "__main__":
    main()
