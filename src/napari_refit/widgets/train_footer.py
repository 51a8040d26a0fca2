"""The part of the Train dock that never scrolls away: what is going on, and the buttons."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_refit.widgets.style import NoteLabel

IDLE = "Ready."


class TrainFooter(QWidget):
    """Messages, progress and buttons.

    Signals
    -------
    start_clicked(), resume_clicked(), cancel_clicked(), report_clicked(), help_clicked()
    """

    start_clicked = Signal()
    resume_clicked = Signal()
    cancel_clicked = Signal()
    report_clicked = Signal()
    help_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.stopped = NoteLabel("warning")
        self.error = NoteLabel("loss")
        self.status = NoteLabel("muted")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.progress.setAccessibleName("Progress of the training")
        policy = self.progress.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.progress.setSizePolicy(policy)
        self.start = self._button("Start training", "Train with what is chosen above.")
        self.resume = self._button(
            "Resume", "Go on after the last whole epoch, with that training's own parameters."
        )
        self.cancel = self._button("Cancel", "Stop; the state after the last whole epoch is kept.")
        self.report = self._button("Open report folder", "Show the checkpoint and its report where they lie.")
        self.help = self._button("Help", "Keys, sources and parameters.")
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(4)
        grid.addWidget(self.start, 0, 0, 1, 2)
        grid.addWidget(self.resume, 0, 2)
        grid.addWidget(self.cancel, 0, 3)
        grid.addWidget(self.report, 1, 0, 1, 3)
        grid.addWidget(self.help, 1, 3)
        for column in range(4):
            grid.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for note in (self.stopped, self.error, self.status):
            layout.addWidget(note)
        layout.addWidget(self.progress)
        layout.addLayout(grid)
        self.start.clicked.connect(self.start_clicked)
        self.resume.clicked.connect(self.resume_clicked)
        self.cancel.clicked.connect(self.cancel_clicked)
        self.report.clicked.connect(self.report_clicked)
        self.help.clicked.connect(self.help_clicked)
        self.report.setEnabled(False)
        self.resume.setEnabled(False)
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
        self.start.setEnabled(not busy)

    def set_progress(self, done: int, total: int) -> None:
        """Show how far the training is."""
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)

    @staticmethod
    def _button(title: str, tip: str) -> QPushButton:
        button = QPushButton(title)
        button.setToolTip(tip)
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        return button
