"""Hand edits: kept, shown, followed by the scores, and undone cleanly."""

from __future__ import annotations

import numpy as np
import pytest

from napari_refit.widgets.footer import PAINTED
from napari_refit.widgets.locks import Locks

pytestmark = pytest.mark.gui

CORNER = [2, 2]


def paint(work, corner=CORNER, label=1):
    index = dict(work.session.plane.index)
    shown = iter(corner)
    work.labels.paint([index.get(axis) if axis in index else next(shown) for axis in range(3)], label)
    work.settle()


def test_a_painted_slice_is_kept_and_said(bench):
    work = bench()
    paint(work)
    painted = work.plane
    assert painted[2, 2] == 1
    assert work.session.painted
    assert work.dock.footer.lock_note.plain() == PAINTED
    assert work.dock.footer.lock.isChecked()
    work.set(threshold=0.2)
    np.testing.assert_array_equal(work.plane, painted)
    position = work.session.plane.position
    work.go(position + 1)
    assert not work.session.locked
    assert work.dock.footer.lock_note.plain() == ""
    work.go(position)
    np.testing.assert_array_equal(work.plane, painted)


def test_painted_slices_survive_refine_volume(bench):
    work = bench()
    paint(work)
    painted, position = work.plane, work.session.plane.position
    work.set(threshold=0.3)
    work.session.refine_volume()
    work.settle()
    np.testing.assert_array_equal(work.labels.data[position], painted)
    assert work.labels.data[position - 1].sum() > painted.sum()


def test_unlocking_lets_updates_in_again(bench):
    work = bench()
    automatic = work.plane
    paint(work)
    work.dock.footer.lock.click()
    work.settle()
    assert not work.session.locked
    np.testing.assert_array_equal(work.plane, automatic)


def test_reset_is_one_undo_step(bench):
    work = bench()
    automatic = work.plane
    paint(work)
    painted = work.plane
    work.dock.footer.reset.click()
    work.settle()
    np.testing.assert_array_equal(work.plane, automatic)
    assert not work.session.locked
    work.labels.undo()
    work.settle()
    np.testing.assert_array_equal(work.plane, painted)
    assert work.session.painted
    work.labels.undo()
    work.settle()
    np.testing.assert_array_equal(work.plane, automatic)
    assert not work.session.locked


def test_sliders_after_reset_leave_no_debris_when_undone(bench):
    work = bench()
    automatic = work.plane
    paint(work)
    work.session.reset_slice()
    work.settle()
    work.set(threshold=0.3)
    wider = work.plane
    assert wider.sum() > automatic.sum()
    work.labels.undo()
    work.settle()
    np.testing.assert_array_equal(work.plane, automatic)


def test_dice_follows_paint_undo_and_redo(bench):
    work = bench()

    def shown():
        return work.dock.readouts.text("slice", "dice", "refined")

    def expected():
        truth, mask = work.truth.data[work.session.plane.position] > 0, work.plane > 0
        return pytest.approx(2 * (truth & mask).sum() / (truth.sum() + mask.sum()), abs=1e-3)

    before = shown()
    assert float(before) == expected()
    paint(work)
    assert float(shown()) == expected()
    assert shown() != before
    after = shown()
    work.labels.undo()
    work.settle()
    assert shown() == before
    assert not work.session.locked
    work.labels.redo()
    work.settle()
    assert shown() == after
    assert work.session.painted
    work.labels.fill((work.session.plane.position, 23, 31), 1)
    work.settle()
    assert float(shown()) == expected()


def test_dice_follows_the_truth(bench):
    work = bench()
    before = work.dock.readouts.text("slice", "dice", "refined")
    work.truth.paint((work.session.plane.position, 2, 2), 1)
    work.settle()
    assert work.dock.readouts.text("slice", "dice", "refined") != before
    work.truth.undo()
    work.settle()
    assert work.dock.readouts.text("slice", "dice", "refined") == before


def test_locking_by_button(bench):
    work = bench()
    kept = work.plane
    work.dock.footer.lock.click()
    work.settle()
    assert work.session.locked
    assert not work.session.painted
    work.set(threshold=0.2)
    np.testing.assert_array_equal(work.plane, kept)
    work.dock.footer.lock.click()
    work.settle()
    assert work.plane.sum() > kept.sum()


def test_painting_in_three_dimensions_locks_every_slice_it_touched(bench):
    work = bench()
    work.labels.n_edit_dimensions = 3
    work.labels.brush_size = 3
    position = work.session.plane.position
    work.labels.paint((position, 2, 2), 1)
    work.settle()
    locks = work.session.outputs.locks
    assert {((0, position + step),) for step in (-1, 0, 1)} <= locks._painted


def test_locked_planes_are_kept_from_the_side(bench):
    work = bench()
    paint(work)
    position, painted = work.session.plane.position, work.plane
    work.viewer.dims.order = (1, 0, 2)
    work.settle()
    assert work.session.plane.slice_axis == 1
    work.set(threshold=0.05)
    for row in (2, 12):
        work.go(row)
    assert work.labels.data[:, 12].any()
    np.testing.assert_array_equal(work.labels.data[position], painted)


def test_protected_lines():
    locks = Locks((3, 4, 5))
    assert locks.protected(((0, 1),)) is None
    locks.lock(((1, 2),))
    found = locks.protected(((0, 1),))
    assert found.shape == (4, 5)
    assert found[2].all()
    assert found.sum() == 5
    assert locks.protected(((1, 3),)) is None
