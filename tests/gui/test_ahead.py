"""Coarse answers, work ahead, and drawing no more than what changed, in a real window."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from napari_refit.bands import check
from napari_refit.registry import SEGMENTERS, register_segmenter
from napari_refit.widgets import layers, look_ahead
from napari_refit.widgets.live import LiveLoop

pytestmark = pytest.mark.gui
LARGE = (5, 80, 96)


def blocks(image: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(image.shape[:2])
    return rows // 4 * 1000 + columns // 4


def disc() -> np.ndarray:
    """A map that falls from 1 in the middle to 0, the same on every slice."""
    rows, columns = np.indices(LARGE[1:])
    distance = np.hypot(rows - LARGE[1] / 2, columns - LARGE[2] / 2)
    return np.broadcast_to(np.clip(1 - distance / 40, 0, 1), LARGE).astype(np.float32).copy()


class Halting:
    """Clusters of 4 x 4 pixels; planes of full size wait until they are let through."""

    def __init__(self) -> None:
        self.open, self.waiting = threading.Event(), threading.Event()
        self.shapes: list[tuple[int, ...]] = []
        self.open.set()

    def __call__(self, image: np.ndarray, params: Any, *, cancelled: Any = None) -> np.ndarray:
        self.shapes.append(image.shape)
        if image.shape == LARGE[1:]:
            self.waiting.set()
            while not self.open.wait(0.01):
                check(cancelled)
        return blocks(image)


@pytest.fixture
def halting():
    found = Halting()
    register_segmenter("halting", found)
    yield found
    found.open.set()
    SEGMENTERS.unregister("halting")


@pytest.fixture
def large(bench, halting, monkeypatch):
    """A settled dock on a volume large enough for coarse answers, whose sharp ones are held up from now on."""
    work = bench(disc())
    work.set(segmenter="halting")
    monkeypatch.setattr("napari_refit.plane.COARSE_AFTER", -1.0)
    halting.open.clear()
    halting.waiting.clear()
    return work


def test_a_coarse_answer_is_shown_until_the_sharp_one_comes(large, halting, qtbot):
    work, outputs = large, large.session.outputs
    before = work.plane
    results = []
    work.session.result.connect(results.append)
    work.dock.set_params(work.session.params.replace(threshold=0.2))
    work.dock.set_params(work.session.params.replace(**{"slic.sigma": 3.0, "low_percentile": 2.0}))
    qtbot.waitUntil(lambda: halting.waiting.is_set(), timeout=5000)
    qtbot.waitUntil(lambda: outputs._covered is not None, timeout=5000)
    coarse = work.plane
    assert coarse.sum() > before.sum()
    assert not results
    halting.open.set()
    work.settle()
    assert [result.coarse for result in results] == [False]
    assert np.array_equal(work.plane, results[0].mask)
    assert outputs._covered is None


def test_a_coarse_answer_does_not_outlive_the_look_at_its_slice(large, halting, qtbot):
    work, outputs = large, large.session.outputs
    first, before = work.session.plane.position, work.labels.data.copy()
    work.dock.set_params(work.session.params.replace(low_percentile=2.0, threshold=0.2))
    qtbot.waitUntil(lambda: outputs._covered is not None, timeout=5000)
    assert not np.array_equal(work.labels.data, before)
    work.session.set_live(False)
    qtbot.wait(50)
    assert np.array_equal(work.labels.data, before)
    work.session.set_live(True)
    qtbot.waitUntil(lambda: outputs._covered is not None, timeout=5000)
    work.session.go_to_slice(first + 1)
    qtbot.waitUntil(lambda: work.session.plane.position == first + 1, timeout=5000)
    assert np.array_equal(work.labels.data[first], before[first])
    halting.open.set()
    work.settle()


def test_paint_on_a_coarse_answer_stays(large, halting, qtbot):
    work, outputs = large, large.session.outputs
    work.dock.set_params(work.session.params.replace(low_percentile=2.0, threshold=0.2))
    qtbot.waitUntil(lambda: outputs._covered is not None, timeout=5000)
    work.labels.brush_size = 1
    work.labels.selected_label = 1
    work.labels.paint((work.session.plane.position, 2, 3), 1)
    halting.open.set()
    work.settle()
    assert work.session.locked
    assert work.plane[2, 3] == 1


def test_a_locked_slice_gets_no_coarse_answer(large, halting, qtbot):
    work = large
    work.session.set_locked(True)
    before = work.labels.data.copy()
    halting.waiting.clear()
    work.dock.set_params(work.session.params.replace(low_percentile=2.0, threshold=0.2))
    qtbot.waitUntil(lambda: halting.waiting.is_set(), timeout=5000)
    qtbot.wait(50)
    assert np.array_equal(work.labels.data, before)
    halting.open.set()
    work.settle()
    assert np.array_equal(work.labels.data, before)


def test_a_moved_threshold_draws_the_labels_alone(bench):
    work = bench()
    drawn: dict[str, int] = {}
    outputs = work.session.outputs
    outputs["simplified"].visible = True
    for role in ("response", "edges", "simplified", "labels"):
        outputs[role].events.set_data.connect(
            lambda event, role=role: drawn.update({role: drawn.get(role, 0) + 1})
        )
    work.set(threshold=0.3)
    assert drawn == {"labels": 1}
    work.set(threshold=0.3001)
    assert drawn == {"labels": 1}, "nothing changed"
    work.set(segmenter="slic", **{"slic.n_segments": 30})
    assert set(drawn) == {"edges", "simplified", "labels"}


def test_a_layer_shown_again_shows_what_was_written_meanwhile(bench):
    work = bench()
    edges = work.session.outputs["edges"]
    edges.visible = False
    work.set(segmenter="slic", **{"slic.n_segments": 30})
    edges.visible = True
    position = work.session.plane.position
    assert np.array_equal(np.asarray(edges._slice.image.raw), edges.data[position])


def test_neighbours_are_computed_after_a_moment_of_quiet(bench, halting, monkeypatch, qtbot):
    monkeypatch.setattr(look_ahead, "QUIET_MILLISECONDS", 10)
    work = bench(disc())
    work.set(segmenter="halting")
    qtbot.waitUntil(lambda: halting.shapes.count(LARGE[1:]) == LARGE[0], timeout=5000)
    assert not work.session.running
    filled = np.flatnonzero(work.labels.data.any(axis=(1, 2)))
    assert list(filled) == [work.session.plane.position], "what is computed ahead is not written"
    results = []
    work.session.result.connect(results.append)
    work.go(work.session.plane.position + 1)
    assert not any(results[-1].seconds.values())


def test_kernels_are_compiled_when_a_dock_opens(monkeypatch, make_napari_viewer_proxy, make_dock, qtbot):
    warmed = threading.Event()
    monkeypatch.setattr("napari_refit.warming.warm_up", lambda cancelled: warmed.set())
    dock = make_dock(make_napari_viewer_proxy(show=True))
    qtbot.waitUntil(warmed.is_set, timeout=5000)
    qtbot.waitUntil(lambda: not dock.session.running, timeout=5000)


@pytest.fixture
def loop(qapp):
    found = LiveLoop()
    yield found
    found.close()


def test_work_ahead_says_nothing_and_gives_way(qtbot, loop):
    said, started, stopped = [], threading.Event(), threading.Event()
    for signal in (loop.part, loop.finished, loop.failed, loop.notice):
        signal.connect(said.append)

    def ahead(task):
        task.part("ahead")
        started.set()
        while not task.cancelled():
            stopped.wait(0.002)
        stopped.set()
        raise ValueError("nobody asked")

    loop.work_ahead(ahead)
    assert started.wait(5)
    assert not loop.busy
    loop.request(lambda task: "asked")
    qtbot.waitUntil(lambda: not loop.busy, timeout=5000)
    assert stopped.is_set()
    assert said == ["asked"]


def test_work_ahead_waits_for_what_is_asked_for(qtbot, loop):
    order, release, done = [], threading.Event(), threading.Event()

    def asked(task):
        release.wait(5)
        order.append(("asked", task.cancelled()))

    def ahead(task):
        order.append(("ahead", False))
        done.set()

    loop.request(asked)
    loop.work_ahead(lambda task: order.append(("older", False)))
    loop.work_ahead(ahead)
    release.set()
    assert done.wait(5)
    assert order == [("asked", False), ("ahead", False)]


def test_small_pictures_in_the_layer_list_follow_after_a_moment(bench, qtbot, monkeypatch):
    # Long enough for a loaded machine to settle before.
    monkeypatch.setattr("napari_refit.widgets.delivery.THUMBNAIL_DELAY", 3000)
    work = bench()
    drawn = []
    labels = work.labels
    labels.events.thumbnail.connect(lambda event: drawn.append(1))
    before = labels.thumbnail.copy()
    work.set(threshold=0.1)
    assert not drawn
    qtbot.waitUntil(lambda: bool(drawn), timeout=10_000)
    assert not np.array_equal(labels.thumbnail, before)


def test_layers_are_made_one_by_one_and_hold_the_latest_result(bench, monkeypatch):
    made = []
    true_make = layers.Outputs.make
    monkeypatch.setattr(
        layers.Outputs,
        "make",
        lambda outputs, roles=layers.ROLES: (made.append(roles), true_make(outputs, roles)),
    )
    work = bench()
    assert made == [("labels",), ("response",), ("edges",), ("simplified",)]
    outputs, position = work.session.outputs, work.session.plane.position
    names = [layer.name.split(" ·")[0] for layer in outputs.all_made()]
    assert names == ["response", "edges", "simplified", "refined"]
    assert [layer for layer in work.viewer.layers if layer in outputs.all_made()] == outputs.all_made()
    for role in ("response", "edges", "simplified"):
        assert outputs[role].data[position].any(), role
