"""Tagging without its widgets: the slices of a viewer's images, what they show, and where that is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_refit.learn.tag_files import TableRow
from napari_refit.learn.tagged import OpenImage, TaggedSamples, every_plane
from napari_refit.learn.tags import Slot, Tag, Tagging, in_blocks
from napari_refit.params import IntensityParams
from napari_refit.planes import PlaneIndex, Planes
from napari_refit.widgets.layers import role_of
from napari_refit.widgets.planes import NoPlaneError, cut_axes, finest, go_to, grid_shape, open_plane
from napari_refit.widgets.tag_tables import load_table, save_table
from napari_refit.widgets.watching import Connections, Soon

KEPT = "refit_tags"
FIRST_CLASSES = ("lesion",)
DIMS = ("point", "order", "ndisplay", "ndim")


def is_image(layer: Any) -> bool:
    """Whether a layer is an image that the user opened."""
    return isinstance(layer, Image) and layer.ndim >= 2 and not role_of(layer)


class TagDesk(QObject):
    """Tags of a viewer's images, kept in each layer's metadata.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    tagging : Tagging
    image : napari.layers.Image or None
        Whose slices the rows are; None: those of every image.
    slots : list of Slot
        The rows: a layer and one of its planes.
    current : int
        The row that is open in the viewer; -1 for none.

    Signals
    -------
    rows_changed(), tags_changed(), classes_changed(), current_changed(int)
    said(str), failed(str)
    """

    rows_changed = Signal()
    tags_changed = Signal()
    classes_changed = Signal()
    current_changed = Signal(int)
    said = Signal(str)
    failed = Signal(str)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.tagging = Tagging(FIRST_CLASSES)
        self.image: Any = None
        self.slots: list[Slot] = []
        self.current = -1
        self._places: dict[Slot, int] = {}
        self._elsewhere: dict[Path, list[TableRow]] = {}
        self._seen: list[Any] = []
        self._moving = False
        self._look_soon = Soon(self, self._look)
        self._of_viewer = Connections(self)
        self._of_viewer.listen(viewer.dims, DIMS, self._look_soon.ask)
        self._of_viewer.listen(viewer.layers.selection, ("active",), self._look_soon.ask)
        self._of_viewer.listen(viewer.layers, ("inserted",), self._on_inserted)
        self._of_viewer.listen(viewer.layers, ("removed",), self._on_removed)
        self._of_viewer.listen(viewer.layers, ("renamed", "reordered"), self._look_soon.ask)
        for layer in self.images():
            self._restore(layer)
        self._look()

    def close(self) -> None:
        """Let go of the viewer; the tags stay with the layers."""
        self._of_viewer.release()
        self._look_soon.stop()

    # -- what there is

    def images(self) -> list[Any]:
        """The images that can be tagged."""
        return [layer for layer in self.viewer.layers if is_image(layer)]

    def scope(self) -> list[Any]:
        """The images that the rows are of."""
        return self.images() if self.image is None else [self.image]

    def set_image(self, layer: Any) -> None:
        """Have the slices of one image as rows, or with None those of every image."""
        layer = next((own for own in self.viewer.layers if own == layer), None)
        if layer is not self.image:
            self.image = layer
            self._look()

    def title(self, row: int) -> str:
        """What a row is called: the slice, with the image's name where there are several."""
        layer, index = self.slots[row]
        number = "/".join(str(at) for _, at in index)
        if self.image is not None:
            return f"Slice {number}" if index else layer.name
        return f"{layer.name}, {number}" if index else layer.name

    def n_tagged(self) -> int:
        """How many rows have a tag."""
        return sum(self.tagging[slot].labels is not None for slot in self.slots)

    def samples(self, intensity: IntensityParams) -> TaggedSamples:
        """The tagged rows as something to train on; the arrays are read later.

        Raises
        ------
        ValueError
            If nothing is tagged.
        """
        layers = list(dict.fromkeys(layer for layer, _ in self.slots))
        images = [OpenImage(layer.name, Planes(finest(layer), layer.rgb)) for layer in layers]
        tags = [(layers.index(layer), index, self.tagging[layer, index]) for layer, index in self.slots]
        return TaggedSamples(images, tags, self.tagging.classes, intensity)

    # -- what the user does

    def go(self, row: int) -> None:
        """Open a row in the viewer."""
        if not 0 <= row < len(self.slots):
            return
        layer, index = self.slots[row]
        self._moving = True
        try:
            if self.image is None:
                for other in self.scope():
                    if other.visible != (other is layer):
                        other.visible = other is layer
                self.viewer.layers.selection.active = layer
            go_to(layer, self.viewer.dims, index)
        finally:
            self._moving = False
        self._set_current(row)

    def step(self, steps: int) -> None:
        """Open a row before or after the open one."""
        if self.slots:
            self.go(min(max(self.current + steps, 0), len(self.slots) - 1))

    def tag(self, number: int, rows: Sequence[int] = ()) -> None:
        """Say what rows show (none given: the open one) and open the next row that has no tag yet.

        Parameters
        ----------
        number : int
            0 for background, else the class's place, counted from 1.
        """
        rows = self._chosen(rows)
        classes = self.tagging.classes
        if not rows:
            return
        if number > len(classes):
            self.failed.emit(f"There is no class {number}: add one above, or press 0 to {len(classes)}.")
            return
        self.tagging.set_labels([self.slots[row] for row in rows], classes[number - 1 : number])
        self._changed(self.slots[row][0] for row in rows)
        following = self.tagging.next_untagged(self.slots, rows[-1])
        if following is None:
            self.said.emit("Every slice here is tagged.")
        else:
            self.go(following)

    def toggle(self, number: int, rows: Sequence[int] = ()) -> None:
        """Add a class to what rows show, or take it away; the open row stays."""
        rows = self._chosen(rows)
        if rows and 1 <= number <= len(self.tagging.classes):
            self.tagging.toggle([self.slots[row] for row in rows], self.tagging.classes[number - 1])
            self._changed(self.slots[row][0] for row in rows)

    def set_labels(self, row: int, names: Iterable[str]) -> None:
        """Say which classes a row shows; refused with a message if there is no such class."""
        self._try(lambda: self.tagging.set_labels([self.slots[row]], names), [self.slots[row][0]])

    def clear(self, rows: Sequence[int] = ()) -> None:
        """Make rows untagged."""
        rows = self._chosen(rows)
        self.tagging.clear([self.slots[row] for row in rows])
        self._changed(self.slots[row][0] for row in rows)

    def set_patient(self, rows: Sequence[int], name: str) -> None:
        """Say whom rows show."""
        self.tagging.set_patient([self.slots[row] for row in rows], name)
        self._changed(self.slots[row][0] for row in rows)

    def name_blocks(self, length: int) -> None:
        """Count so many neighbouring slices as a patient; 0: each image is one again."""
        names = {layer: layer.name for layer, _ in self.slots}
        blocks = in_blocks(self.slots, length, names) if length else dict.fromkeys(self.slots, "")
        self.tagging.set_patients(blocks)
        self._changed(names)

    def undo(self) -> None:
        """Take the last change back, and open what it was about."""
        classes = self.tagging.classes
        slots = self.tagging.undo()
        self._changed(layer for layer, _ in slots)
        if classes != self.tagging.classes:
            self._keep(self.images())
            self.classes_changed.emit()
        rows = [self._places[slot] for slot in slots if slot in self._places]
        if rows:
            self.go(rows[0])

    def add_class(self, name: str) -> bool:
        """Add a class; returns whether it could be."""
        return self._try(lambda: self.tagging.add_class(name))

    def rename_class(self, old: str, new: str) -> bool:
        """Rename a class everywhere; returns whether it could be."""
        return self._try(lambda: self.tagging.rename_class(old, new))

    def remove_class(self, name: str) -> None:
        """Remove a class, which can be undone."""
        self._try(lambda: self.tagging.remove_class(name))

    def take(self, layer: Any, tags: dict[PlaneIndex, Tag]) -> int:
        """Take tags of an image from elsewhere; returns how many were otherwise before."""
        replaced = self.tagging.take({(layer, index): tag for index, tag in tags.items()})
        self._keep(self.images())
        self.classes_changed.emit()
        self.tags_changed.emit()
        return replaced

    # -- tables

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write every tag as a table that ``napari-refit train`` reads.

        Raises
        ------
        ValueError, WriteError
            As `napari_refit.widgets.tag_tables.save_table`.
        """
        others = self._elsewhere.get(path.resolve(), [])
        self.said.emit(save_table(path, self.tagging.known(), others, overwrite=overwrite))

    def load(self, path: Path) -> None:
        """Take the tags of the images that are open from a table; it can be undone.

        Raises
        ------
        ReadError, ValueError
            As `napari_refit.widgets.tag_tables.load_table`.
        """
        found, others = load_table(path, self.images())
        replaced = self.tagging.take(found)
        self._elsewhere[path.resolve()] = others
        self._keep(self.images())
        self.classes_changed.emit()
        self._changed([])
        text = f"Loaded {len(found)} tags from {path.name}"
        text += f", {replaced} in place of others (Undo takes them back)" if replaced else ""
        text += f"; rows of images that are not open: {len(others)}" if others else ""
        self.said.emit(f"{text}.")

    # -- inside

    def _chosen(self, rows: Sequence[int]) -> list[int]:
        return list(rows) or ([self.current] if self.current >= 0 else [])

    def _try(self, change: Any, layers: Iterable[Any] | None = None) -> bool:
        classes = self.tagging.classes
        try:
            change()
        except ValueError as error:
            text = str(error)
            self.failed.emit(f"{text[0].upper()}{text[1:]}.")
            return False
        self._changed(self.images() if layers is None else layers)
        if classes != self.tagging.classes:
            self.classes_changed.emit()
        return True

    def _changed(self, layers: Iterable[Any]) -> None:
        self._keep(dict.fromkeys(layers))
        self.failed.emit("")
        self.tags_changed.emit()

    def _keep(self, layers: Iterable[Any]) -> None:
        for layer in layers:
            kept = self.tagging.kept(layer)
            if kept["tags"] or KEPT in layer.metadata:
                layer.metadata[KEPT] = kept

    def _restore(self, layer: Any) -> None:
        kept = layer.metadata.get(KEPT)
        if kept is None:
            return
        untouched = not self.tagging.known() and not self.tagging.can_undo
        if untouched and self.tagging.classes == FIRST_CLASSES:
            self.tagging = Tagging()
        try:
            self.tagging.restore(layer, kept)
        except ValueError as error:
            self.failed.emit(str(error))
        if not self.tagging.classes:
            self.tagging = Tagging(FIRST_CLASSES)
        self.classes_changed.emit()

    def _on_inserted(self, event: Any) -> None:
        if is_image(event.value):
            self._restore(event.value)
        self._look_soon.ask()

    def _on_removed(self, event: Any) -> None:
        self.tagging.forget(event.value)
        if event.value is self.image:
            self.image = None
        self._look()

    def _look(self) -> None:
        """Find out which rows there are, and which of them is open."""
        dims = self.viewer.dims
        seen = [
            (layer, layer.name, grid_shape(layer), cut_axes(layer, dims), self.image is None)
            for layer in self.scope()
        ]
        if seen != self._seen:
            self._seen = seen
            self.slots = [
                (layer, index) for layer, _, shape, cut, _ in seen for index in every_plane(shape, cut)
            ]
            self._places = {slot: row for row, slot in enumerate(self.slots)}
            self.current = -1
            self.rows_changed.emit()
        if not self._moving:
            self._set_current(self._open_row())

    def _open_row(self) -> int:
        active = self.viewer.layers.selection.active
        scope = self.scope()
        shown = [layer for layer in scope if layer.visible]
        layer = active if active in scope else (shown or scope)[-1] if scope else None
        if layer is None:
            return -1
        try:
            return self._places.get((layer, open_plane(layer, self.viewer.dims).index), -1)
        except NoPlaneError:
            return -1

    def _set_current(self, row: int) -> None:
        if row != self.current:
            self.current = row
            self.current_changed.emit(row)
