"""What became of each case: one line of ``records.jsonl`` each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from napari_refit.errors import ReadError, brief

RECORDS = "records.jsonl"
State = Literal["done", "skipped", "failed", "cancelled"]


@dataclass(frozen=True)
class Record:
    """What became of one case.

    Attributes
    ----------
    name : str
        The case (see `napari_refit.batch.cases.Case`).
    image, output : str
        Paths with forward slashes: relative to the output folder where they lie below it, else absolute.
    state : {"done", "skipped", "failed", "cancelled"}
        skipped: nothing was to do; done before with the same inputs and parameters, or changed by hand since.
    error : str
        One line that names what was wrong; empty if nothing was.
    seconds : float
        What the case took when it was refined.
    metrics : dict
        Row (``blank``, ``cam``, ``refined``, ...) to figures, as in the sidecar; empty without a truth. A figure that
        is not finite is None.
    n_slices, n_empty : int
        Slices in all, and those with an empty mask.
    messages : tuple of str
        Warnings, and what the fit said.
    thumbnail : str
        Relative to the output folder; empty if there is none.
    checksums : dict
        Of ``image``, ``truth``, ``response``, ``model`` (as far as there are any), ``parameters`` and ``labels``.
    """

    name: str
    image: str
    output: str
    state: State
    error: str = ""
    seconds: float = 0.0
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    n_slices: int = 0
    n_empty: int = 0
    messages: tuple[str, ...] = ()
    thumbnail: str = ""
    checksums: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON.

        Examples
        --------
        >>> record = Record("a", "/scans/a.png", "a_refined.png", "failed", error="a.png: is empty")
        >>> Record.from_json(record.to_json()) == record
        True
        """
        from napari_refit.io.sidecar import plain

        # A name that is no valid text (Linux allows any bytes) stays readable for others, escaped.
        return json.dumps(plain(asdict(self)), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Read what `to_json` wrote; what later versions added is passed over.

        Raises
        ------
        ValueError
            If it is no record.
        """
        found = json.loads(line)
        known = {item.name for item in fields(cls)}
        if not isinstance(found, dict) or not {"name", "image", "output", "state"} <= set(found):
            raise ValueError("is no record of a batch")
        found = {name: value for name, value in found.items() if name in known}
        return cls(**{**found, "messages": tuple(found.get("messages", ()))})


def read_records(out: Path) -> list[Record]:
    """The latest record of each case, in the order of the cases; empty if there is no ``records.jsonl``.

    Parameters
    ----------
    out : Path
        Folder of the results.

    Raises
    ------
    ReadError
        If the file cannot be read. A last line that a broken run left incomplete is passed over.
    """
    path = Path(out) / RECORDS
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(path, f"cannot be read: {brief(error)}") from None
    found: dict[str, Record] = {}
    for k, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = Record.from_json(line)
        except (ValueError, TypeError) as error:
            if k == len(lines):
                break
            raise ReadError(path, f"line {k} is damaged ({brief(error)}); delete that line") from None
        found[record.name] = record
    return list(found.values())


def write_records(out: Path, records: Iterable[Record]) -> None:
    """Write all records anew, whole or not at all.

    Raises
    ------
    WriteError
        If they cannot be written.
    """
    from napari_refit.io._atomic import atomic_path

    with atomic_path(Path(out) / RECORDS) as temporary:
        temporary.write_text("".join(f"{record.to_json()}\n" for record in records), encoding="utf-8")


def shown_path(path: Path, out: Path) -> str:
    """A path as records name it.

    Examples
    --------
    >>> shown_path(Path("/study/out/a/b_refined.png"), Path("/study/out"))
    'a/b_refined.png'
    """
    path, out = path.absolute(), out.absolute()
    return (path.relative_to(out) if path.is_relative_to(out) else path).as_posix()


def counts(records: Iterable[Record]) -> Mapping[str, int]:
    """How many records there are of each state.

    Examples
    --------
    >>> dict(counts([Record("a", "a", "b", "done")]))
    {'done': 1, 'skipped': 0, 'failed': 0, 'cancelled': 0}
    """
    found = dict.fromkeys(("done", "skipped", "failed", "cancelled"), 0)
    for record in records:
        found[record.state] += 1
    return found
