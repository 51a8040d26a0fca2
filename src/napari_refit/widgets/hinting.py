"""The user's hints: a labels layer per image that the fit obeys, and the brushes for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_refit.fit.hints import BACKGROUND_HINT
from napari_refit.widgets.effort import Effort
from napari_refit.widgets.layers import MARK, class_colors
from napari_refit.widgets.planes import adopt_geometry, expression, geometry, grid_shape, places
from napari_refit.widgets.watching import LabelsWatch

ROLE = "hints"
BACKGROUND_COLOR = "#ff3030"
ERASE = 0
BRUSH = 4


class Hinting(QObject):
    """The hints on the images of one viewer.

    Parameters
    ----------
    viewer : napari.Viewer

    Signals
    -------
    changed()
        There are other hints on the open image.
    tool_changed()
        Another brush is in the hand, or none.
    effort_changed()
    """

    changed = Signal()
    tool_changed = Signal()
    effort_changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._image: Any = None
        self._layers: dict[Any, Any] = {}
        self._efforts: dict[Any, Effort] = {}
        self._before: Any = None
        self._watch = LabelsWatch(self._on_painted, self.changed.emit)
        self.tool: int | None = None

    @property
    def layer(self) -> Any:
        """The open image's hints, or None where there are none or they no longer fit."""
        layer = self._layers.get(self._image)
        if layer is None or layer not in self._viewer.layers or grid_shape(layer) != grid_shape(self._image):
            return None
        return layer

    @property
    def array(self) -> Any:
        """The open image's hints as an array, or None."""
        return None if self.layer is None else self.layer.data

    @property
    def effort(self) -> Effort:
        """What the open image's mask has cost so far."""
        return self._efforts.setdefault(self._image, Effort())

    def open(self, image: Any) -> None:
        """Another image is open."""
        self.put_down()
        self._image = image
        self._watch.follow(self.layer)
        self.effort_changed.emit()

    def take(self, number: int) -> None:
        """Take a brush: a class number, `BACKGROUND_HINT`, or `ERASE`; the one in the hand is put down."""
        if self._image is None or number == self.tool:
            self.put_down()
            return
        selection = self._viewer.layers.selection
        if self.tool is None:
            self._before = selection.active
        layer = self.layer or self._make()
        selection.active = layer
        layer.selected_label = number or 1
        layer.mode = "erase" if number == ERASE else "paint"
        self.tool = number
        self.tool_changed.emit()

    def put_down(self) -> None:
        """Move and zoom again, in the layer that was selected before."""
        if self.tool is None:
            return
        self.tool = None
        if self.layer is not None:
            self.layer.mode = "pan_zoom"
        before, self._before = self._before, None
        if before is not None and before in self._viewer.layers:
            self._viewer.layers.selection.active = before
        self.tool_changed.emit()

    def note_click(self) -> None:
        """The user clicked on a cluster."""
        self.effort.note("click")
        self.effort_changed.emit()

    def clear(self, index: Any) -> None:
        """Take back every hint of a plane, as one undo step."""
        layer = self.layer
        if layer is None:
            return
        hinted = layer.data[expression(index, layer.ndim)] != 0
        layer.data_setitem(places(index, layer.ndim, hinted), ERASE)

    def move(self) -> None:
        """The image's scale or affine changed."""
        if self.layer is not None:
            adopt_geometry(self.layer, self._image)

    def forget(self, layer: Any) -> None:
        """A layer was removed from the viewer."""
        self._efforts.pop(layer, None)
        # Hints on an image that is gone stay in the viewer: they are the user's.
        self._layers.pop(layer, None)
        owner = next((image for image, own in self._layers.items() if own is layer), None)
        if owner is None:
            return
        del self._layers[owner]
        if owner is self._image:
            self.tool, self._before = None, None
            self._watch.follow(None)
            self.tool_changed.emit()
            self.changed.emit()

    def close(self) -> None:
        """Let go of the layers, which stay in the viewer."""
        self._watch.follow(None)

    def _make(self) -> Any:
        place = geometry(self._image)
        place["metadata"] = {**place["metadata"], MARK: {"role": ROLE, "image": self._image.name}}
        layer = Labels(
            np.zeros(grid_shape(self._image), np.uint8),
            name=f"hints · {self._image.name}",
            opacity=0.9,
            colormap=class_colors({BACKGROUND_HINT: BACKGROUND_COLOR}),
            **place,
        )
        layer.brush_size = BRUSH
        self._viewer.add_layer(layer)
        self._layers[self._image] = layer
        self._watch.follow(layer)
        return layer

    def _on_painted(self, atoms: list[Any]) -> None:
        # A stroke is told of once more when it is over.
        if atoms:
            self.effort.note("stroke")
            self.effort_changed.emit()
        self.changed.emit()
