"""Label maps, resized once and kept in memory; and samples as the feeding of a classifier's training sees them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_refit.errors import Cancelled
from napari_refit.learn.feeding import Progress
from napari_refit.learn.fsss.certainty import EVERYTHING
from napari_refit.learn.fsss.pixels import MOST_CLASSES, PixelSamples, SoftPixelSamples


class _ResizedStore:
    """Something of every image, resized to the network's input by the nearest pixel: in memory as far as it fits."""

    maps: str
    """What is read, for a message."""
    told: str
    """The same, as progress tells it."""

    def __init__(
        self,
        samples: Any,
        size: int,
        channels: tuple[int, ...],
        limit: int,
        progress: Progress | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._samples, self.size = samples, size
        self._shape = (*channels, size, size)
        count = len(samples)
        fitting = min(count, limit // math.prod(self._shape))
        self._kept = torch.empty((fitting, *self._shape), dtype=torch.uint8)
        digest = hashlib.sha256(repr(samples.classes).encode())
        for index in range(count):
            if cancelled is not None and cancelled():
                raise Cancelled(f"stopped while reading the {self.maps}")
            if progress is not None:
                progress(index, count, f"reading the {self.told} of {samples.names[index]}")
            values = self._read(index)
            resized = self._resized(values)
            self._note(index, values, resized)
            digest.update(resized.numpy().tobytes())
            if index < fitting:
                self._kept[index] = resized
        self.checksum = f"sha256:{digest.hexdigest()}"

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Those of some images, as uint8: (N, size, size) label maps, or (N, K, size, size) soft labels."""
        found = [
            self._kept[index] if index < len(self._kept) else self._resized(self._read(index))
            for index in map(int, indices)
        ]
        return torch.stack(found)

    def _read(self, index: int) -> NDArray[np.uint8]:
        """That of one image, (H, W) or (K, H, W), checked."""
        raise NotImplementedError

    def _note(self, index: int, values: NDArray[np.uint8], resized: Tensor) -> None:
        """Keep what else is to be known of it."""

    def _resized(self, values: NDArray[np.uint8]) -> Tensor:
        found = torch.from_numpy(values.astype(np.uint8)).reshape(1, -1, *values.shape[-2:])
        if found.shape[2:] != (self.size, self.size):
            found = functional.interpolate(found, (self.size, self.size), mode="nearest-exact")
        return found.reshape(self._shape)


class LabelStore(_ResizedStore):
    """Every label map, resized to the network's input by the nearest pixel: in memory as far as they fit.

    Parameters
    ----------
    samples : PixelSamples
    size : int
        Side of the square, px.
    limit : int
        Bytes that may be kept; beyond, maps are read again.
    progress, cancelled
        Plain callbacks.

    Attributes
    ----------
    checksum : str
        ``"sha256:..."`` of all resized maps.
    presence : ndarray of int64, shape (N, K)
        1 where a class has a pixel.
    shapes : list of tuple of int
        Before resizing.

    Raises
    ------
    ValueError
        If a map has a wrong shape or holds what is no class; it is named.
    """

    maps, told = "label maps", "labels"

    def __init__(
        self,
        samples: PixelSamples,
        size: int,
        limit: int = 1 << 30,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.presence = np.zeros((len(samples), len(samples.classes)), np.int64)
        self.shapes: list[tuple[int, ...]] = []
        super().__init__(samples, size, (), limit, progress, cancelled)

    def _read(self, index: int) -> NDArray[np.uint8]:
        return checked_labels(self._samples, index)

    def _note(self, index: int, values: NDArray[np.uint8], resized: Tensor) -> None:
        self.shapes.append(values.shape)
        classes = self.presence.shape[1]
        self.presence[index] = np.bincount(resized.numpy().ravel(), minlength=classes + 1)[1:] > 0


class SoftStore(_ResizedStore):
    """The soft label of every image, resized to the network's input: in memory as far as they fit.

    Parameters
    ----------
    samples : SoftPixelSamples
    size : int
        Side of the square, px.
    limit : int
        Bytes that may be kept; beyond, they are read again.
    progress, cancelled
        Plain callbacks.

    Attributes
    ----------
    checksum : str
        ``"sha256:..."`` of all resized soft labels.

    Raises
    ------
    ValueError
        If a soft label has a wrong shape or type, or its probabilities are more than the whole; it is named.
    """

    maps = told = "soft labels"

    def __init__(
        self,
        samples: SoftPixelSamples,
        size: int,
        limit: int = 1 << 30,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(samples, size, (len(samples.classes),), limit, progress, cancelled)

    def _read(self, index: int) -> NDArray[np.uint8]:
        return checked_soft_label(self._samples, index)


def checked_soft_label(samples: SoftPixelSamples, index: int) -> NDArray[np.uint8]:
    """One soft label; refused with its name if it is none."""
    soft, name, classes = np.array(samples.soft_label(index)), samples.names[index], len(samples.classes)
    if soft.ndim != 3 or soft.dtype != np.uint8 or len(soft) != classes:
        raise ValueError(
            f"{name}: a soft label must be uint8 of shape ({classes}, H, W), got {soft.dtype} of {soft.shape}"
        )
    highest = int(soft.sum(axis=0, dtype=np.int64).max(initial=0))
    # Each class is rounded by itself.
    if highest > EVERYTHING + classes:
        raise ValueError(f"{name}: the classes of a soft label sum up to {highest} of {EVERYTHING}")
    return soft


def checked_labels(samples: PixelSamples, index: int) -> NDArray[np.uint8]:
    """One label map; refused with its name if it is none."""
    labels, name = np.asarray(samples.label_map(index)), samples.names[index]
    if labels.ndim != 2 or 0 in labels.shape:
        raise ValueError(f"{name}: a label map must have shape (H, W), got {labels.shape}")
    if labels.dtype.kind not in "biu":
        raise ValueError(f"{name}: labels must be whole numbers, got {labels.dtype}")
    low, high, classes = int(labels.min()), int(labels.max()), len(samples.classes)
    if low < 0 or high > classes:
        raise ValueError(
            f"{name}: label {low if low < 0 else high} is neither 0 nor one of the {classes} classes "
            f"({', '.join(samples.classes)})"
        )
    return labels


class Imagewise:
    """Pixel samples as samples of images: each with the classes that its label map shows.

    Parameters
    ----------
    samples : PixelSamples
    store : LabelStore
    """

    def __init__(self, samples: PixelSamples, store: LabelStore) -> None:
        self._samples, self._shapes = samples, store.shapes
        self.labels = store.presence
        self.classes = samples.classes
        self.patients, self.names = samples.patients, samples.names

    def __len__(self) -> int:
        return len(self._samples)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image; refused if its label map has another shape."""
        image = self._samples.image(index)
        if image.shape[:2] != self._shapes[index]:
            raise ValueError(
                f"{self.names[index]}: the image has shape {image.shape}, its label map {self._shapes[index]}"
            )
        return image


def check_pixel_samples(samples: PixelSamples) -> None:
    """Check that names, patients and classes belong together, before anything is read.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    if len(samples) == 0:
        raise ValueError("there are no images to train on")
    classes = samples.classes
    if not classes or len(set(classes)) != len(classes) or len(classes) > MOST_CLASSES:
        raise ValueError(
            f"class names must be unique, 1 to {MOST_CLASSES} of them: {', '.join(classes) or 'none'}"
        )
    for what, values in (("patients", samples.patients), ("names", samples.names)):
        if len(values) != len(samples):
            raise ValueError(f"{what} must be {len(samples)}, one per image, got {len(values)}")
    repeated = [name for name, times in Counter(samples.names).items() if times > 1]
    if repeated:
        raise ValueError(f"{repeated[0]}: is in the list several times")
