"""Run a batch: every case once, results whole or absent, records as they come, a report at the end."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_refit.batch.cases import Case, Problem
from napari_refit.batch.files import OutputFolder
from napari_refit.batch.memory import share_of
from napari_refit.batch.one import (
    ModelFault,
    Outcome,
    Recipe,
    Work,
    forget_model,
    params_of,
    run_case,
    wanted_of,
)
from napari_refit.batch.record import RECORDS, Record, counts, read_records, shown_path, write_records
from napari_refit.batch.settings import BatchParams
from napari_refit.batch.standing import standing
from napari_refit.errors import ReadError, WriteError, brief, one_line
from napari_refit.pipeline import Progress

__all__ = ["BatchResult", "Recipe", "run_batch"]

SUMMARY = "summary.json"


@dataclass(frozen=True)
class BatchResult:
    """What a batch came to.

    Attributes
    ----------
    records : list of Record
        One for each case that the run looked at, in the order of the cases.
    stopped : str
        Why it stopped before its end, if it did.
    is_whole : bool
        Whether all that was asked for was tried: a limit is no fault.
    """

    records: list[Record]
    stopped: str = ""
    is_whole: bool = True


@dataclass(frozen=True)
class Asked:
    """What the caller's callbacks say, and what the run itself has decided."""

    is_cancelled: Callable[[], bool] | None = None
    is_finishing: Callable[[], bool] | None = None
    reasons: list[str] = field(default_factory=list)

    def cancelled(self) -> bool:
        """The case at hand is to be given up as well."""
        return self.is_cancelled is not None and self.is_cancelled()

    def finishing(self) -> bool:
        """No further case is to be begun."""
        asked = self.is_finishing is not None and self.is_finishing()
        return bool(self.reasons) or asked or self.cancelled()


def run_batch(
    cases: Sequence[Case],
    recipe: Recipe,
    out: Path,
    params: BatchParams = BatchParams(),  # noqa: B008 - frozen
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    on_record: Callable[[Record], None] | None = None,
    finishing: Callable[[], bool] | None = None,
    problems: Sequence[Problem] = (),
    notice: Callable[[str], None] = warnings.warn,
) -> BatchResult:
    """Refine every case that is not done already.

    Parameters
    ----------
    cases : sequence of Case
        See `napari_refit.batch.cases.find_cases`.
    recipe : Recipe
    out : Path
        Folder of the results; made if missing. It holds the refined labels with a sidecar each, ``records.jsonl``,
        ``summary.json``, ``report.html`` and ``thumbnails/``.
    params : BatchParams
    progress : callable, optional
        ``progress(done, total, text)`` with the number of cases; called from the thread that runs the batch.
    cancelled : callable, optional
        Asked often; True gives up the cases at hand and ends the run. What is done stays.
    on_record : callable, optional
        Given the record of each case as soon as it is there.
    finishing : callable, optional
        Asked between cases; True ends the run when the cases at hand are done.
    problems : sequence of Problem
        What `find_cases` found wrong: each counts as a failed case.
    notice : callable, optional
        Told what a user should know at once, such as that Dask is not installed.

    Returns
    -------
    BatchResult

    Raises
    ------
    WriteError
        If the output folder cannot be made or written to, or another batch is writing there.
    ReadError
        If the checkpoint is not there.
    ValueError
        If a setting needs what is not installed, or does not fit the recipe.
    """
    folder = OutputFolder.make(out)
    with folder.held():
        run = _Run(cases, recipe, folder, params, problems)
        run.progress, run.on_record, run.notice = progress, on_record, notice
        run.asked = Asked(cancelled, finishing)
        return run.run()


