"""Painting hints in a real window: stroke, mask, undo, redo, erase, several classes, lifecycle, effort."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_refit.fit.hints import BACKGROUND_HINT
from napari_refit.widgets.hinting import ERASE

pytestmark = pytest.mark.gui


def hint_layer(work):
    return work.session.hand.hints.layer


def stroke(work, *points):
    """Paint along these rows and columns of the open plane, as napari does when the mouse is drawn."""
    layer = hint_layer(work)
    layer.brush_size = 1
    place = [dict(work.session.plane.index).get(axis, 0) for axis in range(layer.ndim)]
    with layer.block_history():
        for row, column in points:
            place[-2:] = row, column
            layer.paint(tuple(place), layer.selected_label)
    work.settle()


def test_a_stroke_changes_the_mask_and_undo_brings_it_back(bench):
    work = bench()
    before = work.plane
    assert before.any()
    work.dock.hints.object.click()
    assert work.dock.hints.object.isChecked()
    assert work.viewer.layers.selection.active == hint_layer(work)
    assert (hint_layer(work).mode, hint_layer(work).selected_label) == ("paint", 1)
    assert not before[1, 1]
    stroke(work, (1, 1))
    assert work.plane[1, 1] == 1
    after = work.plane
    hint_layer(work).undo()
    work.settle()
    np.testing.assert_array_equal(work.plane, before)
    hint_layer(work).redo()
    work.settle()
    np.testing.assert_array_equal(work.plane, after)
    assert not work.session.locked, "a hint is no hand edit: sliders go on working"
    work.dock.hints.clear.click()
    work.settle()
    np.testing.assert_array_equal(work.plane, before)
    hint_layer(work).undo()
    work.settle()
    np.testing.assert_array_equal(work.plane, after)


def test_background_and_erase(bench):
    work = bench()
    before = work.plane
    row, column = np.argwhere(before)[len(np.argwhere(before)) // 2]
    work.dock.hints.background.click()
    assert hint_layer(work).selected_label == BACKGROUND_HINT
    stroke(work, (row, column))
    assert not work.plane[row, column]
    work.dock.hints.erase.click()
    assert hint_layer(work).mode == "erase"
    assert work.session.hand.hints.tool == ERASE
    work.dock.hints.clear.click()
    work.settle()
    np.testing.assert_array_equal(work.plane, before)


def test_a_brush_is_put_down_by_a_second_click(bench):
    work = bench()
    work.viewer.layers.selection.active = work.image
    work.dock.hints.object.click()
    work.dock.hints.background.click()
    assert not work.dock.hints.object.isChecked()
    work.dock.hints.background.click()
    assert work.session.hand.hints.tool is None
    assert not work.dock.hints.background.isChecked()
    assert hint_layer(work).mode == "pan_zoom"
    assert work.viewer.layers.selection.active == work.image


def test_hints_belong_to_their_slice_and_to_the_whole_volume_run(bench):
    work = bench()
    first = work.session.plane.position
    work.dock.hints.object.click()
    before = work.plane
    stroke(work, (1, 1))
    after = work.plane
    work.go(first + 1)
    assert not work.plane[1, 1]
    work.session.refine_volume()
    work.settle()
    np.testing.assert_array_equal(work.labels.data[first], after)
    assert after[1, 1] == 1 != before[1, 1]
    assert not work.labels.data[first + 1][1, 1]


def test_several_classes_have_a_brush_each(bench):
    work = bench()
    work.dock.hints.set_classes(("a", "b"), (1, 2))
    assert work.dock.hints.classes.isVisible()
    work.dock.hints.classes.setCurrentIndex(1)
    work.dock.hints.object.click()
    assert hint_layer(work).selected_label == 2


def test_effort_is_shown_and_saved_with_the_hints(bench, tmp_path, monkeypatch):
    from napari_refit.widgets import saving

    work = bench()
    work.dock.hints.object.click()
    stroke(work, (1, 1), (1, 2))
    stroke(work, (2, 1))
    assert work.dock.hints.effort.plain().startswith("2 strokes")
    path = tmp_path / "mask.nii.gz"
    monkeypatch.setattr(saving, "ask_labels_path", lambda *_: path)
    work.dock.footer.save.click()
    work.settle()
    report = json.loads((tmp_path / "mask.refit.json").read_text())
    assert report["effort"]["strokes"] == 2
    import napari_refit

    kept = napari_refit.load(tmp_path / "mask_hints.nii.gz").data
    np.testing.assert_array_equal(
        np.sort(kept[kept > 0]), np.sort(hint_layer(work).data[hint_layer(work).data > 0])
    )
    assert report["hints"] == "mask_hints.nii.gz"
    assert report["hints_checksum"].startswith("sha256:")


def test_another_image_has_hints_of_its_own(bench):
    work = bench()
    work.dock.hints.object.click()
    stroke(work, (1, 1))
    mine = hint_layer(work)
    other = work.viewer.add_image(work.image.data[:, ::-1].copy(), name="other")
    work.dock.choose_image(other)
    work.settle()
    assert hint_layer(work) is None
    assert work.session.hand.hints.tool is None
    assert work.dock.hints.effort.plain().startswith("Paint")
    work.dock.choose_image(work.image)
    work.settle()
    assert hint_layer(work) == mine


def test_deleted_hints_and_images_leave_nothing_behind(bench):
    work = bench()
    before = work.plane
    work.dock.hints.object.click()
    stroke(work, (1, 1))
    assert not np.array_equal(work.plane, before)
    layer = hint_layer(work)
    assert layer not in work.dock.truth.candidates()
    work.viewer.layers.remove(layer)
    work.settle()
    np.testing.assert_array_equal(work.plane, before)
    assert not work.dock.hints.object.isChecked()
    work.dock.hints.object.click()
    kept = hint_layer(work)
    work.viewer.layers.remove(work.image)
    work.settle()
    assert kept in work.viewer.layers
    work.dock.hints.background.click()
    assert work.session.hand.hints.tool is None


def test_hints_follow_the_image_where_it_moves(bench):
    work = bench(scale=(3, 1, 1))
    work.dock.hints.object.click()
    np.testing.assert_allclose(hint_layer(work).scale, (3, 1, 1))
    work.image.scale = (2, 1, 1)
    work.settle()
    np.testing.assert_allclose(hint_layer(work).scale, (2, 1, 1))


@pytest.mark.parametrize("shape", [(32, 40), (2, 3, 32, 40)])
def test_pictures_and_more_axes(bench, shape):
    rng = np.random.default_rng(0)
    work = bench(image=rng.random(shape).astype(np.float32), response=np.zeros(shape, np.float32))
    assert not work.plane.any()
    work.dock.hints.object.click()
    stroke(work, (5, 5))
    assert work.plane[5, 5] == 1
    assert np.count_nonzero(work.labels.data) == np.count_nonzero(work.plane)


def test_colour(bench):
    rng = np.random.default_rng(0)
    work = bench(
        image=rng.random((32, 40, 3)).astype(np.float32), response=np.zeros((32, 40), np.float32), rgb=True
    )
    work.dock.hints.object.click()
    stroke(work, (5, 5))
    assert work.plane[5, 5] == 1
