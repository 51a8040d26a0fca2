"""The layers of the case that is reviewed, and what the user paints in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_refit.widgets.layers import MARK, class_colors
from napari_refit.widgets.planes import go_to
from napari_refit.widgets.review_cases import IMAGE, LABELS, TRUTH, CaseFiles, Opened, write_fix

TITLES = {IMAGE: "{}", TRUTH: "truth · {}", LABELS: "refined · {}"}
TRUTH_COLOR = "#ffffff"
BRUSH_SHARE = 40
"""The brush is this part of the shorter side of a slice."""


class CaseLayers:
    """Layers of one case in a viewer; it knows no Qt, so that painting can be saved when the window is gone.

    Parameters
    ----------
    viewer : napari.Viewer
    opened : Opened

    Attributes
    ----------
    files : CaseFiles
    labels : napari.layers.Labels
        The refined ones. They are held even when the user removes them from the viewer.
    seen : str
        Checksum of the file that they are in.
    """

    def __init__(self, viewer: Any, opened: Opened) -> None:
        self._viewer = viewer
        self._place = opened.place
        self.files: CaseFiles = opened.files
        self.seen = opened.seen
        short = opened.files.name.rpartition("/")[2]
        self._layers = {role: _layer(role, data, short) for role, data in opened.layers.items()}
        self.labels = self._layers[LABELS]
        self._saved = np.array(self.labels.data)

    def show(self) -> None:
        """Put the layers on top of the others, and go to the slice with most to see."""
        for role in (IMAGE, LABELS, TRUTH):
            if role in self._layers:
                self._viewer.layers.append(self._layers[role])
        self._viewer.reset_view()
        go_to(self.labels, self._viewer.dims, self._place)
        self._viewer.layers.selection.active = self.labels

    def remove(self) -> None:
        """Take them out of the viewer."""
        for layer in self.there():
            self._viewer.layers.remove(layer)

    def there(self) -> list[Any]:
        """Those that are still in the viewer."""
        return [layer for layer in self._layers.values() if layer in self._viewer.layers]

    def __contains__(self, layer: Any) -> bool:
        """Whether a layer is one of these."""
        return any(own is layer for own in self._layers.values())

    @property
    def painting(self) -> bool:
        """Whether the brush is in the hand."""
        return self.labels.mode in ("paint", "erase", "fill", "polygon")

    def take_brush(self) -> None:
        """Make the refined labels ready to paint in; put back what the user removed."""
        if self.labels not in self._viewer.layers:
            self._viewer.layers.append(self.labels)
        self.labels.visible = True
        self._viewer.layers.selection.active = self.labels
        counts = np.bincount(np.minimum(self._saved, 255).ravel()) if self._saved.size else np.zeros(1)
        self.labels.selected_label = int(counts[1:].argmax()) + 1 if counts[1:].any() else 1
        self.labels.brush_size = max(1, min(self._saved.shape[-2:]) // BRUSH_SHARE)
        self.labels.mode = "paint"

    def put_brush_down(self) -> None:
        """Go back to moving about."""
        self.labels.mode = "pan_zoom"

    def changed(self) -> bool:
        """Whether the labels differ from the file."""
        now = self.labels.data
        return now.shape != self._saved.shape or not np.array_equal(now, self._saved)

    def discard(self) -> None:
        """Go back to what the file holds, as one step that can be undone."""
        where = np.nonzero(self.labels.data != self._saved)
        if where[0].size:
            self.labels.data_setitem(where, self._saved[where])

    def snapshot(self) -> tuple[NDArray[Any], dict[str, Any]]:
        """The labels as they are, and what their layer knows of the file: for `write_fix`, on any thread."""
        return np.array(self.labels.data), self.labels.as_layer_data_tuple()[1]

    def note_saved(self, labels: NDArray[Any], seen: str) -> None:
        """These are in the file now, which has this checksum."""
        self._saved, self.seen = labels, seen

    def freeze(self) -> None:
        """Take no more painting: another case is on its way."""
        self.put_brush_down()
        self.labels.editable = False

    def save(self) -> None:
        """Write the labels over the result, at once."""
        labels, keywords = self.snapshot()
        self.note_saved(labels, write_fix(self.files.labels, labels, keywords))


def _layer(role: str, data: tuple[Any, dict[str, Any], str], name: str) -> Any:
    array, keywords, kind = data
    looks: dict[str, Any] = {"name": TITLES[role].format(name)}
    if role == LABELS:
        looks |= {"opacity": 0.55, "colormap": class_colors()}
    elif role == TRUTH:
        several = int(array.max(initial=0)) > 1
        looks["colormap"] = class_colors(None if several else {1: TRUTH_COLOR})
    # The ReFit dock leaves marked layers alone.
    metadata = {**keywords["metadata"], MARK: {"role": f"review {role}"}}
    layer = Layer.create(array, {**keywords, **looks, "metadata": metadata}, kind)
    if role == TRUTH:
        layer.contour, layer.opacity = 1, 1.0
    return layer
