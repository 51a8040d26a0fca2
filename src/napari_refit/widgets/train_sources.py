"""Sources of images and labels that are looked at beside the window; here a folder, table or dataset on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_refit.learn.samples import DEFAULT, open_samples
from napari_refit.learn.telling import overview
from napari_refit.params import IntensityParams
from napari_refit.widgets.classifier_chooser import LABEL_WIDTH
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.live import LiveLoop, Task
from napari_refit.widgets.style import LazyComboBox, NoteLabel

NO_PATH = (
    "Choose a folder with one sub-folder of images per class, a CSV file with the columns image, label and patient, "
    "or a known dataset as it is downloaded."
)
NO_TRUTH = (
    "Choose an image and a Labels layer on the same grid; a slice shows each class that has a label in it."
)
LOOK_DELAY = 400


@dataclass(frozen=True)
class Found:
    """What there is to train on.

    Attributes
    ----------
    samples : Samples
    text, warning : str
        See `napari_refit.learn.telling.overview`.
    preparations : tuple of str
        Of a known dataset.
    values : tuple of int, mapping or None
        Of a ground truth: its labels, and which are in each plane.
    """

    samples: Any
    text: str
    warning: str
    preparations: tuple[str, ...] = ()
    key: Any = None
    values: Any = None


class Looking(QWidget):
    """A source that is looked at on a thread, and says what it found.

    Signals
    -------
    changed()
        Something else is to be trained on.
    failed(str)
    """

    changed = Signal()
    failed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found: Found | None = None
        self.intensity = IntensityParams()
        self.note = NoteLabel()
        self.warning = NoteLabel("warning")
        self._loop = LiveLoop(self)
        self._loop.stage.connect(self.note.set_plain)
        self._loop.part.connect(self._on_part)
        self._loop.finished.connect(self._on_found)
        self._loop.failed.connect(self._on_failed)

    @property
    def looking(self) -> bool:
        """Whether it is being looked at."""
        return self._loop.busy

    def close_down(self) -> None:
        """Stop looking."""
        self._loop.close()

    def _ask(self, job: Callable[[Task], Found] | None, nothing: str) -> None:
        self.found = None
        self.failed.emit("")
        self.warning.set_plain("")
        if job is None:
            self._loop.cancel()
            self.note.set_plain(nothing)
        else:
            self.note.set_plain("Looking…")
            self._loop.request(job)
        self.changed.emit()

    def _on_part(self, part: Any) -> None:
        """Something is known before the whole."""

    def _on_found(self, found: Any) -> None:
        self.found = found
        self.note.set_plain(found.text)
        self.warning.set_plain(found.warning)
        self.changed.emit()

    def _on_failed(self, text: str) -> None:
        self.note.set_plain("")
        self.failed.emit(text)
        self.changed.emit()


class PathSource(Looking):
    """A folder, a CSV file, or a known dataset."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.path = QLineEdit()
        self.path.setPlaceholderText("folder or CSV file")
        self.path.setMinimumWidth(60)
        self.browse = QPushButton("Browse")
        menu = QMenu(self.browse)
        menu.addAction("Folder or dataset…", self._on_folder)
        menu.addAction("CSV file…", self._on_file)
        self.browse.setMenu(menu)
        self.preparation = LazyComboBox()
        self.preparation.setToolTip("How the dataset is prepared: which classes, crop and slices.")
        place = QWidget()
        row = QHBoxLayout(place)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.path, 1)
        row.addWidget(self.browse)
        self._preparation_row = labelled("Preparation", self.preparation, LABEL_WIDTH)
        self._preparation_row.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(labelled("Images", place, LABEL_WIDTH))
        self.path.setAccessibleName("Folder, CSV file or dataset")
        for widget in (self._preparation_row, self.note, self.warning):
            layout.addWidget(widget)
        self.note.set_plain(NO_PATH)
        self._asked = ""
        self.path.editingFinished.connect(self._on_typed)
        self.preparation.currentIndexChanged.connect(lambda _: self.look())

    def set_path(self, path: str) -> None:
        """Look at another path."""
        self.path.setText(path)
        self._on_typed()

    def look(self) -> None:
        """Look again at what is chosen."""
        key = self._key()
        self._ask(_path_job(*key) if key else None, NO_PATH)

    def samples(self, intensity: IntensityParams) -> Callable[[Task], Any]:
        """What was found, or what is found once the training asks.

        Raises
        ------
        ValueError
            If nothing is chosen.
        """
        self.intensity = intensity
        key, found = self._key(), self.found
        if key is None:
            raise ValueError(NO_PATH)
        if found is not None and found.key == key:
            return lambda task: found.samples
        return lambda task: _path_job(*key)(task).samples

    def layers(self) -> list[Any]:
        """No layer is read."""
        return []

    def default_out(self) -> Path | None:
        """A name for the checkpoint beside the folder or the table."""
        key = self._key()
        return None if key is None else key[0].with_name(f"{key[0].stem}.safetensors")

    def _key(self) -> tuple[Path, str, IntensityParams] | None:
        text = self.path.text().strip()
        return (
            (Path(text).expanduser(), self.preparation.value() or DEFAULT, self.intensity) if text else None
        )

    def _on_typed(self) -> None:
        text = self.path.text().strip()
        if text == self._asked:
            return
        self._asked = text
        self._offer(())
        self.look()

    def _offer(self, names: tuple[str, ...]) -> None:
        blocked = self.preparation.blockSignals(True)
        chosen = self.preparation.value()
        self.preparation.clear()
        for name in names:
            self.preparation.addItem(name, name)
        self.preparation.setCurrentIndex(max(0, self.preparation.findData(chosen)) if names else -1)
        self.preparation.blockSignals(blocked)
        self._preparation_row.setVisible(len(names) > 1)

    def _on_part(self, part: Any) -> None:
        self._offer(part)

    def _on_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder or dataset", self.path.text())
        if name:
            self.set_path(name)

    def _on_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Table of images", self.path.text(), "Tables (*.csv)")
        if name:
            self.set_path(name)


def _path_job(path: Path, preparation: str, intensity: IntensityParams) -> Callable[[Task], Found]:
    def job(task: Task) -> Found:
        from napari_refit.learn.datasets import recognised

        dataset = recognised(path) if path.exists() else None
        names = () if dataset is None else tuple(dataset.preparations)
        # Known before the labels are read: another preparation may be the way out of an error.
        task.part(names)
        task.stage(f"Reading the labels of {path.name}…")
        samples = open_samples(path, intensity, preparation)
        text, warning = overview(samples)
        if dataset is not None:
            text = f"{dataset.declaration.title}. {text}"
        return Found(samples, text, warning, names, (path, preparation, intensity))

    return job
