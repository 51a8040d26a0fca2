"""Tags as a table in a CSV file, which ``napari-refit train`` and `napari_refit.io.datasets.table` read."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_refit.errors import ReadError
from napari_refit.io._atomic import atomic_path
from napari_refit.io.datasets.table import label_names, plane_of_row, read_rows
from napari_refit.learn.datasets import BACKGROUND
from napari_refit.planes import PlaneIndex

COLUMNS = ("image", "axis", "index", "label", "patient")
FURTHER = "further"
"""A column that is there only for images of more than three axes; such a table is for the dock alone."""
_PLACE = re.compile(r"(\d+)=(\d+)")


@dataclass(frozen=True)
class TableRow:
    """One row of a table of tags.

    Attributes
    ----------
    image : str
        Path of the image, counted from the table's folder; or the name of an image without a file.
    index : PlaneIndex
        Axes as in the image's file; the last is what the columns axis and index name.
    labels : tuple of str
        Empty for background.
    patient : str
    """

    image: str
    index: PlaneIndex
    labels: tuple[str, ...]
    patient: str = ""


def write_tags(path: Path, rows: Iterable[TableRow], *, overwrite: bool = False) -> None:
    """Write a table of tags, whole or not at all.

    Parameters
    ----------
    path : Path
    rows : iterable of TableRow
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    ValueError
        If there are no rows.
    WriteError
        If it cannot be written, or is there and may not be replaced.
    """
    rows = list(rows)
    if not rows:
        raise ValueError(f"nothing is tagged yet: there is nothing to write to {path.name}")
    further = any(len(row.index) > 1 for row in rows)
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *([FURTHER] if further else [])])
        for row in rows:
            *others, (axis, at) = row.index or ((None, None),)
            cells = [
                row.image,
                "" if axis is None else axis,
                "" if at is None else at,
                ";".join(row.labels) or BACKGROUND,
                row.patient,
            ]
            writer.writerow(cells + ([" ".join(f"{k}={v}" for k, v in others)] if further else []))


def read_tags(path: Path) -> list[TableRow]:
    """Read a table of tags; columns beyond `COLUMNS` are passed over.

    Raises
    ------
    ReadError
        With the line that is wrong, or that contradicts one before.
    """
    found: dict[tuple[str, PlaneIndex], TableRow] = {}
    for line, row in read_rows(path):
        axis, at = plane_of_row(path, line, row)
        index: PlaneIndex = ()
        if axis is not None and at is not None:
            index = (*_further(path, line, row.get(FURTHER, "")), (axis, at))
        read = TableRow(row["image"], index, label_names(row["label"]), row.get("patient", ""))
        before = found.setdefault((read.image, index), read)
        if before != read:
            raise ReadError(path, f"line {line} contradicts a line before; keep one of them")
    return list(found.values())


def path_in_table(image: Path, table: Path) -> str:
    """How a table names an image: counted from its folder, with forward slashes.

    Examples
    --------
    >>> path_in_table(Path("/data/scans/a.nii.gz"), Path("/data/labels.csv"))
    'scans/a.nii.gz'
    """
    image, folder = image.absolute(), table.absolute().parent
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # another drive
        return image.as_posix()


def _further(path: Path, line: int, text: str) -> PlaneIndex:
    parts = text.split()
    matches = [_PLACE.fullmatch(part) for part in parts]
    if not all(matches):
        raise ReadError(path, f"line {line}: {FURTHER} {text!r} must be like 0=3, axis and position")
    return tuple((int(match[1]), int(match[2])) for match in matches if match)
