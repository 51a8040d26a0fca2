"""Layers deleted, renamed or replaced mid-run, docks and viewers closed mid-run, two docks at once."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

pytestmark = pytest.mark.gui


def hold(work, gate, qtbot):
    """Start a run that waits at the gate."""
    work.dock.set_params(work.dock.sections.params.replace(segmenter="gated"))
    qtbot.waitUntil(gate.entered.is_set, timeout=5000)


def test_stage_is_named_while_it_runs(bench, gate, qtbot):
    work = bench()
    before = work.plane
    hold(work, gate, qtbot)
    qtbot.waitUntil(lambda: work.dock.footer.status.plain() == "Clustering…", timeout=5000)
    np.testing.assert_array_equal(work.plane, before)
    gate.open.set()
    work.settle()
    assert work.dock.footer.status.plain() == "Ready."


def test_a_stage_that_is_over_at_once_is_not_named(bench):
    work = bench()
    texts = []
    work.session.status.connect(texts.append)
    work.set(threshold=0.3)
    assert set(texts) == {""}


@pytest.mark.parametrize("role", ["response", "edges", "simplified", "labels"])
def test_output_layer_deleted_mid_run(bench, gate, qtbot, role):
    work = bench()
    hold(work, gate, qtbot)
    work.viewer.layers.remove(work.session.outputs[role])
    gate.open.set()
    work.settle()
    outputs = work.session.outputs
    assert outputs[role] is None
    assert work.dock.footer.error.plain() == ""
    assert work.dock.footer.restore.isVisible()
    work.set(threshold=0.3)
    assert outputs[role] is None
    work.dock.footer.restore.click()
    work.settle()
    assert outputs[role] is not None
    assert not work.dock.footer.restore.isVisible()
    if role != "simplified":
        assert outputs[role].data.any()
    names = [layer.name.split(" ·")[0] for layer in outputs.all_made()]
    assert names == ["response", "edges", "simplified", "refined"]


def test_output_layer_renamed_mid_run(bench, gate, qtbot):
    work = bench()
    work.set(threshold=0.2)
    work.labels.name = "my labels"
    hold(work, gate, qtbot)
    work.session.outputs["edges"].name = "my edges"
    work.labels.data[:] = 0
    gate.open.set()
    work.settle()
    assert work.plane.any()
    assert [layer.name for layer in work.viewer.layers].count("my labels") == 1


def test_image_deleted_mid_run(bench, gate, qtbot):
    work = bench()
    hold(work, gate, qtbot)
    work.viewer.layers.remove(work.image)
    gate.open.set()
    work.settle()
    assert work.session.image is None
    assert work.dock.image.layer is None
    assert "Open an image" in work.dock.footer.status.plain()


def test_image_replaced_mid_run(bench, gate, qtbot):
    work = bench()
    hold(work, gate, qtbot)
    work.image.data = work.image.data[:, ::-1].copy()
    gate.open.set()
    work.settle()
    assert work.dock.footer.error.plain() == ""
    work.set(threshold=0.3, segmenter="blocks")
    assert work.plane.any()


def test_image_replaced_by_another_shape(bench):
    work = bench()
    bigger = np.zeros((6, 28, 36), np.float32)
    bigger[:, :24, :32] = work.image.data[0]
    work.response.data = bigger
    work.image.data = bigger
    work.settle()
    assert work.labels.data.shape == (6, 28, 36)
    assert work.plane.any()
    assert sum(layer.name.startswith("refined") for layer in work.viewer.layers) == 1


def test_painted_labels_outlive_a_replaced_image(bench):
    work = bench()
    old = work.labels
    old.paint((work.session.plane.position, 1, 1), 1)
    work.settle()
    work.image.data = np.zeros((6, 28, 36), np.float32)
    work.settle()
    assert old in list(work.viewer.layers)


def test_refined_labels_replaced_by_the_user(bench):
    work = bench()
    work.labels.data = np.zeros((2, 3, 4), np.uint8)
    work.set(threshold=0.3)
    assert work.session.outputs["labels"] is None
    assert work.dock.footer.error.plain() == ""


def test_truth_and_response_deleted(bench):
    work = bench()
    work.viewer.layers.remove(work.truth)
    work.settle()
    assert work.session.scores.truth is None
    assert "Choose a ground truth" in work.dock.readouts._hint.plain()
    work.viewer.layers.remove(work.response)
    work.settle()
    assert work.session.source.layer is None
    assert "Choose a classifier" in work.dock.footer.message.plain()


def test_refine_volume_fills_slices_and_can_be_cancelled(bench, gate, qtbot):
    work = bench()
    gate.open.set()
    work.set(segmenter="gated")
    gate.open.clear()
    gate.entered.clear()
    work.dock.footer.refine.click()
    qtbot.waitUntil(gate.entered.is_set, timeout=5000)
    assert work.dock.footer.cancel.isEnabled()
    assert not work.dock.footer.refine.isEnabled()
    work.dock.footer.cancel.click()
    assert not work.dock.footer.cancel.isEnabled()
    gate.open.set()
    work.settle()
    assert not work.session.outputs.book.whole
    work.dock.footer.refine.click()
    work.settle()
    assert work.labels.data.any(axis=(1, 2)).all()
    assert "Refined 5 slices" in work.dock.footer.status.plain()


def test_another_image_chosen_while_a_volume_runs(bench, gate, qtbot):
    work = bench()
    labels = work.labels
    gate.open.set()
    work.set(segmenter="gated")
    gate.open.clear()
    gate.entered.clear()
    work.session.refine_volume()
    qtbot.waitUntil(gate.entered.is_set, timeout=5000)
    other = work.viewer.add_image(np.zeros((24, 32), np.float32), name="other")
    work.dock.choose_image(other)
    gate.open.set()
    work.settle()
    assert labels.data.any(axis=(1, 2)).all()
    assert work.session.image == other


def test_dock_closed_mid_run(bench, gate, qtbot):
    work = bench()
    hold(work, gate, qtbot)
    before = work.plane
    work.viewer.window.remove_dock_widget(work.dock)
    qtbot.wait(30)
    gate.open.set()
    qtbot.wait(100)
    np.testing.assert_array_equal(work.plane, before)
    work.viewer.dims.set_point(0, 0)
    work.viewer.add_image(np.zeros((4, 4)))
    work.image.scale = (2, 1, 1)
    qtbot.wait(50)
    assert not work.labels.data[0].any()


def test_viewer_closed_mid_run(make_napari_viewer_proxy, bench, gate, qtbot):
    work = bench()
    hold(work, gate, qtbot)
    work.viewer.close()
    gate.open.set()
    qtbot.wait(100)


def test_viewer_closed_while_a_volume_runs(bench, gate, qtbot):
    work = bench()
    gate.open.set()
    work.set(segmenter="gated")
    gate.open.clear()
    gate.entered.clear()
    work.session.refine_volume()
    qtbot.waitUntil(gate.entered.is_set, timeout=5000)
    work.viewer.close()
    gate.open.set()
    qtbot.wait(100)


def test_a_closed_dock_leaves_nothing_behind(make_napari_viewer_proxy, settled, qtbot):
    from napari_refit.widgets.refit_dock import ReFitDock

    viewer = make_napari_viewer_proxy(show=True)
    layer = viewer.add_image(np.zeros((3, 16, 16), np.float32))
    callbacks = [len(emitter.callbacks) for emitter in emitters(viewer, layer)]
    keys = set(viewer.keymap)
    dock = ReFitDock(viewer)
    viewer.window.add_dock_widget(dock, name="ReFit")
    settled(dock)
    assert [len(emitter.callbacks) for emitter in emitters(viewer, layer)] != callbacks
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: set(viewer.keymap) == keys, timeout=5000)
    assert [len(emitter.callbacks) for emitter in emitters(viewer, layer)] == callbacks
    gone = weakref.ref(dock)
    del dock

    def collected():
        gc.collect()
        return gone() is None

    qtbot.waitUntil(collected, timeout=10_000)


def emitters(viewer, layer):
    dims, layers, image = viewer.dims.events, viewer.layers.events, layer.events
    return (
        dims.point,
        dims.order,
        dims.ndisplay,
        layers.inserted,
        layers.removed,
        layers.renamed,
        layers.reordered,
        image.data,
        image.scale,
        image.affine,
    )


def test_two_docks_work_independently(bench, make_dock, settled):
    work = bench()
    second = make_dock(work.viewer)
    second.choose_image(work.image)
    second.set_params(work.session.params.replace(threshold=0.2))
    second.choose_response(work.response)
    settled(second)
    work.settle()
    one, two = work.session.outputs["labels"], second.session.outputs["labels"]
    assert one is not two
    assert one.name != two.name
    assert 0 < one.data.sum() < two.data.sum()
    before = two.data.copy()
    work.set(threshold=0.6)
    settled(second)
    np.testing.assert_array_equal(two.data, before)
    two.paint((work.session.plane.position, 1, 1), 1)
    settled(second)
    work.settle()
    assert second.session.painted
    assert not work.session.locked
    second.shut_down()
    work.set(threshold=0.3)
    assert one.data.any()
    np.testing.assert_array_equal(two.data[:, 10:], before[:, 10:])


def test_a_classifier_loads_beside_a_drawn_window():
    code = """
import numpy as np, napari
from qtpy.QtTest import QTest
from napari_refit.widgets.refit_dock import ReFitDock
viewer = napari.Viewer(show=True)
viewer.add_image(np.random.default_rng(0).random((32, 32)).astype(np.float32))
dock = ReFitDock(viewer)
viewer.window.add_dock_widget(dock)
QTest.qWait(300)
dock.choose_classifier("resnet18:none")
QTest.qWait(50)
while dock.session.running:
    QTest.qWait(20)
print(dock.footer.error.plain(), dock.chooser.belief.isVisible(), dock.session.outputs["labels"].data.shape)
viewer.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "True (32, 32)", done.stderr[-2000:]


def test_what_counts_as_drawing_with_llvm(tmp_path):
    from napari_refit.widgets.graphics import draws_with_llvm

    maps = tmp_path / "maps"
    assert not draws_with_llvm(maps)
    maps.write_text("7f0 r-xp /usr/lib/libGLX_nvidia.so\n")
    assert not draws_with_llvm(maps)
    maps.write_text("7f0 r-xp /usr/lib/x86_64-linux-gnu/libLLVM-15.so.1\n")
    assert draws_with_llvm(maps)
