"""Propagating accepted slices and hints in a real window: mask, undo, redo, locks, list of slices, lifecycle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_refit.widgets import errands

pytestmark = pytest.mark.gui

SHAPE = (7, 24, 32)


def square(shape=SHAPE):
    """The same bright square on every slice."""
    found = np.zeros(shape, np.float32)
    found[..., 8:16, 8:20] = 0.9
    return found


@pytest.fixture
def work(bench):
    """An image whose response sees only half of the object; the slices are refined one by one as they are seen."""
    response = square()
    response[..., 14:] = 0.1
    found = bench(image=square(), response=response, truth=(square() > 0).astype(np.uint8))
    found.set(spread=0.0)
    found.go(3)
    return found


def accept_truth(work):
    """Paint the open slice as the truth has it; it is locked by that."""
    index = dict(work.session.plane.index)
    where = np.argwhere(
        work.truth.data[tuple(index.get(axis, slice(None)) for axis in range(work.labels.ndim))]
    )
    places = [np.full(len(where), index[axis]) if axis in index else None for axis in range(work.labels.ndim)]
    shown = [axis for axis in range(work.labels.ndim) if axis not in index]
    for axis, column in zip(shown, where.T, strict=True):
        places[axis] = column
    work.labels.data_setitem(tuple(places), 1)
    work.settle()
    if not work.session.locked:
        work.dock.footer.lock.click()
    work.settle()


def press(work):
    work.dock.propagate.button.click()
    work.settle()


def rows(work):
    return {row.position: row for row in work.dock.propagate.model.rows}


def test_an_accepted_slice_is_carried_on_and_undo_and_redo_work(work):
    accept_truth(work)
    before, refined = work.labels.data.copy(), set(rows(work))
    press(work)
    after = work.labels.data.copy()
    assert set(rows(work)) == set(range(SHAPE[0])) > refined
    np.testing.assert_array_equal(after > 0, work.truth.data > 0)
    assert not np.array_equal(before, after)
    assert work.viewer.layers.selection.active == work.labels, "so that Ctrl+Z is an undo of the labels"
    assert "6 slices" in work.dock.footer.status.plain()
    work.labels.undo()
    work.settle()
    np.testing.assert_array_equal(work.labels.data, before)
    assert not work.session.outputs.propagations.carried
    assert work.session.outputs.locks.along(work.session.plane) == [3]
    assert set(rows(work)) == refined
    work.labels.redo()
    work.settle()
    assert work.session.outputs.propagations.carried
    np.testing.assert_array_equal(work.labels.data, after)
    work.labels.undo()
    work.settle()
    work.go(2)
    assert not np.array_equal(work.plane, after[2]), "after the undo a slice is refined by itself again"


def test_a_slice_that_was_only_propagated_has_no_score_of_its_cam(work):
    accept_truth(work)
    press(work)
    work.go(5)
    cam, refined = work.session.outputs.book.along(work.session.plane, SHAPE[0])
    np.testing.assert_array_equal(refined, np.ones(SHAPE[0]))
    seen = {position for position in range(SHAPE[0]) if not np.isnan(cam[position])}
    assert {3, 5} <= seen < set(range(SHAPE[0]))
    assert (cam[list(seen)] > 0).all(), "the response covers a part of the object on every slice"
    work.session.refine_volume()
    work.settle()
    cam, _ = work.session.outputs.book.along(work.session.plane, SHAPE[0])
    assert (cam > 0).all()


def test_propagated_slices_stay_so_when_they_are_visited_and_hints_still_act(work):
    accept_truth(work)
    press(work)
    work.go(4)
    np.testing.assert_array_equal(work.plane > 0, work.truth.data[4] > 0)
    assert not work.session.locked
    work.dock.hints.background.click()
    layer = work.session.hand.hints.layer
    layer.brush_size = 1
    layer.paint((4, 12, 18), layer.selected_label)
    work.settle()
    assert not work.plane[12, 18]
    assert work.plane[12, 9]
    work.session.refine_volume()
    work.settle()
    np.testing.assert_array_equal(work.labels.data[5] > 0, work.truth.data[5] > 0)


def test_locked_and_painted_slices_are_never_written(work):
    accept_truth(work)
    work.go(5)
    work.labels.data_setitem((np.array([5]), np.array([1]), np.array([1])), 1)
    work.settle()
    painted = work.plane
    assert work.session.painted
    work.go(1)
    work.dock.footer.lock.click()
    work.settle()
    locked = work.plane
    work.go(3)
    press(work)
    np.testing.assert_array_equal(work.labels.data[5], painted)
    np.testing.assert_array_equal(work.labels.data[1], locked)
    np.testing.assert_array_equal(work.labels.data[3] > 0, work.truth.data[3] > 0)
    states = {position: row.state for position, row in rows(work).items()}
    assert states[1] == "accepted"
    assert states[3] == states[5] == "painted"
    assert states[2] == states[4] == "propagated"


def test_reach_is_obeyed_and_a_shorter_one_gives_slices_back(work):
    accept_truth(work)
    press(work)
    assert set(work.session.outputs.propagations.carried) == {((0, k),) for k in (0, 1, 2, 4, 5, 6)}
    work.set(reach=1)
    press(work)
    assert set(work.session.outputs.propagations.carried) == {((0, 2),), ((0, 4),)}
    work.go(6)
    alone = work.plane
    work.go(3)
    np.testing.assert_array_equal(work.labels.data[5], alone)
    work.labels.undo()
    work.settle()
    assert len(work.session.outputs.propagations.carried) == 6


def test_hints_alone_are_carried_on(work):
    work.dock.hints.object.click()
    layer = work.session.hand.hints.layer
    layer.brush_size = 1
    layer.paint((3, 12, 18), 1)
    work.settle()
    assert work.plane[12, 18]
    press(work)
    assert work.labels.data[:, 12, 18].all()
    assert not work.labels.data[:, 2, 2].any()


def test_the_list_ranks_jumps_and_follows(work, qtbot):
    view, model = work.dock.propagate.view, work.dock.propagate.model
    press(work)
    assert work.dock.footer.error.plain() == errands.NOTHING_ACCEPTED
    assert not work.session.volume_running
    response = work.response.data.copy()
    response[4] = 0
    work.response.data = response
    work.session.refine_volume()
    work.settle()
    assert model.rows[0].position == 4, "a slice unlike its neighbours comes first"
    assert len(model.rows) == SHAPE[0]
    values = [row.uncertainty for row in model.rows]
    assert values == sorted(values, reverse=True)
    target = model.rows[-1].position
    view.scrollTo(model.index(len(values) - 1, 0))
    place = view.visualRect(model.index(len(values) - 1, 0)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    work.settle()
    assert work.session.plane.position == target
    view.selectRow(0)
    first = model.rows[0].position
    qtbot.keyClick(view, Qt.Key.Key_Return)
    work.settle()
    assert work.session.plane.position == first
    work.dock.commands.by_shortcut["next_doubt"]()
    work.settle()
    assert work.session.plane.position == model.rows[1].position
    work.dock.footer.lock.click()
    work.settle()
    assert rows(work)[work.session.plane.position].state == "accepted"
    assert rows(work)[work.session.plane.position].uncertainty is None


def test_the_list_is_empty_before_there_is_a_mask(make_napari_viewer_proxy, make_dock, settled):
    viewer = make_napari_viewer_proxy(show=True)
    dock = make_dock(viewer)
    settled(dock)
    assert not dock.propagate.model.rows
    viewer.add_image(square(), name="scan")
    settled(dock)
    assert not dock.propagate.model.rows
    assert dock.propagate.note.plain()
    dock.propagate.clicked.emit()
    settled(dock)
    assert dock.footer.error.plain() == errands.NO_RESPONSE
    dock.commands.by_shortcut["next_doubt"]()


@pytest.mark.parametrize("rgb", [False, True])
def test_more_axes_and_colour(bench, rgb):
    shape = (2, 5, 24, 32)
    grid = square(shape)
    image = np.stack([grid, grid / 2, grid / 3], axis=-1) if rgb else grid
    response = square(shape)
    response[..., 14:] = 0.1
    work = bench(image=image, response=response, truth=(grid > 0).astype(np.uint8), rgb=rgb)
    work.viewer.dims.set_point(0, 1)
    work.settle()
    work.go(2)
    accept_truth(work)
    before = work.labels.data.copy()
    press(work)
    np.testing.assert_array_equal(work.labels.data[1] > 0, work.truth.data[1] > 0)
    np.testing.assert_array_equal(work.labels.data[0], before[0])
    work.labels.undo()
    work.settle()
    np.testing.assert_array_equal(work.labels.data, before)


def test_a_single_image_has_nothing_beside_it(bench):
    work = bench(image=square((24, 32)), response=square((24, 32)))
    assert not work.dock.propagate.isVisible()
    work.dock.footer.lock.click()
    work.session.errands.propagate()
    work.settle()
    assert work.dock.footer.error.plain() == errands.NO_SLICES


def test_along_another_axis(work):
    work.viewer.dims.order = (2, 0, 1)
    work.settle()
    work.go(12)
    accept_truth(work)
    press(work)
    wrong = (work.labels.data > 0) != (work.truth.data > 0)
    assert not wrong[..., 8:20].any()


def test_closing_while_it_runs_is_harmless(work, gate, qtbot):
    accept_truth(work)
    work.dock.set_params(work.dock.sections.params.replace(segmenter="gated"))
    qtbot.waitUntil(gate.entered.is_set)
    gate.entered.clear()
    before = work.labels.data.copy()
    work.dock.propagate.button.click()
    assert work.session.volume_running
    assert not work.dock.propagate.button.isEnabled()
    work.session.cancel()
    gate.open.set()
    work.settle()
    assert not work.session.volume_running
    assert work.dock.footer.status.plain() == errands.UNTOUCHED
    np.testing.assert_array_equal(work.labels.data[[0, 1, 2, 4, 5, 6]], before[[0, 1, 2, 4, 5, 6]])
    gate.open.clear()
    work.image.data = work.image.data.copy()
    work.dock.propagate.button.click()
    work.viewer.layers.remove(work.labels)
    work.viewer.layers.remove(work.image)
    gate.open.set()
    work.settle()
    assert not work.session.volume_running
    work.dock.shut_down()


def test_the_dock_closed_while_it_runs(work, gate, qtbot):
    accept_truth(work)
    work.dock.set_params(work.dock.sections.params.replace(segmenter="gated"))
    work.dock.propagate.button.click()
    work.dock.shut_down()
    gate.open.set()
    qtbot.wait(100)
    assert not work.dock.session._loop.busy


def test_effort_and_sidecar(work, tmp_path, monkeypatch):
    from napari_refit.widgets import saving

    accept_truth(work)
    clicks = work.session.hand.hints.effort.summary()["clicks"]
    press(work)
    assert work.session.hand.hints.effort.summary()["clicks"] == clicks + 1
    monkeypatch.setattr(saving, "ask_labels_path", lambda *_: tmp_path / "mask.nii.gz")
    work.dock.footer.save.click()
    work.settle()
    report = json.loads((tmp_path / "mask.refit.json").read_text())
    assert report["accepted_slices"] == [3]
    assert report["propagated_slices"] == [0, 1, 2, 4, 5, 6]
    assert set(report["uncertainty"]) == {"0", "1", "2", "4", "5", "6"}
    assert report["slice_axis"] == 0
