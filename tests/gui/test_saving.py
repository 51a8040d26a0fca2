"""Saving labels and parameters: what comes back is what was there, and nothing is replaced unasked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_refit import load, save
from napari_refit.errors import ReadError
from napari_refit.io.volume import Volume
from napari_refit.recipe import RefitParams
from napari_refit.widgets import saving

pytestmark = [pytest.mark.gui, pytest.mark.filterwarnings("error:Non-orthogonal slicing")]


def affine():
    turned, _ = np.linalg.qr(np.array([[1, 0.2, 0.1], [-0.2, 1, 0.05], [0.1, -0.1, 1]]))
    found = np.eye(4)
    found[:3, :3] = turned @ np.diag([1.0, 1.2, 3.0])
    found[:3, 3] = -found[:3, :3] @ np.array([16, 12, 3])
    return found


@pytest.fixture
def opened(tmp_path, make_napari_viewer_proxy, make_dock, settled):
    """An oblique NIfTI file, opened through the reader, in a dock with a response map."""
    from napari_refit._reader import read_layers

    rows, columns, _ = np.indices((32, 24, 6))
    values = np.clip(1 - np.hypot(rows - 15.5, columns - 11.5) / 14, 0, 1).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    save(path, values, Volume.from_array(values, ("x", "y", "z"), affine()))
    viewer = make_napari_viewer_proxy(show=True)
    data, keywords, _ = read_layers(str(path))[0]
    image = viewer.add_image(data, **keywords)
    response = viewer.add_image(np.asarray(data), name="cam", visible=False, affine=keywords["affine"])
    dock = make_dock(viewer)
    dock.choose_image(image)
    dock.set_params(dock.sections.params.replace(segmenter="blocks", threshold=0.5, coverage=1.0))
    dock.choose_response(response)
    settled(dock)
    dock.session.refine_volume()
    settled(dock)
    return dock, path


def answer(monkeypatch, path, replace=None):
    """Let the file dialog give this path, and the question about replacing this answer."""
    monkeypatch.setattr(saving.QFileDialog, "getSaveFileName", lambda *_, **__: (str(path), ""))
    asked = []

    def question(*words):
        asked.append(words)
        buttons = saving.QMessageBox.StandardButton
        return buttons.Yes if replace else buttons.No

    monkeypatch.setattr(saving.QMessageBox, "question", question)
    return asked


def test_saved_labels_come_back_equal_on_the_source_grid(opened, settled, monkeypatch):
    dock, path = opened
    target = path.parent / "labels.nii.gz"
    answer(monkeypatch, target)
    dock.footer.save.click()
    settled(dock)
    assert f"Saved {target}" == dock.footer.status.plain()
    back, source = load(target), load(path)
    np.testing.assert_array_equal(back.affine, source.affine)
    layer = dock.session.outputs["labels"]
    order = layer.metadata["refit"]["permutation"]
    np.testing.assert_array_equal(back.data.transpose(order), layer.data)
    assert back.data.any()
    assert back.dtype == np.uint8


def test_sidecar_says_what_made_the_labels(opened, settled, monkeypatch):
    dock, path = opened
    answer(monkeypatch, path.parent / "labels.nii.gz")
    dock.commands.save_labels()
    settled(dock)
    report = json.loads((path.parent / "labels.refit.json").read_text())
    assert RefitParams.model_validate(report["parameters"]) == dock.session.params
    assert report["image"] == str(path)
    assert report["image_checksum"].startswith("sha256:")
    assert report["response"] == "cam"
    assert report["whole_volume_refined"] is True
    assert report["hand_edited_slices"] == 0


def test_a_file_is_replaced_only_when_the_user_agrees(opened, settled, monkeypatch):
    dock, path = opened
    target = path.parent / "labels.nii.gz"
    target.write_bytes(b"precious")
    asked = answer(monkeypatch, target, replace=False)
    dock.commands.save_labels()
    settled(dock)
    assert len(asked) == 1
    assert target.read_bytes() == b"precious"
    answer(monkeypatch, target, replace=True)
    dock.commands.save_labels()
    settled(dock)
    assert load(target).data.any()


def test_a_missing_suffix_is_added_and_then_asked_about(opened, settled, monkeypatch):
    dock, path = opened
    (path.parent / "labels.nii.gz").write_bytes(b"precious")
    asked = answer(monkeypatch, path.parent / "labels", replace=False)
    dock.commands.save_labels()
    settled(dock)
    assert "labels.nii.gz" in asked[0][2]
    assert not (path.parent / "labels").exists()


def test_a_failed_save_is_one_line_and_loses_nothing(opened, settled, monkeypatch):
    dock, path = opened
    answer(monkeypatch, path.parent / "missing" / "labels.nii.gz")
    dock.commands.save_labels()
    settled(dock)
    assert "labels.nii.gz" in dock.footer.error.plain()
    assert "\n" not in dock.footer.error.plain()


def test_nothing_to_save_yet(make_napari_viewer_proxy, make_dock):
    dock = make_dock(make_napari_viewer_proxy(show=True))
    dock.commands.save_labels()
    assert "no refined labels" in dock.footer.error.plain()


def test_suggested_path_lies_beside_the_image(opened):
    dock, path = opened
    assert saving.suggested_path(dock.session.image) == path.parent / "scan_refined.nii.gz"


def test_command_line_names_files_and_the_files_own_axis(opened):
    dock, path = opened
    words = saving.command_line(dock.session).split()
    assert words[:3] == ["napari-refit", "refine", str(path)]
    assert "axis=2" in words


def test_parameters_come_back_equal(opened, settled, tmp_path, monkeypatch):
    dock, _ = opened
    dock.set_params(dock.sections.params.replace(threshold=0.31))
    wanted = dock.sections.params
    target = tmp_path / "mine.json"
    monkeypatch.setattr("napari_refit.widgets.commands.QFileDialog.getSaveFileName", lambda *_: (target, ""))
    monkeypatch.setattr("napari_refit.widgets.commands.QFileDialog.getOpenFileName", lambda *_: (target, ""))
    dock.commands.save_parameters()
    dock.set_params(RefitParams())
    dock.commands.load_parameters()
    settled(dock)
    assert dock.sections.params == dock.session.params == wanted
    assert dock.sections.form("boundary").control("threshold").value() == pytest.approx(0.31)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{not json", "JSON"),
        ('{"slic": {"n_segments": 1}}', "slic.n_segments"),
        ('{"nonsense": 1}', "nonsense"),
        ("[1, 2]", ""),
    ],
)
def test_bad_parameter_files_are_named(tmp_path, content, word):
    path = Path(tmp_path / "bad.json")
    path.write_text(content)
    with pytest.raises(ReadError) as caught:
        saving.load_parameters(path)
    assert str(path) in str(caught.value)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
