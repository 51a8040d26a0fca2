"""Label maps, resized once and kept in memory; and samples as the feeding of a classifier's training sees them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_refit.errors import Cancelled
from napari_refit.learn.feeding import Progress
from napari_refit.learn.fsss.certainty import EVERYTHING
from napari_refit.learn.fsss.pixels import MOST_CLASSES, PixelSamples, SoftPixelSamples


class LabelStore:
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

    def __init__(
        self,
        samples: PixelSamples,
        size: int,
        limit: int = 1 << 30,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._samples, self.size = samples, size
        count, classes = len(samples), len(samples.classes)
        self._kept = torch.empty((min(count, limit // (size * size)), size, size), dtype=torch.uint8)
        self.presence = np.zeros((count, classes), np.int64)
        self.shapes: list[tuple[int, ...]] = []
        digest = hashlib.sha256(repr(samples.classes).encode())
        for index in range(count):
            if cancelled is not None and cancelled():
                raise Cancelled("stopped while reading the label maps")
            if progress is not None:
                progress(index, count, f"reading the labels of {samples.names[index]}")
            labels = checked_labels(samples, index)
            self.shapes.append(labels.shape)
            resized = self._resized(labels)
            values = resized.numpy()
            digest.update(values.tobytes())
            self.presence[index] = np.bincount(values.ravel(), minlength=classes + 1)[1:] > 0
            if index < len(self._kept):
                self._kept[index] = resized
        self.checksum = f"sha256:{digest.hexdigest()}"

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Some maps as uint8 (N, size, size)."""
        return torch.stack([self._map(int(index)) for index in indices])

    def _map(self, index: int) -> Tensor:
        if index < len(self._kept):
            return self._kept[index]
        return self._resized(checked_labels(self._samples, index))

    def _resized(self, labels: NDArray[np.uint8]) -> Tensor:
        values = torch.from_numpy(labels.astype(np.uint8))[None, None]
        if labels.shape != (self.size, self.size):
            values = functional.interpolate(values, (self.size, self.size), mode="nearest-exact")
        return values[0, 0]


class SoftStore:
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

    def __init__(
        self,
        samples: SoftPixelSamples,
        size: int,
        limit: int = 1 << 30,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._samples, self.size = samples, size
        count, classes = len(samples), len(samples.classes)
        fitting = min(count, limit // (classes * size * size))
        self._kept = torch.empty((fitting, classes, size, size), dtype=torch.uint8)
        digest = hashlib.sha256(repr(samples.classes).encode())
        for index in range(count):
            if cancelled is not None and cancelled():
                raise Cancelled("stopped while reading the soft labels")
            if progress is not None:
                progress(index, count, f"reading the soft labels of {samples.names[index]}")
            resized = self._resized(index)
            digest.update(resized.numpy().tobytes())
            if index < fitting:
                self._kept[index] = resized
        self.checksum = f"sha256:{digest.hexdigest()}"

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Some soft labels as uint8 (N, K, size, size)."""
        found = [
            self._kept[index] if index < len(self._kept) else self._resized(index)
            for index in map(int, indices)
        ]
        return torch.stack(found)

    def _resized(self, index: int) -> Tensor:
        values = torch.from_numpy(checked_soft_label(self._samples, index))[None]
        if values.shape[2:] != (self.size, self.size):
            values = functional.interpolate(values, (self.size, self.size), mode="nearest-exact")
        return values[0]


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
