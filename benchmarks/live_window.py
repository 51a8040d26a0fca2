"""The dock in a real window, used as a user would: ``python -m benchmarks.live_window OUT.json [MOVES]``.

Writes how long the labels layer's event takes to come after each, and how long the window's thread stays in a
single event. Runs in a process of its own, as napari does; the benchmarks start it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ["NAPARI_CONFIG"] = ""

import numpy as np
from qtpy.QtCore import QEvent, QEventLoop, QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication

MOVES = 40
UNCOUNTED = 4
DRAGGED_EVERY = 16
SETTLE_MILLISECONDS = 150
PATIENCE_MILLISECONDS = 5000
LONG_MILLISECONDS = 16
DRAWING = {QEvent.Type.UpdateRequest, QEvent.Type.Paint, QEvent.Type.UpdateLater, QEvent.Type.Expose}
GL_RENDERER = 0x1F01


@dataclass
class Stays:
    """How long the window's thread was away from its event loop, event by event, in seconds.

    Attributes
    ----------
    whole : list of float
        The whole event.
    drawing : list of float
        The part of it that went into painting and composing the window.
    names : list of str
        Who received what.
    """

    whole: list[float] = field(default_factory=list)
    drawing: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    depth: int = 0
    drawing_depth: int = 0
    drawn: float = 0.0

    @contextmanager
    def inside(self, name: str, draws: bool = False) -> Iterator[None]:
        """An event, perhaps inside another."""
        start = perf_counter()
        self.depth += 1
        self.drawing_depth += draws
        try:
            yield
        finally:
            seconds = perf_counter() - start
            self.depth -= 1
            self.drawing_depth -= draws
            if draws and not self.drawing_depth:
                self.drawn += seconds
            if not self.depth:
                self.whole.append(seconds)
                self.drawing.append(self.drawn)
                self.names.append(name)
                self.drawn = 0.0

    def clear(self) -> None:
        """Forget what was measured."""
        for values in (self.whole, self.drawing, self.names):
            values.clear()

    def summary(self) -> dict[str, Any]:
        """The longest stays in milliseconds: any event, without its drawing (and whose), and drawing alone."""
        whole, drawing = np.array(self.whole) * 1e3, np.array(self.drawing) * 1e3
        working = whole - drawing
        return {
            "events": len(working),
            "event": float(whole.max()),
            "work": float(working.max()),
            "work_in": self.names[int(working.argmax())],
            "long_work": int((working > LONG_MILLISECONDS).sum()),
            "drawing": float(drawing.max()),
        }


class WatchedApplication(QApplication):
    """Measures every event of the window's thread."""

    def __init__(self, stays: Stays) -> None:
        super().__init__(sys.argv[:1])
        self._stays, self._home = stays, self.thread()

    def notify(self, receiver: QObject, event: QEvent) -> bool:
        """Deliver an event."""
        if receiver.thread() is not self._home:
            return super().notify(receiver, event)
        kind = event.type()
        with self._stays.inside(f"{type(receiver).__name__}: {kind.name}", kind in DRAWING):
            return super().notify(receiver, event)


