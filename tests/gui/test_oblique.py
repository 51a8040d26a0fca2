"""Volumes that are tilted in space: the mouse finds what is drawn under it, and what is saved keeps the tilt."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_refit import load, save
from napari_refit._reader import layer_of, read_layers
from napari_refit._writer import write_image, write_labels
from napari_refit.io.volume import Volume
from napari_refit.widgets import saving
from napari_refit.widgets.planes import go_to, other_grid, spacing_of

pytestmark = [pytest.mark.gui, pytest.mark.filterwarnings("error:Non-orthogonal slicing")]

SHAPE = (32, 26, 9)
# Bright voxels, in the order of the file; far from the centre a wrong turn shows most.
MARKS = [(27, 21, 7), (4, 20, 1), (15, 4, 4)]


def tilted(angle=0.25, sign=1):
    """An affine tilted about two axes, as for a head that lies turned; x to the left where sign is -1."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    found = np.eye(4)
    found[:3, :3] = turn @ np.diag([sign * 1.0, sign * 1.2, 3.0])
    found[:3, 3] = [7, -11, 20] - found[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return found


def marked():
    data = np.zeros(SHAPE, np.float32)
    data[tuple(np.transpose(MARKS))] = 1
    return data


@pytest.fixture(params=[1, -1], ids=["to the right", "to the left"])
def scan(tmp_path, request):
    path = tmp_path / "scan.nii.gz"
    save(path, marked(), Volume.from_array(marked(), ("x", "y", "z"), tilted(sign=request.param)))
    return path


def opened(viewer, path):
    data, keywords, _ = read_layers(str(path))[0]
    return viewer.add_image(data, interpolation2d="nearest", **keywords)


def bright_spot(viewer):
    """Where on the canvas, in Qt's pixels, the one bright voxel is drawn: the middle of its pixels."""
    QApplication.processEvents()
    native = viewer.window._qt_viewer.canvas.native
    picture = viewer.window._qt_viewer.screenshot(flash=False)
    found = np.argwhere(picture[..., :3].min(axis=2) > 200)
    assert len(found)
    row, column = found.mean(axis=0) + 0.5
    return QPointF(column * native.width() / picture.shape[1], row * native.height() / picture.shape[0])


def click(viewer, at):
    """Press and release the mouse for real, at a place on the canvas."""
    native = viewer.window._qt_viewer.canvas.native
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    kinds = QEvent.Type
    for kind, button, held in (
        (kinds.MouseMove, none, none),
        (kinds.MouseButtonPress, left, left),
        (kinds.MouseButtonRelease, left, none),
    ):
        place = QPointF(native.mapToGlobal(at))
        event = QMouseEvent(kind, at, place, button, held, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(native, event)


def paint_what_is_bright(viewer, image, labels):
    """Paint, by the mouse, each marked voxel where the canvas shows it."""
    known = image.metadata["refit"]["permutation"]
    labels.selected_label, labels.brush_size, labels.mode = 1, 1, "paint"
    for mark in MARKS:
        viewer.layers.selection.active = labels
        go_to(image, viewer.dims, ((0, mark[known[0]]),))
        labels.visible = False
        spot = bright_spot(viewer)
        labels.visible = True
        QApplication.processEvents()
        click(viewer, spot)


def window(make_napari_viewer_proxy):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.text_overlay.visible = viewer.axes.visible = viewer.scale_bar.visible = False
    return viewer


def painted(path):
    saved = nibabel.load(path)
    return saved.affine, {tuple(int(i) for i in index) for index in np.argwhere(np.asanyarray(saved.dataobj))}


@pytest.mark.parametrize("made", ["New labels", "with metadata"])
def test_what_is_painted_on_a_bright_voxel_is_saved_there(scan, made, make_napari_viewer_proxy, tmp_path):
    viewer = window(make_napari_viewer_proxy)
    image = opened(viewer, scan)
    viewer.reset_view()
    if made == "New labels":
        viewer.layers.selection.active = image
        viewer._new_labels()
        labels = viewer.layers[-1]
        assert "refit" not in labels.metadata
    else:
        labels = viewer.add_labels(np.zeros(image.data.shape, np.uint8), metadata=image.metadata)
        labels.affine = image.affine
    paint_what_is_bright(viewer, image, labels)
    target = tmp_path / "painted.nii.gz"
    write_labels(str(target), *labels.as_layer_data_tuple()[:2])
    source = nibabel.load(scan)
    affine, voxels = painted(target)
    there = {tuple(np.round(source.affine @ [*mark, 1], 3)) for mark in MARKS}
    assert {tuple(np.round(affine @ [*voxel, 1], 3)) for voxel in voxels} == there
    if made == "with metadata":
        np.testing.assert_array_equal(affine, source.affine)
        assert voxels == set(MARKS)
    data, keywords, _ = layer_of(load(target), labels=True)
    again = viewer.add_labels(data, **keywords)
    assert other_grid(again, image) == ""
    np.testing.assert_array_equal(again.data, labels.data)


def test_hints_and_refined_labels_of_the_dock_keep_the_tilt(
    scan, make_napari_viewer_proxy, make_dock, settled, monkeypatch
):
    viewer = window(make_napari_viewer_proxy)
    image = opened(viewer, scan)
    response = viewer.add_image(np.asarray(image.data), name="cam", visible=False, affine=image.affine)
    dock = make_dock(viewer)
    dock.choose_image(image)
    dock.set_params(dock.sections.params.replace(segmenter="blocks", threshold=0.5, coverage=1.0))
    dock.choose_response(response)
    settled(dock)
    viewer.reset_view()
    dock.hints.object.click()
    hints = next(layer for layer in viewer.layers if layer.name.startswith("hints"))
    others = [layer for layer in viewer.layers if layer not in (image, hints)]
    for layer in others:
        layer.visible = False
    paint_what_is_bright(viewer, image, hints)
    settled(dock)
    order = image.metadata["refit"]["permutation"]
    assert {tuple(int(i) for i in at) for at in np.argwhere(hints.data)} == {
        tuple(mark[i] for i in order) for mark in MARKS
    }
    target = scan.parent / "labels.nii.gz"
    monkeypatch.setattr(saving.QFileDialog, "getSaveFileName", lambda *_, **__: (str(target), ""))
    dock.commands.save_labels()
    settled(dock)
    source = nibabel.load(scan)
    affine, voxels = painted(target)
    np.testing.assert_array_equal(affine, source.affine)
    assert voxels >= set(MARKS)
    (hint_file,) = scan.parent.glob("*hints*.nii.gz")
    affine, voxels = painted(hint_file)
    np.testing.assert_array_equal(affine, source.affine)
    assert voxels == set(MARKS)
    shown = dock.session.outputs["response"]
    write_image(str(scan.parent / "response.nii.gz"), *shown.as_layer_data_tuple()[:2])
    saved = load(scan.parent / "response.nii.gz")
    np.testing.assert_array_equal(saved.affine, source.affine)
    np.testing.assert_array_equal(saved.data.transpose(order), shown.data)


def test_volumes_of_another_tilt_are_not_on_one_grid():
    viewer = ViewerModel()
    affines = {"scan": tilted(), "same": tilted(), "other": tilted(0.1), "away": tilted()}
    affines["away"][:3, 3] += 9
    layers = {}
    for name, affine in affines.items():
        data, keywords, _ = layer_of(Volume.from_array(marked(), ("x", "y", "z"), affine), name)
        layers[name] = viewer.add_image(data, **keywords)
    scan = layers["scan"]
    np.testing.assert_array_equal(layers["same"].affine.affine_matrix, scan.affine.affine_matrix)
    assert other_grid(layers["same"], scan) == ""
    # Straightened about one centre they are drawn on each other; in the scanner they were not.
    np.testing.assert_allclose(layers["other"].affine.affine_matrix, scan.affine.affine_matrix, atol=1e-9)
    assert "lies elsewhere" in other_grid(layers["other"], scan)
    assert "lies elsewhere" in other_grid(layers["away"], scan)
    assert spacing_of(scan) == pytest.approx((3, 1.2, 1))
    mine = viewer.add_labels(np.zeros(scan.data.shape, np.uint8), affine=scan.affine)
    assert other_grid(mine, scan) == ""
    assert other_grid(viewer.add_labels(mine.data), scan) == ""
    assert "lies elsewhere" in other_grid(viewer.add_labels(mine.data, scale=(2, 1, 1)), scan)
    scan.translate = (40, 0, 0)
    assert "lies elsewhere" in other_grid(layers["same"], scan)


@pytest.mark.parametrize("foreign", [True, False])
def test_a_layer_that_another_program_laid_as_the_file_says_is_on_the_grid(foreign):
    viewer = ViewerModel()
    data, keywords, _ = layer_of(Volume.from_array(marked(), ("x", "y", "z"), tilted()), "scan")
    scan = viewer.add_image(data, **keywords)
    true = tilted()[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari.layers.utils._slice_input.warnings.warn", lambda *_, **__: None)
        other = viewer.add_image(np.asarray(data), affine=true if foreign else np.diag([2, 2, 2, 1.0]))
    assert (other_grid(other, scan) == "") == foreign
