"""The Tune dock in a real window: search, stop, go on, apply; what is missing is said; closing mid-run is harmless."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

import napari_refit as refit
from napari_refit.io.volume import Volume
from napari_refit.tune.run import read_trials
from napari_refit.tune.space import Range, default_space
from napari_refit.widgets import tune_dock as module
from napari_refit.widgets import tune_job
from napari_refit.widgets.refit_dock import ReFitDock

from .conftest import PLAIN, Bench, disc

pytestmark = pytest.mark.gui
THRESHOLD = "boundary.threshold"


class Work:
    """A viewer with the Tune dock beside the ReFit dock."""

    def __init__(self, bench, dock, qtbot):
        self.bench, self.dock, self.qtbot = bench, dock, qtbot
        self.viewer, self.refit = dock.viewer, None if bench is None else bench.dock

    def wait(self, ready, timeout=30_000):
        self.qtbot.waitUntil(ready, timeout=timeout)

    def end(self):
        self.wait(lambda: not (self.dock.session.running or self.dock.session.reading))

    def search(self, trials=8, **changes):
        self.set(trials=trials, **changes)
        self.dock.footer.start.click()
        self.end()

    def set(self, **changes):
        self.dock.set_params(self.dock.params.model_copy(update=changes))

    @property
    def error(self):
        return self.dock.footer.error.plain()

    @property
    def status(self):
        return self.dock.footer.status.plain()


@pytest.fixture
def open_dock(qtbot):
    docks = []

    def make(viewer, bench=None):
        dock = module.TuneDock(viewer)
        if hasattr(viewer, "window"):
            viewer.window.add_dock_widget(dock, name="Tune", area="right")
        else:
            qtbot.addWidget(dock)
            dock.show()
        docks.append(dock)
        return Work(bench, dock, qtbot)

    yield make
    for dock in docks:
        dock.shut_down()
    docks.clear()


@pytest.fixture
def make_refit(qtbot):
    """A ReFit dock in a window of its own."""
    docks = []

    def make(viewer):
        dock = ReFitDock(viewer)
        qtbot.addWidget(dock)
        dock.show()
        docks.append(dock)
        return dock

    yield make
    for dock in docks:
        dock.shut_down()
    docks.clear()


def ready(work, tmp_path):
    """The truth is the response above 0.6: the threshold decides all."""
    work.dock.set_study(tmp_path / "study.journal")
    work.dock.space.set_space([Range(THRESHOLD, 0.05, 0.95)])
    work.set(images=4, seed=3)
    return work


@pytest.fixture
def work(bench, open_dock, tmp_path):
    """Both docks in a real window."""
    made = bench()
    return ready(open_dock(made.viewer, made), tmp_path)


@pytest.fixture
def beside(make_refit, settled, open_dock, tmp_path):
    """Both docks without napari's window: quicker, where the canvas does not matter."""
    viewer = ViewerModel()
    response = disc()
    image = viewer.add_image(response, name="scan")
    layers = (
        viewer.add_image(response.copy(), name="cam"),
        viewer.add_labels((response > 0.6) * 1, name="truth"),
    )
    dock = make_refit(viewer)
    dock.choose_image(image)
    dock.set_params(dock.sections.params.replace(**PLAIN))
    dock.choose_response(layers[0])
    made = Bench(viewer, dock, image, *layers, lambda: settled(dock))
    made.settle()
    return ready(open_dock(viewer, made), tmp_path)


@pytest.fixture
def alone(open_dock):
    """The dock in a window of its own, with a viewer that has none: quicker, where the canvas does not matter."""
    return open_dock(ViewerModel())


def hold_after(count, monkeypatch):
    """Let a search wait once after so many trials; returns what says so, and what lets it go on."""
    reached, gate = threading.Event(), threading.Event()
    real, seen = tune_job._Watch.trial, []

    def held(self, trial):
        real(self, trial)
        seen.append(trial)
        if len(seen) >= count and not gate.is_set():
            reached.set()
            gate.wait(20)

    monkeypatch.setattr(tune_job._Watch, "trial", held)
    return reached, gate


