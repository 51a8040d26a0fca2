"""Which images a search judges parameters on: from the viewer, or of a folder."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Labels
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QSizePolicy, QVBoxLayout, QWidget

from napari_refit.planes import PlaneIndex
from napari_refit.widgets.form import LABEL_WIDTH
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.layers import role_of
from napari_refit.widgets.ordering import Versions, order_of
from napari_refit.widgets.paths import FOLDER, PathRow
from napari_refit.widgets.planes import finest, grid_shape, other_grid
from napari_refit.widgets.propagated import NOTHING
from napari_refit.widgets.saving import source_path
from napari_refit.widgets.style import LazyComboBox, NoteLabel
from napari_refit.widgets.tune_job import Folder, OpenImage
from napari_refit.widgets.watching import Connections

SLICE, VOLUME, LAYERS, PATH = "slice", "volume", "layers", "folder"
KINDS = {
    SLICE: "This slice",
    VOLUME: "This volume",
    LAYERS: "These layers",
    PATH: "A folder",
}
MOST_ROWS = 6
ROW_HEIGHT = 22
NO_DOCK = "The image, the classifier and the ground truth are those of the ReFit dock, which is not open."
NO_IMAGE = "Choose an image in the ReFit dock."
NO_RESPONSE = "Choose a classifier or a response map in the ReFit dock."
NO_CLASSIFIER = "Choose a classifier in the ReFit dock: its response map is of one image only."
NO_FOLDER = "Choose a folder of images."
NO_LAYERS = "Tick the image layers to tune on."
NO_TRUTH = "No ground truth: trials are judged by how well a mask explains its image (label-free)."
SOME_TRUTH = (
    "Layers without a ground truth are there: trials are judged label-free, unless they are unticked."
)


class ImageChoice(QWidget):
    """What is tuned on.

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
        self._dock: Any = None
        self._touched = False
        self.kind = LazyComboBox()
        for value, title in KINDS.items():
            self.kind.addItem(title, value)
        self.kind.setCurrentIndex(list(KINDS).index(VOLUME))
        self.layers = QListWidget()
        self.layers.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.layers.setAccessibleName("Image layers to tune on")
        self.folder = PathRow("Folder of images", "folder", {"Folder…": FOLDER})
        self.masks = PathRow("Folder of reference masks", "none: label-free", {"Folder…": FOLDER})
        self.masks.setToolTip(
            "Masks with the names of the images; a.png goes with a.png, a_mask.png, a_seg.png or a_label.png."
        )
        self._folder_row = labelled("Folder", self.folder, LABEL_WIDTH)
        self._masks_row = labelled("Masks", self.masks, LABEL_WIDTH)
        self.note = NoteLabel()
        self.warning = NoteLabel("warning")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(labelled("Tune on", self.kind, LABEL_WIDTH))
        for widget in (self.layers, self._folder_row, self._masks_row, self.note, self.warning):
            layout.addWidget(widget)
        self._of_viewer = Connections(self)
        names = ("inserted", "removed", "renamed", "reordered")
        self._of_viewer.listen(viewer.layers, names, self._on_layers)
        self.kind.currentIndexChanged.connect(lambda _: self.refresh())
        self.kind.activated.connect(self._on_touched)
        self.layers.itemChanged.connect(lambda _: self.refresh())
        self.folder.changed.connect(self.refresh)
        self.masks.changed.connect(self.refresh)
        self._on_layers()

    # -- what is chosen

    def choose(self, kind: str) -> None:
        """Tune on "slice", "volume", "layers" or "folder"."""
        self._touched = True
        self.kind.set_value(kind)
        self.refresh()

    def set_dock(self, dock: Any) -> None:
        """The ReFit dock whose image, classifier and truth are used; None: there is none."""
        self._dock = dock
        self.refresh()

    def ticked(self) -> list[Any]:
        """The image layers that are ticked."""
        found = []
        for row in range(self.layers.count()):
            item = self.layers.item(row)
            if item.checkState() == Qt.CheckState.Checked:
                found.append(item.data(Qt.ItemDataRole.UserRole)[0])
        return found

    def images(self) -> list[OpenImage] | Folder:
        """What is chosen, read off now.

        Raises
        ------
        ValueError
            With what is missing.
        """
        problem = self.problem()
        if problem:
            raise ValueError(problem)
        session, kind = self._dock.session, self.kind.value()
        if kind == PATH:
            source = session.source
            folder, masks = self.folder.path, self.masks.path
            assert folder is not None
            return Folder(folder, masks, source.model, source.modalities, session.device)
        if kind == LAYERS:
            return [self._open(layer, self._truth_of(layer), None) for layer in self.ticked()]
        return [self._open(session.image, session.scores.truth, self._planes())]

    def read_layers(self) -> list[Any]:
        """The layers that a search on what is chosen would read."""
        kind, session = self.kind.value(), self._dock.session
        if kind == PATH:
            return []
        if kind == LAYERS:
            return self.ticked()
        return [layer for layer in (session.image, session.source.layer) if layer is not None]

    def problem(self) -> str:
        """What is missing, in one sentence; empty when nothing is."""
        if self._dock is None:
            return NO_DOCK
        session, kind = self._dock.session, self.kind.value()
        source = session.source
        if kind == PATH:
            if self.folder.path is None:
                return NO_FOLDER
            for row in (self.folder, self.masks):
                if row.path is not None and not row.path.is_dir():
                    return f"{row.path}: there is no such folder."
            return NO_CLASSIFIER if source.model is None else ""
        if kind == LAYERS:
            ticked = self.ticked()
            if not ticked:
                return NO_LAYERS
            if source.model is None and source.layer is None:
                return NO_RESPONSE
            return NO_CLASSIFIER if source.model is None and ticked != [session.image] else ""
        if session.image is None:
            return NO_IMAGE
        if source.model is None and source.layer is None:
            return NO_RESPONSE
        if kind == SLICE and session.plane is None:
            return "Show a slice of the image in 2-D."
        truth = session.scores.truth
        return "" if truth is None else other_grid(truth, session.image)

    def close_down(self) -> None:
        """Let go of the viewer."""
        self._of_viewer.release()

    # -- what is shown

    def refresh(self) -> None:
        """Say what the choice comes to."""
        kind = self.kind.value()
        self.layers.setVisible(kind == LAYERS)
        self._folder_row.setVisible(kind == PATH)
        self._masks_row.setVisible(kind == PATH)
        self._suggest_kind()
        problem = self.problem()
        self.warning.set_plain(problem or self._without_truth())
        self.note.set_plain("" if problem else self._told())
        self.changed.emit()

    def _suggest_kind(self) -> None:
        """A single image has no volume to tune on, until the user says otherwise."""
        session = None if self._dock is None else self._dock.session
        if self._touched or session is None or session.image is None:
            return
        wanted = VOLUME if session.image.ndim > 2 else SLICE
        if self.kind.value() in (SLICE, VOLUME) and self.kind.value() != wanted:
            self.kind.set_value(wanted)

    def _told(self) -> str:
        kind, session = self.kind.value(), self._dock.session
        if kind == PATH:
            return "Slices of its images are drawn at random, evenly from all files."
        if kind == LAYERS:
            count = len(self.ticked())
            return f"{count} {'layer' if count == 1 else 'layers'}; slices are drawn evenly from all."
        truth = session.scores.truth
        beside = "" if truth is None else f", against {truth.name}"
        if kind == SLICE:
            at = "" if session.plane.slice_axis is None else f", slice {session.plane.position}"
            return f"{session.image.name}{at}{beside}."
        return f"Slices of {session.image.name}{beside}."

    def _without_truth(self) -> str:
        kind = self.kind.value()
        if kind == PATH:
            return "" if self.masks.path is not None else NO_TRUTH
        if kind == LAYERS:
            truths = [self._truth_of(layer) is not None for layer in self.ticked()]
            return "" if all(truths) else SOME_TRUTH if any(truths) else NO_TRUTH
        return "" if self._dock.session.scores.truth is not None else NO_TRUTH

    # -- layers

    def _on_touched(self) -> None:
        self._touched = True

    def _on_layers(self) -> None:
        """List the image layers again; ticks stay."""
        ticked = self.ticked()
        blocked = self.layers.blockSignals(True)
        self.layers.clear()
        for layer in self._viewer.layers:
            if not isinstance(layer, Image) or role_of(layer) or layer.ndim < 2:
                continue
            truth = self._truth_of(layer)
            item = QListWidgetItem(f"{layer.name}, against {truth.name}" if truth else layer.name)
            item.setToolTip(item.text() if truth else f"{layer.name}: no labels on its grid")
            item.setSizeHint(QSize(0, ROW_HEIGHT))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if layer in ticked else Qt.CheckState.Unchecked)
            # In a tuple, as Qt would take a layer itself for a sequence.
            item.setData(Qt.ItemDataRole.UserRole, (layer,))
            self.layers.addItem(item)
        self.layers.blockSignals(blocked)
        self.layers.setFixedHeight(ROW_HEIGHT * min(max(self.layers.count(), 1), MOST_ROWS) + 8)
        self.refresh()

    def _truth_of(self, image: Any) -> Any:
        """The labels that are an image's reference: the dock's own choice, else the only ones on its grid or name."""
        session = None if self._dock is None else self._dock.session
        if session is not None and image is session.image:
            return session.scores.truth
        fitting = [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Labels)
            and not role_of(layer)
            and grid_shape(layer) == grid_shape(image)
            and not other_grid(layer, image)
        ]
        named = [layer for layer in fitting if layer.name.startswith(image.name)]
        found = fitting if len(fitting) == 1 else named
        return found[0] if len(found) == 1 else None

    def _open(self, layer: Any, truth: Any, planes: tuple[PlaneIndex, ...] | None) -> OpenImage:
        session = self._dock.session
        mine = layer is session.image
        order = (
            session.order()
            if mine
            else order_of(layer, session.source, session.params, session.device, None, Versions(), NOTHING)
        )
        return OpenImage(
            layer.name, order, None if truth is None else finest(truth), planes, source_path(layer)
        )

    def _planes(self) -> tuple[PlaneIndex, ...] | None:
        """The open slice, or those of the volume that it belongs to."""
        session = self._dock.session
        plane = session.plane
        if plane is None:
            return None
        if self.kind.value() == SLICE or plane.slice_axis is None:
            return (plane.index,)
        length = grid_shape(session.image)[plane.slice_axis]
        return tuple(plane.at(position) for position in range(length))
