"""The part of the Tune dock that never scrolls away: what is going on, and the buttons."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_refit.widgets.footer import DockFooter
from napari_refit.widgets.style import NoteLabel


class TuneFooter(DockFooter):
    """Messages, progress and buttons.

    Signals
    -------
    start_clicked(), continue_clicked(), cancel_clicked(), apply_clicked(), save_clicked(), help_clicked()
    refit_clicked()
        Open the ReFit dock.
    """

    start_clicked = Signal()
    continue_clicked = Signal()
    apply_clicked = Signal()
    save_clicked = Signal()
    help_clicked = Signal()
    refit_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Stop; the trials that are finished stay in the study.", parent)
        self.progress.setAccessibleName("Progress of the search")
        self.stopped = NoteLabel()
        self.refit = self._button(
            "Open ReFit",
            "Open the dock where the image and the classifier are chosen.",
            self.refit_clicked,
        )
        self.start = self._button("Start", "Search with what is chosen above.", self.start_clicked)
        self.resume = self._button(
            "Continue",
            "Go on with this study, with its own ranges and parameters, until so many trials are there.",
            self.continue_clicked,
        )
        self.apply = self._button(
            "Apply best", "Have the ReFit dock use the parameters of the best trial.", self.apply_clicked
        )
        self.save = self._button(
            "Save as preset…",
            "Write all parameters of the selected trial, or else the best, as JSON, which napari-refit refine "
            "--params takes.",
            self.save_clicked,
        )
        self.help = self._button(
            "Help", "What a search does, and what each setting means.", self.help_clicked
        )
        self._arrange(
            (self.stopped, self.error, self.refit, self.status),
            (
                (self.start, 0, 0, 2),
                (self.resume, 0, 2, 2),
                (self.cancel, 0, 4, 2),
                (self.apply, 1, 0, 2),
                (self.save, 1, 2, 3),
                (self.help, 1, 5, 1),
            ),
            columns=6,
        )
        self.resume.setEnabled(False)
        self.set_found(False)

    def set_found(self, found: bool) -> None:
        """Whether there is a trial to apply or save."""
        self.apply.setEnabled(found)
        self.save.setEnabled(found)

    def set_busy(self, busy: bool) -> None:
        """Show progress and allow cancelling or else starting."""
        super().set_busy(busy)
        self.start.setEnabled(not busy)
