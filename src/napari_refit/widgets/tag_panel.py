"""The Table source: choose an image, name classes, tag slices by keys, keep them in a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_refit.errors import one_line
from napari_refit.params import IntensityParams
from napari_refit.widgets.choosing import LayerCombo
from napari_refit.widgets.class_list import ClassList
from napari_refit.widgets.classifier_chooser import LABEL_WIDTH
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.live import Task
from napari_refit.widgets.saving import may_replace, source_path
from napari_refit.widgets.style import NoteLabel
from napari_refit.widgets.tag_desk import TagDesk, is_image
from napari_refit.widgets.tag_keys import TagKeys
from napari_refit.widgets.tag_table import TagTable
from napari_refit.widgets.watching import Connections, Soon

NO_IMAGE = "Open an image first: its slices appear here, to be tagged with the number keys."
HINT = "Keys 1 to 9 tag the slice, 0 means nothing is there; they work here and in the image."
BLOCK = 10


class TagPanel(QWidget):
    """Tagging, with its widgets.

    Attributes
    ----------
    desk : TagDesk

    Signals
    -------
    changed()
        Other tags, or other rows.
    said(str), failed(str)
    """

    changed = Signal()
    said = Signal(str)
    failed = Signal(str)

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.desk = TagDesk(viewer, self)
        self.image = LayerCombo(viewer, is_image, "All open images")
        self.image.setToolTip(
            "The image whose slices are tagged, or every open image: of 2-D images one row each."
        )
        self.classes = ClassList(self.desk)
        self.table = TagTable(self.desk)
        self.hint = NoteLabel()
        self.undo = self._button("Undo", "Take the last change back (Ctrl+Z in the table).", self.desk.undo)
        self.patients = self._button("Patients", "Say whom the slices show.")
        self.load = self._button("Load…", "Take tags from a CSV file.", self._on_load)
        self.save = self._button(
            "Save…", "Write the tags to a CSV file, which napari-refit train reads.", self._on_save
        )
        menu = QMenu(self.patients)
        menu.addAction("Name the selected slices…", self._on_name)
        menu.addAction("Each image is a patient", partial(self.desk.name_blocks, 0))
        menu.addAction("Blocks of neighbouring slices…", self._on_blocks)
        self.patients.setMenu(menu)
        buttons = QHBoxLayout()
        buttons.setContentsMargins(0, 0, 0, 0)
        buttons.setSpacing(4)
        for button in (self.undo, self.patients, self.load, self.save):
            buttons.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(labelled("Image", self.image, LABEL_WIDTH))
        layout.addWidget(self.classes)
        layout.addWidget(self.table)
        layout.addWidget(self.hint)
        layout.addLayout(buttons)
        actions: dict[str, Callable[[], Any]] = {
            str(number): partial(self.desk.tag, number) for number in range(10)
        }
        actions |= {f"Control-{number}": partial(self.desk.toggle, number) for number in range(1, 10)}
        actions |= {"Backspace": self.desk.clear, "Control-Z": self.desk.undo}
        self.keys = TagKeys(actions)
        self._seen_any = False
        self._bind_soon = Soon(self, self._bind)
        self._of_viewer = Connections(self)
        self._of_viewer.listen(viewer.layers, ("inserted", "removed"), self._on_layers)
        self.image.chosen.connect(self._on_image)
        self.table.tag_pressed.connect(self._on_tag)
        self.table.toggle_pressed.connect(lambda number: self.desk.toggle(number, self.table.picked()))
        self.table.clear_pressed.connect(lambda: self.desk.clear(self.table.picked()))
        self.table.undo_pressed.connect(self.desk.undo)
        self.classes.tag_clicked.connect(self._on_tag)
        self.desk.said.connect(self.said)
        self.desk.failed.connect(self.failed)
        for signal in (self.desk.rows_changed, self.desk.tags_changed, self.desk.classes_changed):
            signal.connect(self._refresh)
        self._choose_first()
        self._refresh()

    def samples(self, intensity: IntensityParams) -> Callable[[Task], Any]:
        """The tagged slices, as they are now.

        Raises
        ------
        ValueError
            If nothing is tagged.
        """
        samples = self.desk.samples(intensity)
        return lambda task: samples

    def layers(self) -> list[Any]:
        """The layers that a training reads."""
        return list(dict.fromkeys(layer for layer, _ in self.desk.slots))

    def default_out(self) -> Path | None:
        """A name for the checkpoint beside the image's file; None where it has none."""
        layers = self.desk.scope()
        source = source_path(layers[0]) if layers else None
        return None if source is None else source.parent / "classifier.safetensors"

    def close_down(self) -> None:
        """Let go of the viewer; the tags stay with the layers."""
        self._of_viewer.release()
        self._bind_soon.stop()
        self.keys.release()
        self.desk.close()
        self.image.close_down()

    def showEvent(self, event: QShowEvent) -> None:
        """Keys tag while the table is shown."""
        super().showEvent(event)
        self._bind()

    def hideEvent(self, event: QHideEvent) -> None:
        """Another source, or the dock is hidden: the keys are napari's again."""
        super().hideEvent(event)
        # The garbage collector may hide what it has emptied already.
        keys = getattr(self, "keys", None)
        if keys is not None:
            keys.release()

    def _button(self, title: str, tip: str, action: Callable[[], Any] | None = None) -> QPushButton:
        button = QPushButton(title)
        button.setToolTip(tip)
        button.setStyleSheet("QPushButton { padding: 3px 2px; }")
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        if action is not None:
            button.clicked.connect(lambda: action())
        return button

    def _bind(self) -> None:
        self.keys.bind(self.desk.images() if self.isVisible() else [])

    def _on_layers(self) -> None:
        self._bind_soon.ask()
        if not self._seen_any or not self.desk.images():
            self._choose_first()

    def _choose_first(self) -> None:
        images = self.desk.images()
        active = self.viewer.layers.selection.active
        first = active if active in images else next(iter(images), None)
        self._seen_any = bool(images)
        if first is not None and first.ndim > 2:
            self.image.choose(first)

    def _on_image(self, layer: Any) -> None:
        self.desk.set_image(layer)
        self._refresh()

    def _refresh(self) -> None:
        n_rows = len(self.desk.slots)
        self.table.setVisible(n_rows > 0)
        self.hint.set_plain(HINT if n_rows else NO_IMAGE)
        self.undo.setEnabled(self.desk.tagging.can_undo)
        self.save.setEnabled(any(tag.labels is not None for _, tag in self.desk.tagging.known()))
        for button in (self.load, self.patients):
            button.setEnabled(n_rows > 0)
        self.changed.emit()

    def _on_tag(self, number: int) -> None:
        picked = self.table.picked()
        self.desk.tag(number, picked)

    def _on_name(self) -> None:
        rows = self.table.picked()
        if not rows:
            self.failed.emit("Select slices in the table first.")
            return
        name, ok = QInputDialog.getText(self, "Patient", f"Whom do the {len(rows)} selected slices show?")
        if ok:
            self.desk.set_patient(rows, name)

    def _on_blocks(self) -> None:
        length, ok = QInputDialog.getInt(
            self,
            "Blocks",
            "Slices per block. Neighbours resemble each other,\nso scores will look better than on new patients.",
            BLOCK,
            1,
            1000,
        )
        if ok:
            self.desk.name_blocks(length)

    def _on_load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load tags", self._folder(), "Tables (*.csv)")
        if name:
            self._try(lambda: self.desk.load(Path(name)))

    def _on_save(self) -> None:
        start = str(Path(self._folder()) / "labels.csv")
        name, _ = QFileDialog.getSaveFileName(
            self, "Save tags", start, "Tables (*.csv)", options=QFileDialog.Option.DontConfirmOverwrite
        )
        if name:
            path = Path(name) if name.lower().endswith(".csv") else Path(f"{name}.csv")
            if not path.exists() or may_replace(self, path):
                self._try(lambda: self.desk.save(path, overwrite=True))

    def _folder(self) -> str:
        out = self.default_out()
        return str(out.parent if out is not None else Path.home())

    def _try(self, action: Callable[[], Any]) -> None:
        self.failed.emit("")
        try:
            action()
        except (ValueError, OSError) as error:
            # After the desk's own messages, which clear the error.
            text = one_line(error)
            QTimer.singleShot(0, lambda: self.failed.emit(text))
