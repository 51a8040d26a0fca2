"""Image-level labels: a plain table of which class is there in which image or slice."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_refit.errors import Cancelled, ReadError, brief
from napari_refit.io._atomic import atomic_path
from napari_refit.io.datasets.case import Case, Slice

if TYPE_CHECKING:
    from napari_refit.io.datasets.dataset import Dataset

COLUMNS = ("case", "patient", "group", "axis", "index")


@dataclass(frozen=True)
class LabelRow:
    """The labels of one image or slice.

    Attributes
    ----------
    case, patient, group : str
    axis, index : int or None
        Of a slice, see `Slice`; None for a whole image.
    labels : tuple of int
        1 where the class is there, 0 where not, in the order of the table's classes.
    """

    case: str
    patient: str
    group: str
    axis: int | None
    index: int | None
    labels: tuple[int, ...]

    @property
    def slice(self) -> Slice:
        """Which plane the row is about."""
        return Slice(self.case, self.axis, self.index)


@dataclass(frozen=True)
class ImageLabels:
    """Image-level labels of a dataset: no pixel, no path, no mask.

    Attributes
    ----------
    classes : tuple of str
    rows : tuple of LabelRow
        One per image or slice.

    Raises
    ------
    ValueError
        If a class is named like a column or twice, a row does not fit the classes or is there twice.

    Examples
    --------
    >>> rows = (LabelRow("a", "p1", "p1", 2, 7, (1,)), LabelRow("a", "p1", "p1", 2, 8, (0,)))
    >>> labels = ImageLabels(("tumour",), rows)
    >>> len(labels), labels.matrix.ravel().tolist(), labels.positives
    (2, [1, 0], {'tumour': 1})
    """

    classes: tuple[str, ...]
    rows: tuple[LabelRow, ...]

    def __post_init__(self) -> None:
        taken = [name for name in self.classes if name in COLUMNS or self.classes.count(name) > 1]
        if taken or "" in self.classes:
            raise ValueError(f"class names {self.classes} must differ from each other and from {COLUMNS}")
        seen = set()
        for row in self.rows:
            if len(row.labels) != len(self.classes) or not set(row.labels) <= {0, 1}:
                raise ValueError(
                    f"{row.slice}: labels {row.labels} must be 0 or 1 for each of {self.classes}"
                )
            if row.slice in seen:
                raise ValueError(f"{row.slice} is labelled twice")
            seen.add(row.slice)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def matrix(self) -> np.ndarray:
        """The labels as uint8, shape ``(rows, classes)``."""
        return np.array([row.labels for row in self.rows], np.uint8).reshape(
            len(self.rows), len(self.classes)
        )

    @property
    def positives(self) -> dict[str, int]:
        """In how many rows each class is there."""
        return dict(zip(self.classes, map(int, self.matrix.sum(axis=0)), strict=True))

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases' names in the order of the rows, each once."""
        return tuple(dict.fromkeys(row.case for row in self.rows))

    def of(self, cases: Iterable[str]) -> ImageLabels:
        """The rows of some cases, for instance of one side of a split."""
        wanted = set(cases)
        return ImageLabels(self.classes, tuple(row for row in self.rows if row.case in wanted))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV: the columns case, patient, group, axis, index, then one per class.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        with atomic_path(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *self.classes])
            for row in self.rows:
                place = ["" if number is None else number for number in (row.axis, row.index)]
                writer.writerow([row.case, row.patient, row.group, *place, *row.labels])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ImageLabels:
        """Read a table that `save` wrote.

        Raises
        ------
        ReadError
            If it is missing or no such table; the message names the line.
        """
        path = Path(path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file)
                head = next(reader, [])
                lines = [(reader.line_num, fields) for fields in reader if fields]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ReadError(path, f"cannot be read as a table: {brief(error)}") from None
        if tuple(head[: len(COLUMNS)]) != COLUMNS:
            found = ", ".join(head[:8]) or "nothing"
            raise ReadError(path, f"is no table of image-level labels: it starts with {found}, not {COLUMNS}")
        rows = []
        for line, fields in lines:
            try:
                case, patient, group, axis, index, *labels = fields
                rows.append(
                    LabelRow(case, patient, group, _number(axis), _number(index), tuple(map(int, labels)))
                )
            except ValueError as error:
                raise ReadError(path, f"line {line}: {brief(error)}") from None
        try:
            return cls(tuple(head[len(COLUMNS) :]), tuple(rows))
        except ValueError as error:
            raise ReadError(path, brief(error)) from None


def image_labels(
    dataset: Dataset,
    *classes: str,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ImageLabels:
    """Derive image-level labels, once, from what the dataset has: a table, folder names, or masks.

    A class is there in a slice where its mask has any pixel. This is the only step of training that reads
    masks; what it returns holds no more than the labels.

    Parameters
    ----------
    dataset : Dataset
    *classes : str
        As in ``Preparation.classes``; the dataset's own when left out.
    progress, cancelled : callable, optional
        ``progress(done, total, text)``; ``cancelled() -> bool``.

    Returns
    -------
    ImageLabels
        Cases with neither a mask nor a label are left out (see `Dataset.unlabelled`).

    Raises
    ------
    ReadError
        If a mask cannot be read or holds unexpected values.
    ValueError
        If a class is unknown, or a volume has one label for all its slices.
    Cancelled
        If ``cancelled()`` answered True.
    """
    if classes:
        dataset = dataset.prepared(dataset.preparation.model_copy(update={"classes": tuple(classes)}))
    cases = [case for case in dataset.cases if case.name not in set(dataset.unlabelled)]
    given: dict[str, list[LabelRow]] = {}
    for row in dataset.labels.rows if dataset.labels is not None else ():
        given.setdefault(row.case, []).append(row)
    rows: list[LabelRow] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for done, found in enumerate(
                pool.map(lambda case: _rows_of(dataset, case, given.get(case.name)), cases)
            ):
                if cancelled is not None and cancelled():
                    raise Cancelled
                rows += found
                if progress is not None:
                    progress(done + 1, len(cases), f"labels of {cases[done].name}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return ImageLabels(dataset.class_names, tuple(rows))


def _rows_of(dataset: Dataset, case: Case, given: list[LabelRow] | None) -> list[LabelRow]:
    if given is not None:
        kept = set(dataset.slices(case)) if dataset.preparation.crop else {row.slice for row in given}
        return [
            LabelRow(
                row.case,
                case.patient,
                case.group,
                row.axis,
                row.index,
                tuple(int(any(row.labels[place] for place in places)) for places in dataset.merged_labels),
            )
            for row in given
            if row.slice in kept
        ]
    planes = dataset.slices(case)
    if case.truth is None:
        if len(planes) > 1:
            raise ValueError(
                f"{case.name}: {case.label!r} is said of the whole volume, not of its {len(planes)} slices; "
                "give a table with the columns image, label, axis and index"
            )
        there = dataset.labelled_classes(case)[None]
    else:
        there = dataset.present(case)
    return [
        LabelRow(case.name, case.patient, case.group, plane.axis, plane.index, tuple(map(int, labels)))
        for plane, labels in zip(planes, there, strict=True)
    ]


def _number(text: str) -> int | None:
    return int(text) if text else None
