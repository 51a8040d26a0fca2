"""A viewer with the dock, small images, and segmenters that tests can hold up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from napari_refit.registry import SEGMENTERS, register_segmenter

SHAPE = (5, 24, 32)
PLAIN = {"segmenter": "blocks", "threshold": 0.5, "coverage": 1.0, "tolerance": 0.0}


def blocks(image: np.ndarray, params: Any) -> np.ndarray:
    """Clusters of 4 x 4 pixels."""
    rows, columns = np.indices(image.shape[:2])
    return rows // 4 * 1000 + columns // 4


@dataclass
class Gate:
    """A segmenter that waits until it is let through."""

    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def __call__(self, image: np.ndarray, params: Any) -> np.ndarray:
        self.entered.set()
        self.open.wait(20)
        return blocks(image, params)


@pytest.fixture(autouse=True, scope="session")
def kernels() -> None:
    """Compiled before the first window: on a new machine that takes longer than any test waits."""
    from napari_refit.warming import warm_up

    warm_up()


@pytest.fixture(autouse=True)
def block_segmenter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("napari_refit.widgets.scores.VOLUME_DELAY", 150)
    # What is computed ahead would make it a matter of chance what a test finds in the cache.
    monkeypatch.setattr("napari_refit.widgets.look_ahead.QUIET_MILLISECONDS", 10**8)
    register_segmenter("blocks", blocks)
    yield
    SEGMENTERS.unregister("blocks")


@pytest.fixture(autouse=True)
def nothing_trained() -> Iterator[None]:
    """What one test trains is not what another's dock starts with."""
    from napari_refit.widgets import trained

    trained.forget()
    yield
    trained.forget()


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    register_segmenter("gated", found)
    yield found
    found.open.set()
    SEGMENTERS.unregister("gated")


def disc(shape: tuple[int, ...] = SHAPE, middle: tuple[float, ...] | None = None) -> np.ndarray:
    """A map that falls from 1 in the middle to 0, along the last two axes; the same on every slice."""
    rows, columns = np.indices(shape[-2:])
    centre = middle or (shape[-2] / 2 - 0.5, shape[-1] / 2 - 0.5)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    return np.broadcast_to(np.clip(1 - distance / 14, 0, 1), shape).astype(np.float32).copy()


@dataclass
class Bench:
    """A viewer with an image, a response map, a truth and the dock."""

    viewer: Any
    dock: Any
    image: Any
    response: Any
    truth: Any
    settle: Callable[..., None]

    @property
    def session(self) -> Any:
        return self.dock.session

    @property
    def labels(self) -> Any:
        return self.session.outputs["labels"]

    @property
    def plane(self) -> np.ndarray:
        """The refined labels of the open plane."""
        cut = dict(self.session.plane.index)
        return self.labels.data[tuple(cut.get(axis, slice(None)) for axis in range(self.labels.ndim))].copy()

    def set(self, **changes: Any) -> None:
        """Change parameters as the forms would, and wait for the result."""
        self.dock.set_params(self.dock.sections.params.replace(**changes))
        self.settle()

    def go(self, position: int) -> None:
        """Show another slice, and wait for it."""
        self.session.go_to_slice(position)
        self.settle()


@pytest.fixture
def make_dock(make_napari_viewer_proxy: Any, qtbot: Any) -> Iterator[Callable[..., Any]]:
    """Add a dock to a viewer; every dock is shut down before its viewer is closed."""
    docks = []

    def make(viewer: Any) -> Any:
        from napari_refit.widgets.refit_dock import ReFitDock

        dock = ReFitDock(viewer)
        viewer.window.add_dock_widget(dock, name="ReFit", area="right")
        docks.append(dock)
        return dock

    yield make
    for dock in docks:
        dock.shut_down()
    docks.clear()


@pytest.fixture
def settled(qtbot: Any) -> Callable[..., None]:
    """Wait until a dock has nothing more to do."""

    def settle(dock: Any, timeout: int = 20_000) -> None:
        qtbot.wait(5)
        qtbot.waitUntil(lambda: not dock.session.running and not dock.commands.saving, timeout=timeout)

    return settle


@pytest.fixture
def bench(make_napari_viewer_proxy: Any, make_dock: Any, settled: Any) -> Callable[..., Bench]:
    """A viewer, an image with its response map and truth, and the dock, settled."""

    def make(
        image: Any = None,
        response: np.ndarray | None = None,
        truth: np.ndarray | None = None,
        viewer: Any = None,
        rgb: bool = False,
        **place: Any,
    ) -> Bench:
        viewer = viewer or make_napari_viewer_proxy(show=True)
        image = disc() if image is None else image
        data = image[0] if isinstance(image, list) else image
        grid = data.shape[:-1] if rgb else data.shape
        response = disc(grid) if response is None else response
        truth = (response > 0.6).astype(np.uint8) if truth is None else truth
        layer = viewer.add_image(
            image, name="scan", rgb=rgb, multiscale=isinstance(image, list), metadata={"mine": 1}, **place
        )
        response_layer = viewer.add_image(response, name="cam", visible=False, **place)
        truth_layer = viewer.add_labels(truth, name="truth", **place)
        dock = make_dock(viewer)
        dock.choose_image(layer)
        dock.set_params(dock.sections.params.replace(**PLAIN))
        dock.choose_response(response_layer)
        found = Bench(viewer, dock, layer, response_layer, truth_layer, lambda: settled(dock))
        found.settle()
        return found

    return make
