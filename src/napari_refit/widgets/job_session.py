"""One long job at a time beside the window, without any widget: started, followed, stopped."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.widgets.live import LiveLoop


class JobSession(QObject):
    """Runs jobs of one kind on a thread beside the window; what they tell and find is up to the kind.

    Attributes
    ----------
    layers : list
        The layers that the job reads: when one is removed, it stops.

    Signals
    -------
    status(str), error(str), result(str)
    progress(int, int)
    busy(bool)
    ended()
        Nothing runs any more, and its files are as they stay.
    """

    status = Signal(str)
    error = Signal(str)
    result = Signal(str)
    progress = Signal(int, int)
    busy = Signal(bool)
    ended = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.layers: list[Any] = []
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
        """Whether a job runs, or is still about to stop."""
        return self._loop.busy

    def cancel(self) -> None:
        """Stop it; what it has finished stays."""
        if self.running:
            self._loop.cancel()

    def close(self) -> None:
        """Stop for good, without waiting."""
        self._loop.close()

    def forget(self, layer: Any) -> None:
        """A layer was removed from the viewer."""
        if self.running and layer in self.layers:
            self.cancel()

    def _begin(self, job: Any) -> None:
        self._stopped = False
        self.error.emit("")
        self.result.emit("")
        self.busy.emit(True)
        self._loop.request(job, exclusive=True)

    def _on_progress(self, done: int, total: int, text: str) -> None:
        self.progress.emit(done, total)
        self.status.emit(f"{text[:1].upper()}{text[1:]}")

    def _on_part(self, part: object) -> None:
        """What the job tells on its way."""
        raise NotImplementedError

    def _on_finished(self, done: Any) -> None:
        """What came of it."""
        raise NotImplementedError

    def _on_failed(self, text: str) -> None:
        self.status.emit("")
        self.error.emit(text)

    def _on_cancelled(self) -> None:
        self._stopped = True
        self.status.emit("Stopping…")

    def _on_idle(self) -> None:
        self.busy.emit(False)
        if self._stopped:
            self._after_stop()
        self.ended.emit()

    def _after_stop(self) -> None:
        """Say what a stopped job leaves."""
        raise NotImplementedError
