"""The mouse on clusters: outline the one under the cursor, toggle it, paint by clusters, go coarser and finer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_refit.levels import Levels
from napari_refit.planes import PlaneIndex
from napari_refit.widgets.layers import MARK, Outputs
from napari_refit.widgets.live import LiveLoop, Task
from napari_refit.widgets.planes import expression, geometry, places
from napari_refit.widgets.watching import Connections

ROLE = "cursor"
OUTLINE = "#fff700"
HOW = "Click: toggle a cluster. Drag: paint by clusters. Shift+click: clear a class. Wheel: coarser or finer."
NOT_THERE = "The clusters of this slice are not there yet."


class ClusterTool(QObject):
    """Toggles clusters of the refined labels by the mouse; every click or drag is one undo step.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    on : bool
    number : int
        The class that a cluster is given.
    level : int
        0: the clusters themselves; each level above halves their number, those below cut them into pieces.

    Signals
    -------
    toggled(bool)
        The tool was taken or put down.
    clicked()
        A click or drag is over.
    said(str)
        For the status line.
    """

    toggled = Signal(bool)
    clicked = Signal()
    said = Signal(str)

    def __init__(self, session: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._viewer = session.viewer
        self._outline: Any = None
        self._outlined: tuple[PlaneIndex, int, int] | None = None
        self._grip: Any = None
        self._levels: Levels | None = None
        self._loop = LiveLoop(self)
        self._loop.finished.connect(self._on_levels)
        self._of_viewer = Connections(self)
        self.on = False
        self.number = 1
        self.level = 0

    def take(self) -> None:
        """Take the tool in the hand, or put it down."""
        if self.on:
            self.put_down()
            return
        labels = self._labels
        if labels is None:
            self.said.emit(NOT_THERE)
            return
        self._viewer.layers.selection.active = labels
        labels.mode = "pan_zoom"
        self._grip = (labels, labels.mouse_pan, labels.mouse_zoom)
        labels.mouse_pan = labels.mouse_zoom = False
        for callbacks, function in (
            (self._viewer.mouse_drag_callbacks, self._on_drag),
            (self._viewer.mouse_move_callbacks, self._on_move),
            (self._viewer.mouse_wheel_callbacks, self._on_wheel),
        ):
            callbacks.append(function)
            self._of_viewer.add(lambda callbacks=callbacks, function=function: callbacks.remove(function))
        self._of_viewer.listen(self._viewer.layers.selection, ("active",), self._on_active)
        self.on = True
        self.toggled.emit(True)
        self.said.emit(HOW)

    def put_down(self) -> None:
        """Give the mouse back to napari."""
        if not self.on:
            return
        self.on = False
        self._of_viewer.release()
        labels, pan, zoom = self._grip
        labels.mouse_pan, labels.mouse_zoom, self._grip = pan, zoom, None
        if self._outline is not None and self._outline in self._viewer.layers:
            self._viewer.layers.remove(self._outline)
        self._outline = self._outlined = None
        self.toggled.emit(False)

    def close(self) -> None:
        """Let go of the viewer."""
        self.put_down()
        self._loop.close()

    def show(self, levels: Levels | None) -> None:
        """There are other clusters on the open plane, or none."""
        self._levels = levels
        if levels is not None and self.level and not levels.ready:
            self._request()

    # -- what is under the cursor

    @property
    def _labels(self) -> Any:
        outputs: Outputs | None = self._session.outputs
        return None if outputs is None else outputs["labels"]

    def _regions(self) -> NDArray[np.int64] | None:
        """The regions of the open plane at the level in the hand; None where they are not there."""
        plane, levels = self._session.plane, self._levels
        if plane is None or levels is None or levels.index != plane.index:
            return None
        return levels.regions(self.level)

    def _region_at(self, position: Any) -> int | None:
        """The region at a place in the world; None outside."""
        labels, regions = self._labels, self._regions()
        if labels is None or regions is None:
            return None
        cut = dict(self._session.plane.index)
        place = np.asarray(labels.world_to_data(position))[-labels.ndim :]
        at = tuple(int(np.round(place[axis])) for axis in range(labels.ndim) if axis not in cut)
        inside = all(0 <= k < length for k, length in zip(at, regions.shape, strict=True))
        return int(regions[at]) if inside else None

    # -- the mouse

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        del viewer
        if event.button != 1:
            return
        event.handled = True
        region = self._region_at(event.position)
        if region is None:
            self.said.emit(NOT_THERE if self._regions() is None else "")
            return
        labels, index = self._labels, self._session.plane.index
        plane = labels.data[expression(index, labels.ndim)]
        here = plane[self._regions() == region]
        if "Shift" in event.modifiers:
            self._clear_class(labels, index, here)
            return
        value = 0 if (here == self.number).mean() > 0.5 else self.number
        done: set[int] = set()
        with labels.block_history():
            while True:
                if region is not None and region not in done:
                    done.add(region)
                    labels.data_setitem(places(index, labels.ndim, self._regions() == region), value)
                yield
                if event.type != "mouse_move" or self._regions() is None:
                    break
                event.handled = True
                region = self._region_at(event.position)
        self.clicked.emit()

    def _clear_class(self, labels: Any, index: PlaneIndex, here: NDArray[Any]) -> None:
        number = int(np.bincount(here).argmax())
        if number == 0:
            self.said.emit("There is no class here to clear.")
            return
        inside = labels.data[expression(index, labels.ndim)] == number
        labels.data_setitem(places(index, labels.ndim, inside), 0)
        self.clicked.emit()

    def _on_move(self, viewer: Any, event: Any) -> None:
        del viewer
        self._draw(self._region_at(event.position))

    def _on_wheel(self, viewer: Any, event: Any) -> None:
        del viewer
        event.handled = True
        levels = self._levels
        if levels is None:
            return
        wanted = self.level + (1 if event.delta[1] > 0 else -1)
        if not levels.ready:
            self.level = wanted
            self._request()
            return
        self.level = min(max(wanted, levels.lowest), levels.highest)
        self._redraw(event.position)

    def _on_active(self) -> None:
        if self._viewer.layers.selection.active != self._grip[0]:
            self.put_down()

    # -- levels

    def _request(self) -> None:
        levels = self._levels

        def job(task: Task) -> Levels:
            levels.make(task.cancelled)
            return levels

        self._loop.request(job)

    def _on_levels(self, levels: Levels) -> None:
        if levels is self._levels:
            self.level = min(max(self.level, levels.lowest), levels.highest)
            self._redraw(None)

    # -- the outline

    def _redraw(self, position: Any) -> None:
        regions = self._regions()
        if regions is not None:
            self.said.emit(f"{len(np.unique(regions))} clusters on this slice.")
        self._draw(None if position is None else self._region_at(position))

    def _draw(self, region: int | None) -> None:
        if not self.on:
            return
        plane = self._session.plane
        shown = None if region is None or plane is None else (plane.index, self.level, region)
        if shown == self._outlined:
            return
        if self._outline is None or self._outline not in self._viewer.layers:
            self._outline, self._outlined = self._made(), None
        data, ndim = self._outline.data, self._outline.ndim
        if self._outlined is not None:
            data[expression(self._outlined[0], ndim)] = 0
        if shown is not None:
            data[expression(plane.index, ndim)] = self._regions() == region
        self._outlined = shown
        self._outline.refresh(extent=False, highlight=False, thumbnail=False)

    def _made(self) -> Any:
        """The outline's layer, on top and never active."""
        image = self._session.image
        place = geometry(image)
        place["metadata"] = {MARK: {"role": ROLE, "image": image.name}}
        colors = DirectLabelColormap(color_dict={0: "transparent", None: OUTLINE})
        layer = Labels(
            np.zeros(self._labels.data.shape, np.uint8),
            name="cluster under the cursor",
            colormap=colors,
            **place,
        )
        layer.contour = 2
        selection = self._viewer.layers.selection
        with selection.events.active.blocker(self._on_active):
            self._viewer.add_layer(layer)
            selection.active = self._labels
        return layer
