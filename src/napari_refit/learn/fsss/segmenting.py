"""A segmentation network's label maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_refit.cam.classifier import Classifier
from napari_refit.cam.own_maps import MapsItself
from napari_refit.cam.response import compute_responses
from napari_refit.params import CamParams


def segment(
    classifier: Classifier,
    images: Sequence[NDArray[Any]] | NDArray[Any],
    *,
    batch_size: int = 8,
    device: str | torch.device | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[NDArray[np.uint8]]:
    """The most probable class of each pixel, at the images' own sizes.

    Parameters
    ----------
    classifier : Classifier
        An FSSS checkpoint, loaded.
    images : sequence of array
        Each (H, W) or (H, W, C), in [0, 1]; the sizes may differ.
    batch_size : int
        Images of one size that are fed together; less where memory runs out.
    device : str or torch.device, optional
        As of `napari_refit.cam.response.compute_responses`.
    cancelled : callable, optional

    Returns
    -------
    list of ndarray of uint8, each (H, W)
        0 background, k + 1 the k-th class (`Classifier.class_number`).

    Raises
    ------
    ValueError
        If the network gives no probabilities of pixels, or images do not fit it.
    Cancelled
        If ``cancelled()`` answered True.
    """
    module = classifier.module
    if not (isinstance(module, MapsItself) and module.maps_are_scaled):
        raise ValueError(f"{classifier.name} gives no probabilities of pixels: it is no FSSS network")
    together: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        together.setdefault(np.shape(image), []).append(index)
    numbers = np.array([classifier.class_number(k) for k in range(len(classifier.classes))], np.uint8)
    found: list[NDArray[np.uint8]] = [np.zeros((0, 0), np.uint8)] * len(images)
    params = CamParams(batch_size=batch_size)
    for indices in together.values():
        for first in range(0, len(indices), batch_size):
            part = indices[first : first + batch_size]
            maps = compute_responses(
                classifier,
                np.stack([images[index] for index in part]),
                range(len(numbers)),
                params,
                device=device,
                cancelled=cancelled,
            ).maps
            for index, labels in zip(part, numbers[maps.argmax(1)], strict=True):
                found[index] = labels
    return found
