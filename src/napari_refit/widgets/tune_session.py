"""One search at a time, without its widgets: started, followed, stopped, continued, its best applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.recipe import RefitParams
from napari_refit.widgets.job_session import JobSession
from napari_refit.widgets.live import LiveLoop
from napari_refit.widgets.open_docks import dock_of
from napari_refit.widgets.tune_job import About, Begun, Importances, StudyRead, TuneOrder, reading, searching

STOPPED = "Stopped after {} trials; Continue goes on there."
STOPPED_EARLY = "Stopped before a trial was finished."
NO_DOCK = "Open the ReFit dock to use these parameters there."


class TuneSession(JobSession):
    """Runs searches on a thread beside the window.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    order : TuneOrder or None
        What runs, or ran last.
    base : RefitParams or None
        What the trials change; None where nothing is known of it.
    trials : dict
        Trials by number, as far as they are known.

    Signals
    -------
    reset(object)
        Other trials are shown: a list of them.
    trial(object)
        A trial is finished.
    importances(object)
        Key of a parameter to its share.
    """

    reset = Signal(object)
    trial = Signal(object)
    importances = Signal(object)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.order: TuneOrder | None = None
        self.base: RefitParams | None = None
        self.objective = ""
        self.about: dict[str, Any] = {}
        self.shares: dict[str, float] = {}
        self.trials: dict[int, Any] = {}
        self._reader = LiveLoop(self)
        self._reader.stage.connect(self._on_reading)
        self._reader.finished.connect(self._on_read)
        self._reader.failed.connect(self._on_failed)

    @property
    def reading(self) -> bool:
        """Whether a study is being read."""
        return self._reader.busy

    @property
    def best(self) -> Any:
        """The first trial of the highest score, or None."""
        from napari_refit.tune.trials import best_of

        return best_of(sorted(self.trials.values(), key=lambda trial: trial.number))

    def start(self, order: TuneOrder, layers: list[Any]) -> None:
        """Start a search, or go on with the one in its study."""
        self._reader.cancel()
        self.order, self.layers = order, layers
        self.base, self.objective = order.base, ""
        self._begin(searching(order))

    def read(self, path: Path) -> None:
        """Show what a study file holds."""
        if not self.running:
            self._stopped = False
            self.error.emit("")
            self._reader.request(reading(path))

    def clear(self) -> None:
        """Show no trials."""
        if not self.running:
            self._reader.cancel()
            self.trials, self.about, self.shares, self.base, self.objective = {}, {}, {}, None, ""
            self.result.emit("")
            self.reset.emit([])

    def close(self) -> None:
        """Stop for good, without waiting."""
        super().close()
        self._reader.close()

    def params_of(self, trial: Any) -> RefitParams | None:
        """All parameters of a trial."""
        from napari_refit.tune.space import applied

        return None if self.base is None else applied(self.base, trial.values)

    def save(self, trial: Any, path: Path) -> None:
        """Write all parameters of a trial as ``--params`` takes them, with a note of what they were tuned on.

        Raises
        ------
        WriteError
            If the file cannot be written.
        """
        from napari_refit.tune.note import note_content, write_params
        from napari_refit.tune.trials import TuneResult

        params = self.params_of(trial)
        if params is not None:
            found = TuneResult(list(self.trials.values()), trial, params, self.shares, about=self.about)
            write_params(path, params, note_content(found) if self.about else None)

    def apply(self, trial: Any) -> bool:
        """Have the ReFit dock use a trial's parameters; its target classes stay."""
        params, dock = self.params_of(trial), dock_of(self.viewer)
        if params is None:
            return False
        if dock is None:
            self.error.emit(NO_DOCK)
            return False
        classes = dock.sections.params.cam.classes
        dock.set_params(params.replace(cam=params.cam.model_copy(update={"classes": classes})))
        self.error.emit("")
        self.status.emit(f"The ReFit dock uses trial {trial.number}.")
        return True

    # -- reactions

    def _on_part(self, part: object) -> None:
        if isinstance(part, Begun):
            self.objective = part.objective
            self.trials = {trial.number: trial for trial in part.trials}
            self.reset.emit(list(part.trials))
        elif isinstance(part, About):
            self.about = part.content
        elif isinstance(part, Importances):
            self.shares = part.shares
            self.importances.emit(part.shares)
        else:
            self.trials[part.number] = part
            self.trial.emit(part)

    def _on_finished(self, done: Any) -> None:
        self.about, self.objective = done.about, done.objective
        self.trials = {trial.number: trial for trial in done.trials}
        self.reset.emit(done.trials)
        self.shares = done.importances
        self.importances.emit(done.importances)
        self.status.emit("Done." if not done.stopped else f"Ended: {done.stopped}.")
        self.result.emit(told(done))

    def _on_reading(self, text: str) -> None:
        # After a stop the study is read again, and what was said of the stop stays.
        if not self._stopped:
            self.status.emit(text)

    def _on_read(self, found: StudyRead) -> None:
        self.about = found.about
        self.objective = str(found.about.get("objective", ""))
        base = found.about.get("base")
        self.base = RefitParams.model_validate(base) if isinstance(base, dict) else None
        self.trials = {trial.number: trial for trial in found.trials}
        self.reset.emit(found.trials)
        self.shares = found.shares
        self.importances.emit(found.shares)
        if not self._stopped:
            self.status.emit(f"{found.path.name} holds {len(found.trials)} trials.")
        self.ended.emit()

    def _after_stop(self) -> None:
        done = sum(trial.state != "running" for trial in self.trials.values())
        self.status.emit(STOPPED.format(done) if done else STOPPED_EARLY)
        study = None if self.order is None else self.order.study
        if done and study is not None:
            # What came after the stop was asked for is in the study only.
            self._reader.request(reading(study))


def told(done: Any) -> str:
    """What a search came to, in a few sentences."""
    if done.best is None:
        return "No trial came to a score; the table says why."
    number, images = done.best.number, len(done.images)
    parts = [
        f"Best: {done.best.score:.4f} (trial {number}), judged on {images} {'image' if images == 1 else 'images'}."
    ]
    ran, saved = (sum(pair[k] for pair in done.stage_runs.values()) for k in (0, 1))
    if ran + saved:
        parts.append(f"{saved} of {ran + saved} stage runs were saved by what trials share.")
    return " ".join(parts)
