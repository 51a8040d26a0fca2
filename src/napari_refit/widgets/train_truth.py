"""A ground-truth layer as the source of image-level labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_refit.learn.tagged import OpenImage, TaggedSamples, tags_of_values, values_by_plane
from napari_refit.learn.telling import overview
from napari_refit.params import IntensityParams
from napari_refit.planes import Planes
from napari_refit.widgets.choosing import LayerCombo
from napari_refit.widgets.classifier_chooser import LABEL_WIDTH
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.layers import role_of
from napari_refit.widgets.live import Task
from napari_refit.widgets.planes import cut_axes, finest, grid_shape, other_grid
from napari_refit.widgets.saving import source_path
from napari_refit.widgets.tag_desk import is_image
from napari_refit.widgets.train_sources import Found, Looking
from napari_refit.widgets.watching import Connections, single_shot

NO_TRUTH = (
    "Choose an image and a Labels layer on the same grid; a slice shows each class that has a label in it."
)
LOOK_DELAY = 400


class TruthSource(Looking):
    """A Labels layer on the grid of an image: its labels say which slice shows what, and nothing more.

    Signals
    -------
    copy_clicked()
        The labels are to become tags of the table.
    """

    copy_clicked = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.image = LayerCombo(viewer, is_image, "Choose an image…")
        self.truth = LayerCombo(
            viewer, lambda layer: isinstance(layer, Labels) and not role_of(layer), "Choose labels…"
        )
        self.names = QLineEdit()
        self.names.setPlaceholderText("names of labels 1, 2, …, with commas")
        self.names.setToolTip("Names of the labels in ascending order, separated by commas.")
        self.copy = QPushButton("Copy to the table")
        self.copy.setToolTip(
            "Make the labels tags of the table, where they can be corrected and given patients."
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        rows = {"Image": self.image, "Ground truth": self.truth, "Classes": self.names}
        for title, widget in rows.items():
            layout.addWidget(labelled(title, widget, LABEL_WIDTH))
        for widget in (self.note, self.warning, self.copy):
            layout.addWidget(widget)
        self.note.set_plain(NO_TRUTH)
        self.copy.setEnabled(False)
        self._look_later = single_shot(self, LOOK_DELAY, self.look)
        self._of_truth = Connections(self)
        self._of_viewer = Connections(self)
        self._of_viewer.listen(viewer.dims, ("order",), self._look_again)
        self.image.chosen.connect(lambda _: self.look())
        self.truth.chosen.connect(self._on_truth)
        self.names.editingFinished.connect(self.look)
        self.copy.clicked.connect(self.copy_clicked)

    def showEvent(self, event: QShowEvent) -> None:
        """Begin with the first image, and with the only labels on its grid."""
        super().showEvent(event)
        if self.image.layer is None and self.image.candidates():
            self.image.choose(self.image.candidates()[0])
        image = self.image.layer
        if image is not None and self.truth.layer is None:
            fitting = [layer for layer in self.truth.candidates() if not other_grid(layer, image)]
            if len(fitting) == 1:
                self.truth.choose(fitting[0])

    def look(self) -> None:
        """Look at the labels again."""
        image, truth = self.image.layer, self.truth.layer
        if image is None or truth is None:
            self._ask(None, NO_TRUTH)
        elif problem := other_grid(truth, image):
            self._ask(None, NO_TRUTH)
            self.failed.emit(f"{problem} Choose labels on the image's grid.")
        else:
            self._ask(self._job(), NO_TRUTH)
        self.copy.setEnabled(False)

    def samples(self, intensity: IntensityParams) -> Callable[[Task], Any]:
        """The slices with what the labels say, read when the training asks.

        Raises
        ------
        ValueError
            If no labels are chosen, or they are on another grid.
        """
        self.intensity = intensity
        image, truth = self.image.layer, self.truth.layer
        if image is None or truth is None:
            raise ValueError(NO_TRUTH)
        if problem := other_grid(truth, image):
            raise ValueError(f"{problem} Choose labels on the image's grid.")
        job = self._job()
        return lambda task: job(task).samples

    def layers(self) -> list[Any]:
        """The layers that a training reads."""
        return [layer for layer in (self.image.layer, self.truth.layer) if layer is not None]

    def default_out(self) -> Path | None:
        """A name for the checkpoint beside the image's file; None where it has none."""
        source = None if self.image.layer is None else source_path(self.image.layer)
        return None if source is None else source.parent / "classifier.safetensors"

    def close_down(self) -> None:
        """Let go of the viewer."""
        super().close_down()
        self._of_truth.release()
        self._of_viewer.release()
        self._look_later.stop()
        self.image.close_down()
        self.truth.close_down()

    def _on_truth(self, layer: Any) -> None:
        self._of_truth.release()
        if layer is not None:
            self._of_truth.listen(layer, ("data", "paint"), self._look_again)
        self.look()

    def _look_again(self) -> None:
        self._look_later.start()

    def _on_found(self, found: Any) -> None:
        super()._on_found(found)
        self.copy.setEnabled(True)

    def _job(self) -> Callable[[Task], Found]:
        image, truth, intensity = self.image.layer, self.truth.layer, self.intensity
        name, planes = image.name, Planes(finest(image), image.rgb)
        labels, cut = finest(truth), cut_axes(image, self.viewer.dims)
        wanted = [part.strip() for part in self.names.text().split(",") if part.strip()]
        shape = grid_shape(image)

        def job(task: Task) -> Found:
            values = values_by_plane(labels, cut, cancelled=task.cancelled)
            there = sorted({value for present in values.values() for value in present})
            if not there:
                raise ValueError(
                    f"the labels of shape {shape} hold nothing but 0: paint or open a ground truth"
                )
            names = class_names(there, wanted)
            tags = tags_of_values(values, names)
            classes = list(dict.fromkeys(names.values()))
            samples = TaggedSamples(
                [OpenImage(name, planes)], [(0, *item) for item in tags.items()], classes, intensity
            )
            return Found(samples, *overview(samples), values=tags)

        return job


def class_names(values: list[int], wanted: list[str]) -> dict[int, str]:
    """Names of labels: those that were wanted in turn, then "class" and the number.

    Examples
    --------
    >>> class_names([1, 4], []), class_names([1, 4], ["cyst"])
    ({1: 'class 1', 4: 'class 4'}, {1: 'cyst', 4: 'class 4'})
    """
    return {
        value: wanted[place] if place < len(wanted) else f"class {value}"
        for place, value in enumerate(values)
    }