class Window:
    """A viewer with the dock."""

    def __init__(self, app: QApplication, stays: Stays) -> None:
        import napari

        from napari_refit.widgets.refit_dock import ReFitDock

        self.app, self.stays = app, stays
        self.viewer = napari.Viewer(show=True)
        self.dock = ReFitDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, name="ReFit", area="right")

    def open(self, image: np.ndarray, *, response: np.ndarray | None = None, truth: Any = None) -> None:
        """Work on an image, with response maps from a layer or from the sample classifier."""
        layer = self.viewer.add_image(image, name="scan", contrast_limits=(0, 1))
        if truth is not None:
            self.dock.choose_truth(self.viewer.add_labels(truth, name="truth"))
        self.dock.choose_image(layer)
        params = self.dock.sections.params
        self.dock.set_params(params.replace(**{"cam.gate": "off"}))
        if response is None:
            self.dock.choose_classifier("sample")
        else:
            maps = self.viewer.add_image(response, name="response", visible=False)
            self.dock.choose_response(maps)
        end = perf_counter() + 120
        while (self.dock.session.outputs is None or self.dock.session.running) and perf_counter() < end:
            self.spin(50)
        self.spin(2000)

    @property
    def labels(self) -> Any:
        return self.dock.session.outputs["labels"]

    def slider(self, group: str, name: str) -> Any:
        """The slider itself, as the mouse moves it."""
        return self.dock.sections.form(group).control(name).slider

    def spin(self, milliseconds: int, *quitting: Any) -> None:
        """Run the event loop for so long, or until a signal."""
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, Qt.TimerType.PreciseTimer, loop.quit)
        for signal in quitting:
            signal.connect(loop.quit)
        loop.exec()
        for signal in quitting:
            signal.disconnect(loop.quit)

    def moves(self, group: str, name: str, positions: list[int]) -> dict[str, Any]:
        """Move a slider to each position, wait for the answer and a moment of quiet after each."""
        slider = self.slider(group, name)
        return self.answers([partial(slider.setValue, position) for position in positions])

    def strokes(self, count: int) -> dict[str, Any]:
        """Paint a short stroke of hints at a time, object and background in turn."""
        from napari_refit.fit.hints import BACKGROUND_HINT

        self.dock.hints.object.click()
        self.spin(SETTLE_MILLISECONDS)
        layer = self.dock.session.hand.hints.layer
        layer.brush_size = 7
        starts = np.random.default_rng(1).integers(
            40, min(layer.data.shape[-2:]) - 80, (count + UNCOUNTED, 2)
        )

        def paint(number: int) -> None:
            label = BACKGROUND_HINT if number % 2 else 1
            with layer.block_history():
                for step in range(0, 40, 4):
                    layer.paint(tuple(starts[number] + (0, step)), label)

        return self.answers([partial(paint, number) for number in range(len(starts))])

    def answers(self, actions: list[Callable[[], Any]]) -> dict[str, Any]:
        """Do one thing after another, wait for the answer and a moment of quiet after each."""
        result = self.dock.session.result
        seen: list[float] = []
        sharp: list[tuple[float, dict[str, float]]] = []
        first_answers, sharp_answers, silent = [], [], 0
        stages: dict[str, list[float]] = defaultdict(list)
        with listening(self.labels.events.set_data, seen), receiving(result, sharp):
            for count, act in enumerate(actions):
                if count == UNCOUNTED:
                    self.stays.clear()
                seen.clear()
                sharp.clear()
                start = perf_counter()
                with self.stays.inside("acted"):
                    act()
                self.spin(PATIENCE_MILLISECONDS, result)
                if count >= UNCOUNTED and sharp:
                    sharp_answers.append(sharp[0][0] - start)
                    for stage, seconds in sharp[0][1].items():
                        stages[stage].append(seconds * 1e3)
                    first_answers += [seen[0] - start] if seen else []
                    silent += not seen
                self.spin(SETTLE_MILLISECONDS)
        return {
            "first": first_answers,
            "sharp": sharp_answers,
            "silent": silent,
            "stages": {stage: float(np.median(values)) for stage, values in stages.items()},
            "stays": self.stays.summary(),
        }

    def drag(self, group: str, name: str, positions: list[int]) -> dict[str, Any]:
        """Move a slider 60 times a second, answered or not."""
        slider = self.slider(group, name)
        seen: list[float] = []
        self.stays.clear()
        left = iter(positions)
        timer = QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.setInterval(DRAGGED_EVERY)
        timer.timeout.connect(lambda: slider.setValue(next(left, slider.value())))
        with listening(self.labels.events.set_data, seen):
            start = perf_counter()
            timer.start()
            self.spin(DRAGGED_EVERY * len(positions))
            timer.stop()
            seconds = perf_counter() - start
            self.spin(500)
        during = sum(when <= start + seconds for when in seen)
        last = max(seen, default=start) - start - seconds
        return {"per_second": during / seconds, "last": max(0.0, last), "stays": self.stays.summary()}

    def redraws(self, count: int = 20) -> dict[str, float]:
        """Draw the unchanged picture again: what drawing costs where nothing changes."""
        native = self.viewer.window._qt_viewer.canvas.native
        self.stays.clear()
        for _ in range(count):
            native.update()
            self.spin(60)
        drawing = np.array([0.0, *(seconds for seconds in self.stays.drawing if seconds > 1e-4)]) * 1e3
        return {"median": float(np.median(drawing)), "longest": float(drawing.max())}

    def renderer(self) -> str:
        """What draws, as OpenGL names it."""
        from vispy.gloo import gl

        native = self.viewer.window._qt_viewer.canvas.native
        native.makeCurrent()
        name = gl.glGetParameter(GL_RENDERER)
        native.doneCurrent()
        return str(name)

    def close(self) -> None:
        self.dock.shut_down()
        self.viewer.close()
        self.spin(100)


