"""Painting in the case that is reviewed: what is not saved yet, and how it gets into the file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.widgets.live import LiveLoop, Task
from napari_refit.widgets.review_cases import Opened, write_fix
from napari_refit.widgets.review_layers import CaseLayers
from napari_refit.widgets.watching import Connections, LabelsWatch, single_shot

COMPARE_DELAY = 60
SAVE, DISCARD, STAY = "save", "discard", "stay"


class Painting(QObject):
    """Watches the labels of one case at a time; unsaved painting is never dropped unasked.

    Parameters
    ----------
    viewer : napari.Viewer
    ask : callable
        ``ask(name)``: what to do with a case's unsaved painting: "save", "discard" or "stay".
    on_fixed : callable
        ``on_fixed(name)``: painted labels of this case are in the file now.

    Attributes
    ----------
    case : CaseLayers or None
        What is shown.
    unsaved : bool
        Whether there is painting that is not in the file.
    saving : bool
        Whether it is being written.

    Signals
    -------
    changed(bool)
        Whether there is unsaved painting.
    brush(bool)
        The brush was taken or put down.
    status(str), error(str)
    """

    changed = Signal(bool)
    brush = Signal(bool)
    status = Signal(str)
    error = Signal(str)

    def __init__(
        self,
        viewer: Any,
        ask: Callable[[str], str],
        on_fixed: Callable[[str], None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._ask, self._on_fixed = viewer, ask, on_fixed
        self.case: CaseLayers | None = None
        self.unsaved = self.saving = False
        self._then: Callable[[], None] | None = None
        self._of_mode = Connections(self)
        self._watch = LabelsWatch(lambda atoms: self._note(True), self._on_redrawn)
        self._compare = single_shot(self, COMPARE_DELAY, self.look)
        self._saver = LiveLoop(self)
        self._saver.finished.connect(self._on_saved)
        self._saver.failed.connect(self._on_failed)

    @property
    def busy(self) -> bool:
        """Whether labels are being written or compared."""
        return self.saving or self._compare.isActive()

    def show(self, opened: Opened) -> None:
        """Show another case in place of this one."""
        self.drop()
        self.case = CaseLayers(self._viewer, opened)
        self.case.show()
        self._follow()

    def drop(self) -> None:
        """Take the case's layers away, painting and all."""
        self._watch.follow(None)
        self._of_mode.release()
        self._compare.stop()
        case, self.case = self.case, None
        if case is not None:
            case.remove()
        self._note(False)
        self.brush.emit(False)

    def toggle_brush(self) -> None:
        """Take the brush, or put it down."""
        if self.case is None:
            return
        if self.case.painting:
            self.case.put_brush_down()
        else:
            self.case.take_brush()
            self._follow()

    def discard(self) -> None:
        """Go back to what the file holds; Ctrl+Z gives the painting back."""
        if self.case is not None:
            self.case.discard()
            self.look()

    def look(self) -> None:
        """Find out whether anything is unsaved: an undo may have taken it back."""
        self._compare.stop()
        self._note(self.case is not None and self.case.changed())

    def leave(self, then: Callable[[], None]) -> None:
        """Do something that leaves the case, once its unsaved painting is dealt with; perhaps the user stays."""
        if self.saving:
            self._then = then
            return
        if self._compare.isActive():
            self.look()
        answer = self._ask(self.case.files.name) if self.unsaved and self.case is not None else DISCARD
        if answer == SAVE:
            self.save(then)
        elif answer == DISCARD:
            self._note(False)
            then()

    def save(self, then: Callable[[], None] | None = None) -> None:
        """Write the labels over the result beside the window, and then go on."""
        case = self.case
        if case is None or self.saving:
            return
        labels, keywords = case.snapshot()
        path = case.files.labels

        def job(task: Task) -> tuple[CaseLayers, Any, str]:
            return case, labels, write_fix(path, labels, keywords)

        self.saving, self._then = True, then
        self.error.emit("")
        self.status.emit(f"Saving {path.name}…")
        self._saver.request(job, exclusive=True)

    def save_now(self) -> None:
        """Write unsaved painting without a thread, since the window is closing."""
        case = self.case
        if case is None or not (self.unsaved or case.changed()):
            return
        self.unsaved = False
        # There is nobody left to tell of an error, and the window must close all the same.
        with suppress(Exception):
            case.save()
            self._on_fixed(case.files.name)

    def close(self) -> None:
        """Let go of the layers, which stay, and of the thread."""
        self._compare.stop()
        self._of_mode.release()
        self._watch.follow(None)
        self._saver.close()

    def _follow(self) -> None:
        self._of_mode.release()
        if self.case is not None:
            self._watch.follow(self.case.labels)
            self._of_mode.listen(self.case.labels, ("mode",), self._on_mode)
            self._on_mode()

    def _on_saved(self, done: tuple[CaseLayers, Any, str]) -> None:
        case, labels, seen = done
        self.saving = False
        case.note_saved(labels, seen)
        self._on_fixed(case.files.name)
        self.status.emit(f"Saved {case.files.labels.name}.")
        self.look()
        then, self._then = self._then, None
        if then is not None:
            # What was painted while the file was written is asked about anew.
            self.leave(then)

    def _on_failed(self, text: str) -> None:
        self.saving, self._then = False, None
        self.status.emit("")
        self.error.emit(text)

    def _on_mode(self) -> None:
        self.brush.emit(self.case is not None and self.case.painting)

    def _on_redrawn(self) -> None:
        self._compare.start()

    def _note(self, unsaved: bool) -> None:
        if unsaved != self.unsaved:
            self.unsaved = unsaved
            self.changed.emit(unsaved)
