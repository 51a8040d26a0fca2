"""Make the README's animated tour from the running program: part of ``make pictures``.

napari is opened for real (an Xvfb will do) and worked by mouse and key events; after each the window is pictured,
with the pointer where it is, and a caption below. Frames follow one another by the clock of the tour, not by that
of the machine: nothing is shown of how fast the program is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import make_pictures as pictures

WINDOW = (960, 700)
CAPTION_HEIGHT = 46
CAPTION_PIXELS = 19
COLORS = {"strip": "#17181c", "text": "#f0f1f2", "pointer": "#ffffff", "border": "#000000"}
# The tip is at the origin.
POINTER = ((0, 0), (0, 17), (4, 13.5), (6.5, 19), (9.5, 17.7), (7, 12.3), (12, 12.3))
ZOOM = 1.1
QUALITY = 80
MISSING_MUCH = 0.55
BEAT, LOOK, READ = 80, 700, 1600
"""Milliseconds: a frame of a movement, what came of it, and a caption with all that it speaks of."""


class Tour:
    """A viewer with the dock, a hand that works it, and the frames that were taken.

    Attributes
    ----------
    viewer : napari.Viewer
    dock : ReFitDock
    frames : list of (PIL.Image.Image, int)
        Pictures, and for how many milliseconds each is shown.
    caption : str
    """

    def __init__(self) -> None:
        import napari
        from qtpy.QtCore import QPointF
        from qtpy.QtWidgets import QDockWidget

        from napari_refit.widgets.launch import show_demo

        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window
        self.viewer.window.resize(*WINDOW)
        for panel in self.window.findChildren(QDockWidget):
            panel.hide()
        self.dock = show_demo(self.viewer)
        self.session = self.dock.session
        self.canvas = self.viewer.window._qt_viewer.canvas.native
        self.frames: list[tuple[Any, int]] = []
        self.caption = ""
        self.at = QPointF(WINDOW[0] * 0.55, WINDOW[1] * 0.85)
        self.held = False

    # -- pictures

    def take(self, milliseconds: int = BEAT) -> None:
        """Picture the window as it is once nothing is computed any more."""
        from PIL import Image
        from qtpy.QtCore import QPointF, QRectF, Qt
        from qtpy.QtGui import QColor, QImage, QPainter, QPolygonF

        pictures.settle(0.1)
        self.rest()
        shot = self.viewer.screenshot(canvas_only=False, flash=False)
        height, width = shot.shape[:2]
        image = QImage(width, height + CAPTION_HEIGHT, QImage.Format.Format_RGB888)
        image.fill(QColor(COLORS["strip"]))
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        window = shot[..., :3].tobytes()
        painter.drawImage(0, 0, QImage(window, width, height, 3 * width, QImage.Format.Format_RGB888))
        painter.setPen(QColor(COLORS["border"]))
        painter.setBrush(QColor(COLORS["pointer"]))
        painter.drawPolygon(QPolygonF([self.at + QPointF(*corner) for corner in POINTER]))
        font = painter.font()
        font.setPixelSize(CAPTION_PIXELS)
        painter.setFont(font)
        painter.setPen(QColor(COLORS["text"]))
        strip = QRectF(0, height, width, CAPTION_HEIGHT)
        if painter.fontMetrics().horizontalAdvance(self.caption) > width - 24:
            raise ValueError(f"the caption is wider than the picture: {self.caption!r}")
        painter.drawText(strip, Qt.AlignmentFlag.AlignCenter, self.caption)
        painter.end()
        buffer = image.constBits()
        buffer.setsize(image.sizeInBytes())
        size = (image.width(), image.height())
        self.frames.append(
            (
                Image.frombuffer("RGB", size, bytes(buffer), "raw", "RGB", image.bytesPerLine(), 1),
                milliseconds,
            )
        )

    def rest(self) -> None:
        """Wait until nothing is computed any more."""
        pictures.wait_until(lambda: not self.session.running, "the mask")

    # -- the hand

    def spot(self, widget: Any, x: float | None = None, y: float | None = None) -> Any:
        """A place in a widget, its middle where none is said, as a place in the window."""
        from qtpy.QtCore import QPointF

        middle = widget.rect().center()
        return widget.mapTo(
            self.window, QPointF(middle.x() if x is None else x, middle.y() if y is None else y)
        )

    def pixel(self, row: float, column: float) -> Any:
        """A pixel of the open slice, as a place in the window."""
        layer, camera = self.session.outputs["labels"], self.viewer.camera
        world = layer.data_to_world((self.session.plane.position, row, column))
        x, y = (
            side / 2 + (world[axis] - camera.center[axis]) * camera.zoom
            for axis, side in ((-1, self.canvas.width()), (-2, self.canvas.height()))
        )
        return self.spot(self.canvas, x, y)

    def go(self, spot: Any, frames: int = 4, widget: Any = None) -> None:
        """Move the pointer in so many frames; ``widget`` feels it."""
        start = self.at
        for step in range(1, frames + 1):
            part = step / frames
            # Slow at both ends, as a hand is.
            self.at = start + (spot - start) * (part * part * (3 - 2 * part))
            if widget is not None:
                self.tell(widget, "MouseMove")
            self.take()

    def tell(self, widget: Any, kind: str) -> None:
        """Send a mouse event at the pointer."""
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        if kind != "MouseMove":
            self.held = kind == "MouseButtonPress"
        event = QMouseEvent(
            getattr(QEvent.Type, kind),
            widget.mapFrom(self.window, self.at),
            QPointF(self.window.mapToGlobal(self.at)),
            none if kind == "MouseMove" else left,
            left if self.held else none,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(widget, event)

    def press(self, widget: Any) -> None:
        """Press the button of the mouse."""
        self.tell(widget, "MouseButtonPress")

    def release(self, widget: Any) -> None:
        """Let it go."""
        self.tell(widget, "MouseButtonRelease")

    def click(self, button: Any) -> None:
        """Go to a button and press it."""
        self.go(self.spot(button))
        self.press(button)
        self.take(2 * BEAT)
        self.release(button)

    def key(self, letter: str) -> None:
        """Press Ctrl and a letter."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.keyClick(self.canvas, getattr(Qt.Key, f"Key_{letter}"), Qt.KeyboardModifier.ControlModifier)

    def scroll(self, widget: Any, frames: int = 3, above: int = 8) -> None:
        """Scroll the dock until a widget is so many pixels below its upper edge."""
        bar = self.dock.scroll.verticalScrollBar()
        start = bar.value()
        top = widget.mapTo(self.dock.scroll.widget(), widget.rect().topLeft()).y()
        end = min(max(top - above, 0), bar.maximum())
        for step in range(1, frames + 1):
            bar.setValue(round(start + (end - start) * step / frames))
            self.take()

    # -- what is shown

    @property
    def mask(self) -> Any:
        """The refined labels of the open slice."""
        return self.session.outputs["labels"].data[self.session.plane.position]

    @property
    def truth(self) -> Any:
        """The true labels of the open slice."""
        found = next(layer for layer in self.viewer.layers if layer.name.startswith("phantom truth"))
        return found.data[self.session.plane.position] > 0

    def missed(self) -> Any:
        """The largest region of the truth that the mask leaves out."""
        from skimage.measure import label, regionprops

        return max(regionprops(label(self.truth & (self.mask == 0))), key=lambda region: region.area)