class _Run:
    """One run of `run_batch`."""

    def __init__(
        self,
        cases: Sequence[Case],
        recipe: Recipe,
        folder: OutputFolder,
        params: BatchParams,
        problems: Sequence[Problem],
    ) -> None:
        self.cases, self.problems = list(cases), list(problems)
        self.recipe, self.folder, self.params = recipe, folder, params
        self.progress: Progress | None = None
        self.on_record: Callable[[Record], None] | None = None
        self.notice: Callable[[str], None] = warnings.warn
        self.asked = Asked()
        self.work = Work(
            recipe,
            folder,
            overwrite=params.overwrite,
            thumbnails=params.thumbnails,
            memory=share_of(params),
            model_checksum=file_checksum_of(recipe.model),
        )
        self.before: dict[str, Record] = {}
        self.found: dict[str, Record] = {}
        self.started = time.time()
        self.n_removed = 0

    def run(self) -> BatchResult:
        self.n_removed = self.folder.remove_leftovers()
        self.before = self._earlier()
        try:
            write_records(self.folder.path, self.before.values())
            self._describe_bids()
            self._complain()
            todo = self._first() if self.params.limit else self.cases
            self._work_through(todo)
        except WriteError as error:
            self.asked.reasons.append(one_line(error))
        finally:
            forget_model()
        stopped, is_whole = self._stopped()
        records = self._ordered()
        self._finish(records, stopped)
        return BatchResult(records, stopped, is_whole)

    def _work_through(self, todo: Sequence[Case]) -> None:
        from napari_refit.batch.engine import engine_of

        engine = engine_of(self.params, self.work, self.notice)
        for case, outcome in engine.outcomes(todo, self.asked, self._tell):
            self._take(case, outcome)

    def _take(self, case: Case, outcome: Outcome) -> None:
        record = outcome.record
        if record.state == "skipped" and case.name in self.before:
            record = replace(record, seconds=self.before[case.name].seconds)
        if outcome.fatal:
            self.asked.reasons.append(outcome.fatal)
        elif record.state == "failed" and self.params.fail_fast:
            self.asked.reasons.append(f"{record.name} failed, and --fail-fast stops there")
        self._keep(record)

    def _keep(self, record: Record) -> None:
        self.found[record.name] = record
        if record.state != "cancelled":
            self._append(record)
        if self.on_record is not None:
            self.on_record(record)
        self._tell(record.name)

    def _tell(self, text: str) -> None:
        if self.progress is not None:
            self.progress(len(self.found), len(self.cases) + len(self.problems), text)

    def _append(self, record: Record) -> None:
        path = self.folder.path / RECORDS
        try:
            self.folder.check()
            with path.open("a", encoding="utf-8") as file:
                file.write(record.to_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if isinstance(error, WriteError):
                raise
            raise WriteError(path, brief(error.strerror or str(error)), error.errno) from None

    def _earlier(self) -> dict[str, Record]:
        """Records of earlier runs, as far as what they speak of is still there."""
        try:
            records = read_records(self.folder.path)
        except ReadError:
            # They are a convenience: every sidecar says the same of its case.
            records = []
        root = self.folder.path
        kept = {}
        for record in records:
            lies_there = root / (record.image if record.state == "failed" else record.output)
            if lies_there.exists():
                kept[record.name] = record
        return kept

    def _complain(self) -> None:
        for problem in self.problems:
            image = shown_path(problem.path, self.folder.path)
            name = problem.case
            while name in self.found or any(case.name == name for case in self.cases):
                name = f"{name} (again)"
            self._keep(Record(name, image, "", "failed", error=str(problem)))

    def _first(self) -> list[Case]:
        """As many cases as the limit allows of those that are not done."""
        todo: list[Case] = []
        for case in self.cases:
            if self.asked.finishing():
                break
            wanted: Mapping[str, Any] | None = None
            with suppress(OSError, ValueError, ModelFault):
                wanted = wanted_of(case, params_of(case, self.recipe), self.work)
            done = wanted is not None and not self.work.overwrite and standing(case, wanted).state != "todo"
            if done:
                self._take(case, run_case(case, self.work))
            elif len(todo) < self.params.limit:
                todo.append(case)
        return todo

    def _stopped(self) -> tuple[str, bool]:
        """Why the run stopped before its end, and whether all that was asked for was tried."""
        if self.asked.reasons:
            return self.asked.reasons[0], False
        left = sum(case.name not in self.found for case in self.cases)
        left += sum(record.state == "cancelled" for record in self.found.values())
        if not left:
            return "", True
        if self.params.limit and not self.asked.finishing():
            return f"the limit of {self.params.limit} is reached with {left} of {len(self.cases)} left", True
        return f"stopped with {left} of {len(self.cases)} left; the same command goes on there", False

    def _ordered(self) -> list[Record]:
        names = [case.name for case in self.cases]
        others = [name for name in self.found if name not in set(names)]
        return [self.found[name] for name in (*others, *names) if name in self.found]

    def _describe_bids(self) -> None:
        from napari_refit import __version__
        from napari_refit.batch.bids import describe_derivative

        describe_derivative(self.folder.path, self.cases, __version__)

    def _finish(self, records: Sequence[Record], stopped: str) -> None:
        """Write the records in the order of the cases, the summary and the report, as far as the disk lets it."""
        now = {record.name: record for record in records if record.state != "cancelled"}
        names = dict.fromkeys([*now, *(case.name for case in self.cases), *self.before])
        everything = [
            now.get(name) or self.before[name] for name in names if name in now or name in self.before
        ]
        from napari_refit.batch.report import write_report

        try:
            self.folder.check()
            write_records(self.folder.path, everything)
            about = self._about(records, everything, stopped)
            _write_json(self.folder.path / SUMMARY, about)
            write_report(self.folder.path, everything, about)
        except WriteError:
            # Where the disk is full or gone, that is said already.
            if not stopped:
                raise

    def _about(self, records: Sequence[Record], everything: Sequence[Record], stopped: str) -> dict[str, Any]:
        from napari_refit import __version__

        model = self.recipe.model
        return {
            "program": "napari-refit",
            "version": __version__,
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self.started, 2),
            "stopped": stopped,
            "counts": dict(counts(records)),
            "cases": len(everything),
            "leftovers_removed": self.n_removed,
            "model": None if model is None else str(model),
            "model_checksum": self.work.model_checksum,
            "arch": self.recipe.arch,
            "device": self.recipe.device,
            "modalities": list(self.recipe.modalities),
            "batch": self.params.model_dump(mode="json"),
            "changed": self.recipe.params.changed(),
            "parameters": self.recipe.params.model_dump(mode="json"),
            "failures": {record.name: record.error for record in everything if record.state == "failed"},
            "metrics": mean_metrics(everything),
        }


