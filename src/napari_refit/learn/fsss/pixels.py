"""Images and their label maps: what a segmentation network is trained on, from arrays or from a dataset's masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_refit.io.datasets import Dataset, ImageLabels, image_labels, reading, training_set
from napari_refit.io.volume import Volume
from napari_refit.learn.datasets import DatasetSamples
from napari_refit.learn.splits import split_cases as split_cases
from napari_refit.params import IntensityParams

MOST_CLASSES = 255


class PixelSamples(Protocol):
    """What an FSSS training is given.

    Attributes
    ----------
    classes : tuple of str
        The K classes without the background.
    patients, names : sequence of str
        As of `napari_refit.learn.samples.Samples`.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def patients(self) -> Sequence[str]: ...
    @property
    def names(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...
    def image(self, index: int, /) -> NDArray[np.float32]:
        """One image of shape (H, W) or (H, W, C), in [0, 1]."""
        ...

    def label_map(self, index: int, /) -> NDArray[np.uint8]:
        """Its labels, (H, W): 0 background, k + 1 the k-th class."""
        ...


@runtime_checkable
class SoftPixelSamples(PixelSamples, Protocol):
    """Pixel samples that know how certain each label is."""

    def soft_label(self, index: int, /) -> NDArray[np.uint8]:
        """Probabilities of the classes in 255ths, (K, H, W); what is missing to 255 is the background's."""
        ...


class ArrayPixels:
    """Images and label maps that are in memory.

    Parameters
    ----------
    images : sequence of array
        Each (H, W) or (H, W, C), in [0, 1].
    label_maps : sequence of array
        Each (H, W): 0 background, k + 1 the k-th class.
    classes : sequence of str
        Without the background.
    patients, names : sequence of str, optional
        By default each image is its own patient, and they are numbered.

    Raises
    ------
    ValueError
        If there is not one of each per image.

    Examples
    --------
    >>> samples = ArrayPixels(np.zeros((4, 8, 8)), np.zeros((4, 8, 8), np.uint8), ["lesion"])
    >>> len(samples), samples.names[3], samples.label_map(0).shape
    (4, 'image 3', (8, 8))
    """

    def __init__(
        self,
        images: Sequence[NDArray[Any]] | NDArray[Any],
        label_maps: Sequence[NDArray[Any]] | NDArray[Any],
        classes: Sequence[str],
        patients: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self._images, self._maps = images, label_maps
        self.classes = tuple(str(name) for name in classes)
        self.names: Sequence[str] = [
            str(name) for name in names or [f"image {index}" for index in range(len(images))]
        ]
        self.patients: Sequence[str] = self.names if patients is None else [str(name) for name in patients]
        for what, given in (("label maps", label_maps), ("names", self.names), ("patients", self.patients)):
            if len(given) != len(images):
                raise ValueError(f"there are {len(given)} {what} for {len(images)} images")

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image, as it was given."""
        return np.asarray(self._images[index], dtype=np.float32)

    def label_map(self, index: int) -> NDArray[np.uint8]:
        """Its labels, as they were given."""
        return np.asarray(self._maps[index])


class DatasetPixels:
    """A dataset's images or slices with its reference masks: for the upper bound, and for nothing else.

    Classes that no image shows are left out.

    Parameters
    ----------
    dataset : Dataset
        Its preparation is followed.
    intensity : IntensityParams, optional
        How grey values become [0, 1]; see `napari_refit.learn.datasets.DatasetSamples`.
    cases : iterable of str, optional
        Only these.

    Raises
    ------
    ReadError
        If a case has no mask, or a file cannot be read.
    ValueError
        If there are no images.
    """

    def __init__(
        self,
        dataset: Dataset,
        intensity: IntensityParams | None = None,
        cases: Iterable[str] | None = None,
    ) -> None:
        self._dataset = dataset
        labels = image_labels(dataset)
        training = training_set(dataset, labels, cases)
        self._samples = DatasetSamples(
            training, intensity, f"{dataset.declaration.name}: {dataset.root.name}"
        )
        self._rows = training.labels.rows
        self.classes, self._numbers = shown_classes(training.labels)
        self.labelling = {"labels": "truth"}
        self._read: tuple[str, Volume] | None = None

    @property
    def patients(self) -> Sequence[str]:
        return self._samples.patients

    @property
    def names(self) -> Sequence[str]:
        return self._samples.names

    @property
    def cases(self) -> Sequence[str]:
        return self._samples.cases

    @property
    def intensity(self) -> IntensityParams:
        return self._samples.intensity

    @property
    def source(self) -> str:
        return self._samples.source

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image as displayed, (H, W) or (H, W, C), in [0, 1]."""
        return self._samples.image(index)

    def label_map(self, index: int) -> NDArray[np.uint8]:
        """Its reference mask, on the image's grid; nothing where there is none and the image shows no class."""
        row, preparation = self._rows[index], self._dataset.preparation
        if self._dataset.case(row.case).truth is None and not any(row.labels):
            return np.zeros(self.image(index).shape[:2], np.uint8)
        position = row.index
        if row.axis is not None and position is not None:
            position -= reading.offset(preparation, row.axis)
        plane = reading.raw_plane(self._truth(row.case), row.axis, position)
        return self._numbers[reading.resized(plane, preparation.size, labels=True)]

    def _truth(self, case: str) -> Volume:
        # Slices are asked for case by case.
        if self._read is None or self._read[0] != case:
            self._read = case, self._dataset.read_truth(self._dataset.case(case))
        return self._read[1]


class SubsetPixels:
    """Some of the samples, in a given order.

    Parameters
    ----------
    samples : PixelSamples
    indices : sequence of int
    """

    def __init__(self, samples: PixelSamples, indices: Sequence[int] | NDArray[np.int64]) -> None:
        self._samples = samples
        self.indices: NDArray[np.int64] = np.asarray(indices, dtype=np.int64)
        self.classes = samples.classes
        self.patients: Sequence[str] = [samples.patients[index] for index in self.indices]
        self.names: Sequence[str] = [samples.names[index] for index in self.indices]
        self.source = str(getattr(samples, "source", ""))
        self.intensity = getattr(samples, "intensity", None)
        self.labelling = dict(getattr(samples, "labelling", {}))

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image of the samples behind this."""
        return self._samples.image(int(self.indices[index]))

    def label_map(self, index: int) -> NDArray[np.uint8]:
        """Its labels."""
        return self._samples.label_map(int(self.indices[index]))


def shown_classes(labels: ImageLabels) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """The classes that some image shows, and for each class number of the dataset that of these classes.

    Raises
    ------
    ValueError
        If no image shows any.
    """
    there: NDArray[np.bool_] = np.any(labels.matrix, axis=0)
    if not there.any():
        raise ValueError("no image shows any class: there is nothing to learn")
    numbers = np.zeros(len(there) + 1, np.uint8)
    numbers[1:][there] = np.arange(1, there.sum() + 1)
    return tuple(np.array(labels.classes, object)[there]), numbers
