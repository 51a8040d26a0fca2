"""The dock in a real window: sliders, slices, layers, readouts, commands, shortcuts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtGui import QGuiApplication
from vispy.app.canvas import KeyEvent
from vispy.util import keys

from napari_refit.widgets.shortcuts import SHORTCUTS

pytestmark = pytest.mark.gui


def test_slider_moves_labels(bench):
    work = bench()
    before = work.plane
    slider = work.dock.sections.form("boundary").control("threshold").slider
    slider.setValue(slider.value() - (slider.maximum() - slider.minimum()) // 4)
    work.settle()
    assert work.session.params.fit_params.threshold == pytest.approx(0.25, abs=0.02)
    assert 0 < before.sum() < work.plane.sum()


def test_slice_change_is_followed(bench):
    work = bench()
    first = work.session.plane.position
    work.go(first + 1)
    assert work.session.plane.position == first + 1
    assert work.plane.any()
    filled = np.flatnonzero(work.labels.data.any(axis=(1, 2)))
    assert set(filled) == {first, first + 1}


def test_layers_stand_above_the_image_in_order(bench):
    work = bench(scale=(3, 1, 1))
    names = [layer.name for layer in work.viewer.layers]
    at = names.index("scan")
    assert names[at : at + 5] == [
        "scan",
        "response · scan",
        "edges · scan",
        "simplified · scan",
        "refined · scan",
    ]
    made = work.session.outputs
    assert made["response"].colormap.name == "inferno"
    assert made["response"].blending == "additive"
    assert not made["simplified"].visible
    assert made["labels"].editable
    for role in ("response", "edges", "simplified", "labels"):
        np.testing.assert_allclose(made[role].scale, (3, 1, 1))
        assert made[role].metadata["mine"] == 1


def test_layers_hold_what_the_pipeline_found(bench):
    from napari_refit import Refit

    work = bench()
    result = Refit(work.image.data, response=work.response.data, params=work.session.params).slice(
        work.session.plane.position
    )
    where = work.session.plane.position
    made = work.session.outputs
    np.testing.assert_array_equal(made["labels"].data[where], result.mask)
    np.testing.assert_array_equal(made["edges"].data[where], result.edges)
    np.testing.assert_array_equal(made["response"].data[where], result.response[0])
    np.testing.assert_array_equal(made["simplified"].data[where], result.simplified)


def test_only_the_chosen_segmenter_is_shown(bench):
    work = bench()
    sections = work.dock.sections
    sections.segmenter.set_value("slic")
    sections.segmenter.chosen.emit("slic")
    work.settle()
    assert sections.form("slic").isVisibleTo(sections)
    assert not sections.form("blocks").isVisibleTo(sections)
    assert work.session.params.segmenter == "slic"
    assert work.session.outputs["edges"].data[work.session.plane.position].any()


def test_empty_mask_is_said_aloud(bench):
    work = bench()
    work.set(threshold=1.0)
    assert not work.plane.any()
    assert "Nothing passes" in work.dock.footer.message.plain()
    work.set(threshold=0.5)
    assert work.dock.footer.message.plain() == ""


def test_an_error_is_one_line_and_the_last_result_stays(bench):
    from napari_refit.registry import SEGMENTERS, register_segmenter

    def broken(image, params):
        raise RuntimeError("no memory left\nfor this")

    register_segmenter("broken", broken)
    try:
        work = bench()
        before = work.plane
        work.set(segmenter="broken")
        assert work.dock.footer.error.plain() == "no memory left for this"
        np.testing.assert_array_equal(work.plane, before)
        work.set(segmenter="blocks")
        assert work.dock.footer.error.plain() == ""
    finally:
        SEGMENTERS.unregister("broken")


def test_readouts_and_plot(bench):
    work = bench(scale=(2, 1, 1))
    table = work.dock.readouts
    shown = float(table.text("slice", "dice", "refined"))
    truth = work.truth.data[work.session.plane.position] > 0
    mask = work.plane > 0
    assert shown == pytest.approx(2 * (truth & mask).sum() / (truth.sum() + mask.sum()), abs=1e-3)
    work.session.refine_volume()
    work.settle()
    np.testing.assert_array_equal(work.dock.plot.scored(), np.arange(5))
    whole, whole_truth = work.labels.data > 0, work.truth.data > 0
    expected = 2 * (whole & whole_truth).sum() / (whole.sum() + whole_truth.sum())
    assert float(table.text("volume", "dice", "refined")) == pytest.approx(expected, abs=1e-3)
    work.dock.plot.clicked.emit(4)
    work.settle()
    assert work.session.plane.position == 4


def test_truth_on_another_grid_is_refused_in_words(bench):
    work = bench()
    other = work.viewer.add_labels(np.zeros((5, 24, 31), np.uint8), name="other")
    work.dock.choose_truth(other)
    work.settle()
    hint = work.dock.readouts._hint.plain()
    assert "'other' is on another grid: 5 × 24 × 31" in hint
    assert "5 × 24 × 32" in hint


def test_combos_follow_layers(bench):
    work = bench()
    combo = work.dock.image
    assert [layer.name for layer in combo.candidates()] == ["scan", "cam"]
    work.image.name = "renamed"
    assert combo.currentText() == "renamed"
    assert work.session.image == work.image
    work.viewer.add_image(np.zeros((4, 4)), name="late")
    assert "late" in [layer.name for layer in combo.candidates()]
    work.viewer.layers.remove("late")
    assert "late" not in [layer.name for layer in combo.candidates()]


def test_a_renamed_response_layer_stays_chosen(bench):
    work = bench()
    work.response.name = "my map"
    work.settle()
    assert work.session.source.layer == work.response
    assert work.dock.chooser.source.layer == "my map"
    work.set(threshold=0.9)
    assert work.dock.footer.error.plain() == ""


def test_first_image_opened_later_is_taken(make_napari_viewer_proxy, make_dock, settled):
    viewer = make_napari_viewer_proxy(show=True)
    dock = make_dock(viewer)
    settled(dock)
    assert dock.session.image is None
    assert "Open an image" in dock.footer.status.plain()
    assert not dock.footer.refine.isEnabled()
    layer = viewer.add_image(np.zeros((3, 16, 16), np.float32), name="late")
    settled(dock)
    assert dock.session.image == layer
    assert "Choose a classifier" in dock.footer.message.plain()


def test_refine_volume_without_a_source_says_so(make_napari_viewer_proxy, make_dock, settled):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_image(np.zeros((3, 16, 16), np.float32))
    dock = make_dock(viewer)
    settled(dock)
    dock.footer.refine.click()
    assert "Choose a classifier" in dock.footer.error.plain()


def test_dock_fits_a_narrow_column(bench):
    work = bench()
    work.session.refine_volume()
    work.settle()
    dock = work.dock
    assert dock.minimumSizeHint().width() <= 360
    assert dock.minimumSizeHint().height() <= 640
    bar = dock.scroll.verticalScrollBar().sizeHint().width()
    assert dock.scroll.widget().minimumSizeHint().width() + bar <= 360


def press(viewer, shortcut):
    *modifiers, key = shortcut.key.split("-")
    assert modifiers == ["Shift"]
    event = KeyEvent(type="key_press", key=keys.Key(key), text=key, modifiers=(keys.SHIFT,), native=None)
    viewer.__wrapped__.window._qt_viewer.canvas._scene_canvas.events.key_press(event)


def test_every_shortcut(bench, monkeypatch):
    work = bench()
    dock, made = work.dock, work.session.outputs
    by_name = {shortcut.name: shortcut for shortcut in SHORTCUTS}
    assert set(dock.commands.by_shortcut) == set(by_name)

    def use(name):
        press(work.viewer, by_name.pop(name))
        work.settle()

    before = work.session.params.fit_params.threshold
    use("raise_threshold")
    assert work.session.params.fit_params.threshold == pytest.approx(before + 0.01)
    use("lower_threshold")
    assert work.session.params.fit_params.threshold == pytest.approx(before)
    use("toggle_live")
    assert not work.session.live
    dock.toolbar.live.setChecked(True)
    for role, name in (
        ("response", "toggle_response"),
        ("edges", "toggle_edges"),
        ("simplified", "toggle_simplified"),
        ("labels", "toggle_refined"),
    ):
        visible = made[role].visible
        use(name)
        assert made[role].visible != visible
    use("toggle_truth")
    assert not work.truth.visible
    use("toggle_lock")
    assert work.session.locked
    use("reset_slice")
    assert not work.session.locked
    use("toggle_compare")
    assert dock.commands.comparing
    dock.commands.toggle_compare()
    use("refine_volume")
    assert made.book.whole
    lost = np.array([np.nan, 0.2, 0.9, 0.2, np.nan])
    dock.plot.set_scores(np.full(5, 0.5), lost)
    work.session.go_to_slice(2)
    press(work.viewer, by_name.pop("next_loss"))
    work.settle()
    assert work.session.plane.position == 3
    dock.plot.set_scores(np.full(5, 0.5), lost)
    press(work.viewer, by_name.pop("previous_loss"))
    work.settle()
    assert work.session.plane.position == 1
    use("next_doubt")
    assert work.session.plane.position == dock.propagate.model.rows[0].position
    dock.footer.lock.click()
    use("propagate")
    assert work.session.outputs.propagations.carried
    dock.footer.lock.click()
    use("show_help")
    assert dock.commands._help.isVisible()
    asked = []
    monkeypatch.setattr("napari_refit.widgets.saving.ask_labels_path", lambda *where: asked.append(where))
    use("save_labels")
    assert asked
    use("cancel")
    for name, button in (
        ("hint_object", dock.hints.object),
        ("hint_background", dock.hints.background),
        ("hint_erase", dock.hints.erase),
        ("toggle_clusters", dock.hints.clusters),
    ):
        use(name)
        assert button.isChecked(), name
    assert by_name == {}


def test_command_line_and_presets(bench):
    work = bench()
    work.set(threshold=0.35)
    work.dock.commands.copy_command()
    text = QGuiApplication.clipboard().text()
    assert text.startswith("napari-refit refine IMAGE --out refined --response RESPONSE")
    assert "--set segmenter=blocks" in text
    assert "--set boundary.threshold=0.35" in text
    work.dock.commands.use_preset("paper-brats")
    work.dock.toolbar.live.setChecked(False)
    assert work.session.params.segmenter == "network"
    assert work.dock.sections.segmenter.value == "network"


def test_opening_the_dock_imports_no_torch():
    code = """
import sys
import numpy as np
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari.components import ViewerModel
viewer = ViewerModel()
from napari_refit.widgets.refit_dock import ReFitDock
dock = ReFitDock(viewer)
dock.show()
app.processEvents()
print(sorted({"torch", "torchvision", "SimpleITK", "nibabel"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