def prepare(tour: Tour) -> None:
    """Wait for the demo, refine all of it, and frame the head."""
    pictures.wait_until(lambda: pictures.refined_something(tour.viewer), "refined labels")
    tour.rest()
    tour.viewer.reset_view()
    tour.viewer.camera.zoom *= ZOOM
    pictures.settle(2.0)


def slider(tour: Tour) -> None:
    """The threshold goes up, and the mask shrinks."""
    form = tour.dock.sections.form(tour.session.params.fit)
    control = form.control("threshold")
    tour.caption = (
        "Pink: where the classifier looked. Green: the mask made of that. Dark red: the true outline."
    )
    tour.scroll(tour.dock.sections.fit_section, 1, above=47)
    tour.frames.clear()
    tour.take(READ)
    tour.caption = "Move a slider: the mask follows."
    handle = SimpleNamespace(low=7, span=control.slider.width() - 14)

    def place(value: float) -> Any:
        return tour.spot(control.slider, handle.low + value * handle.span)

    tour.go(place(control.value()))
    tour.press(control.slider)
    start = control.value()
    steps = 8
    for step in range(1, steps + 1):
        tour.at = place(start + (MISSING_MUCH - start) * step / steps)
        tour.tell(control.slider, "MouseMove")
        tour.take(BEAT + 30)
    tour.release(control.slider)
    tour.take(LOOK)


