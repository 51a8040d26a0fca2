"""Stepping through the results of a batch, without its widgets: open, judge, paint, go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.batch.record import Record
from napari_refit.errors import one_line
from napari_refit.widgets.live import LiveLoop, Task
from napari_refit.widgets.review_cases import Opened, files_of, opening, read_sidecar
from napari_refit.widgets.review_layers import CaseLayers
from napari_refit.widgets.review_painting import Painting
from napari_refit.widgets.watching import Connections

OPEN, ACCEPTED, REJECTED, FIXED = "open", "accepted", "rejected", "fixed"
NOTHING = "There is no result to review yet."
ALL_REVIEWED = "Every case is reviewed."
NOT_SHOWN = "Wait until the case is shown."
UNOPENED = "This case could not be opened; reject it, or go on."


class ReviewSession(QObject):
    """The review of one output folder.

    Parameters
    ----------
    viewer : napari.Viewer
    ask : callable
        ``ask(name)``: what to do with a case's unsaved painting: "save", "discard" or "stay".

    Attributes
    ----------
    only : str
        Step through the cases of this state; empty: through all.
    painting : Painting

    Signals
    -------
    moved()
        Another case is to be shown, or is shown now.
    judged(str)
        The state of a case changed.
    status(str), error(str)
    """

    moved = Signal()
    judged = Signal(str)
    status = Signal(str)
    error = Signal(str)

    def __init__(self, viewer: Any, ask: Callable[[str], str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.only = ""
        self.painting = Painting(viewer, ask, self._on_fixed, self)
        self.painting.status.connect(self.status)
        self.painting.error.connect(self.error)
        self._review: Any = None
        self._name = ""
        self._failed = False
        self._others: dict[Any, bool] = {}
        self._of_viewer = Connections(self)
        self._loader, self._reader = LiveLoop(self), LiveLoop(self)
        self._loader.finished.connect(self._on_opened)
        self._loader.failed.connect(self._on_failed)
        self._reader.finished.connect(self._on_read)
        self._reader.failed.connect(self._on_unread)

    # -- what is asked

    @property
    def on(self) -> bool:
        """Whether a review is going on."""
        return self._review is not None

    @property
    def records(self) -> list[Record]:
        """The cases that have a result."""
        return [] if self._review is None else list(self._review.records)

    @property
    def name(self) -> str:
        """The case that is shown or being opened; empty if there is none."""
        return self._name

    @property
    def case(self) -> CaseLayers | None:
        """The layers of the case, or None while it is being opened."""
        case = self.painting.case
        return case if case is not None and case.files.name == self._name else None

    @property
    def busy(self) -> bool:
        """Whether anything is being read or written."""
        return self._reader.busy or self._loader.busy or self.painting.busy

    @property
    def record(self) -> Record | None:
        """The record of the case."""
        return next((record for record in self.records if record.name == self._name), None)

    @property
    def position(self) -> int:
        """The case's place among all, from 1; 0 if there is none."""
        return 1 + next((k for k, each in enumerate(self.records) if each.name == self._name), -1)

    @property
    def counts(self) -> dict[str, int]:
        """How many cases there are of each state."""
        return {} if self._review is None else dict(self._review.counts)

    @property
    def note(self) -> str:
        """The note on the case."""
        return str(self._review.note(self._name)) if self._review is not None and self._name else ""

    @property
    def fixed_figures(self) -> dict[str, Any]:
        """Metrics of the case's labels after they were painted, as the sidecar says them; else nothing."""
        if self.case is None:
            return {}
        fixed = read_sidecar(self.case.files.labels).get("fixed")
        mine = isinstance(fixed, dict) and fixed.get("labels_checksum") == self.case.seen
        return dict(fixed.get("metrics") or {}) if mine else {}

    def state(self, name: str) -> str:
        """What was decided about a case; empty where there is nothing to decide on."""
        if self._review is None:
            return OPEN
        known = any(record.name == name for record in self._review.records)
        return str(self._review.state(name)) if known else ""

    def changed(self, name: str) -> bool:
        """Whether a case was decided on, but its labels have changed since."""
        return bool(name) and self._review is not None and bool(self._review.changed(name))

    # -- what the user does

    def begin(self, out: Path, name: str = "") -> None:
        """Review an output folder, from a case or from where it was left."""
        from napari_refit.batch.review import Review

        def job(task: Task) -> tuple[Any, str]:
            review = Review(out)
            # Reads every label file that was decided on, which takes its time the first time.
            task.say("part", review.counts)
            return review, name

        self.error.emit("")
        self.status.emit("Reading the review…")
        self._reader.request(job)

    def end(self) -> None:
        """Stop reviewing; unsaved painting is asked about first."""
        if self.on:
            self.painting.leave(self._end)

    def go(self, name: str) -> None:
        """Show another case."""
        if self.on and name and name != self._name:
            self.painting.leave(lambda: self._open(name))

    def next(self) -> None:
        """Show the next case of those that are stepped through."""
        self._step(1)

    def previous(self) -> None:
        """Show the one before."""
        self._step(-1)

    def accept(self) -> None:
        """The labels are right: as they are, or as they were painted, which is saved first."""
        if not self._may_judge():
            return
        if self.painting.unsaved:
            self.painting.save(self._go_to_open)
        else:
            state = FIXED if self.state(self._name) == FIXED else ACCEPTED
            if self._judge(state):
                self._go_to_open()

    def reject(self) -> None:
        """The labels are of no use; unsaved painting is asked about first."""
        if self.on and (self._failed or self._may_judge()):
            self.painting.leave(self._reject)

    def fix(self) -> None:
        """Take the brush, or put it down."""
        if self._may_judge():
            self.painting.toggle_brush()

    def save(self) -> None:
        """Write what was painted over the result; its state is then "fixed"."""
        if self._may_judge() and self.painting.unsaved:
            self.painting.save()

    def set_note(self, text: str) -> None:
        """Write a note on the case."""
        if self.on and self._name and text != self.note:
            self._judge(self.state(self._name), text)

    def close(self) -> None:
        """Stop for good, with the window: what was painted and not saved is written now."""
        self.save_now()
        self._of_viewer.release()
        self.painting.close()
        self._loader.close()
        self._reader.close()

    def save_now(self) -> None:
        """Write unsaved painting without a thread."""
        if self.on:
            self.painting.save_now()

    # -- steps

    def listed(self) -> list[str]:
        """The cases that are stepped through; the one that is shown counts as one of them."""
        return [
            record.name
            for record in self.records
            if not self.only or record.name == self._name or self.state(record.name) == self.only
        ]

    def _step(self, by: int) -> None:
        if not self.on:
            return
        names = self.listed()
        place = names.index(self._name) + by if self._name in names else 0
        if 0 <= place < len(names):
            self.go(names[place])
        else:
            self.status.emit("This is the last case." if by > 0 else "This is the first case.")

    def _go_to_open(self) -> None:
        """Go on to the next open case after this one, from the top again at the end."""
        found = self._review.next_open(self._name)
        if found in (None, self._name):
            self.status.emit(ALL_REVIEWED if found is None else "All others are reviewed.")
        else:
            self.go(found)

    def _may_judge(self) -> bool:
        if not self.on:
            return False
        if self._failed:
            self.status.emit(UNOPENED)
        elif self.case is None or self.painting.saving:
            # A key that was pressed once too often must not judge what nobody has seen.
            self.status.emit(NOT_SHOWN)
        else:
            self.painting.look()
            return True
        return False

    def _judge(self, state: str, note: str | None = None) -> bool:
        """Decide on the case; returns whether that is written down."""
        seen = None if self.case is None else self.case.seen
        try:
            self._review.set(self._name, state, self.note if note is None else note, seen=seen)
        except (OSError, ValueError) as error:
            self.error.emit(one_line(error))
            return False
        self.error.emit("")
        self.judged.emit(self._name)
        return True

    def _reject(self) -> None:
        if self._judge(REJECTED):
            self._go_to_open()

    def _open(self, name: str) -> None:
        self._name, self._failed = name, False
        if self.painting.case is not None:
            self.painting.case.freeze()
        self.error.emit("")
        self.status.emit(f"Opening {name}…")
        self.moved.emit()
        record = self.record
        if record is not None:
            self._loader.request(opening(files_of(self._review.out, record)))

    def _end(self) -> None:
        self._loader.cancel()
        self.painting.drop()
        self._of_viewer.release()
        for layer, visible in self._others.items():
            if layer in self.viewer.layers:
                layer.visible = visible
        self._others.clear()
        self._review, self._name, self._failed = None, "", False
        self.status.emit("")
        self.moved.emit()

    # -- reactions

    def _on_read(self, found: tuple[Any, str]) -> None:
        review, name = found
        if not review.records:
            self._on_unread(NOTHING)
            return
        self._review = review
        self._others = {layer: layer.visible for layer in self.viewer.layers}
        for layer in self._others:
            layer.visible = False
        self._of_viewer.listen(self.viewer.layers, ("removed",), self._on_removed)
        names = [record.name for record in review.records]
        left = review.next_open()
        self._open(name if name in names else left or names[0])
        if left is None:
            self.status.emit(ALL_REVIEWED)

    def _on_unread(self, text: str) -> None:
        self.status.emit("")
        self.error.emit(text)
        self.moved.emit()

    def _on_opened(self, opened: Opened) -> None:
        if opened.files.name == self._name:
            self.painting.show(opened)
            self.status.emit("")
            self.error.emit(opened.note)
            self.moved.emit()

    def _on_failed(self, text: str) -> None:
        self.painting.drop()
        self._failed = True
        self.status.emit("")
        self.error.emit(text)
        self.moved.emit()

    def _on_fixed(self, name: str) -> None:
        try:
            self._review.set(name, FIXED, self._review.note(name))
        except (OSError, ValueError) as error:
            self.error.emit(one_line(error))
        self.judged.emit(name)

    def _on_removed(self, event: Any) -> None:
        self._others.pop(event.value, None)
