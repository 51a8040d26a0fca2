"""A CSV file that names the images of a batch, and what belongs to each."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

from napari_refit.batch.cases import Found, Problem
from napari_refit.errors import ReadError, brief

COLUMNS = ("image", "truth", "response", "class")


def read_cases(path: Path) -> list[Found | Problem]:
    """The images of a table; columns other than image, truth, response and class are passed over.

    Parameters
    ----------
    path : Path
        Comma, semicolon or tab between the columns; UTF-8. Paths count from its folder. Several classes are
        separated by ``;`` or ``|``.

    Raises
    ------
    ReadError
        If it cannot be read, has no column image, or no rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=first.count)
            reader = csv.DictReader(file, delimiter=separator)
            rows = [(reader.line_num, row) for row in reader]
            names = [name.strip().lower() for name in reader.fieldnames or ()]
    except UnicodeDecodeError:
        raise ReadError(path, "is no UTF-8 text; save the table as CSV UTF-8") from None
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ReadError(path, f"cannot be read as a table: {brief(str(reason))}") from None
    if "image" not in names:
        found = ", ".join(names) or "nothing"
        raise ReadError(
            path,
            f"has no column image (found {found}); the columns are image and, where wanted, {_further()}",
        )
    if not rows:
        raise ReadError(path, "has no rows; add one per image")
    read: list[Found | Problem] = []
    for line, row in rows:
        where = f"{path.name}, line {line}"
        if None in row or None in row.values():
            read.append(Problem(where, path, f"line {line} has more or fewer fields than there are columns"))
            continue
        cells = {name.strip().lower(): value.strip() for name, value in row.items()}
        if not cells["image"]:
            read.append(Problem(where, path, f"line {line} names no image"))
            continue
        files = {name: _path(path, cells.get(name, "")) for name in COLUMNS[:3]}
        image = files["image"]
        assert image is not None
        classes = tuple(part.strip() for part in re.split(r"[;|]", cells.get("class", "")) if part.strip())
        # An image elsewhere widens what is mirrored.
        inside = image.absolute().is_relative_to(path.absolute().parent)
        root = path.parent if inside else image.parent
        read.append(Found(image, root, files["truth"], files["response"], classes))
    return read


def _path(table: Path, text: str) -> Path | None:
    return Path(os.path.normpath(table.parent / text)) if text else None


def _further() -> str:
    return ", ".join(COLUMNS[1:])
