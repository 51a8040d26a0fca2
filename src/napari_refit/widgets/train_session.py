"""One training at a time, without its widgets: started, followed, stopped, handed over."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.learn.places import unfinished
from napari_refit.learn.telling import summary
from napari_refit.widgets import trained
from napari_refit.widgets.job_session import JobSession
from napari_refit.widgets.train_job import Begun, EpochDone, Trained, TrainOrder, training

STOPPED = "Stopped; what its whole epochs gave is kept."
STOPPED_EARLY = "Stopped before the first epoch was done: there is nothing to resume."


class TrainSession(JobSession):
    """Runs trainings on a thread beside the window.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    order : TrainOrder or None
        What runs, or ran last.

    Signals
    -------
    begun(object)
        `Begun`.
    epoch(int, object)
        A fold and the row of an epoch.
    """

    begun = Signal(object)
    epoch = Signal(int, object)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.order: TrainOrder | None = None
        self.trained: Trained | None = None

    def start(self, order: TrainOrder, layers: list[Any]) -> None:
        """Start a training."""
        self.order, self.layers, self.trained = order, layers, None
        self._begin(training(order))

    def _on_part(self, part: object) -> None:
        if isinstance(part, Begun):
            self.begun.emit(part)
        elif isinstance(part, EpochDone):
            self.epoch.emit(part.fold, part.row)

    def _on_finished(self, done: Any) -> None:
        self.trained = done
        taken = trained.hand_over(self.viewer, done.checkpoints[0])
        lines = summary(done.report)
        name = done.checkpoints[0].name
        lines.append(
            f"{name} is selected in the ReFit dock." if taken else f"{name} is selected when ReFit is opened."
        )
        self.status.emit("Done.")
        self.result.emit(" ".join(lines))

    def _after_stop(self) -> None:
        if self.order is not None:
            self.status.emit(STOPPED if unfinished(self.order.out) else STOPPED_EARLY)
