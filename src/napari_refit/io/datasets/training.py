"""What training is given: images and image-level labels, and nothing that names a mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_refit.cache import StageCache
from napari_refit.io.datasets import reading
from napari_refit.io.datasets.case import ImageFiles, Slice
from napari_refit.io.datasets.dataset import Dataset
from napari_refit.io.datasets.labels import ImageLabels, LabelRow
from napari_refit.io.datasets.preparation import Preparation
from napari_refit.io.volume import Volume

CACHE_BYTES = 1 << 30


@dataclass(frozen=True)
class Sample:
    """One image or slice to learn from.

    Attributes
    ----------
    image : array
        As displayed, ``(H, W)`` or ``(H, W, C)``; the file's values, or float32 in [0, 1] where the preparation scales.
    labels : uint8 array, shape (n_classes,)
        1 where the class is there.
    row : LabelRow
        Case, patient, group and slice.
    """

    image: np.ndarray
    labels: np.ndarray
    row: LabelRow


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Images and image-level labels; no attribute leads to a mask.

    Samples are read when asked for; volumes that were read lately are kept, up to a gigabyte, so going through
    the samples case by case reads each file once. It can be pickled for other processes (without what is kept).

    Attributes
    ----------
    labels : ImageLabels
        One row per sample.
    images : mapping of str to tuple of ImageFiles
        Each case's files, one per channel.
    preparation : Preparation
        Crop, scaling and size are followed.
    """

    labels: ImageLabels
    images: Mapping[str, tuple[ImageFiles, ...]]
    preparation: Preparation
    _kept: StageCache = field(default_factory=lambda: StageCache(CACHE_BYTES), repr=False)

    def __post_init__(self) -> None:
        lacking = [name for name in self.labels.cases if name not in self.images]
        if lacking:
            raise ValueError(f"labels of {lacking[0]!r} have no image ({len(lacking)} such cases)")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> Sample:
        row = self.labels.rows[number]
        return Sample(self.read(row.slice), np.array(row.labels, np.uint8), row)

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {"labels": self.labels, "images": self.images, "preparation": self.preparation}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_kept", StageCache(CACHE_BYTES))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.labels.classes

    def of(self, cases: Iterable[str]) -> TrainingSet:
        """The samples of some cases, for instance ``training_set.of(fold.train)``."""
        labels = self.labels.of(cases)
        return replace(self, labels=labels, images={name: self.images[name] for name in labels.cases})

    def read(self, plane: Slice) -> np.ndarray:
        """The grey values of a plane; see `Dataset.read_slice`, which gives the same.

        Raises
        ------
        ReadError
            If a file is missing or damaged.
        ValueError
            If the plane does not fit the image, e.g. a whole volume is asked for.
        """
        files, number = self.images[plane.case], len(self.images[plane.case])
        axis, position = plane.axis, plane.index
        if axis is None or position is None:
            return reading.plane_of(self.volume(plane.case), axis, position, self.preparation, number)
        is_stack = axis == 0 and all(1 < len(item.paths) > position >= 0 for item in files)
        if is_stack and not self.preparation.crop and self.preparation.scaling != "image":
            # One picture of the stack is the plane; the others need not be read.
            files = tuple(ImageFiles((item.paths[position],), item.channel) for item in files)
            picture = reading.prepared_volume(files, self.preparation, plane.case)
            return reading.plane_of(picture, None, None, self.preparation, number)
        position -= reading.offset(self.preparation, axis)
        return reading.plane_of(self.volume(plane.case), axis, position, self.preparation, number)

    def volume(self, name: str) -> Volume:
        """A case's whole image, cropped and scaled as the preparation says; see `Dataset.read_image`."""
        files = self.images[name]
        key = (files, self.preparation)
        kept = self._kept.get(key)
        if kept is None:
            volume = reading.prepared_volume(files, self.preparation, name)
            volume = reading.scaled_image(volume, self.preparation, len(files))
            kept = (volume.data, volume.axes, volume.affine, volume.spacing, volume.path)
            self._kept.put(key, kept)
        values, axes, affine, spacing, path = kept
        return Volume.from_array(values, axes, affine, spacing, path=path)


def training_set(dataset: Dataset, labels: ImageLabels, cases: Iterable[str] | None = None) -> TrainingSet:
    """Put images and labels together for training.

    Parameters
    ----------
    dataset : Dataset
        Its preparation is followed.
    labels : ImageLabels
        From `image_labels`, or from a file.
    cases : iterable of str, optional
        Names of the cases to learn from, for instance ``fold.train``; all that have labels when left out.

    Returns
    -------
    TrainingSet

    Raises
    ------
    ValueError
        If labels are of a case that the dataset does not have.
    ReadError
        If a case lacks a modality.
    """
    if cases is not None:
        labels = labels.of(cases)
    known = {case.name: case for case in dataset.cases}
    unknown = [name for name in labels.cases if name not in known]
    if unknown:
        raise ValueError(f"{dataset.root}: labels are of {unknown[0]!r}, which is no case there")
    images = {name: dataset.images_of(known[name]) for name in labels.cases}
    return TrainingSet(labels, images, dataset.preparation)
