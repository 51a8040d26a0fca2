"""Toggling clusters with the mouse in a real window."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.gui


@pytest.fixture
def hand(bench):
    """A bench with the cluster tool in the hand."""
    work = bench()
    work.dock.hints.clusters.click()
    assert work.session.hand.clusters.on
    return work


def event(work, row, column, kind="mouse_press", modifiers=(), delta=0, button=1):
    place = [dict(work.session.plane.index).get(axis, 0) for axis in range(work.labels.ndim)]
    place[-2:] = row, column
    world = tuple(work.labels.data_to_world(place))
    return SimpleNamespace(
        position=world, type=kind, modifiers=modifiers, button=button, handled=False, delta=(0, delta)
    )


def drag(work, *points, modifiers=()):
    """Press at the first point, move over the others, let go; through the viewer's own callbacks."""
    (callback,) = [
        f
        for f in work.viewer.mouse_drag_callbacks
        if getattr(f, "__self__", None) is work.session.hand.clusters
    ]
    happening = event(work, *points[0], modifiers=modifiers)
    going = callback(work.viewer, happening)
    next(going, None)
    for point in points[1:]:
        happening.type, happening.position = "mouse_move", event(work, *point).position
        next(going, None)
    happening.type = "mouse_release"
    next(going, None)
    work.settle()
    return happening


def regions(work):
    return work.session.hand.clusters._regions()


def test_a_click_takes_a_cluster_in_and_out_and_undo_works(hand):
    before = hand.plane
    where = regions(hand) == regions(hand)[1, 1]
    assert not before[where].any()
    assert drag(hand, (1, 1)).handled
    assert hand.plane[where].all()
    np.testing.assert_array_equal(hand.plane[~where], before[~where])
    assert hand.session.painted, "the slice is the user's now"
    hand.labels.undo()
    hand.settle()
    np.testing.assert_array_equal(hand.plane, before)
    assert not hand.session.locked
    hand.labels.redo()
    hand.settle()
    assert hand.plane[where].all()
    drag(hand, (1, 1))
    np.testing.assert_array_equal(hand.plane, before)
    assert hand.dock.hints.effort.plain().startswith("2 clicks")


def test_a_drag_paints_by_clusters_in_one_undo_step(hand):
    before = hand.plane
    points = [(1, 1), (1, 8), (1, 20), (8, 1), (1, 1)]
    touched = np.isin(regions(hand), [regions(hand)[point] for point in points])
    drag(hand, *points)
    assert hand.plane[touched].all()
    np.testing.assert_array_equal(hand.plane[~touched], before[~touched])
    hand.labels.undo()
    hand.settle()
    np.testing.assert_array_equal(hand.plane, before)


def test_shift_and_click_clears_the_class(hand):
    drag(hand, (1, 1))
    inside = tuple(np.argwhere(hand.plane)[0])
    drag(hand, inside, modifiers=("Shift",))
    assert not hand.plane.any()
    hand.labels.undo()
    hand.settle()
    assert hand.plane.any()
    background = tuple(np.argwhere(hand.plane == 0)[0])
    before = hand.plane
    drag(hand, background, modifiers=("Shift",))
    np.testing.assert_array_equal(hand.plane, before)


