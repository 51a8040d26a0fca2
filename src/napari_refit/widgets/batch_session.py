"""One batch at a time, without its widgets: checked, run, stopped, gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.batch.record import Record
from napari_refit.widgets.batch_job import (
    BatchOrder,
    Checked,
    Planned,
    Ran,
    Row,
    checking,
    reading,
    reporting,
    row_of,
    running,
)
from napari_refit.widgets.job_session import JobSession
from napari_refit.widgets.live import LiveLoop

FINISHING = "Stopping after the file at hand; Stop now gives it up."
STOPPED = "Stopped. What is done stays; Continue does the rest."


class BatchSession(JobSession):
    """Runs batches on a thread beside the window.

    Attributes
    ----------
    order : BatchOrder or None
        What runs, or ran last.
    records : dict
        Records of the output folder by name, as far as they are known.

    Signals
    -------
    rows(object)
        Other cases are shown: a list of `Row`.
    row(object)
        One case has another state.
    finishing()
        The file at hand is the last.
    report(object)
        The path of a report that was asked for.
    """

    rows = Signal(object)
    row = Signal(object)
    finishing = Signal()
    report = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.order: BatchOrder | None = None
        self.records: dict[str, Record] = {}
        self._runs = False
        self._reader, self._reporter = LiveLoop(self), LiveLoop(self)
        self._reader.finished.connect(self._on_read)
        self._reader.failed.connect(self.error)
        self._reporter.stage.connect(self.status)
        self._reporter.finished.connect(self._on_report)
        self._reporter.failed.connect(self._on_failed)

    @property
    def reading(self) -> bool:
        """Whether an output folder is being read."""
        return self._reader.busy

    def check(self, order: BatchOrder) -> None:
        """List what would be done, and what is wrong with what."""
        self._begin_with(order, checking(order), runs=False)

    def start(self, order: BatchOrder) -> None:
        """Refine what is not done yet."""
        self._begin_with(order, running(order), runs=True)

    def cancel(self) -> None:
        """Stop after the file at hand; asked again, or where nothing is refined: at once."""
        if not self.running or self.order is None:
            return
        if self._runs and not self.order.finish.is_set():
            self.order.finish.set()
            self.status.emit(FINISHING)
            self.finishing.emit()
        else:
            self._loop.cancel()

    def read(self, out: Path) -> None:
        """Show what was done in an output folder."""
        if not self.running:
            self._reader.request(reading(out))

    def find_report(self, out: Path) -> None:
        """Have the report of an output folder brought up to date."""
        self._reporter.request(reporting(out))

    def clear(self) -> None:
        """Show no cases."""
        if not self.running:
            self._reader.cancel()
            self.records = {}
            self.rows.emit([])

    def close(self) -> None:
        """Stop for good, without waiting; a result that is being written is whole or absent."""
        if self.order is not None:
            self.order.finish.set()
        super().close()
        self._reader.close()
        self._reporter.close()

    def _begin_with(self, order: BatchOrder, job: Any, runs: bool) -> None:
        self._reader.cancel()
        self.order, self._runs = order, runs
        self._begin(job)

    # -- reactions

    def _on_progress(self, done: int, total: int, text: str) -> None:
        self.progress.emit(done, total)
        if self.order is None or not self.order.finish.is_set():
            self.status.emit(text)

    def _on_part(self, part: object) -> None:
        if isinstance(part, Planned):
            self.rows.emit(part.rows)
        elif isinstance(part, Record):
            self.records[part.name] = part
            self.row.emit(row_of(part))

    def _on_finished(self, done: Any) -> None:
        if isinstance(done, Checked):
            self.rows.emit(done.rows)
            self.status.emit("")
            self.result.emit(told_check(done.rows))
        elif isinstance(done, Ran):
            self.status.emit(done.stopped)
            self.result.emit(told(done.records))

    def _on_read(self, records: list[Record]) -> None:
        self.records = {record.name: record for record in records}
        self.rows.emit([row_of(record) for record in records])
        self.ended.emit()

    def _on_report(self, path: Path) -> None:
        if not self.running:
            self.status.emit("")
        self.report.emit(path)

    def _after_stop(self) -> None:
        self.status.emit(STOPPED if self._runs else "")
        if self._runs and self.order is not None:
            # What came after the stop was asked for is in the folder only.
            self._reader.request(reading(self.order.out))


def told(records: list[Record]) -> str:
    """What a run came to.

    Examples
    --------
    >>> told([Record("a", "a", "a", "done"), Record("b", "b", "b", "failed", "b: is empty")])
    '1 done, 1 failed.'
    """
    words = {"done": "done", "skipped": "done before", "failed": "failed", "cancelled": "given up"}
    counts = {word: sum(record.state == state for record in records) for state, word in words.items()}
    return f"{', '.join(f'{count} {word}' for word, count in counts.items() if count) or 'Nothing to do'}."


def told_check(rows: list[Row]) -> str:
    """What a check came to.

    Examples
    --------
    >>> told_check([Row("a", "to do"), Row("b", "problem", "b: is empty")])
    '1 to do, 1 problem.'
    """
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    order = ("to do", "to do again", "done before", "kept", "problem")
    parts = [
        f"{counts[state]} {state}{'s' if state == 'problem' and counts[state] > 1 else ''}"
        for state in order
        if state in counts
    ]
    return f"{', '.join(parts)}." if "problem" in counts else f"{', '.join(parts)}; nothing is wrong."