def mean_metrics(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """The mean of each figure of each row over the cases that have it.

    Examples
    --------
    >>> rows = [{"refined": {"dice": 0.5}}, {"refined": {"dice": 1.0}}, {"refined": {"dice": None}}, {}]
    >>> mean_metrics(Record(str(k), "", "", "done", metrics=row) for k, row in enumerate(rows))
    {'refined': {'dice': 0.75}}
    """
    found: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for row, figures in record.metrics.items():
            for name, value in figures.items():
                if value is not None:
                    found.setdefault(row, {}).setdefault(name, []).append(float(value))
    return {
        row: {name: sum(values) / len(values) for name, values in figures.items()}
        for row, figures in found.items()
    }


def file_checksum_of(model: Any) -> str | None:
    """Of a checkpoint's file; None where the model is none, or comes from elsewhere.

    Raises
    ------
    ReadError
        If it looks like a file and is not there.
    """
    from napari_refit.cam.checkpoint import SUFFIXES
    from napari_refit.io.sidecar import file_checksum

    if not isinstance(model, str | Path):
        return None
    path = Path(model)
    if not path.is_file():
        if path.suffix.lower() in SUFFIXES:
            raise ReadError(path, "there is no such file; check the path")
        return None
    return file_checksum(path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    from napari_refit.io._atomic import atomic_path
    from napari_refit.io.sidecar import plain

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=2) + "\n", encoding="utf-8")
