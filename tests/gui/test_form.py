"""The generated parameter form, used as a person uses it."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Literal

import pytest
from pydantic import BaseModel, Field, model_validator
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel

from napari_refit import params
from napari_refit.registry import FITS, SEGMENTERS
from napari_refit.widgets.form import ParameterForm
from napari_refit.widgets.form_controls import ChoiceControl, NumberControl, SwitchControl
from napari_refit.widgets.form_texts import NumbersControl, TextControl

pytestmark = pytest.mark.gui

GROUPS = [entry.params for registry in (SEGMENTERS, FITS) for entry in registry] + [
    params.IntensityParams,
    params.CamParams,
]


@pytest.fixture
def show(qtbot):
    def build(group, **options):
        form = ParameterForm(group, **options)
        form.setFixedWidth(360)
        qtbot.addWidget(form)
        with qtbot.waitExposed(form):
            form.show()
        form.activateWindow()
        qtbot.waitUntil(form.isActiveWindow)
        if form.more is not None:
            form.more.expand(False)
        form.seen = []
        form.changed.connect(form.seen.append)
        return form

    return build


def type_into(qtbot, widget, text, key=None):
    widget.setFocus()
    widget.selectAll()
    qtbot.keyClicks(widget, text)
    if key is not None:
        qtbot.keyClick(widget, key)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_declaration_has_a_row_with_title_help_and_bounds(show, group):
    form = show(group)
    kinds = {"float": NumberControl, "int": NumberControl, "bool": SwitchControl, "choice": ChoiceControl}
    for item in params.declarations(group):
        control = form.control(item.name)
        assert isinstance(control, kinds.get(item.kind, TextControl))
        assert form.label(item.name).text().startswith(item.title)
        tip = form.label(item.name).toolTip()
        assert f"Key: {item.name}" in tip
        assert item.help[:20] in tip
        assert control.width() + form.label(item.name).width() <= 360
    assert form.value == group()
    assert form.seen == []


def test_arrow_keys_step_the_slider_by_the_declared_step(show, qtbot):
    form = show(params.BoundaryParams)
    form.set_value(params.BoundaryParams(threshold=0.5))
    slider = form.control("threshold").slider
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    qtbot.keyClick(slider, Qt.Key.Key_PageDown)
    assert [value.threshold for value in form.seen] == [0.51, 0.52, 0.42]
    assert form.control("threshold").box.text() == "0.42"


def test_stepping_stops_at_the_bound(show, qtbot):
    form = show(params.BoundaryParams)
    form.set_value(params.BoundaryParams(coverage=1.0))
    qtbot.keyClick(form.control("coverage").slider, Qt.Key.Key_Right)
    qtbot.keyClick(form.control("coverage").box, Qt.Key.Key_Up)
    assert form.seen == []
    assert form.value.coverage == 1.0


def test_dragging_emits_while_the_button_is_down(show, qtbot):
    form = show(params.BoundaryParams)
    form.set_value(params.BoundaryParams(threshold=0.5))
    slider = form.control("threshold").slider
    middle = slider.rect().center()
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=middle)
    for offset in (10, 20, 30):
        qtbot.mouseMove(slider, middle + QPoint(offset, 0))
    while_down = len(form.seen)
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=middle + QPoint(30, 0))
    assert while_down >= 2
    thresholds = [value.threshold for value in form.seen]
    assert thresholds == sorted(thresholds)
    assert all(round(value, 2) == value for value in thresholds)


def test_log_slider_spans_decades_and_gives_round_whole_numbers(show):
    form = show(params.SlicParams)
    control = form.control("n_segments")
    values = []
    for position in range(0, control.slider.maximum() + 1, 100):
        control.slider.setValue(position)
        values.append(form.value.n_segments)
    assert values[0] == 2
    assert values[-1] == 20000
    assert all(isinstance(value, int) for value in values)
    ratios = [after / before for before, after in pairwise(values[4:])]
    assert max(ratios) / min(ratios) < 1.1


@pytest.mark.parametrize("value", [0.01, 0.0123456789, 999.99, 1000.0])
def test_a_value_between_slider_positions_is_kept_exactly(show, value):
    form = show(params.SlicParams)
    form.set_value(params.SlicParams(compactness=value))
    assert form.value.compactness == value
    assert form.control("compactness").value() == value
    assert form.seen == []


def test_typed_number_is_taken_on_enter_and_moves_the_slider(show, qtbot):
    form = show(params.BoundaryParams)
    control = form.control("threshold")
    before = control.slider.value()
    type_into(qtbot, control.box, "0.735")
    assert form.seen == []
    qtbot.keyClick(control.box, Qt.Key.Key_Return)
    assert form.seen == [params.BoundaryParams(threshold=0.735)]
    assert control.slider.value() > before


@pytest.mark.parametrize(
    ("text", "reason"), [("5", "less than or equal to 1"), ("-0.1", "greater"), ("o", "number")]
)
def test_wrong_number_is_red_explained_and_not_emitted(show, qtbot, text, reason):
    form = show(params.BoundaryParams)
    box = form.control("threshold").box
    type_into(qtbot, box, text, Qt.Key.Key_Return)
    assert form.seen == []
    assert reason in box.toolTip()
    assert "color" in box.styleSheet().split("}")[1]
    assert box.text() == text
    assert list(form.errors()) == ["threshold"]
    type_into(qtbot, box, "0.35", Qt.Key.Key_Return)
    assert form.errors() == {}
    assert "Key: threshold" in box.toolTip()
    assert [value.threshold for value in form.seen] == [0.35]


def test_wrong_number_is_taken_back_by_escape_and_by_leaving(show, qtbot):
    form = show(params.BoundaryParams)
    box = form.control("threshold").box
    usual = f"{params.BoundaryParams().threshold:g}"
    type_into(qtbot, box, "7", Qt.Key.Key_Escape)
    assert (box.text(), form.errors()) == (usual, {})
    type_into(qtbot, box, "7")
    form.control("tolerance").slider.setFocus()
    assert (box.text(), form.errors(), form.seen) == (usual, {}, [])


def test_whole_number_refuses_a_fraction(show, qtbot):
    form = show(params.NetworkParams)
    type_into(qtbot, form.control("steps").box, "3.5", Qt.Key.Key_Return)
    assert "steps" in form.errors()
    assert form.seen == []


def test_double_click_on_the_name_resets_that_row_alone(show, qtbot):
    form = show(params.BoundaryParams)
    form.set_value(params.BoundaryParams(threshold=0.1, coverage=0.2))
    qtbot.mouseDClick(form.label("threshold"), Qt.MouseButton.LeftButton)
    assert form.seen == [params.BoundaryParams(coverage=0.2)]
    qtbot.mouseDClick(form.label("threshold"), Qt.MouseButton.LeftButton)
    assert len(form.seen) == 1


def test_check_box_and_combo_emit(show, qtbot):
    form = show(params.SlicParams)
    qtbot.keyClick(form.control("slic_zero").box, Qt.Key.Key_Space)
    assert form.seen == [params.SlicParams(slic_zero=True)]
    cam = show(params.CamParams)
    combo = cam.control("gate").combo
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_Up)
    assert cam.seen == [params.CamParams(gate="off")]


def test_offered_choices_are_asked_for_only_when_opened(show, qtbot):
    asked = []

    def methods():
        asked.append(1)
        return ["gradcam", "layercam", "eigencam"]

    form = show(params.CamParams, choices={"method": methods, "layer": lambda: ["", "features.7"]})
    combo = form.control("method").combo
    assert (asked, combo.currentText()) == ([], "gradcam")
    combo.showPopup()
    combo.hidePopup()
    assert [combo.itemText(index) for index in range(combo.count())] == ["gradcam", "layercam", "eigencam"]
    assert form.seen == []
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_Down)
    assert form.seen == [params.CamParams(method="layercam")]
    assert form.control("layer").combo.currentText() == "automatic"
    assert form.value.layer == ""


def test_a_list_that_cannot_be_read_says_why_and_keeps_the_value(show):
    def broken():
        raise RuntimeError("no classifier yet")

    form = show(params.CamParams, choices={"layer": broken})
    combo = form.control("layer").combo
    combo.showPopup()
    combo.hidePopup()
    assert "no classifier yet" in combo.toolTip()
    assert form.value == params.CamParams()


def test_names_are_split_at_commas(show, qtbot):
    form = show(params.CamParams)
    line = form.control("classes").line
    type_into(qtbot, line, " lesion , cyst,", Qt.Key.Key_Return)
    assert form.seen == [params.CamParams(classes=("lesion", "cyst"))]
    assert line.text() == "lesion, cyst"


def test_skipped_field_has_no_row_and_keeps_its_value(show, qtbot):
    form = show(params.CamParams, skip=("classes",))
    with pytest.raises(ValueError, match="classes"):
        form.control("classes")
    form.set_value(params.CamParams(classes=("lesion",)))
    form.control("batch_size").slider.setFocus()
    qtbot.keyClick(form.control("batch_size").slider, Qt.Key.Key_Right)
    assert form.seen == [params.CamParams(classes=("lesion",), batch_size=9)]


def test_set_value_of_another_group_is_refused(show):
    with pytest.raises(TypeError, match="SlicParams"):
        show(params.SlicParams).set_value(params.BoundaryParams())


def test_wide_range_has_no_slider_until_it_is_given_one(show, qtbot):
    form = show(params.IntensityParams)
    level = form.control("window_level")
    assert not level.slider.isVisible()
    form.set_slider_range("window_level", -100, 300)
    assert level.slider.isVisible()
    level.slider.setValue(level.slider.maximum())
    assert form.value.window_level == 300
    type_into(qtbot, level.box, "1234", Qt.Key.Key_Return)
    assert form.value.window_level == 1234
    with pytest.raises(ValueError, match="range"):
        form.set_slider_range("window_level", 3, 3)


def test_wheel_over_a_slider_without_focus_changes_nothing(show):
    form = show(params.BoundaryParams)
    form.control("tolerance").slider.setFocus()
    slider = form.control("threshold").slider
    middle = slider.rect().center().toPointF()
    turn = QWheelEvent(
        middle,
        slider.mapToGlobal(middle),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(slider, turn)
    assert form.seen == []


def test_row_can_be_hidden(show):
    form = show(params.NetworkParams)
    form.set_row_visible("guide_ratio", False)
    assert not form.control("guide_ratio").isVisible()
    assert not form.label("guide_ratio").isVisible()


class Plain(BaseModel):
    """A stranger's parameters, without any of our metadata."""

    radius: int = Field(3, ge=1, le=9)
    weight: float = 0.25
    above: float = Field(2.0, gt=0)
    mode: Literal[1, 2] = 1
    label: str = "a"
    maybe: float | None = None
    low: int = Field(1, ge=0, le=10)
    high: int = Field(5, ge=0, le=10)

    @model_validator(mode="after")
    def ordered(self):
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


