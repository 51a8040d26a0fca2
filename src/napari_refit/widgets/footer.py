"""The part of a dock that never scrolls away: what is going on, and the buttons."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_refit.widgets.style import NoteLabel

PAINTED = "Painted by hand: updates leave this slice alone."
LOCKED = "Locked: updates leave this slice alone."
IDLE = "Ready."


class Footer(QWidget):
    """Lock note, messages, status line with progress, and the buttons.

    Signals
    -------
    refine_clicked(), cancel_clicked(), reset_clicked(), save_clicked(), restore_clicked()
    lock_toggled(bool)
        By the user.
    """

    refine_clicked = Signal()
    cancel_clicked = Signal()
    reset_clicked = Signal()
    save_clicked = Signal()
    restore_clicked = Signal()
    lock_toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lock_note = NoteLabel("warning")
        self.message = NoteLabel("muted")
        self.error = NoteLabel("loss")
        self.status = NoteLabel("muted")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.progress.setAccessibleName("Progress")
        policy = self.progress.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.progress.setSizePolicy(policy)
        self.refine = self._button("Refine volume", "Refine every slice; locked slices stay as they are.")
        self.cancel = self._button("Cancel", "Stop; what is done so far is kept.")
        self.lock = self._button("Lock slice", "Keep live updates off this slice.", checkable=True)
        self.reset = self._button("Reset slice", "Drop the hand edits of this slice and refine it again.")
        self.save = self._button("Save labels…", "Write the refined labels on the grid of the image's file.")
        self.restore = self._button("Restore layers", "Make the layers that were deleted again.")
        self.restore.hide()
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(4)
        grid.addWidget(self.refine, 0, 0, 1, 4)
        grid.addWidget(self.cancel, 0, 4, 1, 2)
        for column, button in enumerate((self.lock, self.reset, self.save)):
            grid.addWidget(button, 1, 2 * column, 1, 2)
        for column in range(6):
            grid.setColumnStretch(column, 1)
        line = QHBoxLayout()
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.status, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for note in (self.lock_note, self.message, self.error):
            layout.addWidget(note)
        layout.addWidget(self.restore)
        layout.addLayout(line)
        layout.addWidget(self.progress)
        layout.addLayout(grid)
        self.refine.clicked.connect(self.refine_clicked)
        self.cancel.clicked.connect(self.cancel_clicked)
        self.reset.clicked.connect(self.reset_clicked)
        self.save.clicked.connect(self.save_clicked)
        self.restore.clicked.connect(self.restore_clicked)
        self.lock.clicked.connect(self.lock_toggled)
        self.set_status("")
        self.set_busy(False)

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
        """Show how far the volume is."""
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)

    def set_lock(self, locked: bool, painted: bool, possible: bool) -> None:
        """Show whether the open slice is locked, and why."""
        self.lock.setEnabled(possible)
        self.reset.setEnabled(possible)
        self.lock.setChecked(locked)
        self.lock.setText("Unlock slice" if locked else "Lock slice")
        self.lock_note.set_plain((PAINTED if painted else LOCKED) if locked else "")

    @staticmethod
    def _button(title: str, tip: str, checkable: bool = False) -> QPushButton:
        button = QPushButton(title)
        button.setToolTip(tip)
        button.setCheckable(checkable)
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        return button
