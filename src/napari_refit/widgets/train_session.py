"""One training at a time, without its widgets: started, followed, stopped, handed over."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.learn.places import unfinished
from napari_refit.learn.telling import summary
from napari_refit.widgets import trained
from napari_refit.widgets.live import LiveLoop
from napari_refit.widgets.train_job import Begun, EpochDone, Trained, TrainOrder, training

STOPPED = "Stopped; what its whole epochs gave is kept."
STOPPED_EARLY = "Stopped before the first epoch was done: there is nothing to resume."


class TrainSession(QObject):
    """Runs trainings on a thread beside the window.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    order : TrainOrder or None
        What runs, or ran last.
    layers : list
        The layers that it reads: when one is removed, it stops.

    Signals
    -------
    status(str), error(str), result(str)
    begun(object)
        `Begun`.
    epoch(int, object)
        A fold and the row of an epoch.
    progress(int, int)
    busy(bool)
    ended()
        Nothing runs any more, and its files are as they stay.
    """

    status = Signal(str)
    error = Signal(str)
    result = Signal(str)
    begun = Signal(object)
    epoch = Signal(int, object)
    progress = Signal(int, int)
    busy = Signal(bool)
    ended = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.order: TrainOrder | None = None
        self.layers: list[Any] = []
        self.trained: Trained | None = None
        self._stopped = False
        self._loop = LiveLoop(self)
        self._loop.stage.connect(self.status)
        self._loop.progress.connect(self._on_progress)
        self._loop.part.connect(self._on_part)
        self._loop.finished.connect(self._on_finished)
        self._loop.failed.connect(self._on_failed)
        self._loop.cancelled.connect(self._on_cancelled)
        self._loop.idle.connect(self._on_idle)

    @property
    def running(self) -> bool:
        """Whether a training runs, or is still about to stop."""
        return self._loop.busy

    def start(self, order: TrainOrder, layers: list[Any]) -> None:
        """Start a training."""
        self.order, self.layers, self.trained, self._stopped = order, layers, None, False
        self.error.emit("")
        self.result.emit("")
        self.busy.emit(True)
        self._loop.request(training(order), exclusive=True)

    def cancel(self) -> None:
        """Stop it; what its last whole epoch left stays."""
        if self.running:
            self._loop.cancel()

    def close(self) -> None:
        """Stop for good, without waiting."""
        self._loop.close()

    def forget(self, layer: Any) -> None:
        """A layer was removed from the viewer."""
        if self.running and layer in self.layers:
            self.cancel()

    def _on_progress(self, done: int, total: int, text: str) -> None:
        self.progress.emit(done, total)
        self.status.emit(f"{text[:1].upper()}{text[1:]}")

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

    def _on_failed(self, text: str) -> None:
        self.status.emit("")
        self.error.emit(text)

    def _on_cancelled(self) -> None:
        self._stopped = True
        self.status.emit("Stopping…")

    def _on_idle(self) -> None:
        self.busy.emit(False)
        if self._stopped and self.order is not None:
            self.status.emit(STOPPED if unfinished(self.order.out) else STOPPED_EARLY)
        self.ended.emit()
