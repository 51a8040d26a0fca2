"""Reviewing the results of a batch in a real window: keys, painting, saving; nothing that is painted gets lost."""

from __future__ import annotations

import csv
import gc
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

import napari_refit as refit
from napari_refit.batch.cases import find_cases
from napari_refit.batch.record import read_records
from napari_refit.batch.review import Review
from napari_refit.batch.run import Recipe, run_batch
from napari_refit.batch.settings import BatchParams
from napari_refit.io.sidecar import file_checksum, sidecar_path
from napari_refit.io.volume import Volume
from napari_refit.recipe import RefitParams
from napari_refit.widgets import batch_dock, review_panel
from napari_refit.widgets.shortcuts import REVIEW_SHORTCUTS

from .conftest import PLAIN, disc

pytestmark = pytest.mark.gui
KEYS = {"Right": Qt.Key.Key_Right, "Left": Qt.Key.Key_Left}
KINDS = review_panel.QMessageBox.StandardButton


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Results of three volumes, the second of which lies aslant; made once and copied for each test."""
    from napari_refit.registry import SEGMENTERS, register_segmenter

    from .conftest import blocks

    root = tmp_path_factory.mktemp("made")
    turn = np.radians(9)
    aslant = np.array(
        [
            [1, 0, 0, 3],
            [0, np.cos(turn), -2 * np.sin(turn), 5],
            [0, np.sin(turn), 2 * np.cos(turn), -4],
            [0, 0, 0, 1],
        ]
    )
    rows = []
    for k, name in enumerate("abc"):
        image = disc((4, 24, 32), (10.0 + k, 15.0)) * np.array([0.2, 0.7, 1.0, 0.3])[:, None, None]
        affine = aslant if name == "b" else np.diag([1.0, 1.0, 2.0, 1.0])
        row = {}
        for kind, array in (("image", image), ("truth", (image > 0.6).astype(np.uint8)), ("response", image)):
            turned = np.ascontiguousarray(array.transpose())
            row[kind] = f"{kind}-{name}.nii.gz"
            volume = Volume.from_array(turned, ("x", "y", "z"), affine)
            refit.save(root / row[kind], turned, volume, labels=kind == "truth")
        rows.append(row)
    with (root / "cases.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["image", "truth", "response"])
        table.writeheader()
        table.writerows(rows)
    register_segmenter("blocks", blocks)
    try:
        refine(root, root / "results")
    finally:
        SEGMENTERS.unregister("blocks")
    return root


def refine(root, out, **changes):
    cases, _ = find_cases([root / "cases.csv"], out)
    return run_batch(
        cases, Recipe(RefitParams(**{**PLAIN, **changes})), out, BatchParams(thumbnails=False)
    ).records


class Work:
    """A viewer with the Batch dock, reviewing."""

    def __init__(self, dock, qtbot, root, out):
        self.dock, self.viewer, self.qtbot, self.root, self.out = dock, dock.viewer, qtbot, root, out
        self.panel, self.session = dock.review, dock.review.session

    def wait(self, ready, timeout=20_000):
        self.qtbot.waitUntil(ready, timeout=timeout)

    def settle(self):
        self.qtbot.wait(5)
        self.wait(lambda: not self.session.busy)

    def begin(self):
        self.wait(lambda: not self.dock.session.reading)
        self.dock.footer.review.click()
        self.wait(lambda: self.session.case is not None)
        self.settle()

    def press(self, name):
        key = next(shortcut for shortcut in REVIEW_SHORTCUTS if shortcut.name == name).key
        letter = key.removeprefix("Alt-")
        code = KEYS.get(letter) or getattr(Qt.Key, f"Key_{letter}")
        if hasattr(self.viewer, "window"):
            target = self.viewer.window._qt_window._qt_viewer.canvas.native
        else:
            self.dock.activateWindow()
            self.wait(self.dock.isActiveWindow)
            self.panel.next.setFocus()
            target = self.panel.next
        QTest.keyClick(target, code, Qt.KeyboardModifier.AltModifier)
        self.settle()

    def paint(self, value=1):
        labels = self.session.case.labels
        labels.paint((0, 3, 3), value)
        labels.paint((0, 3, 6), value)
        return np.array(labels.data)

    def file(self, name):
        return self.out / f"image-{name}_refined.nii.gz"

    def state(self, name):
        return Review(self.out).state(f"image-{name}")

    @property
    def labels(self):
        return self.session.case.labels

    @property
    def name(self):
        return self.session.name.removeprefix("image-")

    @property
    def error(self):
        return self.dock.footer.error.plain()

    @property
    def status(self):
        return self.dock.footer.status.plain()


@pytest.fixture
def open_dock(qtbot, made, tmp_path):
    docks = []
    out = tmp_path / "results"
    shutil.copytree(made / "results", out)

    def make(viewer=None):
        dock = batch_dock.BatchDock(ViewerModel() if viewer is None else viewer)
        if hasattr(dock.viewer, "window"):
            dock.viewer.window.add_dock_widget(dock, name="Batch", area="right")
        else:
            qtbot.addWidget(dock)
            dock.show()
            qtbot.waitExposed(dock)
        docks.append(dock)
        dock.set_output(out)
        found = Work(dock, qtbot, made, out)
        found.begin()
        return found

    yield make
    for dock in docks:
        dock.shut_down()
    docks.clear()


@pytest.fixture
def asked(monkeypatch):
    """Answers to give, and the questions that were asked."""
    answers, questions = [], []

    def question(*words):
        questions.append(words[2])
        return answers.pop(0)

    monkeypatch.setattr(review_panel.QMessageBox, "question", question)
    return answers, questions


def test_every_key_in_the_canvas(open_dock, make_napari_viewer_proxy):
    """Step, judge, paint and save by real keys while an image, then the labels are active."""
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(900, 700)
    other = viewer.add_image(np.zeros((5, 5)), name="mine")
    work = open_dock(viewer)
    assert not other.visible
    assert [layer.name for layer in work.viewer.layers][1:] == [
        "image-a",
        "refined · image-a",
        "truth · image-a",
    ]
    assert work.viewer.dims.current_step[0] == 2, "the slice with most to see"
    work.press("review_next")
    assert work.name == "b"
    work.press("review_previous")
    assert work.name == "a"
    work.press("review_previous")
    assert "first case" in work.status
    work.press("review_accept")
    assert (work.name, work.state("a")) == ("b", "accepted")
    work.viewer.layers.selection.active = work.viewer.layers["image-b"]
    work.press("review_reject")
    assert (work.name, work.state("b")) == ("c", "rejected")
    work.press("review_fix")
    assert work.labels.mode == "paint"
    assert work.panel.fix.isChecked()
    assert work.viewer.layers.selection.active is work.labels
    work.press("review_fix")
    assert work.labels.mode == "pan_zoom"
    work.press("review_fix")
    painted = work.paint()
    assert work.panel.save.isEnabled()
    work.press("review_save")
    assert work.state("c") == "fixed"
    assert not work.panel.save.isEnabled()
    np.testing.assert_array_equal(refit.load(work.file("c")).data.transpose(), painted)
    assert work.session.counts == {"open": 0, "accepted": 1, "rejected": 1, "fixed": 1}
    assert "1 accepted" in work.panel.counts.text()
    assert [row.record.name for row in work.dock.table.shown()] == ["image-a", "image-b", "image-c"]
    work.press("review_accept")
    assert work.state("c") == "fixed", "accepted, and still known as fixed"
    assert "Every case is reviewed." in work.status
    work.dock.footer.review.click()
    work.settle()
    assert [layer.name for layer in work.viewer.layers] == ["mine"]
    assert other.visible
    assert not any("Alt" in str(key) for key in work.viewer.keymap)


def test_the_same_keys_in_the_panel(open_dock):
    work = open_dock()
    work.press("review_accept")
    assert (work.name, work.state("a")) == ("b", "accepted")
    work.press("review_next")
    assert work.name == "c"


def test_layers_lie_where_their_files_say(open_dock):
    work = open_dock()
    work.session.go("image-b")
    work.settle()
    image, labels, truth = (
        work.viewer.layers[name] for name in ("image-b", "refined · image-b", "truth · image-b")
    )
    for corner in ((0, 0, 0), (3, 23, 31)):
        for layer in (labels, truth):
            np.testing.assert_allclose(layer.data_to_world(corner), image.data_to_world(corner), atol=1e-6)
    assert image.data_to_world((1, 0, 0))[0] - image.data_to_world((0, 0, 0))[0] == pytest.approx(2.0)
    assert truth.contour == 1
    assert labels.data.any()
    painted = work.paint()
    work.session.save()
    work.settle()
    before, after = (refit.load(path) for path in (work.root / "image-b.nii.gz", work.file("b")))
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(after.data).transpose(), painted)


def test_a_fix_is_told_in_the_sidecar_and_kept_by_the_next_run(open_dock):
    work = open_dock()
    sidecar = sidecar_path(work.file("a"))
    before, made_by = json.loads(sidecar.read_text()), file_checksum(work.file("a"))
    work.session.fix()
    painted = work.paint()
    work.session.accept()
    work.settle()
    assert work.name == "b"
    assert work.state("a") == "fixed"
    report = json.loads(sidecar.read_text())
    fixed = report.pop("fixed")
    assert report == before, "what made the result is still known"
    assert fixed["checksum_before"] == made_by == before["labels_checksum"]
    assert fixed["labels_checksum"] == file_checksum(work.file("a"))
    truth = np.asarray(refit.load(work.root / "truth-a.nii.gz").data).transpose()
    overlap = 2 * np.count_nonzero((painted == 1) & (truth == 1)) / (painted.sum() + truth.sum())
    assert fixed["metrics"]["dice"] == pytest.approx(overlap)
    assert fixed["changed_voxels"] > 0
    work.session.previous()
    work.settle()
    assert "after painting" in work.panel.facts.plain()
    work.dock.footer.review.click()
    work.settle()
    content = work.file("a").read_bytes()
    # Even with other parameters, hand work is not thrown away.
    records = {record.name: record for record in refine(work.root, work.out, threshold=0.3)}
    assert records["image-a"].state == "skipped"
    assert records["image-b"].state == "done"
    assert work.file("a").read_bytes() == content
    assert work.state("a") == "fixed"


def test_unsaved_painting_is_asked_about(open_dock, asked):
    answers, questions = asked
    work = open_dock()
    original = work.file("a").read_bytes()
    painted = work.paint()
    assert "not saved yet" in work.panel.warning.plain()
    answers[:] = [KINDS.Cancel, KINDS.Discard]
    work.panel.next.click()
    work.settle()
    assert work.name == "a"
    np.testing.assert_array_equal(work.labels.data, painted)
    work.panel.next.click()
    work.settle()
    assert work.name == "b"
    assert work.file("a").read_bytes() == original
    assert len(questions) == 2
    assert "image-a" in questions[0]
    painted = work.paint()
    answers[:] = [KINDS.Save]
    work.dock.footer.review.click()
    work.settle()
    assert not work.session.on
    np.testing.assert_array_equal(np.asarray(refit.load(work.file("b")).data).transpose(), painted)
    assert work.state("b") == "fixed"


def test_undo_and_discard_leave_nothing_to_save(open_dock, asked):
    work = open_dock()
    work.paint()
    assert work.session.painting.unsaved
    work.labels.undo()
    work.labels.undo()
    work.wait(lambda: not work.session.painting.unsaved)
    work.paint()
    work.panel.discard.click()
    work.settle()
    assert not work.session.painting.unsaved
    work.labels.undo()
    work.wait(lambda: work.session.painting.unsaved)
    work.panel.discard.click()
    work.panel.next.click()
    work.settle()
    assert work.name == "b"
    assert asked[1] == []


def test_rejecting_painted_labels_asks_first(open_dock, asked):
    work = open_dock()
    work.paint()
    asked[0].append(KINDS.Cancel)
    work.press("review_reject")
    assert work.state("a") == "open"
    asked[0].append(KINDS.Discard)
    work.press("review_reject")
    assert (work.name, work.state("a")) == ("b", "rejected")


@pytest.mark.parametrize("how", ["dock", "viewer"])
def test_painting_outlives_what_is_closed(open_dock, make_napari_viewer_proxy, how, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    work = open_dock(viewer)
    painted = work.paint()
    file, out = work.file("a"), work.out
    if how == "dock":
        viewer.window.remove_dock_widget(work.dock)
    else:
        viewer.close()
    gc.collect()
    qtbot.waitUntil(lambda: Review(out).state("image-a") == "fixed", timeout=5000)
    np.testing.assert_array_equal(np.asarray(refit.load(file).data).transpose(), painted)


CLOSED = """
import sys, time
from pathlib import Path
import napari
import numpy as np
from qtpy.QtCore import QTimer
from napari_refit.widgets.batch_dock import BatchDock