def test_the_wheel_makes_clusters_coarser_and_finer(hand, qtbot):
    tool = hand.session.hand.clusters
    (wheel,) = [f for f in hand.viewer.mouse_wheel_callbacks if getattr(f, "__self__", None) is tool]
    count = len(np.unique(regions(hand)))
    turned = event(hand, 5, 5, delta=1)
    wheel(hand.viewer, turned)
    assert turned.handled
    qtbot.waitUntil(lambda: tool._levels.ready, timeout=10_000)
    qtbot.waitUntil(lambda: not tool._loop.busy)
    assert tool.level == 1
    assert len(np.unique(regions(hand))) == -(-count // 2)
    coarse = regions(hand) == regions(hand)[1, 1]
    drag(hand, (1, 1))
    assert hand.plane[coarse].all()
    for _ in range(20):
        wheel(hand.viewer, event(hand, 5, 5, delta=1))
    assert len(np.unique(regions(hand))) == 2
    for _ in range(20):
        wheel(hand.viewer, event(hand, 5, 5, delta=-1))
    assert tool.level == tool._levels.lowest == -2
    pieces = regions(hand)
    assert len(np.unique(pieces)) > 2 * count
    wheel(hand.viewer, event(hand, 5, 5, delta=1))
    wheel(hand.viewer, event(hand, 5, 5, delta=1))
    assert tool.level == 0
    assert len(np.unique(regions(hand))) == count
    for number in np.unique(pieces):
        assert len(np.unique(regions(hand)[pieces == number])) == 1


def test_the_cluster_under_the_cursor_is_outlined(hand):
    tool = hand.session.hand.clusters
    (move,) = [f for f in hand.viewer.mouse_move_callbacks if getattr(f, "__self__", None) is tool]
    move(hand.viewer, event(hand, 5, 5, kind="mouse_move"))
    (outline,) = [layer for layer in hand.viewer.layers if layer.name == "cluster under the cursor"]
    position = hand.session.plane.position
    np.testing.assert_array_equal(outline.data[position] > 0, regions(hand) == regions(hand)[5, 5])
    move(hand.viewer, event(hand, 20, 20, kind="mouse_move"))
    np.testing.assert_array_equal(outline.data[position] > 0, regions(hand) == regions(hand)[20, 20])
    move(hand.viewer, event(hand, -50, -50, kind="mouse_move"))
    assert not outline.data.any()
    assert hand.viewer.layers.selection.active == hand.labels
    assert outline not in hand.dock.truth.candidates()
    hand.dock.hints.clusters.click()
    assert outline not in hand.viewer.layers
    assert not [f for f in hand.viewer.mouse_move_callbacks if getattr(f, "__self__", None) is tool]


def test_the_tool_is_put_down_by_whatever_takes_its_place(hand):
    tool = hand.session.hand.clusters
    pan = hand.labels.mouse_pan
    assert not pan
    hand.dock.hints.object.click()
    assert not tool.on
    assert not hand.dock.hints.clusters.isChecked()
    assert hand.labels.mouse_pan
    hand.dock.hints.clusters.click()
    assert tool.on
    assert hand.session.hand.hints.tool is None
    hand.viewer.layers.selection.active = hand.image
    assert not tool.on
    hand.dock.hints.clusters.click()
    hand.viewer.layers.remove(hand.image)
    hand.settle()
    assert not tool.on


def test_clusters_of_another_image_are_not_toggled(hand):
    other = hand.viewer.add_image(hand.image.data[:, ::-1].copy(), name="other")
    hand.dock.choose_image(other)
    hand.settle()
    hand.dock.toolbar.live.setChecked(False)
    hand.dock.choose_image(hand.image)
    hand.settle()
    assert regions(hand) is None
    hand.dock.toolbar.live.setChecked(True)
    hand.settle()
    assert regions(hand) is not None


def test_dock_closed_with_the_tool_in_the_hand(hand):
    tool = hand.session.hand.clusters
    hand.dock.shut_down()
    assert not tool.on
    assert not [f for f in hand.viewer.mouse_drag_callbacks if getattr(f, "__self__", None) is tool]
    assert hand.labels.mouse_pan


def test_slices_displayed_along_another_axis(hand):
    hand.viewer.dims.order = (2, 0, 1)
    hand.settle()
    index = dict(hand.session.plane.index)
    assert list(index) == [2]
    if not hand.session.hand.clusters.on:
        hand.dock.hints.clusters.click()
    place = [1, 1, index[2]]
    (callback,) = [
        f
        for f in hand.viewer.mouse_drag_callbacks
        if getattr(f, "__self__", None) is hand.session.hand.clusters
    ]
    press = event(hand, 0, 0)
    press.position = tuple(hand.labels.data_to_world(place))
    before = hand.labels.data.copy()
    going = callback(hand.viewer, press)
    next(going, None)
    press.type = "mouse_release"
    next(going, None)
    hand.settle()
    changed = before != hand.labels.data
    assert changed[:, :, index[2]].any()
    changed[:, :, index[2]] = False
    assert not changed.any()
