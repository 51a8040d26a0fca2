"""Known datasets as something to train on: their image-level labels, never their masks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.errors import ReadError
from napari_refit.intensity import IntensityRange, measure_range, normalise
from napari_refit.io.datasets import (
    Dataset,
    ImageLabels,
    Slice,
    TrainingSet,
    find_dataset,
    image_labels,
    training_set,
)
from napari_refit.io.datasets.groups import tied
from napari_refit.io.datasets.registry import DATASETS
from napari_refit.io.datasets.table import TABLE
from napari_refit.learn.samples import check_samples
from napari_refit.params import IntensityParams

BACKGROUND = "background"


class DatasetSamples:
    """A dataset's images or slices, each with its image-level labels.

    Classes that no image shows are left out. Where no image shows several, each has the number of its class, and those
    that show none are of a class called background; else each has 0 or 1 for every class. As patients count sets of
    cases that share a patient or a group, such as near duplicates, so that no split divides them.

    Parameters
    ----------
    training : TrainingSet
    intensity : IntensityParams, optional
        How grey values become [0, 1]: measured on the whole case, as when it is refined. Nothing is done where the
        preparation scales already.
    source : str
        Where the images came from, for reports.

    Attributes
    ----------
    rows : tuple of LabelRow
        For each image: case, patient, group and slice.

    Raises
    ------
    ValueError
        If there are no images.
    """

    def __init__(
        self, training: TrainingSet, intensity: IntensityParams | None = None, source: str = ""
    ) -> None:
        self._training = training
        self.intensity = intensity or IntensityParams()
        self.source = source
        self.rows = rows = training.labels.rows
        self.labels, self.classes = numbered(training.labels.matrix, training.labels.classes)
        self.patients: Sequence[str] = _patients(training.labels)
        self.cases: Sequence[str] = [row.case for row in rows]
        self.names: Sequence[str] = [
            row.case if row.index is None else f"{row.case}, slice {row.index}" for row in rows
        ]
        self._ranges: dict[str, IntensityRange] = {}
        check_samples(self)

    def __len__(self) -> int:
        return len(self._training)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image as displayed, (H, W) or (H, W, C), in [0, 1].

        Raises
        ------
        ReadError
            If a file cannot be read.
        """
        return self.plane(self._training.labels.rows[index].slice)

    def plane(self, place: Slice) -> NDArray[np.float32]:
        """Any plane of a case, labelled or not, scaled as `image` does.

        Raises
        ------
        ReadError
            If a file cannot be read.
        """
        plane = self._training.read(place)
        if self._training.preparation.scaling != "none":
            return np.nan_to_num(plane, nan=0.0).clip(0, 1).astype(np.float32)
        return normalise(plane, self._range(place.case, plane), self.intensity)

    def _range(self, case: str, plane: NDArray[Any]) -> IntensityRange:
        if self.intensity.scope == "slice":
            return measure_range(plane, self.intensity)
        if case not in self._ranges:
            self._ranges[case] = measure_range(self._training.volume(case).data, self.intensity)
        return self._ranges[case]


def recognised(path: Path) -> Dataset | None:
    """The dataset at a path, None where it holds just images in folders or a plain table.

    Raises
    ------
    ReadError
        If it looks like several.
    """
    if path.is_file():
        return find_dataset(path, TABLE.name) if _names_slices(path) else None
    special = [name for name, declaration in DATASETS.items() if not declaration.is_general]
    try:
        found = find_dataset(path)
    except ReadError:
        return None
    return found if found.declaration.name in special else None


def dataset_samples(dataset: Dataset, intensity: IntensityParams | None = None) -> DatasetSamples:
    """A prepared dataset as something to train on. Masks are read once, for the labels that they imply.

    Raises
    ------
    ReadError
        If a mask or a header cannot be read.
    ValueError
        If nothing in it has a label.
    """
    return DatasetSamples(
        training_set(dataset, image_labels(dataset)),
        intensity,
        f"{dataset.declaration.name}: {dataset.root.name}",
    )


def numbered(matrix: NDArray[Any], classes: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels in the form of `napari_refit.learn.samples.Samples`, without classes that no image shows.

    Parameters
    ----------
    matrix : ndarray of int, shape (N, K)
        1 where the image shows the class.
    classes : sequence of str
        K names.

    Returns
    -------
    labels : ndarray of int64
        (N,) where no image shows several classes, those that show none being of a class called background that is
        put first; else (N, K).
    classes : tuple of str

    Examples
    --------
    >>> numbered(np.array([[0, 1, 0], [0, 0, 0]]), ["cyst", "lesion", "oedema"])
    (array([1, 0]), ('background', 'lesion'))
    """
    shown = matrix.astype(np.int64)
    there = shown.any(axis=0)
    shown, classes = shown[:, there], tuple(np.array(classes, object)[there])
    if (shown.sum(axis=1) > 1).any():
        return shown, classes
    numbers = shown @ np.arange(1, len(classes) + 1)
    if (numbers == 0).any():
        return numbers, (BACKGROUND, *classes)
    return numbers - 1, classes


def _patients(labels: ImageLabels) -> list[str]:
    """For each row the patient of the first of the cases that its own is tied to."""
    of_case = {row.case: row.patient for row in labels.rows}
    parts = tied((row.case, row.patient, row.group) for row in labels.rows)
    together = {case: of_case[part[0]] for part in parts for case in part}
    return [together[row.case] for row in labels.rows]


def _names_slices(path: Path) -> bool:
    """Whether a table says which slice of a volume it means."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {"axis", "index"} <= {name.strip() for name in next(csv.reader(file), [])}
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