def stroke(tour: Tour) -> None:
    """A stroke brings what the mask misses, and goes again."""
    tour.caption = "Where it is wrong, paint a stroke…"
    tour.scroll(tour.dock.hints_section)
    tour.click(tour.dock.hints.object)
    row, column = tour.missed().centroid
    tour.go(tour.pixel(row, column - 4), 4, tour.canvas)
    tour.press(tour.canvas)
    for step in range(-3, 5):
        tour.at = tour.pixel(row, column + step)
        tour.tell(tour.canvas, "MouseMove")
        if step % 2:
            tour.take()
    tour.release(tour.canvas)
    tour.caption = "…and the mask follows, up to the edges of the image."
    tour.take(READ)
    tour.caption = "Ctrl + Z takes it back."
    tour.key("Z")
    tour.take(LOOK + 200)


def clusters(tour: Tour) -> None:
    """The same by clusters."""
    tour.caption = "Or click clusters in and out."
    tour.click(tour.dock.hints.clusters)
    for _ in range(3):
        row, column = next(pixels_by_depth(tour.missed()))
        tour.go(tour.pixel(row, column), 4, tour.canvas)
        tour.take(250)
        tour.press(tour.canvas)
        tour.release(tour.canvas)
        tour.take(250)
        if tour.missed().area < 30:
            break
    tour.take(LOOK - 250)


def pixels_by_depth(region: Any) -> Iterator[tuple[int, int]]:
    """A region's pixels, the innermost first."""
    import numpy as np
    from scipy import ndimage

    inside = np.pad(region.image, 1)
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    for flat in np.argsort(-depth, axis=None, kind="stable"):
        row, column = np.unravel_index(flat, depth.shape)
        yield int(row + region.bbox[0]), int(column + region.bbox[1])


def propagation(tour: Tour) -> None:
    """The slice is carried on, and the list says where to look."""
    tour.caption = "A slice that is right is carried on to those beside it…"
    if not tour.session.locked:
        tour.click(tour.dock.footer.lock)
    tour.click(tour.dock.propagate.button)
    tour.take(LOOK)
    start = tour.session.plane.position
    for step in (1, 2, 3):
        tour.session.go_to_slice(start + step)
        tour.take(400)
    tour.caption = "…and a list says which slices need a look most."
    view = tour.dock.propagate.view
    view.scrollToTop()
    tour.take(LOOK)
    cell = view.visualRect(tour.dock.propagate.model.index(0, 0))
    tour.go(tour.spot(view.viewport(), 60, cell.center().y()))
    tour.press(view.viewport())
    tour.release(view.viewport())
    view.scrollToTop()
    tour.take(READ + 300)


def write(tour: Tour) -> None:
    """Write the animation."""
    path = pictures.IMAGES / "tour.webp"
    frames, times = zip(*tour.frames, strict=True)
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=list(times),
        loop=0,
        quality=QUALITY,
        method=6,
        minimize_size=True,
    )
    seconds, megabytes = sum(times) / 1000, path.stat().st_size / 1e6
    size = f"{frames[0].width} x {frames[0].height}"
    print(
        f"{path.relative_to(pictures.IMAGES.parents[1])}: {size}, {len(frames)} frames, "
        f"{seconds:.1f} s, {megabytes:.2f} MB"
    )


def main() -> int:
    """Play the tour and write it."""
    pictures.IMAGES.mkdir(exist_ok=True)
    tour = Tour()
    prepare(tour)
    for part in (slider, stroke, clusters, propagation):
        part(tour)
    write(tour)
    tour.viewer.close()
    pictures.settle(0.5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