def test_plain_model_works(show, qtbot):
    form = show(Plain)
    assert form.value == Plain()
    qtbot.keyClick(form.control("radius").slider, Qt.Key.Key_Right)
    combo = form.control("mode").combo
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_Down)
    type_into(qtbot, form.control("weight").box, "1e6", Qt.Key.Key_Return)
    type_into(qtbot, form.control("maybe").line, "0.75", Qt.Key.Key_Return)
    assert form.value == Plain(radius=4, mode=2, weight=1e6, maybe=0.75)
    type_into(qtbot, form.control("above").box, "0", Qt.Key.Key_Return)
    assert "greater than 0" in form.errors()["above"]
    assert form.value.above == 2.0


def test_rule_between_two_fields_is_explained_and_met_by_either(show):
    form = show(Plain)
    form.control("low").slider.setValue(7)
    assert form.seen == []
    assert "low must be below high" in form.errors()["low"]
    form.control("high").slider.setValue(9)
    assert form.errors() == {}
    assert (form.value.low, form.value.high) == (7, 9)


def test_names_of_the_rows_are_announced(show):
    form = show(params.BoundaryParams)
    assert form.control("threshold").slider.accessibleName() == "Threshold (τ)"
    assert all(label.buddy() is not None for label in form.findChildren(QLabel))


def test_importing_the_form_loads_no_torch():
    code = "import sys; import napari_refit.widgets.form; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_several_numbers_are_typed_between_commas(show, qtbot):
    form = show(params.CamParams)
    control = form.control("scales")
    assert isinstance(control, NumbersControl)
    assert control.line.text() == "1"
    type_into(qtbot, control.line, "2, 0.5,1", Qt.Key.Key_Return)
    assert form.seen[-1].scales == (0.5, 1.0, 2.0)
    assert control.line.text() == "0.5, 1, 2"
    count = len(form.seen)
    for wrong, word in (("1, 9", "less than or equal to 4"), ("1, x", "number"), ("", "at least 1")):
        type_into(qtbot, control.line, wrong, Qt.Key.Key_Return)
        if not wrong:
            qtbot.keyClick(control.line, Qt.Key.Key_Delete)
            qtbot.keyClick(control.line, Qt.Key.Key_Return)
        assert word in form.errors()["scales"]
    assert len(form.seen) == count
    form.reset("scales")
    assert form.value == params.CamParams()
    assert form.errors() == {}