@contextmanager
def listening(emitter: Any, times: list[float]) -> Iterator[None]:
    """Note when a napari event comes."""

    def note(_: Any = None) -> None:
        times.append(perf_counter())

    emitter.connect(note)
    yield
    emitter.disconnect(note)


@contextmanager
def receiving(signal: Any, results: list[tuple[float, dict[str, float]]]) -> Iterator[None]:
    """Note when a result comes, and the seconds of its stages."""

    def note(result: Any) -> None:
        results.append((perf_counter(), dict(result.seconds)))

    signal.connect(note)
    yield
    signal.disconnect(note)


def spread(slider: Any, low: float, high: float, count: int) -> list[int]:
    """Positions between two parts of a slider's way, back and forth, no two neighbours alike."""
    lowest, way = slider.minimum(), slider.maximum() - slider.minimum()
    ends = lowest + np.array([low, high]) * way
    order = np.random.default_rng(0).permutation(count + UNCOUNTED)
    return np.linspace(*ends, count + UNCOUNTED)[order].round().astype(int).tolist()


def picture(window: Window, moves: int) -> dict[str, Any]:
    """A photograph of 512 x 512, response maps from a layer: the threshold."""
    from benchmarks.pictures import photograph, response_maps

    window.open(photograph(512, colour=False).copy(), response=response_maps(512, 1)[0].copy())
    redraw = window.redraws()
    positions = spread(window.slider("boundary", "threshold"), 0.1, 0.8, moves)
    runs = {
        "threshold": window.moves("boundary", "threshold", positions),
        "threshold, dragged": window.drag("boundary", "threshold", 2 * positions),
        "stroke": window.strokes(moves),
    }
    return {"redraw": redraw, "runs": runs, "title": "a 512 x 512 photograph"}


def classified(window: Window, moves: int) -> dict[str, Any]:
    """A slice of the sample volume at 512 x 512, response maps from the sample classifier: SLIC."""
    from benchmarks.pictures import sample_slice

    window.open(enlarged(sample_slice()))
    redraw = window.redraws()
    ways = {"SLIC compactness": ("compactness", 0.3, 0.8), "SLIC clusters": ("n_segments", 0.3, 0.7)}
    runs = {
        title: window.moves("slic", name, spread(window.slider("slic", name), low, high, moves))
        for title, (name, low, high) in ways.items()
    }
    return {"redraw": redraw, "runs": runs, "title": "a 512 x 512 slice, the CAM cached"}


def stack(window: Window, moves: int) -> dict[str, Any]:
    """Slices of 512 x 512 with a truth to be compared with, response maps from a layer."""
    from benchmarks.pictures import response_maps, sample_volume

    image, truth = (enlarged(array[16:48]) for array in sample_volume())
    response = np.broadcast_to(response_maps(512, 1), image.shape).copy()
    window.open(image, response=response, truth=truth)
    redraw = window.redraws()
    threshold, compactness = window.slider("boundary", "threshold"), window.slider("slic", "compactness")
    runs = {
        "threshold": window.moves("boundary", "threshold", spread(threshold, 0.1, 0.8, moves)),
        "SLIC compactness": window.moves("slic", "compactness", spread(compactness, 0.3, 0.8, moves)),
    }
    return {"redraw": redraw, "runs": runs, "title": f"{len(image)} slices of 512 x 512, with a truth"}


def enlarged(array: np.ndarray) -> np.ndarray:
    """Twice as many pixels along the last two axes."""
    from scipy.ndimage import zoom

    factors = (1,) * (array.ndim - 2) + (2, 2)
    return zoom(array, factors, order=0 if array.dtype == np.uint8 else 1)


SCENES: dict[str, Callable[[Window, int], dict[str, Any]]] = {
    "picture": picture,
    "classified": classified,
    "stack": stack,
}


def main() -> int:
    """Measure every scene, each in a window of its own."""
    out = Path(sys.argv[1])
    moves = int(sys.argv[2]) if len(sys.argv) > 2 else MOVES
    stays = Stays()
    QApplication.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    app = WatchedApplication(stays)
    found: dict[str, Any] = {"scenes": {}}
    for name, scene in SCENES.items():
        window = Window(app, stays)
        found["scenes"][name] = scene(window, moves)
        found["renderer"] = window.renderer()
        window.close()
    out.write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