def test_a_search_finds_and_applies_the_best(work):
    work.bench.set(threshold=0.1)
    work.search(14)
    assert work.error == ""
    best = work.dock.session.best
    table = work.dock.table
    assert [trial.number for trial in table.shown()] == list(range(14))
    assert best.score == max(trial.score for trial in table.shown() if trial.score is not None)
    first = table.shown()[0]
    assert first.values == {THRESHOLD: 0.1}, "what the dock has is tried first"
    assert best.score > first.score
    assert work.dock.plot.best[-1] == (13, best.score) or work.dock.plot.best[-1][1] == best.score
    assert "judged on 4 images" in work.dock.result.plain()
    assert "stage runs were saved" in work.dock.result.plain()
    work.dock.footer.apply.click()
    assert work.refit.sections.params.fit_params.threshold == best.values[THRESHOLD]
    work.bench.settle()
    assert work.bench.plane.any()
    assert f"trial {best.number}" in work.status


def test_a_double_click_and_enter_apply_a_trial(beside):
    beside.search(5, pruning=False)
    table = beside.dock.table
    table.sort_by("Score")
    beside.wait(table.isVisible)
    worst = table.shown()[0]
    assert worst.score == min(trial.score for trial in table.shown())
    where = table.visualRect(table.model().index(0, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert beside.refit.sections.params.fit_params.threshold == worst.values[THRESHOLD]
    beside.bench.settle()
    table.setFocus()
    table.setCurrentIndex(table.model().index(4, 0))
    QTest.keyClick(table, Qt.Key.Key_Return)
    assert beside.refit.sections.params.fit_params.threshold == beside.dock.session.best.values[THRESHOLD]
    beside.bench.settle()


def test_saved_as_a_preset_with_a_note(beside, tmp_path, monkeypatch):
    from napari_refit.cli_shared import read_params
    from napari_refit.tune.note import read_note
    from napari_refit.widgets.saving import load_parameters

    path = tmp_path / "mine.json"
    answers = [("", ""), (str(path.with_suffix("")), ""), (str(tmp_path / "no" / "x.json"), "")]
    monkeypatch.setattr(module.QFileDialog, "getSaveFileName", lambda *_: answers.pop(0))
    beside.search(4)
    for _ in range(2):
        beside.dock.footer.save.click()
    best = beside.dock.session.best
    for params in (load_parameters(path), read_params(path)):
        assert params == beside.refit.sections.params.replace(**best.values)
    note = read_note(path)
    assert note is not None
    assert note.score == best.score
    assert len(note.cases) >= 1
    beside.dock.footer.save.click()
    assert "no" in beside.error


def test_cancel_and_continue_later(beside, open_dock, monkeypatch, tmp_path):
    reached, gate = hold_after(3, monkeypatch)
    beside.set(trials=7)
    beside.dock.footer.start.click()
    beside.wait(reached.is_set)
    assert beside.dock.footer.cancel.isEnabled()
    assert not beside.dock.footer.start.isEnabled()
    # The window is free meanwhile.
    beside.bench.go(1)
    beside.dock.footer.cancel.click()
    gate.set()
    beside.end()
    assert "Stopped after 3 trials" in beside.status
    assert beside.dock.footer.resume.isEnabled()
    known = {trial.number: trial for trial in read_trials(tmp_path / "study.journal")}
    assert len(known) == 3
    # Another dock, as after a restart, with other parameters and ranges on show: the study has its own.
    beside.dock.shut_down()
    again = open_dock(beside.viewer, beside.bench)
    again.dock.space.set_space([Range("boundary.coverage", 0.1, 0.9)])
    beside.bench.set(coverage=0.2)
    again.dock.set_study(tmp_path / "study.journal")
    again.end()
    assert len(again.dock.table.shown()) == 3
    again.set(trials=3, images=50, seed=9)
    again.dock.footer.resume.click()
    assert "has 3 trials: ask for more" in again.error
    again.set(trials=7)
    again.dock.images.choose("volume")
    again.dock.footer.resume.click()
    again.end()
    assert again.error == ""
    trials = {trial.number: trial for trial in read_trials(tmp_path / "study.journal")}
    assert len(trials) == 7
    assert all(trials[number] == trial for number, trial in known.items())
    assert all(set(trial.values) == {THRESHOLD} for trial in trials.values())


def test_start_leaves_a_study_that_is_there_alone(beside, tmp_path):
    beside.search(3)
    before = (tmp_path / "study.journal").read_bytes()
    beside.search(2)
    assert (tmp_path / "study.journal").read_bytes() == before
    assert beside.dock.study.path == tmp_path / "study-2.journal"
    assert len(read_trials(tmp_path / "study-2.journal")) == 2


def test_layer_removed_mid_run_stops(work, monkeypatch):
    reached, gate = hold_after(2, monkeypatch)
    work.dock.start()
    work.wait(reached.is_set)
    work.viewer.layers.remove(work.bench.image)
    gate.set()
    work.end()
    assert work.error == ""
    assert len(work.dock.session.trials) == 2
    assert "Choose an image in the ReFit dock." in work.dock.images.warning.plain()
    work.dock.footer.apply.click()
    assert work.refit.sections.params.fit_params.threshold == work.dock.session.best.values[THRESHOLD]


def test_dock_closed_mid_run(work, monkeypatch, tmp_path):
    reached, gate = hold_after(2, monkeypatch)
    work.dock.start()
    work.wait(reached.is_set)
    work.viewer.window.remove_dock_widget(work.dock)
    work.wait(lambda: not work.dock._open)
    gate.set()
    work.qtbot.wait(300)
    assert len([trial for trial in read_trials(tmp_path / "study.journal") if trial.state != "running"]) == 2


def test_viewer_closed_mid_run(work, monkeypatch, tmp_path):
    reached, gate = hold_after(2, monkeypatch)
    work.dock.start()
    work.wait(reached.is_set)
    work.refit.shut_down()
    work.viewer.close()
    gate.set()
    gc.collect()
    work.qtbot.wait(300)
    assert len([trial for trial in read_trials(tmp_path / "study.journal") if trial.state != "running"]) == 2


def test_refit_dock_closed_mid_run(work, monkeypatch):
    reached, gate = hold_after(1, monkeypatch)
    work.set(trials=3)
    work.dock.start()
    work.wait(reached.is_set)
    work.viewer.window.remove_dock_widget(work.refit)
    work.wait(lambda: work.dock.footer.refit.isVisibleTo(work.dock))
    gate.set()
    work.end()
    assert work.error == ""
    assert len(work.dock.session.trials) == 3
    work.dock.footer.apply.click()
    assert "Open the ReFit dock" in work.error


def test_this_slice_and_no_truth(beside):
    beside.dock.images.choose("slice")
    assert f"slice {beside.bench.session.plane.position}, against truth" in beside.dock.images.note.plain()
    beside.search(2)
    assert "judged on 1 image." in beside.dock.result.plain()
    beside.refit.choose_truth(None)
    beside.bench.settle()
    beside.wait(lambda: "label-free" in beside.dock.images.warning.plain())
    beside.search(2)
    assert beside.error == ""
    assert beside.dock.session.objective == "label-free"


def test_what_is_missing_is_said(open_dock, make_refit, settled, tmp_path):
    viewer = ViewerModel()
    work = open_dock(viewer)
    dock = work.dock
    assert dock.footer.refit.isVisibleTo(dock)
    assert "ReFit dock, which is not open" in dock.images.warning.plain()
    dock.footer.start.click()
    assert "ReFit dock, which is not open" in work.error
    refit_dock = make_refit(viewer)
    assert not dock.footer.refit.isVisibleTo(dock)
    dock.start()
    assert work.error == "Choose an image in the ReFit dock."
    image = viewer.add_image(disc(), name="scan")
    settled(refit_dock)
    dock.start()
    assert "Choose a classifier or a response map" in work.error
    refit_dock.choose_response(image)
    refit_dock.set_params(refit_dock.sections.params.replace(**PLAIN))
    settled(refit_dock)
    dock.set_study("")
    dock.start()
    assert "Say where the study is kept" in work.error
    for name, why in (("a.json", "must end in"), ("no/a.db", "there is no such folder")):
        dock.set_study(tmp_path / name)
        dock.start()
        assert why in work.error
    dock.set_study(tmp_path / "a.db")
    dock.space.set_space([])
    dock.start()
    assert "Tick at least one parameter" in work.error
    dock.images.choose("layers")
    dock.start()
    assert "Tick the image layers" in work.error
    dock.images.choose("folder")
    dock.start()
    assert "Choose a folder of images" in work.error
    dock.images.folder.set_text(str(tmp_path / "nowhere"))
    dock.start()
    assert "there is no such folder" in work.error
    dock.images.folder.set_text(str(tmp_path))
    dock.start()
    assert "its response map is of one image only" in work.error
    assert not dock.session.running


def test_a_damaged_study_is_explained(beside, tmp_path):
    (tmp_path / "study.journal").write_bytes(b"this is no study")
    beside.dock.set_study(tmp_path / "other.db")
    beside.dock.set_study(tmp_path / "study.journal")
    beside.end()
    assert "study.journal" in beside.error
    beside.dock.go_on()
    assert "no study to go on with" in beside.error


def test_several_layers_and_a_folder_by_a_classifier(beside, tmp_path):
    """The sample classifier, on two layers with truths of their own, then on files."""
    image, truth = disc((24, 32)), (disc((24, 32)) > 0.6).astype(np.uint8)
    for name in ("one", "two"):
        beside.viewer.add_image(image, name=name)
        beside.viewer.add_labels(truth, name=f"{name} truth")
        for folder, array in (("scans", image), ("masks", truth)):
            (tmp_path / folder).mkdir(exist_ok=True)
            volume = Volume.from_array(array, ("y", "x"))
            refit.save(tmp_path / folder / f"{name}.npy", array, volume)
    beside.refit.choose_classifier("sample")
    beside.bench.settle()
    rows = beside.dock.images.layers
    for row in range(rows.count()):
        ticked = rows.item(row).text().startswith(("one", "two"))
        rows.item(row).setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
    assert [rows.item(row).text() for row in range(rows.count())][-2:] == [
        "one, against one truth",
        "two, against two truth",
    ]
    beside.dock.images.choose("layers")
    beside.search(2)
    assert beside.error == ""
    assert beside.dock.session.about["images"][0]["case"] in ("one", "two")
    beside.dock.images.choose("folder")
    beside.dock.images.folder.set_text(str(tmp_path / "scans"))
    beside.dock.images.masks.set_text(str(tmp_path / "masks"))
    beside.search(2)
    assert beside.error == ""
    assert "judged on 2 images" in beside.dock.result.plain()


def test_rows_are_those_of_the_refit_dock(beside):
    space = beside.dock.space
    assert space.rows[THRESHOLD].now.plain() == "now 0.5"
    beside.bench.set(threshold=0.25)
    beside.wait(lambda: space.rows[THRESHOLD].now.plain() == "now 0.25")
    assert [each.key for each in space.space] == [THRESHOLD]
    beside.bench.set(segmenter="quickshift")
    beside.wait(lambda: "quickshift.ratio" in space.rows)
    keys = [each.key for each in space.space]
    assert keys[0].startswith("quickshift."), "what came into use is suggested"
    assert keys[-1] == THRESHOLD, "what was unticked stays so"
    assert "boundary.coverage" not in keys
    space.none.click()
    assert space.space == []
    assert "Tick at least one" in beside.dock.size.plain()
    space.suggested.click()
    assert space.space == default_space(beside.refit.sections.params)


def test_other_segmenters_can_be_tried(alone):
    space = alone.dock.space
    row = space.rows["segmenter"]
    row.set_range(Range("segmenter", choices=("slic", "quickshift")))
    row.set_checked(True)
    assert "quickshift.ratio" in space.rows
    row.set_checked(False)
    assert "quickshift.ratio" not in space.rows


def test_a_range_is_kept_within_what_is_declared(alone):
    space = alone.dock.space
    space.set_space([Range(THRESHOLD, 0.2, 0.6)])
    row = space.rows[THRESHOLD]
    control = row.controls

    def type_in(box, text):
        box.setFocus()
        box.selectAll()
        QTest.keyClicks(box, text)
        QTest.keyClick(box, Qt.Key.Key_Return)

    type_in(control.low, "0.7")
    assert (row.range.low, row.range.high) == (0.7, pytest.approx(0.7, abs=1e-4))
    type_in(control.high, "7")
    assert row.range.high == 1.0
    type_in(control.low, "-3")
    assert row.range.low == 0.0
    type_in(control.step, "0.25")
    assert row.range.levels(9) == (0.0, 0.25, 0.5, 0.75, 1.0)
    alone.set(sampler="grid")
    alone.dock._on_form()
    assert "The grid has 5 points." in alone.dock.size.plain()
    type_in(control.step, "any")
    assert row.range.step is None
    control.slider.setValue((0, 500))
    assert row.range.high == pytest.approx(0.51, abs=0.03)
    segments = space.rows["slic.n_segments"]
    segments.set_checked(True)
    assert segments.range.log
    type_in(segments.controls.step, "50")
    assert not segments.range.log
    assert segments.range.step == 50
    type_in(segments.controls.low, "1e9")
    assert segments.range.low < segments.range.high <= 20000


def test_choices_keep_one(alone):
    row = alone.dock.space.rows["cam.gate"]
    row.set_checked(True)
    boxes = row.controls.boxes
    for box in boxes.values():
        box.setChecked(False)
    assert len(row.range.choices) == 1
    assert sum(box.isChecked() for box in boxes.values()) == 1


def test_no_optuna_is_said(monkeypatch, open_dock):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert 'pip install "napari-refit[tune]"' in open_dock(ViewerModel()).error


def test_the_plot_and_its_axes_follow(alone):
    plot = alone.dock.plot
    assert plot.canvas is None
    plot.set_scores([(0, 0.2), (2, 0.1), (1, 0.5)], "Mean DSC")
    plot.set_importances({"Threshold": 0.9, "Coverage": 0.1})
    assert plot.best == [(0, 0.2), (1, 0.5), (2, 0.5)]
    above, below = plot.canvas.figure.axes
    assert above.get_ylabel() == "Mean DSC"
    assert [text.get_text() for text in below.get_yticklabels()] == ["Threshold", "Coverage"]


def test_narrow_and_named_and_explained(alone):
    """At 340 px nothing is cut off; every control has a name; the help lists the settings."""
    narrow_and_named(alone.dock)
    alone.dock.footer.help.click()
    assert "Only with the object" in alone.dock._help.browser.toPlainText()
    alone.dock._help.close()


def narrow_and_named(dock):
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QSlider

    assert dock.minimumSizeHint().width() <= 340
    assert dock.scroll.widget().minimumSizeHint().width() <= 318
    for kind in (QComboBox, QSlider, QLineEdit, QAbstractButton):
        for control in dock.findChildren(kind):
            # What a spin box or a combo box is made of has no name of its own.
            inner = isinstance(control.parent(), (QComboBox, QAbstractSpinBox))
            if control.isVisibleTo(dock) and not inner:
                named = control.accessibleName() or (kind is QAbstractButton and control.text())
                assert named, (control, control.parent())


def test_opening_the_docks_imports_neither_torch_nor_optuna():
    program = (
        "import sys\n"
        "from napari.components import ViewerModel\n"
        "from qtpy.QtWidgets import QApplication\n"
        "application = QApplication([])\n"
        "from napari_refit.widgets.tune_dock import TuneDock\n"
        "from napari_refit.widgets.batch_dock import BatchDock\n"
        "viewer = ViewerModel()\n"
        "docks = [TuneDock(viewer), BatchDock(viewer)]\n"
        "for dock in docks: dock.show(); application.processEvents()\n"
        "names = {'torch', 'torchvision', 'optuna', 'sqlalchemy', 'distributed', 'matplotlib'}\n"
        "print(sorted(names & {name.partition('.')[0] for name in sys.modules}))\n"
        "for dock in docks: dock.shut_down()\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"
