"""The part of the Batch dock that never scrolls away: what is going on, and the buttons."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_refit.widgets.footer import DockFooter

CANCEL_TIP = "Finish the file at hand and stop; what is done stays."
STOP_NOW_TIP = "Give up the file at hand as well; what is done stays."
START_TIP = "Refine every image that is not done yet."
CONTINUE_TIP = "Refine what is not done yet with these inputs and parameters; the rest is passed over."


class BatchFooter(DockFooter):
    """Messages, progress and buttons.

    Signals
    -------
    check_clicked(), start_clicked(), cancel_clicked(), report_clicked(), review_clicked(), help_clicked()
    """

    check_clicked = Signal()
    start_clicked = Signal()
    report_clicked = Signal()
    review_clicked = Signal()
    help_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(CANCEL_TIP, parent)
        self._busy = self._reviewing = False
        self.progress.setAccessibleName("Progress of the batch")
        self.check = self._button(
            "Check",
            "List what would be done, and what is wrong with what; nothing is written.",
            self.check_clicked,
        )
        self.start = self._button("Start", START_TIP, self.start_clicked)
        self.report = self._button(
            "Open report", "Show report.html of the output folder in the browser.", self.report_clicked
        )
        self.review = self._button(
            "Review", "Step through the results: accept, reject, or fix by painting.", self.review_clicked
        )
        self.help = self._button("Help", "Inputs, results, review and its keys.", self.help_clicked)
        self._arrange(
            (self.error, self.status),
            (
                (self.check, 0, 0, 2),
                (self.start, 0, 2, 2),
                (self.cancel, 0, 4, 2),
                (self.report, 1, 0, 2),
                (self.review, 1, 2, 2),
                (self.help, 1, 4, 2),
            ),
            columns=6,
        )
        self.set_there(0, False)

    def set_busy(self, busy: bool) -> None:
        """Show progress and allow cancelling or else starting."""
        super().set_busy(busy)
        self._busy = busy
        self.set_finishing(False)
        self._allow()

    def set_finishing(self, finishing: bool) -> None:
        """Whether the file at hand is the last: the button then gives it up, too."""
        self.cancel.setText("Stop now" if finishing else "Cancel")
        self.cancel.setToolTip(STOP_NOW_TIP if finishing else CANCEL_TIP)

    def set_there(self, n_results: int, has_report: bool) -> None:
        """How much there is in the output folder."""
        self.start.setText("Continue" if n_results else "Start")
        self.start.setToolTip(CONTINUE_TIP if n_results else START_TIP)
        self.review.setEnabled(bool(n_results))
        self.report.setEnabled(has_report)

    def set_reviewing(self, on: bool) -> None:
        """Whether results are being reviewed."""
        self._reviewing = on
        self.review.setText("End review" if on else "Review")
        self._allow()

    def _allow(self) -> None:
        """A batch is begun while nothing runs, and never under a review."""
        for button in (self.check, self.start):
            button.setEnabled(not (self._busy or self._reviewing))
