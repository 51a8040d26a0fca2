"""What a dock does, without its widgets: joins a viewer, the parameters, the worker and the layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_refit.recipe import RefitParams
from napari_refit.widgets.delivery import Delivery
from napari_refit.widgets.doubts import DoubtKeeper
from napari_refit.widgets.errands import Errands
from napari_refit.widgets.hand import Hand
from napari_refit.widgets.layers import Outputs
from napari_refit.widgets.live import LiveLoop
from napari_refit.widgets.look_ahead import LookAhead
from napari_refit.widgets.ordering import Source, Versions, order_of
from napari_refit.widgets.planes import NoPlaneError, OpenPlane, go_to, open_plane
from napari_refit.widgets.propagated import NOTHING
from napari_refit.widgets.scores import ScoreKeeper
from napari_refit.widgets.status import Status
from napari_refit.widgets.watching import Connections, Soon
from napari_refit.widgets.workbench import ClassesKnown, Order, PlaneDone, Workbench

NO_IMAGE = "Open an image, then choose it above."
LIVE_OFF = "Live is off."
MOVED = ("scale", "translate", "rotate", "shear", "affine", "units")


class Session(QObject):
    """One dock's work on the images of one viewer.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    layers : Delivery
        The layers that results are written to.
    scores : ScoreKeeper
        Their comparison with the ground truth.
    doubts : DoubtKeeper
        Which slices are most in need of a look.
    hand : Hand
        The user's hints, and the tool for clusters.
    errands : Errands
        "Refine volume" and "Propagate".

    Signals
    -------
    status(str)
        What is going on: a stage, a hint, or nothing.
    message(str), error(str)
        What a user should know of the open slice; what went wrong.
    result(object)
        The `SliceResult` of the open slice.
    classes(object)
        The classifier was loaded (`ClassesKnown`).
    plane_changed(), lock_changed(), layers_changed()
    changed()
        Something that a result depends on, or the ground truth.
    """

    status = Signal(str)
    message = Signal(str)
    error = Signal(str)
    result = Signal(object)
    classes = Signal(object)
    plane_changed = Signal()
    lock_changed = Signal()
    layers_changed = Signal()
    changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.params = RefitParams()
        self.source = Source()
        self.device: str | None = None
        self.live = True
        self._hint = NO_IMAGE
        self._notice = ""
        self._versions = Versions()
        self._force = False
        self._of_viewer = Connections(self)
        self._of_image = Connections(self)
        self._of_response = Connections(self)
        self._bench = Workbench()
        self.layers = Delivery(viewer, self)
        self.layers.lock_changed.connect(self.lock_changed)
        self.layers.layers_changed.connect(self.layers_changed)
        self._loop = LiveLoop(self)
        self._status = Status(self)
        self._status.said.connect(self.status)
        self._loop.stage.connect(self._status.stage)
        self._loop.state.connect(self._on_state)
        self._loop.part.connect(self._on_part)
        self._loop.finished.connect(self._on_finished)
        self._loop.failed.connect(self._on_failed)
        self._loop.cancelled.connect(self._on_cancelled)
        self._loop.notice.connect(self._on_notice)
        self._ahead = LookAhead(self._loop, self._bench, self)
        self._ahead.warm_up()
        self.scores = ScoreKeeper(self.layers, self)
        self.layers.edited.connect(self.scores.changed)
        self.doubts = DoubtKeeper(self.layers, self)
        self.layers.edited.connect(self.doubts.edited)
        for signal in (self.layers.lock_changed, self.layers.layers_changed, self.layers.carried_changed):
            signal.connect(self.doubts.changed)
        self.layers.carried_changed.connect(self.update)
        self.errands = Errands(self, self._loop.request, self._bench)
        self.errands.said.connect(self._status.say)
        self._loop.progress.connect(self.errands.on_progress)
        self.hand = Hand(self)
        self.hand.hinted.connect(self._on_hinted)
        self.hand.said.connect(self.status)
        self._ask_soon = Soon(self, self._ask)
        self._look_soon = Soon(self, self._look)
        self._of_viewer.listen(viewer.dims, ("point", "order", "ndisplay", "ndim"), self._look_soon.ask)
        self._of_viewer.listen(viewer.layers, ("removed",), self._on_removed)

    # -- what the dock tells

    def set_image(self, layer: Any) -> None:
        """Work on another image layer, or on none."""
        layer = self.own(layer)
        if layer is self.image:
            return
        if not self.volume_running:
            self._loop.cancel()
        self._of_image.release()
        self.layers.image = layer
        self.hand.open(layer)
        if layer is not None:
            self._of_image.listen(layer, MOVED, self._on_image_moved)
            self._of_image.listen(layer, ("data",), self._on_image_replaced)
        self.layers.follow()
        self._look(changed=True)
        self.message.emit("")
        self.layers_changed.emit()

    def set_truth(self, layer: Any) -> None:
        """Compare with another labels layer, or with none."""
        self.scores.set_truth(self.own(layer))
        self.changed.emit()

    def set_source(self, source: Source) -> None:
        """Take response maps from elsewhere."""
        source = replace(source, layer=self.own(source.layer))
        self._of_response.release()
        if source.layer is not None:
            self._of_response.listen(source.layer, ("data",), self._on_response_replaced)
        self.source = source
        # The same file or layer may hold something else now.
        self._versions.response += 1
        self.update()

    def set_modalities(self, modalities: tuple[int, ...]) -> None:
        """Feed the classifier other modalities of the image."""
        self.set_source(replace(self.source, modalities=modalities))

    def set_device(self, device: str | None) -> None:
        """Compute elsewhere."""
        self.device = device
        self.update()

    def set_params(self, params: RefitParams) -> None:
        """Refine with other parameters."""
        if params != self.params:
            self.params = params
            self.update()

    def set_live(self, live: bool) -> None:
        """Follow sliders and slices, or only do what is asked for."""
        self.live = live
        if live:
            self.update()
        elif not self.volume_running:
            self._loop.cancel()
            self._status.say(LIVE_OFF)

    def show_class(self, name: str | None) -> None:
        """Choose the class whose response is shown; None: the highest of all."""
        if self.outputs is not None:
            self.outputs.show_class(name)

    def update(self, *, force: bool = False) -> None:
        """Ask for the open slice; ``force`` even where live is off or the volume was refined already."""
        self._force |= force
        self._ask_soon.ask()
        self.changed.emit()

    def reset_slice(self) -> None:
        """Throw hand edits of the open slice away and refine it again."""
        self.layers.set_locked(False)
        self.update(force=True)

    def set_locked(self, locked: bool) -> None:
        """Keep automatic updates off the open slice, or let them in again."""
        if locked != self.locked:
            self.layers.set_locked(locked)
            self.hand.hints.note_click()
            if not locked:
                self.update()

    def refine_volume(self) -> None:
        """Refine every slice along the open slice axis; locked slices stay."""
        self.errands.refine()

    def cancel(self) -> None:
        """Stop whatever runs."""
        self._loop.cancel()

    def go_to_slice(self, position: int) -> None:
        """Show another slice."""
        if self.plane is not None and self.plane.slice_axis is not None:
            go_to(self.image, self.viewer.dims, self.plane.at(position))

    def restore_layers(self) -> None:
        """Make deleted layers again."""
        self.layers.restore()
        self.update(force=True)

    def close(self) -> None:
        """Let go of the viewer and stop the threads, without waiting."""
        for connections in (self._of_viewer, self._of_image, self._of_response):
            connections.release()
        self._ask_soon.stop()
        self._look_soon.stop()
        self._status.stop()
        self._ahead.stop()
        self.layers.close()
        self.hand.close()
        self.scores.close()
        self.doubts.close()
        self._loop.close()

    # -- what the dock asks

    @property
    def image(self) -> Any:
        """The open image layer, or None."""
        return self.layers.image

    @property
    def plane(self) -> OpenPlane | None:
        """Its open plane, or None where there is no single one."""
        return self.layers.plane

    @property
    def outputs(self) -> Outputs | None:
        """The open image's layers, or None before the first result."""
        return self.layers.outputs

    @property
    def volume_running(self) -> bool:
        """Whether a job on the whole volume runs."""
        return self.errands.running

    @property
    def locked(self) -> bool:
        """Whether the open slice is kept from automatic updates."""
        return self.outputs is not None and self.plane is not None and self.plane.index in self.outputs.locks

    @property
    def painted(self) -> bool:
        """Whether it is kept because the user painted on it."""
        return self.locked and self.outputs.locks.is_painted(self.plane.index)

    @property
    def running(self) -> bool:
        """Whether anything is being computed, drawn or measured, or about to be."""
        return (
            self._ask_soon.pending
            or self._look_soon.pending
            or self._loop.busy
            or self.scores.busy
            or self.doubts.busy
            or self.layers.busy
        )

    def own(self, layer: Any) -> Any:
        """The viewer's own object for a layer, or None where it is not in this viewer."""
        return None if layer is None else next((own for own in self.viewer.layers if own == layer), None)

    def order(self) -> Order:
        """What a job needs to know right now."""
        carried = NOTHING if self.outputs is None else self.outputs.propagations.carried
        hints = self.hand.hints.array
        return order_of(self.image, self.source, self.params, self.device, hints, self._versions, carried)

    # -- reactions

    def _look(self, changed: bool = False) -> None:
        """Find out which plane is open, and ask for it if that is news."""
        before, self._hint = (self.plane, self._hint), ""
        plane = None
        if self.image is None:
            self._hint = NO_IMAGE
        else:
            try:
                plane = open_plane(self.image, self.viewer.dims)
            except NoPlaneError as error:
                self._hint = str(error)
        if (plane, self._hint) == before and not changed:
            return
        self.layers.look_at(plane)
        self.plane_changed.emit()
        self.scores.changed()
        self.doubts.changed()
        self.update()

    def _ask(self) -> None:
        force, self._force = self._force, False
        if self.plane is None:
            if not self.volume_running:
                self._loop.cancel()
                self._status.say(self._hint)
            return
        if not (self.live or force):
            self._status.say(LIVE_OFF)
            return
        self._notice = ""
        coarse = not force and self.layers.takes_coarse(self.plane.index)
        self._loop.request(self._bench.plane(self.order(), self.plane.index, force, coarse))

    def _on_hinted(self) -> None:
        self._versions.hints += 1
        self.update()

    def _on_image_moved(self) -> None:
        self.layers.move_image()
        self.hand.hints.move()
        self._look_soon.ask()
        self.update()

    def _on_image_replaced(self) -> None:
        self._versions.image += 1
        self.layers.replace_image()
        self._look(changed=True)

    def _on_response_replaced(self) -> None:
        self._versions.response += 1
        self.update()

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        if layer is self.image:
            self._loop.cancel()
            self.set_image(None)
        self.layers.forget(layer)
        self.hand.hints.forget(layer)
        if layer is self.scores.truth:
            self.set_truth(None)
        if layer is self.source.layer:
            self.set_source(Source())

    def _on_state(self, found: Any) -> None:
        self.layers.show_state(*found)

    def _on_part(self, part: object) -> None:
        if isinstance(part, ClassesKnown):
            self.classes.emit(part)
        elif isinstance(part, PlaneDone):
            self.layers.take_plane(part)
            if not part.result.coarse:
                self.scores.changed()
                self.doubts.changed()

    def _on_notice(self, text: str) -> None:
        self._notice = text
        self._status.say(text)

    def _on_finished(self, done: object) -> None:
        self.error.emit("")
        if not isinstance(done, PlaneDone):
            self.errands.finish(done)
        elif self.layers.take_plane(done):
            self._status.say(self._notice)
            self.message.emit(done.result.message)
            self.hand.show(done)
            self.result.emit(done.result)
            self._ahead.start(done.order, self.plane)
        self.scores.changed()
        self.doubts.changed()

    def _on_failed(self, text: str) -> None:
        self.layers.drop_coarse()
        self.errands.end("")
        self._status.say("")
        self.error.emit(text)

    def _on_cancelled(self) -> None:
        self._status.stop()
        self.layers.drop_coarse()
        if self.volume_running:
            self.errands.end()
            self.layers.draw()
