"""How a batch refines: the parameters, and where response maps come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_refit.recipe import RefitParams
from napari_refit.widgets import saving
from napari_refit.widgets.classifier_chooser import LABEL_WIDTH, ClassifierChooser, ClassifierSource
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.open_docks import REGISTER, dock_of
from napari_refit.widgets.paths import PathRow
from napari_refit.widgets.style import LazyComboBox, NoteLabel

REFIT, FILE = "refit", "file"
AS_IN_REFIT = "As in the ReFit dock"
CLASSIFIERS = {
    REFIT: AS_IN_REFIT,
    "sample": "Sample classifier",
    "file": "Checkpoint file…",
    "torchvision": "torchvision model",
    "none": "Response maps of a table",
}
NO_DOCK = "The ReFit dock is not open."
NO_FILE = "Choose a file of parameters."
NO_CLASSIFIER = "Choose a classifier; the ReFit dock has none."
ONE_RESPONSE = "The ReFit dock uses a response map, which is of one image; choose a classifier for all."


class RecipeChoice(QWidget):
    """Parameters and classifier: those of the ReFit dock, or others.

    Parameters
    ----------
    viewer : napari.Viewer

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.preset = LazyComboBox()
        self.preset.addItem(AS_IN_REFIT, REFIT)
        for name in RefitParams.presets():
            self.preset.addItem(f"Preset {name}", f"preset:{name}")
        self.preset.addItem("From a file…", FILE)
        self.preset.setToolTip(
            "Parameters: the sliders as they are now, a preset, or a file that a dock saved."
        )
        self.file = PathRow("Parameters", "file of parameters", {"Browse…": "JSON (*.json)"})
        self._file_row = labelled("File", self.file, LABEL_WIDTH)
        self.chooser = ClassifierChooser(kinds=CLASSIFIERS)
        self.note = NoteLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (
            labelled("Parameters", self.preset, LABEL_WIDTH),
            self._file_row,
            self.chooser,
            self.note,
        ):
            layout.addWidget(widget)
        there = dock_of(viewer) is not None
        self.chooser.set_source(ClassifierSource(REFIT if there else FILE))
        if not there:
            self.preset.set_value("preset:default")
        self._touched = False
        self.preset.activated.connect(self._on_touched)
        self.chooser.kind.activated.connect(self._on_touched)
        self.preset.currentIndexChanged.connect(lambda _: self.refresh())
        self.file.changed.connect(self.refresh)
        self.chooser.source_changed.connect(lambda _: self.refresh())
        REGISTER.changed.connect(self._on_docks)
        self.refresh()

    def params(self) -> RefitParams:
        """The parameters, read off now.

        Raises
        ------
        ValueError, ReadError
            With what is missing or wrong.
        """
        value = self.preset.value()
        if value == REFIT:
            return self._dock().sections.params  # type: ignore[no-any-return]
        if value == FILE:
            if self.file.path is None:
                raise ValueError(NO_FILE)
            return saving.load_parameters(Path(self.file.path))
        return RefitParams.preset(value.partition(":")[2])

    def source(self) -> tuple[str | None, tuple[int, ...], str | None]:
        """Model, modalities and device; the model is None where each image brings a response map.

        Raises
        ------
        ValueError
            With what is missing or wrong.
        """
        kind = self.chooser.kind.value()
        if kind == REFIT:
            session = self._dock().session
            if session.source.layer is not None:
                raise ValueError(ONE_RESPONSE)
            if session.source.model is None:
                raise ValueError(NO_CLASSIFIER)
            return session.source.model, session.source.modalities, session.device
        if self.chooser.error():
            raise ValueError(self.chooser.error())
        if kind != "none" and not self.chooser.source.complete:
            raise ValueError("Choose a classifier.")
        device = self.chooser.device.value()
        return self.chooser.source.model, (), None if device == "auto" else device

    def use_file(self, path: str | Path) -> None:
        """Take the parameters from a file."""
        self._touched = True
        self.preset.set_value(FILE)
        self.file.set_text(str(path))
        self.refresh()

    def refresh(self) -> None:
        """Say what the choice comes to."""
        self._file_row.setVisible(self.preset.value() == FILE)
        text = ""
        if dock_of(self._viewer) is None and REFIT in (self.preset.value(), self.chooser.kind.value()):
            text = NO_DOCK
        self.note.set_plain(text)
        self.changed.emit()

    def close_down(self) -> None:
        """Hear of no more docks."""
        REGISTER.changed.disconnect(self._on_docks)

    def _dock(self) -> Any:
        dock = dock_of(self._viewer)
        if dock is None:
            raise ValueError(f"{NO_DOCK} Open it, or choose other parameters and a classifier.")
        return dock

    def _on_touched(self) -> None:
        self._touched = True

    def _on_docks(self) -> None:
        """Go by the ReFit dock when one is opened, until the user says otherwise."""
        if not self._touched and dock_of(self._viewer) is not None:
            self.preset.set_value(REFIT)
            self.chooser.set_source(ClassifierSource(REFIT))
        self.refresh()
