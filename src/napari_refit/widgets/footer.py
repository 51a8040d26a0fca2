"""The part of a dock that never scrolls away: what is going on, and the buttons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_refit.widgets.style import NoteLabel

PAINTED = "Painted by hand: updates leave this slice alone."
LOCKED = "Locked: updates leave this slice alone."
IDLE = "Ready."


class DockFooter(QWidget):
    """Error, status line, progress and a button that cancels; a subclass adds its own and calls `_arrange`.

    Signals
    -------
    cancel_clicked()
    """

    cancel_clicked = Signal()

    def __init__(self, cancel_tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.error = NoteLabel("loss")
        self.status = NoteLabel("muted")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.progress.setAccessibleName("Progress")
        policy = self.progress.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.progress.setSizePolicy(policy)
        self.cancel = self._button("Cancel", cancel_tip, self.cancel_clicked)

    def set_status(self, text: str) -> None:
        """Say what is going on."""
        self.status.set_plain(text or IDLE)

    def set_busy(self, busy: bool) -> None:
        """Show progress and allow cancelling, or not."""
        self.progress.setVisible(busy)
        self.progress.setRange(0, 0 if busy else 1)
        self.progress.setValue(0)
        self.cancel.setEnabled(busy)

    def set_progress(self, done: int, total: int) -> None:
        """Show how far the work is."""
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)

    def _arrange(
        self, above: Iterable[QWidget], buttons: Iterable[tuple[QPushButton, int, int, int]], columns: int
    ) -> None:
        """Put widgets over the progress, and under it each button in its row, from its column, over so many."""
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(4)
        for button, row, column, width in buttons:
            grid.addWidget(button, row, column, 1, width)
        for column in range(columns):
            grid.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in above:
            layout.addWidget(widget)
        layout.addWidget(self.progress)
        layout.addLayout(grid)
        self.set_status("")
        self.set_busy(False)

    @staticmethod
    def _button(title: str, tip: str, clicked: Any) -> QPushButton:
        """A button whose clicks are passed on to a signal."""
        button = QPushButton(title)
        button.setToolTip(tip)
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        button.clicked.connect(clicked)
        return button


class Footer(DockFooter):
    """Lock note, messages, status line with progress, and the buttons.

    Signals
    -------
    refine_clicked(), cancel_clicked(), reset_clicked(), save_clicked(), restore_clicked()
    lock_toggled(bool)
        By the user.
    """

    refine_clicked = Signal()
    reset_clicked = Signal()
    save_clicked = Signal()
    restore_clicked = Signal()
    lock_toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Stop; what is done so far is kept.", parent)
        self.lock_note = NoteLabel("warning")
        self.message = NoteLabel("muted")
        self.refine = self._button(
            "Refine volume", "Refine every slice; locked slices stay as they are.", self.refine_clicked
        )
        self.lock = self._button(
            "Lock slice",
            "Accept this slice as it is: updates leave it alone, and Propagate carries it on (Shift+K).",
            self.lock_toggled,
        )
        self.lock.setCheckable(True)
        self.reset = self._button(
            "Reset slice", "Drop the hand edits of this slice and refine it again.", self.reset_clicked
        )
        self.save = self._button(
            "Save labels…", "Write the refined labels on the grid of the image's file.", self.save_clicked
        )
        self.restore = self._button(
            "Restore layers", "Make the layers that were deleted again.", self.restore_clicked
        )
        self.restore.hide()
        self._arrange(
            (self.lock_note, self.message, self.error, self.restore, self.status),
            (
                (self.refine, 0, 0, 4),
                (self.cancel, 0, 4, 2),
                (self.lock, 1, 0, 2),
                (self.reset, 1, 2, 2),
                (self.save, 1, 4, 2),
            ),
            columns=6,
        )

    def set_lock(self, locked: bool, painted: bool, possible: bool) -> None:
        """Show whether the open slice is locked, and why."""
        self.lock.setEnabled(possible)
        self.reset.setEnabled(possible)
        self.lock.setChecked(locked)
        self.lock.setText("Unlock slice" if locked else "Lock slice")
        self.lock_note.set_plain((PAINTED if painted else LOCKED) if locked else "")