viewer = napari.Viewer()
dock = BatchDock(viewer)
viewer.window.add_dock_widget(dock, name="Batch", area="right")
dock.review.begin(Path(sys.argv[1]))

def paint():
    case = dock.review.session.case
    if case is None:
        QTimer.singleShot(50, paint)
        return
    case.labels.paint((0, 3, 3), 1)
    np.save(sys.argv[2], case.labels.data)
    # As by the cross in its corner.
    QTimer.singleShot(50, viewer.window._qt_window.close)

QTimer.singleShot(0, paint)
napari.run()
"""


def test_painting_outlives_napari(made, tmp_path):
    """The window is closed with painting that is not saved, and the program ends."""
    out, copy = tmp_path / "results", tmp_path / "painted.npy"
    shutil.copytree(made / "results", out)
    answer = subprocess.run(
        [sys.executable, "-c", CLOSED, str(out), str(copy)], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    assert Review(out).state("image-a") == "fixed"
    saved = np.asarray(refit.load(out / "image-a_refined.nii.gz").data).transpose()
    np.testing.assert_array_equal(saved, np.load(copy))


def test_labels_removed_by_the_user_can_still_be_saved(open_dock):
    work = open_dock()
    painted = work.paint()
    work.viewer.layers.remove(work.labels)
    work.session.save()
    work.settle()
    np.testing.assert_array_equal(np.asarray(refit.load(work.file("a")).data).transpose(), painted)
    work.session.fix()
    assert work.labels in work.viewer.layers


def test_it_goes_on_where_it_was_left(open_dock):
    work = open_dock()
    work.panel.note.setText("blurred; =sum")
    work.panel.note.editingFinished.emit()
    work.session.accept()
    work.settle()
    work.dock.shut_down()
    again = open_dock(ViewerModel())
    assert again.name == "b"
    again.session.previous()
    again.settle()
    assert again.panel.note.text() == "blurred; =sum"
    assert again.session.state("image-a") == "accepted"
    assert "accepted" in again.panel.title.text()


def test_a_double_click_opens_a_case_and_steps_can_be_narrowed(open_dock):
    work = open_dock()
    table = work.dock.table
    table.chosen.emit(table.shown()[2])
    work.settle()
    assert work.name == "c"
    work.session.reject()
    work.settle()
    assert work.name == "a"
    work.panel.steps.setCurrentIndex(work.panel.steps.findData("rejected"))
    work.session.next()
    work.settle()
    assert work.name == "c"
    work.session.next()
    work.settle()
    assert (work.name, work.status) == ("c", "This is the last case.")


def test_what_nobody_has_seen_is_not_judged(open_dock, monkeypatch):
    """A key that is pressed once too often, before the next case is on show."""
    work = open_dock()
    work.session.accept()
    work.session.accept()
    assert "Wait until the case is shown" in work.status
    work.settle()
    assert [work.state(name) for name in "abc"] == ["accepted", "open", "open"]


def test_labels_that_changed_meanwhile_are_looked_at_again(open_dock):
    work = open_dock()
    shown = work.file("a").read_bytes()
    work.file("a").write_bytes(work.file("c").read_bytes())
    work.session.accept()
    work.settle()
    assert "look at them again" in work.error
    assert work.state("a") == "open"
    work.file("a").write_bytes(shown)
    work.session.accept()
    work.settle()
    assert work.state("a") == "accepted"


def test_a_case_that_cannot_be_opened_is_said_and_rejected(open_dock):
    work = open_dock()
    work.file("b").write_bytes(b"nothing")
    work.session.next()
    work.settle()
    assert work.name == "b"
    assert work.session.case is None
    assert "image-b_refined.nii.gz" in work.error
    assert not work.panel.accept.isEnabled()
    work.session.accept()
    assert "could not be opened" in work.status
    work.session.reject()
    work.settle()
    assert (work.name, work.state("b")) == ("c", "rejected")


def test_a_missing_truth_and_a_read_only_result_are_said(open_dock, monkeypatch):
    from napari_refit.errors import WriteError
    from napari_refit.widgets import review_painting

    work = open_dock()
    sidecar = sidecar_path(work.file("b"))
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "truth": "gone.nii.gz"}))
    work.session.next()
    work.settle()
    assert "Without its ground truth" in work.error
    assert [layer.name for layer in work.viewer.layers] == ["image-b", "refined · image-b"]

    def full(path, *rest):
        raise WriteError(path, "the disk is full")

    painted = work.paint()
    with monkeypatch.context() as context:
        context.setattr(review_painting, "write_fix", full)
        work.session.accept()
        work.settle()
    assert "the disk is full" in work.error
    assert work.name == "b"
    np.testing.assert_array_equal(work.labels.data, painted)
    assert work.session.painting.unsaved
    work.session.accept()
    work.settle()
    assert (work.name, work.state("b")) == ("c", "fixed")


def test_nothing_to_review(qtbot, tmp_path):
    dock = batch_dock.BatchDock(ViewerModel())
    qtbot.addWidget(dock)
    dock.review.begin(tmp_path)
    qtbot.waitUntil(lambda: "no result to review" in dock.footer.error.plain())
    assert not dock.review.session.on
    assert read_records(tmp_path) == []
    dock.shut_down()
