"""Choosing a classifier by mouse, keyboard and drop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_refit.demo import sample_classifier
from napari_refit.widgets.classifier_chooser import KINDS, ClassifierChooser, ClassifierSource
from napari_refit.widgets.model_names import architecture_names, torchvision_names

pytestmark = pytest.mark.gui


@pytest.fixture
def chooser(qtbot):
    widget = ClassifierChooser()
    widget.setFixedWidth(360)
    qtbot.addWidget(widget)
    with qtbot.waitExposed(widget):
        widget.show()
    widget.activateWindow()
    qtbot.waitUntil(widget.isActiveWindow)
    widget.sources, widget.targets, widget.devices = [], [], []
    widget.source_changed.connect(widget.sources.append)
    widget.classes_changed.connect(widget.targets.append)
    widget.device_changed.connect(widget.devices.append)
    return widget


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "réseau.safetensors"
    path.touch()
    return path


def choose(combo, value):
    combo.setCurrentIndex(combo.findData(value))


def visible(chooser):
    return {key for key, widget in chooser._rows.items() if widget.isVisible()}


def drop(widget, path):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(9, 9), Qt.DropAction.CopyAction, mime, buttons, keys)
    QApplication.sendEvent(widget, enter)
    if enter.isAccepted():
        event = QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, mime, buttons, keys, QEvent.Type.Drop)
        QApplication.sendEvent(widget, event)
    return enter.isAccepted()


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("none", {"kind"}),
        ("sample", {"kind", "device"}),
        ("file", {"kind", "file", "device"}),
        ("torchvision", {"kind", "model", "weights", "device"}),
        ("layer", {"kind", "layer"}),
    ],
)
def test_only_what_a_source_needs_is_shown(chooser, kind, rows):
    choose(chooser.kind, "none" if kind == "sample" else "sample")
    choose(chooser.kind, kind)
    assert visible(chooser) == rows
    assert chooser.sources[-1].kind == kind


def test_arrow_key_chooses_the_sample_classifier(chooser, qtbot):
    chooser.kind.setFocus()
    qtbot.keyClick(chooser.kind, Qt.Key.Key_Home)
    assert chooser.sources == [ClassifierSource("sample")]
    assert chooser.source.complete
    assert chooser.source.model == str(sample_classifier())


def test_typed_path_is_announced_once_on_enter_and_again_on_enter(chooser, qtbot, checkpoint):
    choose(chooser.kind, "file")
    assert not chooser.source.complete
    chooser.path.setFocus()
    chooser.path.setText(str(checkpoint)[:-1])
    qtbot.keyClicks(chooser.path, str(checkpoint)[-1])
    assert len(chooser.sources) == 1
    qtbot.keyClick(chooser.path, Qt.Key.Key_Return)
    expected = ClassifierSource("file", str(checkpoint))
    assert chooser.sources[1:] == [expected] * (len(chooser.sources) - 1)
    assert expected.model == str(checkpoint)
    before = len(chooser.sources)
    chooser.device.setFocus()
    assert len(chooser.sources) == before
    chooser.path.setFocus()
    qtbot.keyClick(chooser.path, Qt.Key.Key_Return)
    assert len(chooser.sources) > before


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone.pt", "There is no file"), ("notes.txt", "not a checkpoint"), ("", "not a checkpoint")],
)
def test_wrong_file_is_explained_and_gives_no_model(chooser, qtbot, tmp_path, name, words):
    (tmp_path / "notes.txt").touch()
    choose(chooser.kind, "file")
    chooser.path.setText(str(tmp_path / name))
    chooser.path.setFocus()
    qtbot.keyClick(chooser.path, Qt.Key.Key_Return)
    assert words in chooser.error()
    assert not chooser.source.complete
    choose(chooser.kind, "sample")
    assert chooser.error() == ""


def test_plain_torch_file_asks_for_its_architecture(chooser, qtbot, tmp_path):
    path = tmp_path / "weights.pth"
    path.touch()
    assert drop(chooser, path)
    assert visible(chooser) == {"kind", "file", "architecture", "device"}
    assert not chooser.source.complete
    chooser.architecture.setFocus()
    qtbot.keyClicks(chooser.architecture, "phantom-cnn")
    qtbot.keyClick(chooser.architecture, Qt.Key.Key_Return)
    assert chooser.source == ClassifierSource("file", str(path), arch="phantom-cnn")
    assert chooser.source.model == f"phantom-cnn:{path}"


def test_browse_offers_checkpoints(chooser, qtbot, checkpoint, monkeypatch):
    asked = []

    def dialog(parent, title, start, pattern):
        asked.append(pattern)
        return str(checkpoint), pattern

    monkeypatch.setattr(QFileDialog, "getOpenFileName", dialog)
    choose(chooser.kind, "file")
    qtbot.mouseClick(chooser.browse, Qt.MouseButton.LeftButton)
    assert "*.safetensors *.pt *.pth" in asked[0]
    assert chooser.source.value == str(checkpoint)


def test_dropped_checkpoint_is_taken_and_another_file_is_not(chooser, checkpoint, tmp_path):
    picture = tmp_path / "picture.png"
    picture.touch()
    assert not drop(chooser, picture)
    assert chooser.sources == []
    assert drop(chooser, checkpoint)
    assert chooser.sources == [ClassifierSource("file", str(checkpoint))]


def test_torchvision_model_is_found_by_typing(chooser, qtbot):
    choose(chooser.kind, "torchvision")
    assert not chooser.source.complete
    names = [chooser.model.itemText(index) for index in range(chooser.model.count())]
    assert {"resnet18", "resnet34", "vgg16"} <= set(names)
    chooser.model.setFocus()
    qtbot.keyClicks(chooser.model, "resnet34")
    qtbot.keyClick(chooser.model, Qt.Key.Key_Return)
    assert chooser.source.model == "resnet34:none"
    choose(chooser.weights, "imagenet")
    assert chooser.sources[-1] == ClassifierSource("torchvision", "resnet34", weights="imagenet")


def test_torchvision_model_with_weights_from_a_file(chooser, checkpoint):
    choose(chooser.kind, "torchvision")
    chooser.model.set_value("resnet18")
    choose(chooser.weights, "file")
    assert "file" in visible(chooser)
    assert not chooser.source.complete
    drop(chooser, checkpoint)
    assert chooser.source == ClassifierSource("torchvision", "resnet18", weights=str(checkpoint))


def test_names_are_those_of_torchvision():
    from napari_refit.cam.architectures import list_architectures

    assert sorted(architecture_names()) == sorted(list_architectures())
    assert torchvision_names().index("vit_b_16") < torchvision_names().index("vit_b_32")


def test_layer_is_chosen_kept_and_dropped_with_the_layer(chooser, qtbot):
    chooser.set_layers(["image", "heat"])
    choose(chooser.kind, "layer")
    assert not chooser.source.complete
    chooser.layer.setFocus()
    qtbot.keyClick(chooser.layer, Qt.Key.Key_End)
    qtbot.keyClick(chooser.layer, Qt.Key.Key_Return)
    chooser.set_source_layer("heat")
    assert chooser.source.layer == "heat"
    count = len(chooser.sources)
    chooser.set_layers(["heat", "image", "new"])
    assert chooser.layer.value() == "heat"
    assert len(chooser.sources) == count
    chooser.set_layers(["image"])
    assert chooser.sources[-1] == ClassifierSource("layer", "")
    assert chooser.source.layer is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet34", ClassifierSource("torchvision", "resnet34", weights="none")),
        ("resnet50:imagenet", ClassifierSource("torchvision", "resnet50", weights="imagenet")),
    ],
)
def test_source_from_text(chooser, text, expected):
    chooser.set_source_text(text)
    assert chooser.sources == [expected]


def test_source_from_text_that_is_a_path(chooser, checkpoint, tmp_path):
    plain = tmp_path / "w.pt"
    plain.touch()
    chooser.set_source_text(str(checkpoint))
    chooser.set_source_text(f"resnet18:{plain}")
    assert chooser.sources == [
        ClassifierSource("file", str(checkpoint)),
        ClassifierSource("file", str(plain), arch="resnet18"),
    ]
    assert chooser.kind.value() == "file"


def test_unknown_kind_is_refused(chooser):
    with pytest.raises(ValueError, match="'tea'"):
        chooser.set_source(ClassifierSource("tea"))


def test_target_classes_are_toggled_by_space(chooser, qtbot):
    choose(chooser.kind, "sample")
    chooser.set_classes(["lesion", "cyst"], ["lesion"])
    assert chooser.classes.isVisible()
    assert (chooser.checked_classes, chooser.targets) == (("lesion",), [])
    chooser.classes.setFocus()
    chooser.classes.setCurrentRow(1)
    qtbot.keyClick(chooser.classes, Qt.Key.Key_Space)
    chooser.classes.setCurrentRow(0)
    qtbot.keyClick(chooser.classes, Qt.Key.Key_Space)
    assert chooser.targets == [("lesion", "cyst"), ("cyst",)]


def test_devices_are_listed_when_opened(chooser, qtbot):
    choose(chooser.kind, "sample")
    chooser.device.showPopup()
    chooser.device.hidePopup()
    offered = [chooser.device.itemText(index) for index in range(chooser.device.count())]
    assert offered[:2] == ["auto", "cpu"]
    assert chooser.devices == []
    choose(chooser.device, "cpu")
    assert chooser.devices == ["cpu"]


def test_error_is_one_line_with_the_rest_as_tool_tip(chooser):
    chooser.set_error("weights.pt: another architecture\nTraceback…")
    assert chooser.error() == "weights.pt: another architecture"
    assert "Traceback" in chooser._error.toolTip()
    chooser.set_error("")
    assert not chooser._error.isVisible()


def test_belief_is_shown_and_taken_away(chooser):
    chooser.set_belief(
        ["background", "lesion"], np.array([2.0, -1.0]), np.array([0.95, 0.05]), {"lesion": False}
    )
    assert chooser.belief.isVisible()
    assert [row.predicted for row in chooser.belief.rows] == [None, False]
    chooser.set_belief((), (), (), ())
    assert not chooser.belief.isVisible()
    assert not chooser._belief_title.isVisible()


def test_choosing_loads_no_torch(tmp_path):
    path = Path(tmp_path, "c.safetensors")
    path.touch()
    code = f"""
import sys
from qtpy.QtWidgets import QApplication
application = QApplication([])
from napari_refit.widgets.classifier_chooser import *
chooser = ClassifierChooser()
for kind in {list(KINDS)!r}:
    chooser.kind.setCurrentIndex(chooser.kind.findData(kind))
chooser.set_source_text({str(path)!r})
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
