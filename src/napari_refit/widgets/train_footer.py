"""The part of the Train dock that never scrolls away: what is going on, and the buttons."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_refit.widgets.footer import DockFooter
from napari_refit.widgets.style import NoteLabel


class TrainFooter(DockFooter):
    """Messages, progress and buttons.

    Signals
    -------
    start_clicked(), resume_clicked(), cancel_clicked(), report_clicked(), help_clicked()
    """

    start_clicked = Signal()
    resume_clicked = Signal()
    report_clicked = Signal()
    help_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Stop; the state after the last whole epoch is kept.", parent)
        self.progress.setAccessibleName("Progress of the training")
        self.stopped = NoteLabel("warning")
        self.start = self._button("Start training", "Train with what is chosen above.", self.start_clicked)
        self.resume = self._button(
            "Resume",
            "Go on after the last whole epoch, with that training's own parameters.",
            self.resume_clicked,
        )
        self.report = self._button(
            "Open report folder", "Show the checkpoint and its report where they lie.", self.report_clicked
        )
        self.help = self._button("Help", "Keys, sources and parameters.", self.help_clicked)
        self._arrange(
            (self.stopped, self.error, self.status),
            (
                (self.start, 0, 0, 2),
                (self.resume, 0, 2, 1),
                (self.cancel, 0, 3, 1),
                (self.report, 1, 0, 3),
                (self.help, 1, 3, 1),
            ),
            columns=4,
        )
        self.report.setEnabled(False)
        self.resume.setEnabled(False)

    def set_busy(self, busy: bool) -> None:
        """Show progress and allow cancelling or else starting."""
        super().set_busy(busy)
        self.start.setEnabled(not busy)
