"""A CSV file of image-level labels, and no masks."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from napari_refit.errors import ReadError, brief
from napari_refit.io.datasets.case import Case, ImageFiles
from napari_refit.io.datasets.declaration import ALL, ClassRule, Contents, Declaration, is_negative
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.labels import ImageLabels, LabelRow
from napari_refit.io.datasets.listing import Listing
from napari_refit.io.datasets.preparation import SplitParams
from napari_refit.io.formats import split_name

TABLE_NAME = "labels.csv"
REQUIRED = ("image", "label")
OPTIONAL = ("patient", "axis", "index")


def scan(listing: Listing) -> Contents | None:
    """Read the table itself, or labels.csv in a folder."""
    if listing.file is None:
        path = listing.root / TABLE_NAME
        if TABLE_NAME not in listing.folders[listing.root]:
            return None
    else:
        path = listing.file
    return _contents(path, read_rows(path))


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table by column, with the number of their lines.

    Raises
    ------
    ReadError
        If it is no table of image-level labels, or a row lacks its image or its label.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            names = [name.strip().lower() for name in reader.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(path, f"cannot be read as a table: {brief(error)}") from None
    lacking = [name for name in REQUIRED if name not in names]
    if lacking:
        raise ReadError(
            path,
            f"has no column {' or '.join(lacking)} (found {', '.join(names) or 'nothing'}); the columns are "
            f"{', '.join(REQUIRED)} and, if you like, {', '.join(OPTIONAL)}",
        )
    if not rows:
        raise ReadError(path, "has no rows; add one per image or slice")
    read = []
    for line, row in rows:
        if None in row or None in row.values():
            raise ReadError(path, f"line {line} has more or fewer fields than there are columns")
        found = {name.strip().lower(): value.strip() for name, value in row.items()}
        if not found["image"]:
            raise ReadError(path, f"line {line} names no image")
        if not found["label"]:
            raise ReadError(path, f"line {line} has no label; write 'normal' where no class is there")
        read.append((line, found))
    return read


def _contents(path: Path, rows: list[tuple[int, dict[str, str]]]) -> Contents:
    given = {name: None for _, row in rows for name in label_names(row["label"])}
    classes = tuple(sorted(given))
    cases: dict[str, Case] = {}
    label_rows: dict[tuple[str, int | None, int | None], LabelRow] = {}
    findings = []
    for line, row in rows:
        file = path.parent / row["image"]
        name = Path(row["image"]).with_name(split_name(row["image"])[0]).as_posix()
        axis, index = plane_of_row(path, line, row)
        case = Case(name, {"image": ImageFiles((file,))}, None, row.get("patient", ""))
        if name in cases and cases[name] != case:
            message = f"line {line}: {name} is another file or of another patient than in a line before"
            raise ReadError(path, f"{message}; use one name for one image")
        if name not in cases and not file.exists():
            advice = "check its path, which counts from the table's folder"
            message = f"line {line} names an image that is not there"
            findings.append(Finding("error", "missing image", message, advice, name, (file,)))
            continue
        cases[name] = case
        present = label_names(row["label"])
        labels = tuple(int(other in present) for other in classes)
        label_row = LabelRow(name, case.patient, case.group, axis, index, labels)
        before = label_rows.setdefault((name, axis, index), label_row)
        if before != label_row:
            advice = "keep one of them"
            message = f"line {line} contradicts a line before"
            findings.append(Finding("error", "contradiction", message, advice, name, (file,)))
        elif before is not label_row:
            findings.append(
                Finding("warning", "duplicate", f"line {line} is there twice", "remove it", name, (file,))
            )
    return Contents(
        tuple(cases.values()),
        tuple(ClassRule(name) for name in classes),
        labels=ImageLabels(classes, tuple(label_rows.values())),
        findings=tuple(findings),
    )


def label_names(text: str) -> tuple[str, ...]:
    """The classes that a label names, separated by semicolons or bars.

    Examples
    --------
    >>> label_names("tumour; oedema"), label_names("normal")
    (('tumour', 'oedema'), ())
    """
    names = (name.strip() for name in re.split(r"[;|]", text))
    return tuple(name for name in names if name and not is_negative(name))


def plane_of_row(path: Path, line: int, row: dict[str, str]) -> tuple[int | None, int | None]:
    """The axis and the index that a row names, None for a whole image.

    Raises
    ------
    ReadError
        If they are no whole numbers, or one is missing.
    """
    axis, index = (_whole(path, line, key, row.get(key, "")) for key in ("axis", "index"))
    if (axis is None) != (index is None):
        raise ReadError(path, f"line {line} gives only one of axis and index; give both or none")
    return axis, index


def _whole(path: Path, line: int, key: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise ReadError(path, f"line {line}: {key} {text!r} is no whole number from 0 on")
    return int(text)


TABLE = Declaration(
    name="table",
    title="A table of image-level labels",
    layout="A CSV file (or a folder with `labels.csv`) with the columns `image` (a path, counted from the table's "
    "folder), `label` (a class, several separated by `;`, or `normal`) and, if you like, `patient`, `axis` and "
    "`index` (a slice of a volume). There are no masks: such a set can be trained on, not evaluated.",
    recognised="a CSV file, or a folder with labels.csv, with the columns image and label",
    scan=scan,
    index="*.csv",
    is_general=True,
    merged={"any": (ALL,)},
    mask_values="No masks.",
    modalities=("image",),
    patients="The column patient; without it every image counts as its own.",
    split=SplitParams(method="fraction", test_fraction=0.25, validation_fraction=0.15),
)
