"""The Train dock in a real window: tag, train, refine; stop, resume, close; bad input."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

import napari_refit as refit
from napari_refit.io.volume import Volume
from napari_refit.learn.places import state_path, unfinished
from napari_refit.widgets import form_texts, train_out, trained
from napari_refit.widgets import train_dock as module
from napari_refit.widgets.tag_desk import KEPT

pytestmark = pytest.mark.gui

QUICK = {
    "architecture": "phantom-cnn",
    "weights": "none",
    "input_size": 32,
    "epochs": 2,
    "learning_rate": 3e-3,
    "threads": 1,
    "precision": "float32",
}
POSITIVE = (1, 2, 5, 8, 9, 11)


def volume(count=12, size=32):
    """Noise, with a bright square on some slices; its truth."""
    draw = np.random.default_rng(3)
    image = draw.uniform(0.1, 0.3, (count, size, size)).astype(np.float32)
    truth = np.zeros(image.shape, np.uint8)
    for at in POSITIVE:
        truth[at, 8:20, 8:20] = 1
    return image + 0.5 * truth, truth


class Work:
    """A viewer with an image and the dock."""

    def __init__(self, viewer, dock, image, qtbot):
        self.viewer, self.dock, self.image, self.qtbot = viewer, dock, image, qtbot
        self.panel, self.desk, self.table = dock.table, dock.table.desk, dock.table.table

    def keys(self, text):
        self.table.setFocus()
        for key in text:
            self.qtbot.keyClicks(self.table, key)

    def tag_all(self):
        self.desk.go(0)
        self.keys("".join("1" if at in POSITIVE else "0" for at in range(len(self.desk.slots))))

    def label(self, row):
        return self.table.model().index(row, 1).data()

    def wait(self, ready, timeout=30_000):
        self.qtbot.waitUntil(ready, timeout=timeout)

    def train(self, *, resume=False):
        self.dock.start(resume=resume)
        self.wait(lambda: not self.dock.session.running)

    @property
    def error(self):
        return self.dock.footer.error.plain()


@pytest.fixture
def open_dock(make_napari_viewer_proxy, qtbot):
    docks = []

    def make(image=None, viewer=None, **place):
        viewer = viewer or make_napari_viewer_proxy(show=True)
        layer = viewer.add_image(volume()[0] if image is None else image, name="scan", **place)
        dock = module.TrainDock(viewer)
        if hasattr(viewer, "window"):
            viewer.window.add_dock_widget(dock, name="Train", area="right")
        else:
            qtbot.addWidget(dock)
            dock.show()
        docks.append(dock)
        dock.forms.set_params(dock.forms.params.model_copy(update=QUICK))
        dock.device.set_value("cpu")
        return Work(viewer, dock, layer, qtbot)

    yield make
    for dock in docks:
        dock.shut_down()
    docks.clear()


@pytest.fixture
def work(open_dock, tmp_path):
    found = open_dock()
    found.dock.set_out(tmp_path / "lesions.safetensors")
    return found


@pytest.fixture
def alone(open_dock, tmp_path):
    """The dock in a window of its own, with a viewer that has none: quicker, where the canvas does not matter."""
    found = open_dock(viewer=ViewerModel())
    found.dock.set_out(tmp_path / "lesions.safetensors")
    return found


def test_tag_train_refine(work, make_dock, settled, tmp_path):
    """The whole way, by keys: tags, two epochs, the checkpoint in the ReFit dock, its response."""
    refit_dock = make_dock(work.viewer)
    refit_dock.choose_image(work.image)
    results = []
    refit_dock.session.result.connect(results.append)
    work.tag_all()
    assert [work.label(row) for row in range(12)] == [
        "lesion" if row in POSITIVE else "background" for row in range(12)
    ]
    work.desk.name_blocks(2)
    work.wait(lambda: "12 of 12 tagged. 12 images of 6 patients" in work.dock.note.plain())
    work.train()
    assert work.error == ""
    out = tmp_path / "lesions.safetensors"
    assert out.exists()
    assert not unfinished(out)
    assert [row["epoch"] for row in work.dock.curves.curves.rows[0]] == [1, 2]
    text = work.dock.result.plain()
    assert text.startswith("Best epoch ")
    assert "AUROC" in text
    assert "calibration error" in text
    assert "lesions.safetensors is selected in the ReFit dock." in text
    assert refit_dock.chooser.source.model == str(out)
    settled(refit_dock)
    assert refit_dock.footer.error.plain() == ""
    assert results[-1].classes == ("lesion",)
    assert results[-1].response.shape == (1, 32, 32)
    assert refit_dock.session.outputs["response"].visible
    assert work.dock.footer.report.isEnabled()


def test_the_next_refit_dock_starts_with_what_was_trained(work, make_dock, settled):
    work.tag_all()
    work.desk.name_blocks(2)
    work.train()
    assert "is selected when ReFit is opened" in work.dock.result.plain()
    refit_dock = make_dock(work.viewer)
    assert refit_dock.chooser.source.value == str(work.dock.session.trained.checkpoints[0])
    settled(refit_dock)


def hold_after_epoch(epoch, monkeypatch):
    """Let a training wait once after an epoch; returns what says so, and what lets it go on."""
    from napari_refit.widgets import train_job

    reached, gate = threading.Event(), threading.Event()
    real = train_job.EpochDone

    def held(fold, row):
        if row["epoch"] == epoch and not gate.is_set():
            reached.set()
            gate.wait(20)
        return real(fold, row)

    monkeypatch.setattr(train_job, "EpochDone", held)
    return reached, gate


def test_a_resumed_training_ends_with_the_weights_of_an_unbroken_one(open_dock, tmp_path, monkeypatch):
    from safetensors.numpy import load_file

    work = open_dock(viewer=ViewerModel())
    work.tag_all()
    work.desk.name_blocks(2)
    work.dock.forms.set_params(work.dock.forms.params.model_copy(update={"epochs": 4}))
    work.dock.set_out(tmp_path / "whole.safetensors")
    work.train()
    whole = work.dock.curves.curves
    out = tmp_path / "broken.safetensors"
    work.dock.set_out(out)
    assert not work.dock.footer.resume.isEnabled()
    reached, gate = hold_after_epoch(2, monkeypatch)
    work.dock.start()
    work.wait(reached.is_set)
    work.dock.footer.cancel.click()
    gate.set()
    work.wait(lambda: not work.dock.session.running)
    assert "is kept" in work.dock.footer.status.plain()
    assert not out.exists()
    assert state_path(out).exists()
    assert work.dock.footer.resume.isEnabled()
    assert "was stopped: Resume" in work.dock.footer.stopped.plain()
    # What is shown now does not matter: it goes on with its own parameters.
    work.dock.forms.set_params(work.dock.forms.params.model_copy(update={"epochs": 9, "rotation": 45.0}))
    work.dock.footer.resume.click()
    work.wait(lambda: not work.dock.session.running)
    assert work.error == ""
    assert work.dock.forms.params.epochs == 4
    one, other = load_file(tmp_path / "whole.safetensors"), load_file(out)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    broken = work.dock.curves.curves
    assert broken.line(0, "validation", "loss") == whole.line(0, "validation", "loss")
    assert not work.dock.footer.resume.isEnabled()


def hold(work, monkeypatch):
    """Start a training that waits in its first epoch; returns what lets it go on."""
    from napari_refit.learn import run

    entered, gate = threading.Event(), threading.Event()
    real = run.augment

    def held(*rest):
        entered.set()
        gate.wait(20)
        return real(*rest)

    monkeypatch.setattr(run, "augment", held)
    work.tag_all()
    work.desk.name_blocks(2)
    work.dock.start()
    work.wait(entered.is_set)
    return gate


def test_the_window_is_free_while_it_trains(work, monkeypatch):
    gate = hold(work, monkeypatch)
    work.desk.go(7)
    assert work.viewer.dims.current_step[0] == 7
    work.keys("0")
    assert work.label(7) == "background"
    assert not work.dock.footer.start.isEnabled()
    assert work.dock.footer.cancel.isEnabled()
    gate.set()
    work.wait(lambda: not work.dock.session.running)
    assert work.error == ""
    assert work.dock.session.trained is not None


def test_dock_closed_mid_run(work, monkeypatch, tmp_path):
    gate = hold(work, monkeypatch)
    order = work.dock.session.order
    work.viewer.window.remove_dock_widget(work.dock)
    work.wait(lambda: not work.dock._open)
    gate.set()
    work.qtbot.wait(300)
    assert not order.out.exists()
    assert work.image.metadata[KEPT]["tags"]
    assert not work.image.keymap


def test_layer_removed_mid_run_cancels(work, monkeypatch):
    gate = hold(work, monkeypatch)
    work.viewer.layers.remove(work.image)
    gate.set()
    work.wait(lambda: not work.dock.session.running)
    assert work.error == ""
    assert work.dock.session.trained is None
    assert work.dock.footer.start.isEnabled()
    assert len(work.desk.slots) == 0


def test_viewer_closed_mid_run(open_dock, make_napari_viewer_proxy, monkeypatch, tmp_path):
    viewer = make_napari_viewer_proxy(show=True)
    work = open_dock(viewer=viewer)
    work.dock.set_out(tmp_path / "x.safetensors")
    gate = hold(work, monkeypatch)
    viewer.close()
    gate.set()
    gc.collect()
    work.qtbot.wait(300)
    assert not (tmp_path / "x.safetensors").exists()


def test_table_and_viewer_move_together(work):
    work.table.selectRow(4)
    assert work.viewer.dims.current_step[0] == 4
    work.viewer.dims.set_current_step(0, 9)
    work.wait(lambda: work.table.currentIndex().row() == 9)
    work.qtbot.keyClick(work.table, Qt.Key.Key_Up)
    assert work.viewer.dims.current_step[0] == 8
    work.viewer.dims.order = (2, 0, 1)
    work.wait(lambda: len(work.desk.slots) == 32)
    assert work.desk.slots[0][1] == ((2, 0),)


def test_keys_step_to_the_next_untagged_and_undo_comes_back(alone):
    alone.desk.go(2)
    alone.keys("1")
    alone.desk.go(1)
    alone.keys("0")
    assert alone.desk.current == 3
    alone.qtbot.keyClick(alone.table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert alone.desk.current == 1
    assert alone.label(1) == "–"
    alone.desk.go(2)
    alone.qtbot.keyClick(alone.table, Qt.Key.Key_Backspace)
    assert alone.label(2) == "–"
    alone.panel.undo.click()
    assert alone.label(2) == "lesion"
    alone.keys("7")
    assert "There is no class 7" in alone.error
    assert alone.label(2) == "lesion"


def test_keys_work_in_the_image_while_the_table_is_shown(work):
    press = work.dock.viewer.window._qt_viewer._key_map_handler.press_key
    work.viewer.layers.selection.active = work.image
    work.desk.go(3)
    press("1")
    assert work.label(3) == "lesion"
    press("0")
    assert work.label(4) == "background"
    before = len(work.desk.tagging.known())
    work.dock.choose_source("path")
    assert not work.image.keymap
    press("1")
    assert len(work.desk.tagging.known()) == before


def test_several_rows_and_several_classes(alone):
    alone.panel.classes.add.click()
    alone.panel.classes.names[1].setText("cyst")
    alone.panel.classes.names[1].editingFinished.emit()
    assert alone.desk.tagging.classes == ("lesion", "cyst")
    alone.desk.go(2)
    for _ in range(3):
        alone.qtbot.keyClick(alone.table, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    assert alone.table.picked() == [2, 3, 4, 5]
    alone.keys("2")
    assert [alone.label(row) for row in range(1, 7)] == ["–", "cyst", "cyst", "cyst", "cyst", "–"]
    alone.desk.go(3)
    alone.qtbot.keyClick(alone.table, Qt.Key.Key_1, Qt.KeyboardModifier.ControlModifier)
    assert alone.label(3) == "lesion; cyst"
    assert alone.panel.classes.counts["cyst"].text() == "4"
    alone.panel.classes.names[0].setText("cyst")
    alone.panel.classes.names[0].editingFinished.emit()
    assert "There is a class 'cyst' already." in alone.error
    assert alone.panel.classes.names[0].text() == "lesion"
    alone.desk.remove_class("cyst")
    assert [alone.label(row) for row in (2, 3)] == ["–", "lesion"]
    alone.desk.undo()
    assert [alone.label(row) for row in (2, 3)] == ["cyst", "lesion; cyst"]


def test_typed_labels_and_patients(alone):
    model = alone.table.model()
    assert model.setData(model.index(3, 1), "lesion")
    model.setData(model.index(4, 1), "background")
    model.setData(model.index(5, 1), "tumor")
    assert "There is no class 'tumor'; there are: lesion." in alone.error
    assert [alone.label(row) for row in (3, 4, 5)] == ["lesion", "background", "–"]
    alone.desk.go(3)
    alone.qtbot.keyClick(alone.table, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    model.setData(model.index(4, 2), "ann")
    assert [model.index(row, 2).data() for row in (2, 3, 4, 5)] == ["scan", "ann", "ann", "scan"]


def test_tags_outlive_the_dock(alone):
    alone.tag_all()
    alone.dock.shut_down()
    again = module.TrainDock(alone.viewer)
    try:
        assert again.table.desk.n_tagged() == 12
    finally:
        again.shut_down()
    assert alone.image.metadata[KEPT]["classes"] == ["lesion"]


@pytest.mark.parametrize("shape", [(3, 4, 24, 24), (5, 24, 24, 3)])
def test_more_axes_and_colour(open_dock, tmp_path, shape):
    work = open_dock(
        np.random.default_rng(0).uniform(size=shape).astype(np.float32), ViewerModel(), rgb=shape[-1] == 3
    )
    assert len(work.desk.slots) == (12 if shape[-1] != 3 else 5)
    work.keys("10")
    work.wait(lambda: "2 of" in work.dock.note.plain())
    path = tmp_path / "tags.csv"
    work.desk.save(path)
    tags = dict(work.desk.tagging.known())
    work.desk.clear(range(2))
    work.desk.load(path)
    assert dict(work.desk.tagging.known()) == tags


def test_two_dimensional_images_are_a_row_each(open_dock, tmp_path):
    images, _ = volume()
    work = open_dock(images[0], ViewerModel())
    for at in range(1, 12):
        work.viewer.add_image(images[at], name=f"scan {at}")
    work.panel.image.choose(None)
    work.wait(lambda: len(work.desk.slots) == 12)
    work.tag_all()
    assert [layer.name for layer in work.viewer.layers if layer.visible] == ["scan 11"]
    work.dock.set_out(tmp_path / "x.safetensors")
    work.train()
    assert work.error == ""
    assert work.dock.session.trained.report["data"]["patients"] == 12


def test_a_table_goes_out_and_comes_back(open_dock, tmp_path, monkeypatch):
    """Through the dialogs, of a file whose axes are turned; what is there is not replaced unasked."""
    from napari_refit._reader import read_layers
    from napari_refit.learn.samples import open_samples
    from napari_refit.widgets import saving, tag_panel

    path = tmp_path / "scan.nii.gz"
    values = volume()[0].transpose(2, 1, 0)
    refit.save(path, values, Volume.from_array(values, ("x", "y", "z"), np.diag([1.0, 1.0, 4.0, 1.0])))
    data, keywords, _ = read_layers(str(path))[0]
    work = open_dock(np.asarray(data), ViewerModel(), metadata=keywords["metadata"])
    assert work.dock.out.line.text() == str(tmp_path / "classifier.safetensors")
    work.tag_all()
    work.desk.set_patient(range(12), "ann")
    table = tmp_path / "labels.csv"
    table.write_text("mine")
    asked = []
    answers = [saving.QMessageBox.StandardButton.No, saving.QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(
        saving.QMessageBox, "question", lambda *words: (asked.append(words), answers.pop(0))[1]
    )
    monkeypatch.setattr(tag_panel.QFileDialog, "getSaveFileName", lambda *_, **__: (str(table), ""))
    monkeypatch.setattr(tag_panel.QFileDialog, "getOpenFileName", lambda *_, **__: (str(table), ""))
    work.panel.save.click()
    assert table.read_text() == "mine"
    work.panel.save.click()
    assert len(asked) == 2
    assert table.read_text().splitlines()[:2] == [
        "image,axis,index,label,patient",
        "scan.nii.gz,2,0,background,ann",
    ]
    samples = open_samples(table)
    np.testing.assert_array_equal(samples.labels, [int(at in POSITIVE) for at in range(12)])
    np.testing.assert_allclose(
        samples.image(5), work.desk.samples(work.dock.forms.intensity.value).image(5), atol=1e-6
    )
    with table.open("a") as file:
        file.write("elsewhere.nii.gz,2,3,lesion,bob\n")
    before = dict(work.desk.tagging.known())
    work.desk.clear(range(12))
    work.panel.load.click()
    assert dict(work.desk.tagging.known()) == before
    assert "rows of images that are not open: 1" in work.dock.footer.status.plain()
    # Rows of images that are not open stay in their file.
    answers.append(saving.QMessageBox.StandardButton.Yes)
    work.panel.save.click()
    assert table.read_text().splitlines()[-1] == "elsewhere.nii.gz,2,3,lesion,bob"
    work.desk.set_patient([4], "bob")
    work.desk.save(table, overwrite=True)
    assert "elsewhere an image has one patient" in work.dock.footer.status.plain()
    work.desk.load(table)
    assert work.desk.tagging[work.desk.slots[4]].patient == "bob"
    before = dict(work.desk.tagging.known())
    table.write_text("image,axis,index,label\nscan.nii.gz,2,99,lesion\n")
    work.panel.load.click()
    work.wait(lambda: "index 99 of axis 2" in work.error)
    assert dict(work.desk.tagging.known()) == before


def test_a_ground_truth_says_which_slices(alone):
    _, truth = volume()
    layer = alone.viewer.add_labels(truth * 3, name="truth")
    alone.viewer.add_labels(np.zeros((3, 3), np.uint8), name="small")
    alone.dock.choose_source("truth")
    alone.dock.truth.truth.choose(layer)
    alone.dock.truth.names.setText("tumour")
    alone.dock.truth.look()
    alone.wait(lambda: alone.dock.truth.found is not None)
    assert "6 background, 6 tumour" in alone.dock.truth.note.plain()
    assert "one patient" in alone.dock.truth.warning.plain()
    alone.train()
    assert alone.error == ""
    assert alone.dock.session.trained.report["data"]["training"]["by_class"] == {"background": 6, "tumour": 6}
    assert "No image was kept for validation" in alone.dock.result.plain()
    alone.dock.truth.copy.click()
    assert alone.dock.kind.value() == "table"
    assert [alone.label(row) for row in range(3)] == ["background", "tumour", "tumour"]
    alone.dock.choose_source("truth")
    alone.dock.truth.truth.choose(alone.viewer.layers["small"])
    assert "'small' is on another grid: 3 × 3, but 'scan' is 12 × 32 × 32." in alone.error
    alone.dock.start()
    assert not alone.dock.session.running
    assert "on another grid" in alone.error


def make_folder(root):
    from PIL import Image

    images, _ = volume()
    for at, image in enumerate(images):
        place = root / ("lesion" if at in POSITIVE else "normal") / f"p{at // 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 255).clip(0, 255).astype(np.uint8)).save(place / f"{at}.png")
    return root


def test_a_folder_is_looked_at_and_trained_on(alone, tmp_path):
    folder = make_folder(tmp_path / "sets")
    alone.dock.choose_source("path")
    alone.dock.path.set_path(str(folder))
    alone.wait(lambda: alone.dock.path.found is not None)
    assert "12 images of 6 patients: 6 lesion, 6 normal." in alone.dock.path.note.plain()
    alone.train()
    assert alone.error == ""
    assert (tmp_path / "lesions.safetensors").exists()


def test_bad_paths_are_explained_in_the_dock(alone, tmp_path):
    alone.dock.choose_source("path")
    alone.dock.start()
    assert "Choose a folder with one sub-folder of images per class" in alone.error
    for path, why in (
        (tmp_path / "nowhere", "there is no such file"),
        (tmp_path, "one sub-folder of images per class"),
    ):
        alone.dock.path.set_path(str(path))
        alone.wait(lambda why=why: why in alone.error)
        assert str(path) in alone.error
        alone.dock.start()
        alone.wait(lambda: not alone.dock.session.running)
        assert why in alone.error
        assert alone.dock.footer.start.isEnabled()


def test_what_is_missing_is_said_before_anything_starts(alone, tmp_path):
    alone.dock.start()
    assert "nothing is tagged yet" in alone.error
    alone.tag_all()
    for name, why in (
        ("", "Say where the checkpoint goes"),
        (tmp_path / "a.pt", "must end in .safetensors"),
        (tmp_path / "no" / "a.safetensors", "there is no such folder"),
    ):
        alone.dock.set_out(name)
        alone.dock.start()
        assert why in alone.error
        assert not alone.dock.session.running


def test_files_are_not_replaced_unasked(alone, tmp_path, monkeypatch):
    out = tmp_path / "lesions.safetensors"
    out.write_bytes(b"mine")
    alone.tag_all()
    asked = []
    no = train_out.QMessageBox.StandardButton.No
    monkeypatch.setattr(train_out.QMessageBox, "question", lambda *words: (asked.append(words[1]), no)[1])
    alone.dock.start()
    assert asked == ["Replace the file?"]
    assert not alone.dock.session.running
    assert out.read_bytes() == b"mine"
    out.unlink()
    state_path(out).write_bytes(b"a state")
    alone.dock.start()
    assert asked[1:] == ["Begin anew?"]
    alone.dock.start(resume=True)
    alone.wait(lambda: not alone.dock.session.running)
    assert "start the training anew" in alone.error
    assert state_path(out).read_bytes() == b"a state"


def test_only_the_chosen_learners_own_parameters_are_shown(alone):
    forms = alone.dock.forms
    assert not any(form.isVisibleTo(alone.dock) for form in forms.groups.values())
    learner = forms.basic.control("learner")
    for name in ("seam", "cmer"):
        learner.combo.setCurrentIndex(learner.combo.findData(name))
        assert forms.params.learner == name
        shown = [group for group, form in forms.groups.items() if form.isVisibleTo(alone.dock)]
        assert shown == [name]
    forms.groups["cmer"].control("width")._take(24)
    assert forms.params.cmer.width == 24
    assert forms.params.epochs == QUICK["epochs"]


def test_weights_to_start_from_are_looked_for(alone, tmp_path, monkeypatch):
    forms = alone.dock.forms
    control = forms.basic.control("weights")
    asked = []

    def answer(*arguments):
        asked.append(arguments)
        return (str(tmp_path / "start.pth") if len(asked) == 1 else "", "")

    monkeypatch.setattr(form_texts.QFileDialog, "getOpenFileName", answer)
    control.browse.click()
    assert "*.safetensors *.pt *.pth" in asked[0][3]
    assert forms.params.weights == control.value() == str(tmp_path / "start.pth")
    control.browse.click()
    assert forms.params.weights == str(tmp_path / "start.pth"), "a closed dialog changes nothing"


def test_several_folds_are_drawn_and_the_first_is_selected(work, tmp_path):
    work.tag_all()
    work.desk.name_blocks(2)
    work.dock.forms.set_params(work.dock.forms.params.model_copy(update={"folds": 2, "epochs": 1}))
    work.train()
    assert work.error == ""
    assert sorted(work.dock.curves.curves.rows) == [1, 2]
    assert trained.latest() == tmp_path / "lesions-fold1.safetensors"
    assert "2 folds done. Test: AUROC" in work.dock.result.plain()
    assert work.dock.curves.canvas is not None


def test_narrow_and_named_and_explained(alone):
    """At 320 px nothing is cut off; every control has a name; the help lists keys and parameters."""
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QSlider

    assert module.MINIMUM_WIDTH <= 320
    assert alone.dock.minimumSizeHint().width() <= 320
    assert alone.dock.scroll.widget().minimumSizeHint().width() <= 298
    for kind in (QComboBox, QSlider, QLineEdit, QAbstractButton):
        for control in alone.dock.findChildren(kind):
            # What a spin box or a combo box is made of has no name of its own.
            inner = isinstance(control.parent(), (QComboBox, QAbstractSpinBox))
            if control.isVisibleTo(alone.dock) and not inner:
                named = control.accessibleName() or (kind is QAbstractButton and control.text())
                assert named, (control, control.parent())
    alone.dock.footer.help.click()
    text = alone.dock._help.browser.toPlainText()
    assert "Backspace" in text
    assert "Learning rate" in text
    alone.dock._help.close()


def test_opening_the_dock_imports_no_torch():
    program = (
        "import sys\n"
        "from napari.components import ViewerModel\n"
        "from qtpy.QtWidgets import QApplication\n"
        "application = QApplication([])\n"
        "from napari_refit.widgets.train_dock import TrainDock\n"
        "import numpy as np\n"
        "viewer = ViewerModel()\n"
        "viewer.add_image(np.zeros((3, 8, 8)))\n"
        "dock = TrainDock(viewer)\n"
        "dock.show(); application.processEvents()\n"
        "dock.table.desk.tag(1); dock._count(); application.processEvents()\n"
        "print(sorted({'torch', 'matplotlib', 'torchvision'} & {name.partition('.')[0] for name in sys.modules}))\n"
        "dock.shut_down()\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert "torch" not in answer.stdout
