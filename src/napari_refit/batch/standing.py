"""Whether a case is done already: going by checksums of everything that its result depends on, never by dates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_refit.batch.cases import Case
from napari_refit.errors import ReadError
from napari_refit.io.sidecar import file_checksum, sidecar_path

KEPT = (
    "its labels were changed since, by hand or by another program, and are kept; --overwrite makes them again"
)
BY_HAND = ("hints_checksum", "accepted_checksum")


@dataclass(frozen=True)
class Standing:
    """What is there of a case's result.

    Attributes
    ----------
    state : {"todo", "done", "kept"}
        todo: nothing, part of it, or made of something else; done: whole and up to date; kept: labels that somebody
        worked on.
    report : mapping
        What the sidecar says, where it counts.
    """

    state: Literal["todo", "done", "kept"]
    report: Mapping[str, Any]


TODO = Standing("todo", {})


def standing(case: Case, wanted: Mapping[str, Any]) -> Standing:
    """Compare what lies at a case's output with what is wanted.

    Parameters
    ----------
    case : Case
    wanted : mapping
        What the sidecar must say for the result to be up to date: checksums of the inputs, the checkpoint and the
        parameters, the program's version.
    """
    beside = sidecar_path(case.output)
    try:
        report = json.loads(beside.read_text(encoding="utf-8"))
        labels = file_checksum(case.output)
    except (OSError, ValueError):
        # Labels without a sidecar are what a broken run leaves: a sidecar comes last.
        return TODO
    if not isinstance(report, dict):
        return TODO
    if "parameters_checksum" not in report or any(name in report for name in BY_HAND):
        return Standing("kept", report)
    if report.get("labels_checksum") != labels:
        return Standing("kept", report) if _readable(case.output) else TODO
    asked = {name: value for name, value in wanted.items() if value is not None}
    names = [name for name in ("truth_checksum", "response_checksum") if name in report or name in asked]
    if any(report.get(name) != asked.get(name) for name in (*asked, *names)):
        return TODO
    return Standing("done", report)


def _readable(path: Path) -> bool:
    """Whether labels are whole; a damaged file is nobody's work."""
    from napari_refit.io.read import load

    with suppress(ReadError):
        return bool(load(path).data.size)
    return False
