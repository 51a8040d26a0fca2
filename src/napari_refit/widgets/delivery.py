"""Puts results into the layers of the open image, and keeps the user's own work out of their way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.planes import PlaneIndex
from napari_refit.widgets.layers import ROLES, Outputs
from napari_refit.widgets.planes import OpenPlane, finest, take
from napari_refit.widgets.scores import ScoreBook
from napari_refit.widgets.watching import LabelsWatch, single_shot
from napari_refit.widgets.workbench import PlaneDone, PropagationDone, VolumeDone

DRAW_DELAY = 200
COMPARE_DELAY = 60
THUMBNAIL_DELAY = 400


class Delivery(QObject):
    """The layers of every image that was worked on in one viewer.

    Attributes
    ----------
    image : napari.layers.Image or None
        The open image.
    plane : OpenPlane or None
        Its open plane.

    Signals
    -------
    lock_changed(), layers_changed()
    edited()
        The user painted, undid or redid something.
    carried_changed()
        An undo took a propagation back, or a redo gave it back.
    """

    lock_changed = Signal()
    layers_changed = Signal()
    edited = Signal()
    carried_changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.image: Any = None
        self.plane: OpenPlane | None = None
        self._outputs: dict[Any, Outputs] = {}
        self._watch = LabelsWatch(self._on_edited, self._on_redrawn)
        self._draw_timer = single_shot(self, DRAW_DELAY, self.draw)
        self._thumbnail_timer = single_shot(self, THUMBNAIL_DELAY, self._draw_thumbnails)
        self._compare_timer = single_shot(self, COMPARE_DELAY, self._compare_locks)
        self._make_timer = single_shot(self, 0, self._make_next)

    @property
    def outputs(self) -> Outputs | None:
        """The open image's layers, or None before the first result."""
        return self._outputs.get(self.image)

    @property
    def busy(self) -> bool:
        """Whether something is about to be made, drawn or compared."""
        timers = (self._make_timer, self._draw_timer, self._compare_timer)
        return any(timer.isActive() for timer in timers)

    def books(self) -> list[ScoreBook]:
        """The score books of every image."""
        return [outputs.book for outputs in self._outputs.values()]

    def follow(self) -> None:
        """Watch the labels of the open image."""
        outputs = self.outputs
        self._watch.follow(None if outputs is None else outputs["labels"])

    def look_at(self, plane: OpenPlane | None) -> None:
        """Another plane is open."""
        if self.plane != plane:
            self.drop_coarse()
        self.plane = plane
        outputs = self.outputs
        labels = None if outputs is None else outputs["labels"]
        if plane is not None and labels is not None:
            outputs.locks.note_open(plane.index, take(labels.data, plane.index, labels.ndim))
            if outputs.book.whole and plane.slice_axis is not None:
                # Seen along another axis, a refined volume has other slices to plot.
                along = {plane.at(position) for position in range(outputs.shape[plane.slice_axis])}
                outputs.book.due |= along - outputs.book.dice.keys()
        self.lock_changed.emit()

    def take_plane(self, done: PlaneDone) -> bool:
        """Write a finished plane; returns whether it belongs to the open image."""
        outputs = self._made_for(done)
        if outputs is None:
            return False
        seen_from_aside = outputs.made_along_another_axis(done)
        if done.result.coarse:
            if self.plane is None or done.index != self.plane.index or seen_from_aside:
                return False
            with self._watch.muted():
                outputs.write_coarse(done.index, done.result)
        elif done.force or not seen_from_aside:
            # A volume that was just refined stays as it is while the user looks at it along another axis.
            with self._watch.muted():
                outputs.write(done.index, done.result, undoable=done.force)
            outputs.book.mapped.add(done.index)
            outputs.book.due.add(done.index)
            outputs.doubts.note(done.index, done.result.belief)
        if not done.of_volume:
            self.draw()
        elif not self._draw_timer.isActive():
            self._draw_timer.start()
        return outputs is self.outputs

    def takes_coarse(self, index: PlaneIndex) -> bool:
        """Whether a coarse answer may be shown: never on what the user locked, or could undo."""
        locks = None if self.outputs is None else self.outputs.locks
        return locks is None or not (index in locks or locks.was_painted(index))

    def drop_coarse(self) -> None:
        """Put back what a coarse answer covered, where no sharp one followed."""
        for outputs in self._outputs.values():
            with self._watch.muted():
                outputs.drop_coarse()
                outputs.refresh()

    def take_volume(self, done: VolumeDone) -> None:
        """Every plane was delivered."""
        outputs = self._made_for(done)
        if outputs is not None:
            outputs.refined_whole = done
            outputs.book.whole = True
        self.draw()

    def take_propagation(self, done: PropagationDone) -> bool:
        """Write a propagation as one undo step; returns whether it belongs to the open image."""
        outputs = self._made_for(done)
        if outputs is None:
            return False
        outputs.class_numbers = outputs.class_numbers or done.class_numbers
        with self._watch.muted():
            outputs.write_propagation(done.masks, done.carried, done.beliefs)
        outputs.book.due |= done.masks.keys()
        self.draw()
        return outputs is self.outputs

    def show_state(self, index: PlaneIndex, edges: Any) -> None:
        """Show the edges of an intermediate state on the open plane."""
        outputs = self.outputs
        if outputs is not None and self.plane is not None and index == self.plane.index:
            outputs.write_state(index, edges)

    def draw(self) -> None:
        """Draw what was written since the last time."""
        self._draw_timer.stop()
        if self.outputs is not None:
            with self._watch.muted():
                self.outputs.refresh()
            self._thumbnail_timer.start()

    def restore(self) -> None:
        """Make deleted layers again."""
        if self.outputs is not None:
            with self._selection_kept():
                self.outputs.restore()
            self.look_at(self.plane)
            self.follow()
            self.layers_changed.emit()

    def replace_image(self) -> None:
        """The image's data was replaced: layers of another shape make way, unless the user painted on them."""
        outputs = self.outputs
        if outputs is None:
            return
        if outputs.fits():
            outputs.adopt_data()
        else:
            del self._outputs[self.image]
            outputs.remove()
            self.follow()
            self.layers_changed.emit()

    def move_image(self) -> None:
        """The image's scale or affine changed: its layers follow."""
        if self.outputs is not None:
            with self._watch.muted():
                self.outputs.adopt_geometry()

    def forget(self, layer: Any) -> None:
        """A layer was removed from the viewer."""
        if self._outputs.pop(layer, None) is None:
            self.follow()
        self.layers_changed.emit()

    def set_locked(self, locked: bool) -> None:
        """Lock or unlock the open plane."""
        outputs, plane = self.outputs, self.plane
        if outputs is None or plane is None:
            return
        labels = outputs["labels"]
        if locked:
            outputs.locks.lock(plane.index)
        elif labels is not None:
            outputs.locks.unlock(plane.index, take(labels.data, plane.index, labels.ndim))
        self.lock_changed.emit()

    def close(self) -> None:
        """Let go of the layers, which stay in the viewer."""
        self.drop_coarse()
        self._watch.follow(None)
        for timer in (self._make_timer, self._draw_timer, self._thumbnail_timer, self._compare_timer):
            timer.stop()

    def _made_for(self, done: PlaneDone | VolumeDone | PropagationDone) -> Outputs | None:
        """The layers that a result belongs in, made now if it is the first of the open image."""
        known = [*self._outputs.values()]
        for outputs in [self.outputs, *known] if self.outputs is not None else known:
            if outputs.source is done.order.array:
                if outputs.unmade and not _is_single(done):
                    self._make(outputs, outputs.unmade)
                return outputs
        if self.image is None or finest(self.image) is not done.order.array or self.image in self._outputs:
            return None
        outputs = self._outputs[self.image] = Outputs(self.viewer, self.image)
        # Each takes napari a tenth of a second, in which the window stands still: the others follow one by one.
        self._make(outputs, ("labels",) if _is_single(done) else ROLES)
        if outputs.unmade:
            self._make_timer.start()
        return outputs

    def _make(self, outputs: Outputs, roles: Iterable[str]) -> None:
        with self._selection_kept():
            outputs.make(roles)
        self.look_at(self.plane)
        self.follow()
        self.layers_changed.emit()

    def _make_next(self) -> None:
        """Make one more layer of an image whose first result came; the window may act in between."""
        outputs = next((each for each in self._outputs.values() if each.unmade), None)
        if outputs is None:
            return
        with self._selection_kept(), self._watch.muted():
            outputs.make_next()
        self.layers_changed.emit()
        self._make_timer.start()

    @contextmanager
    def _selection_kept(self) -> Iterator[None]:
        """New layers must not take the selection away from what the user was doing."""
        selection = self.viewer.layers.selection
        before, active = set(selection), selection.active
        yield
        selection.clear()
        selection.update(before)
        if active is not None:
            selection.active = active

    def _on_edited(self, atoms: list[Any]) -> None:
        outputs, plane = self.outputs, self.plane
        if outputs is None or plane is None:
            return
        was_locked = plane.index in outputs.locks
        outputs.book.due |= outputs.locks.note_paint(atoms, plane.index)
        if not was_locked:
            self.lock_changed.emit()
        self.edited.emit()

    def _on_redrawn(self) -> None:
        self._compare_timer.start()

    def _draw_thumbnails(self) -> None:
        if self.outputs is not None:
            with self._watch.muted():
                self.outputs.refresh_thumbnails()

    def _compare_locks(self) -> None:
        outputs = self.outputs
        labels = None if outputs is None else outputs["labels"]
        if labels is None:
            return
        changed = outputs.locks.compare(labels.data)
        outputs.book.due |= changed
        beliefs = outputs.propagations.compare(labels.data)
        if beliefs is not None:
            outputs.doubts.set(beliefs)
            outputs.book.due |= beliefs.keys()
            self.carried_changed.emit()
        if changed:
            self.lock_changed.emit()
        if self.plane is not None and self.plane.index in outputs.book.dice:
            outputs.book.due.add(self.plane.index)
        self.edited.emit()


def _is_single(done: PlaneDone | VolumeDone | PropagationDone) -> bool:
    """Whether no other plane follows at once."""
    return isinstance(done, PlaneDone) and not done.of_volume
