"""``review.csv``: a row per case, to be read and written by spreadsheets too."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from napari_refit.errors import ReadError, brief
from napari_refit.io._atomic import atomic_path

ReviewState = Literal["open", "accepted", "rejected", "fixed"]
REVIEW_STATES: tuple[ReviewState, ...] = get_args(ReviewState)
COLUMNS = ("case", "state", "note", "time", "labels")
_FORMULA = "=+\\-@\t\r\n＝＋－＠"
_BEFORE = r"(?:\A|(?<=[;\t\r\n]))"
_TO_GUARD = re.compile(rf"{_BEFORE}(?='*[{_FORMULA}])")
_GUARDED = re.compile(rf"{_BEFORE}'(?='*[{_FORMULA}])")
NO_TEXT = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Entry:
    """A row of ``review.csv``.

    Attributes
    ----------
    case : str
    state : {"open", "accepted", "rejected", "fixed"}
    note : str
    time : str
        Of the decision, UTC, as ``2026-11-28T09:58:11Z``. A spreadsheet may have rewritten it.
    labels : str
        Checksum of the labels that were looked at; empty: not known.
    more : dict of str to str
        Columns that somebody added.
    """

    case: str
    state: ReviewState = "open"
    note: str = ""
    time: str = ""
    labels: str = ""
    more: dict[str, str] = field(default_factory=dict)


def read_review(
    path: str | os.PathLike[str], names: Collection[str] = ()
) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """Read a ``review.csv``: as `write_review` wrote it, or as a spreadsheet saved it since.

    Parameters
    ----------
    path : path-like
        UTF-8; comma, semicolon or tab between the columns, which may stand in any order. Only ``case`` and ``state``
        have to be there; columns of other names are kept.
    names : collection of str
        Known cases: among them may be names of files that are no valid text.

    Returns
    -------
    (entries, columns) : dict of str to Entry, and tuple of str
        By case, in the file's order; empty if there is no such file.

    Raises
    ------
    ReadError
        If it cannot be read; the message names the line.
    """
    source = Path(path)
    try:
        # A mark before the header: spreadsheet programs put it there.
        content = source.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        return {}, COLUMNS
    except OSError as error:
        raise ReadError(source, f"cannot be read: {brief(error.strerror or str(error))}") from None
    text = content.decode("utf-8", "surrogateescape")
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    entries: dict[str, Entry] = {}
    lines: dict[str, int] = {}
    columns: tuple[str, ...] = ()
    last = 0
    try:
        for cells in reader:
            line, last = last + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _columns(source, line, cells)
                continue
            entry = _entry(source, line, columns, cells, names)
            if entry.case in entries:
                said = f"line {line}: {entry.case!r} is in line {lines[entry.case]} already; keep one of them"
                raise ReadError(source, said)
            entries[entry.case], lines[entry.case] = entry, line
    except csv.Error as error:
        raise ReadError(source, f"line {last + 1} is no line of a CSV file: {brief(error)}") from None
    return entries, (*columns, *(name for name in COLUMNS if name not in columns))


def write_review(
    path: str | os.PathLike[str], entries: Iterable[Entry], columns: Sequence[str] = COLUMNS
) -> Path:
    """Write a ``review.csv``, whole or not at all.

    Parameters
    ----------
    path : path-like
    entries : iterable of Entry
        `read_review` gives back the very same. No spreadsheet takes a name or a note for a formula: where one begins
        like that, or goes on like that after something that separates cells elsewhere, a ``'`` stands before it.
    columns : sequence of str
        Their order; those of ``Entry.more`` among them.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    target = Path(path)
    with (
        atomic_path(target) as temporary,
        # With the mark, spreadsheet programs know that it is UTF-8.
        temporary.open("w", encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow([guarded(name) for name in columns])
        for entry in entries:
            cells = {name: getattr(entry, name) for name in COLUMNS} | entry.more
            writer.writerow([guarded(cells.get(name, "")) for name in columns])
    return target


def guarded(text: str) -> str:
    """A text as no spreadsheet takes it for a formula; `unguarded` is its inverse.

    Examples
    --------
    >>> guarded("=1+1"), guarded("a;@b"), guarded("'tis"), guarded("'-1")
    ("'=1+1", "a;'@b", "'tis", "''-1")
    """
    return _TO_GUARD.sub("'", text)


def unguarded(text: str) -> str:
    """What `guarded` was given.

    Examples
    --------
    >>> unguarded("'=1+1"), unguarded("'tis")
    ('=1+1', "'tis")
    """
    return _GUARDED.sub("", text)


def _columns(source: Path, line: int, cells: Sequence[str]) -> tuple[str, ...]:
    names = [unguarded(cell) for cell in cells]
    # Ours by their plain names, however they are written.
    names = [name.strip().lower() if name.strip().lower() in COLUMNS else name for name in names]
    for name in names:
        if name and names.count(name) > 1:
            raise ReadError(source, f"line {line}: there are two columns {name!r}; keep one of them")
    missing = [name for name in ("case", "state") if name not in names]
    if missing:
        raise ReadError(
            source,
            f"line {line}: there is no column {' and '.join(missing)}; the columns are {', '.join(COLUMNS)}",
        )
    return tuple(names)


def _entry(
    source: Path, line: int, columns: Sequence[str], cells: Sequence[str], names: Collection[str]
) -> Entry:
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise ReadError(
            source, f"line {line} has more cells than there are columns; quote commas within a cell"
        )
    found: Mapping[str, str] = {
        name: unguarded(cell) for name, cell in zip(columns, cells, strict=False) if name
    }
    case = found.get("case", "")
    if not case:
        raise ReadError(source, f"line {line} names no case")
    for name, text in found.items():
        if NO_TEXT.search(text) and not (name == "case" and case in names):
            raise ReadError(source, f"line {line}: {name} is no UTF-8 text; save the sheet as CSV UTF-8")
    state = found.get("state", "").strip().lower() or "open"
    if state not in REVIEW_STATES:
        raise ReadError(
            source, f"line {line}: state must be one of {', '.join(REVIEW_STATES)}, got {found['state']!r}"
        )
    more = {name: text for name, text in found.items() if name not in COLUMNS}
    return Entry(
        case,
        state,
        found.get("note", ""),
        found.get("time", "").strip(),
        found.get("labels", "").strip(),
        more,
    )
