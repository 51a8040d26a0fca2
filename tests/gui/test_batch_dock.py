"""The Batch dock in a real window: check, run, stop, go on; what is wrong is said; closing mid-run is harmless."""

from __future__ import annotations

import csv
import gc
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

import napari_refit as refit
from napari_refit.batch.record import read_records
from napari_refit.batch.review import Review
from napari_refit.batch.settings import BatchParams
from napari_refit.io.volume import Volume
from napari_refit.recipe import RefitParams
from napari_refit.widgets import batch_dock as module
from napari_refit.widgets import batch_recipe
from napari_refit.widgets.saving import save_parameters

from .conftest import PLAIN, disc
from .test_tune_dock import narrow_and_named

pytestmark = pytest.mark.gui
NAMES = ("a", "b", "sub/c")


def make_files(root: Path, broken: bool = False) -> Path:
    """Three small volumes with response maps and truths, and a table of them; perhaps one file more, of nothing."""
    rows = []
    for k, name in enumerate(NAMES):
        image = disc((3, 24, 32), (10.0 + k, 15.0))
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        paths = {}
        for kind, array in (("image", image), ("truth", (image > 0.6).astype(np.uint8)), ("response", image)):
            paths[kind] = f"{kind}s/{name}.nii.gz"
            (root / paths[kind]).parent.mkdir(parents=True, exist_ok=True)
            turned = np.ascontiguousarray(array.transpose())
            volume = Volume.from_array(turned, ("x", "y", "z"), affine)
            refit.save(root / paths[kind], turned, volume, labels=kind == "truth")
        rows.append(paths)
    if broken:
        (root / "images" / "bad.nii.gz").write_bytes(b"nothing")
        rows.insert(1, {"image": "images/bad.nii.gz", "truth": "", "response": "responses/a.nii.gz"})
    with (root / "cases.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["image", "truth", "response"])
        table.writeheader()
        table.writerows(rows)
    return root / "cases.csv"


def use_blocks(dock, root: Path, **changes) -> None:
    """Refine with the tests' own clusters, by the response maps of the table."""
    save_parameters(root / "params.json", RefitParams(**{**PLAIN, **changes}))
    dock.recipe.use_file(root / "params.json")
    dock.recipe.chooser.set_source(batch_recipe.ClassifierSource("none"))


class Work:
    """A viewer with the dock, and files."""

    def __init__(self, dock, qtbot, root):
        self.dock, self.viewer, self.qtbot, self.root = dock, dock.viewer, qtbot, root
        self.out = root / "results"

    def wait(self, ready, timeout=30_000):
        self.qtbot.waitUntil(ready, timeout=timeout)

    def end(self):
        session = self.dock.session
        self.wait(lambda: not (session.running or session.reading))

    def run(self):
        self.dock.footer.start.click()
        self.end()

    @property
    def error(self):
        return self.dock.footer.error.plain()

    @property
    def states(self):
        return {row.name: row.state for row in self.dock.table.shown()}


@pytest.fixture
def open_dock(qtbot, tmp_path):
    docks = []

    def make(viewer=None, broken=False, **changes):
        dock = module.BatchDock(ViewerModel() if viewer is None else viewer)
        if hasattr(dock.viewer, "window"):
            dock.viewer.window.add_dock_widget(dock, name="Batch", area="right")
        else:
            qtbot.addWidget(dock)
            dock.show()
        docks.append(dock)
        found = Work(dock, qtbot, tmp_path)
        dock.set_input(make_files(tmp_path, broken))
        dock.set_output(found.out)
        use_blocks(dock, tmp_path, **changes)
        found.end()
        return found

    yield make
    for dock in docks:
        dock.shut_down()
    docks.clear()


def test_run_with_a_bad_file_and_run_again(open_dock, make_napari_viewer_proxy, monkeypatch):
    """States as they come, the report in the browser; a second run has nothing to do."""
    work = open_dock(make_napari_viewer_proxy(show=True), broken=True)
    dock = work.dock
    assert dock.footer.start.text() == "Start"
    assert not dock.footer.review.isEnabled()
    seen = []
    dock.session.row.connect(lambda row: seen.append((row.name, row.state)))
    work.run()
    assert work.error == ""
    expected = {"images/a": "done", "images/bad": "failed", "images/b": "done", "images/sub/c": "done"}
    assert dict(seen) == work.states == expected
    assert "3 done, 1 failed." in dock.result.plain()
    bad = next(row for row in dock.table.shown() if row.state == "failed")
    dock.table.show_current(bad.name)
    assert "bad.nii.gz" in dock.detail.plain()
    good = [row for row in dock.table.shown() if row.state == "done"]
    assert all(row.record.metrics["refined"]["dice"] > 0.6 for row in good)
    opened = []
    monkeypatch.setattr(module.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    page = work.out / "report.html"
    dock.footer.report.click()
    work.wait(lambda: opened == [str(page)])
    before = page.read_bytes()
    # What was reviewed since is in the page that is opened.
    Review(work.out).set("images/a", "rejected")
    dock.footer.report.click()
    work.wait(lambda: len(opened) == 2)
    assert b'data-review="rejected"' in page.read_bytes()
    assert b'data-review="rejected"' not in before
    before = {path: path.stat().st_mtime_ns for path in work.out.rglob("*.nii.gz")}
    assert len(before) == 3
    assert dock.footer.start.text() == "Continue"
    work.run()
    assert "3 done before, 1 failed." in dock.result.plain()
    assert {path: path.stat().st_mtime_ns for path in work.out.rglob("*.nii.gz")} == before


def test_check_lists_what_is_wrong_first_and_writes_nothing(open_dock):
    work = open_dock(broken=True)
    work.dock.footer.check.click()
    work.end()
    rows = work.dock.table.shown()
    assert rows[0].name.endswith("bad")
    assert rows[0].state == "problem"
    assert "bad.nii.gz" in rows[0].text
    assert [row.state for row in rows[1:]] == ["to do"] * 3
    assert work.dock.result.plain() == "3 to do, 1 problem."
    assert not work.out.exists()
    work.run()
    work.dock.footer.check.click()
    work.end()
    assert work.dock.result.plain() == "3 done before, 1 problem."


def hold(work, gate):
    """Start a batch that waits in its first case."""
    work.dock.footer.start.click()
    work.wait(gate.entered.is_set)


def test_cancel_finishes_the_file_at_hand_and_continue_does_the_rest(open_dock, gate):
    work = open_dock(segmenter="gated")
    hold(work, gate)
    assert list(work.states.values()) == ["to do"] * 3
    assert work.dock.footer.cancel.isEnabled()
    work.dock.footer.cancel.click()
    assert work.dock.footer.cancel.text() == "Stop now"
    assert "after the file at hand" in work.dock.footer.status.plain()
    gate.open.set()
    work.end()
    assert sorted(work.states.values()) == ["done", "to do", "to do"]
    assert "left" in work.dock.footer.status.plain()
    first = {path: path.read_bytes() for path in work.out.rglob("*.nii.gz")}
    assert len(first) == 1
    assert work.dock.footer.start.text() == "Continue"
    assert work.dock.footer.cancel.text() == "Cancel"
    work.run()
    assert sorted(work.states.values()) == ["done", "done", "skipped"]
    assert all(path.read_bytes() == content for path, content in first.items())
    assert len(list(work.out.rglob("*.nii.gz"))) == 3


def test_a_second_click_gives_the_file_at_hand_up(open_dock, gate):
    work = open_dock(segmenter="gated")
    hold(work, gate)
    work.dock.footer.cancel.click()
    work.dock.footer.cancel.click()
    gate.open.set()
    work.end()
    assert not list(work.out.rglob("*.nii.gz"))
    assert not [path for path in work.out.rglob("*") if path.name.startswith(".refit-")]
    work.run()
    assert sorted(work.states.values()) == ["done"] * 3


def test_dock_closed_mid_run(open_dock, make_napari_viewer_proxy, gate):
    work = open_dock(make_napari_viewer_proxy(show=True), segmenter="gated")
    hold(work, gate)
    work.viewer.window.remove_dock_widget(work.dock)
    work.wait(lambda: not work.dock._open)
    gate.open.set()
    settle_files(work)


def test_viewer_closed_mid_run(open_dock, make_napari_viewer_proxy, gate):
    viewer = make_napari_viewer_proxy(show=True)
    work = open_dock(viewer, segmenter="gated")
    hold(work, gate)
    viewer.close()
    gate.open.set()
    gc.collect()
    settle_files(work)


def settle_files(work):
    """Wait for a thread that nobody listens to; what it leaves is whole or absent."""
    work.wait(lambda: (work.out / "report.html").exists() and not list(work.out.rglob(".refit-*")))
    assert len(list(work.out.rglob("*_refined.nii.gz"))) == len(list(work.out.rglob("*.refit.json"))) <= 1
    assert all(record.state != "failed" for record in read_records(work.out))


def test_the_refit_docks_parameters_and_classifier_are_used(bench, open_dock):
    made = bench()
    made.set(threshold=0.3)
    work = open_dock(made.viewer)
    recipe = work.dock.recipe
    recipe.preset.set_value("refit")
    recipe.refresh()
    assert recipe.params() == made.dock.sections.params
    assert recipe.source()[0] is None
    recipe.chooser.set_source(batch_recipe.ClassifierSource("refit"))
    work.dock.start()
    assert "a response map, which is of one image" in work.error
    made.dock.chooser.set_source(batch_recipe.ClassifierSource("none"))
    made.settle()
    work.dock.start()
    assert "the ReFit dock has none" in work.error
    # Nothing is computed with it.
    made.session.set_live(False)
    made.dock.choose_classifier("sample")
    made.settle()
    assert recipe.source()[0] == made.session.source.model
    made.viewer.window.remove_dock_widget(made.dock)
    work.wait(lambda: "not open" in recipe.note.plain())
    work.dock.start()
    assert "The ReFit dock is not open. Open it" in work.error


def test_a_refit_dock_that_is_opened_is_gone_by(make_dock, make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy()
    dock = module.BatchDock(viewer)
    qtbot.addWidget(dock)
    assert dock.recipe.preset.value() == "preset:default"
    make_dock(viewer)
    assert dock.recipe.preset.value() == dock.recipe.chooser.kind.value() == "refit"
    dock.shut_down()


def test_what_is_missing_is_said(open_dock, tmp_path):
    work = open_dock()
    dock = work.dock
    dock.set_input("")
    dock.start()
    assert "Choose the images" in work.error
    dock.set_input(tmp_path / "cases.csv")
    dock.set_output("")
    dock.start()
    assert "Choose the folder for the results" in work.error
    dock.set_output(work.out)
    dock.set_input(tmp_path / "nowhere" / "*.png")
    work.run()
    assert "matches no image" in work.error
    dock.set_input(tmp_path / "images")
    work.run()
    assert "nothing says where response maps come from" in work.error
    dock.recipe.chooser.set_source(batch_recipe.ClassifierSource("file"))
    dock.start()
    assert work.error == "Choose a classifier."
    dock.recipe.chooser.set_source_text(str(tmp_path / "no.safetensors"))
    dock.start()
    assert "no.safetensors" in work.error
    dock.recipe.chooser.set_source(batch_recipe.ClassifierSource("none"))
    (tmp_path / "params.json").write_text("{")
    dock.start()
    assert "params.json" in work.error
    dock.recipe.use_file("")
    dock.start()
    assert "Choose a file of parameters" in work.error
    assert not work.out.exists()


def test_an_output_folder_is_suggested_and_one_with_results_is_shown(open_dock, tmp_path):
    work = open_dock()
    work.run()
    dock = module.BatchDock(ViewerModel())
    work.qtbot.addWidget(dock)
    for given, expected in (
        (tmp_path / "images", "images-refined"),
        (tmp_path / "cases.csv", f"../{tmp_path.name}-refined"),
        (tmp_path / "images" / "**" / "*.nii.gz", "images-refined"),
    ):
        dock.set_input(given)
        assert Path(dock.output.text) == (tmp_path / expected).resolve()
    dock.set_output(work.out)
    work.wait(lambda: len(dock.table.shown()) == 3)
    assert dock.footer.start.text() == "Continue"
    assert dock.footer.review.isEnabled()
    assert dock.footer.report.isEnabled()
    dock.set_input(tmp_path / "images")
    assert dock.out == work.out, "a folder that was named stays"
    dock.shut_down()


def test_options_are_those_that_are_declared(open_dock, monkeypatch):
    work = open_dock()
    work.dock.form.control("limit")._take(1)
    assert work.dock.form.value == BatchParams(limit=1)
    work.run()
    assert sorted(work.states.values()) == ["done", "to do", "to do"]
    assert "the limit of 1 is reached" in work.dock.footer.status.plain()
    work.dock.set_settings(BatchParams(overwrite=True))
    work.run()
    assert list(work.states.values()) == ["done"] * 3
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    work.dock.form.control("workers")._take(2)
    assert 'pip install "napari-refit[distributed]"' in work.dock.warning.plain()


def test_a_wrong_option_stops_before_anything_starts(open_dock):
    work = open_dock()
    line = work.dock.form.control("memory").line
    line.setText("a lot")
    line.editingFinished.emit()
    work.dock.start()
    assert "Memory" in work.error
    assert not work.dock.session.running


def test_narrow_and_named_and_explained(open_dock):
    """At 340 px nothing is cut off; every control has a name; the help lists options and keys."""
    work = open_dock()
    work.dock.sections["Options"].expand(animate=False)
    QApplication.processEvents()
    narrow_and_named(work.dock)
    work.dock.footer.help.click()
    text = work.dock._help.browser.toPlainText()
    assert "Alt + A" in text
    assert "Make everything again" in text
    work.dock._help.close()
