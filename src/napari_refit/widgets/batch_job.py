"""The worker thread's side of the Batch dock."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_refit.batch.record import Record
from napari_refit.batch.settings import BatchParams
from napari_refit.recipe import RefitParams
from napari_refit.widgets.graphics import keep_triton_out
from napari_refit.widgets.live import Task

PAUSE = 0.1
"""Seconds between two words on progress."""
NO_SOURCE = (
    "Choose a classifier, or a table with the column response: nothing says where response maps come from."
)
ACTIONS = {
    "refine": "to do",
    "again": "to do again",
    "skip": "done before",
    "keep": "kept",
    "fail": "problem",
}


@dataclass(frozen=True)
class BatchOrder:
    """Everything that a batch needs, read off the window when it is started.

    Attributes
    ----------
    inputs : tuple of str
    out : Path
    params : RefitParams
    settings : BatchParams
    model : str or None
    modalities : tuple of int
    device : str or None
    finish : threading.Event
        Set: the file at hand is the last.
    """

    inputs: tuple[str, ...]
    out: Path
    params: RefitParams
    settings: BatchParams
    model: str | None = None
    modalities: tuple[int, ...] = ()
    device: str | None = None
    finish: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True)
class Row:
    """One line of the table of cases.

    Attributes
    ----------
    name, state : str
        ``state`` is that of a record, or what a check expects (see `ACTIONS`).
    text : str
        What is wrong, or what is to be known.
    record : Record or None
        None where nothing was done yet.
    """

    name: str
    state: str
    text: str = ""
    record: Record | None = None


@dataclass(frozen=True)
class Planned:
    """The cases of a run, as it begins."""

    rows: list[Row]


@dataclass(frozen=True)
class Checked:
    """What a check found."""

    rows: list[Row]


@dataclass(frozen=True)
class Ran:
    """A run is over; ``stopped`` says why, where it was before its end."""

    records: list[Record]
    stopped: str


def row_of(record: Record) -> Row:
    """A record as a line of the table."""
    return Row(record.name, record.state, record.error or " · ".join(record.messages), record)


def checking(order: BatchOrder) -> Callable[[Task], Checked]:
    """A job that lists what would be done and what is wrong with what; nothing is written."""

    def job(task: Task) -> Checked:
        keep_triton_out()
        from napari_refit.batch.checking import check_cases
        from napari_refit.batch.files import OutputFolder
        from napari_refit.batch.run import file_checksum_of
        from napari_refit.errors import Cancelled

        cases, problems, recipe = _found(order, task)
        tell = _Teller(task)

        def progress(done: int, total: int, text: str) -> None:
            if task.cancelled():
                raise Cancelled
            tell(done, total, f"checking {text}")

        expected = check_cases(
            cases,
            recipe,
            OutputFolder(order.out),
            order.settings,
            model_checksum=file_checksum_of(recipe.model),
            progress=progress,
        )
        rows = [Row(problem.case, ACTIONS["fail"], str(problem)) for problem in problems]
        rows += [Row(item.case.name, ACTIONS[item.action], item.text) for item in expected]
        # What is wrong comes first.
        return Checked(sorted(rows, key=lambda row: row.state != ACTIONS["fail"]))

    return job


def running(order: BatchOrder) -> Callable[[Task], Ran]:
    """A job that runs a batch; it delivers `Planned` and each record on its way."""

    def job(task: Task) -> Ran:
        keep_triton_out()
        from napari_refit.batch.run import run_batch
        from napari_refit.warming import prepare

        cases, problems, recipe = _found(order, task)
        for segmenter in order.params.segmenters():
            prepare(segmenter, task.stage, task.cancelled)
        task.part(Planned([Row(case.name, ACTIONS["refine"]) for case in cases]))
        result = run_batch(
            cases,
            recipe,
            order.out,
            order.settings,
            progress=_Teller(task),
            cancelled=task.cancelled,
            finishing=order.finish.is_set,
            on_record=task.part,
            problems=problems,
        )
        return Ran(result.records, result.stopped)

    return job


def reading(out: Path) -> Callable[[Task], list[Record]]:
    """A job that reads what was done in an output folder."""

    def job(task: Task) -> list[Record]:
        from napari_refit.batch.record import read_records

        return read_records(out)

    return job


def reporting(out: Path) -> Callable[[Task], Path]:
    """A job that finds the report of an output folder; what was reviewed since it was written is put into it."""

    def job(task: Task) -> Path:
        from napari_refit.batch.record import read_records
        from napari_refit.batch.report import write_report
        from napari_refit.batch.review import REVIEW
        from napari_refit.batch.run import SUMMARY

        page, review, summary = out / "report.html", out / REVIEW, out / SUMMARY
        if review.exists() and summary.exists() and review.stat().st_mtime_ns > page.stat().st_mtime_ns:
            task.stage("Writing the report with what was reviewed…")
            return write_report(out, read_records(out), json.loads(summary.read_text(encoding="utf-8")))
        return page

    return job


def _found(order: BatchOrder, task: Task) -> tuple[Any, Any, Any]:
    """Cases, problems and recipe.

    Raises
    ------
    ValueError
        If there is nothing to refine, or nothing says where response maps come from.
    """
    from napari_refit.batch.cases import find_cases
    from napari_refit.batch.one import Recipe

    task.stage("Looking for images…")
    cases, problems = find_cases(order.inputs, order.out, layout=order.settings.layout)
    if not cases:
        raise ValueError(str(problems[0]) if problems else "There is nothing to refine.")
    if order.model is None and all(case.response is None for case in cases):
        raise ValueError(NO_SOURCE)
    return (
        cases,
        problems,
        Recipe(order.params, order.model, device=order.device, modalities=order.modalities),
    )


class _Teller:
    """Passes on how far a batch is, not more often than one can read."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._said = 0.0
        self._last = -1

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done != self._last or now - self._said >= PAUSE:
            self._said, self._last = now, done
            self._task.progress(done, total, f"{done} of {total}: {text}")
