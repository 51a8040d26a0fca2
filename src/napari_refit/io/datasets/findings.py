"""What a look at a dataset found: how bad it is, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """One thing that a look at a dataset found.

    Attributes
    ----------
    severity : {"error", "warning", "note"}
        error: results would be wrong or work would fail. warning: worth a look. note: good to know.
    kind : str
        In two words at most, e.g. ``"missing mask"``.
    message : str
        What was found.
    advice : str
        What to do about it; empty for most notes.
    case : str
        Name of the case, empty where it is about the whole dataset.
    files : tuple of Path
        The files concerned.

    Examples
    --------
    >>> Finding("error", "missing mask", "no mask belongs to it", "add it", "a", (Path("a.png"),)).where
    'a.png'
    """

    severity: Severity
    kind: str
    message: str
    advice: str = ""
    case: str = ""
    files: tuple[Path, ...] = ()

    @property
    def where(self) -> str:
        """The files' names, else the case's."""
        return ", ".join(str(path) for path in self.files) or self.case

    def as_dict(self) -> dict[str, Any]:
        """The same in what JSON can say."""
        return {**asdict(self), "files": [str(path) for path in self.files]}


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings with the worst first, then by kind, case and files.

    Examples
    --------
    >>> [item.severity for item in ranked([Finding("note", "a", ""), Finding("error", "b", "")])]
    ['error', 'note']
    """
    return tuple(
        sorted(findings, key=lambda item: (SEVERITIES.index(item.severity), item.kind, item.case, item.files))
    )
