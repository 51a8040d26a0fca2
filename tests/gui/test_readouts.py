"""The readouts: what the numbers say, and whether a person can read them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from napari.qt import get_stylesheet
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QApplication, QLabel

from napari_refit import metrics
from napari_refit.widgets import style
from napari_refit.widgets.readouts import DASH, ROWS, BeliefReadout, ReadoutTable

pytestmark = pytest.mark.gui

CAM = {"dice": 0.5, "iou": 0.333, "mean_iou": 0.6, "hd95": 12.0, "surface_dice": 0.4}
REFINED = {"dice": 0.75, "iou": 0.6, "mean_iou": 0.6, "hd95": 14.04, "surface_dice": 0.1}


@pytest.fixture
def table(qtbot):
    widget = ReadoutTable()
    qtbot.addWidget(widget)
    widget.show()
    return widget


def color_of(cell):
    return cell.text().split("color:")[1][:7]


def test_hint_until_there_is_a_score(table):
    labels = [label.text() for label in table.findChildren(QLabel) if label.isVisible()]
    assert len(labels) == 1
    assert "ground truth" in labels[0]
    table.set_slice(CAM, None)
    assert table.cell("slice", "dice", "cam").isVisible()
    table.set_slice(None, None)
    assert not table.cell("slice", "dice", "cam").isVisible()


def test_gain_and_loss_have_sign_and_colour(table):
    table.set_slice(CAM, REFINED)
    shown = {row.key: table.text("slice", row.key, "difference") for row in ROWS}
    assert shown == {
        "dice": "+0.250",
        "iou": "+0.267",
        "mean_iou": "0.000",
        "hd95": "+2.0",
        "surface_dice": "−0.300",
    }
    palette = style.colors(table)
    expected = {
        "dice": palette.gain,
        "mean_iou": palette.text,
        "hd95": palette.loss,
        "surface_dice": palette.loss,
    }
    for key, color in expected.items():
        assert color_of(table.cell("slice", key, "difference")) == color
    table.set_slice(REFINED, CAM)
    assert color_of(table.cell("slice", "hd95", "difference")) == palette.gain


def test_missing_numbers_are_dashes_that_say_why(table):
    table.set_slice(CAM | {"hd95": math.nan}, REFINED | {"hd95": math.nan})
    assert table.text("slice", "hd95", "difference") == DASH
    assert "spacing" in table.cell("slice", "hd95", "cam").toolTip()
    assert "Refine volume" in table.cell("volume", "dice", "refined").toolTip()
    empty = dict.fromkeys(CAM, math.nan)
    table.set_slice(empty, empty)
    assert "nothing to compare" in table.cell("slice", "dice", "cam").toolTip()


def test_from_no_outline_to_some_is_a_gain(table):
    table.set_slice(CAM | {"hd95": math.inf}, REFINED)
    assert table.text("slice", "hd95", "cam") == "∞"
    assert "empty" in table.cell("slice", "hd95", "cam").toolTip()
    assert table.text("slice", "hd95", "difference") == "−∞"
    assert color_of(table.cell("slice", "hd95", "difference")) == style.colors(table).gain
    table.set_slice(CAM | {"hd95": math.inf}, REFINED | {"hd95": math.inf})
    assert table.text("slice", "hd95", "difference") == DASH


def test_takes_what_evaluate_returns(table):
    truth = np.zeros((12, 12), np.uint8)
    truth[3:9, 3:9] = 1
    mask = np.roll(truth, 2, axis=0)
    table.set_volume(
        metrics.evaluate(mask, truth, spacing=(1, 1)), metrics.evaluate(truth, truth, spacing=(1, 1))
    )
    assert table.text("volume", "dice", "cam") == "0.667"
    assert [table.text("volume", row.key, "refined") for row in ROWS] == [
        "1.000",
        "1.000",
        "1.000",
        "0.0",
        "1.000",
    ]


def test_copied_table_holds_every_number(table):
    table.set_slice(CAM, REFINED)
    lines = [line.split("\t") for line in table.as_text().splitlines()]
    assert {len(line) for line in lines} == {5}
    assert len(lines) == 1 + 2 * len(ROWS)
    assert ["slice", "HD95 (mm)", "12.0", "14.0", "+2.0"] in lines


def test_a_cell_that_stays_the_same_is_not_laid_out_again(table, monkeypatch):
    table.set_slice({"dice": 0.5}, {"dice": 0.75})
    laid_out = []
    cell = table.cell("slice", "dice", "refined")
    monkeypatch.setattr(type(cell), "setText", lambda label, text: laid_out.append(label))
    table.set_slice({"dice": 0.5}, {"dice": 0.75})
    assert laid_out == []
    table.set_slice({"dice": 0.5}, {"dice": 0.5})
    assert laid_out == [cell, table.cell("slice", "dice", "difference")]


def test_note(table):
    table.set_note("2 empty slices <left> out.")
    notes = [label for label in table.findChildren(style.NoteLabel) if label.plain().startswith("2 empty")]
    assert notes[0].isVisible()
    assert "&lt;left&gt;" in notes[0].text()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_colour_is_readable_on_the_theme(qtbot, table, theme):
    table.setStyleSheet(get_stylesheet(theme))
    table.set_slice(CAM, REFINED)
    QApplication.processEvents()
    background = get_theme(theme).background.as_hex()
    palette = style.colors(table)
    assert style.is_dark(table) == (theme == "dark")
    for name in ("text", "muted", "gain", "loss", "warning", "cam", "refined"):
        assert style.contrast(getattr(palette, name), background) >= 4.5, name
    assert color_of(table.cell("slice", "dice", "difference")) == palette.gain


def test_colours_follow_a_change_of_theme(table):
    table.setStyleSheet(get_stylesheet("dark"))
    table.set_slice(CAM, REFINED)
    table.setStyleSheet(get_stylesheet("light"))
    QApplication.processEvents()
    assert color_of(table.cell("slice", "dice", "difference")) == style.LIGHT.gain


@pytest.fixture
def belief(qtbot):
    widget = BeliefReadout()
    qtbot.addWidget(widget)
    return widget


def texts(widget):
    QApplication.processEvents()
    return " ".join(label.text() for label in widget.findChildren(QLabel) if not label.isHidden())


def test_belief_shows_probability_logit_and_negative_badge(belief):
    belief.set_belief(["background", "lesion"], [1.5, -2.25], [0.977, 0.023], {"lesion": False})
    shown = texts(belief)
    assert "98 %" in shown
    assert "−2.2" in shown
    assert shown.count("predicted negative") == 1
    assert not belief.isHidden()
    belief.set_belief(["background", "lesion"], [-1.0, 2.0], [0.05, 0.95], [None, True])
    assert "predicted negative" not in texts(belief)
    assert texts(belief).count("predicted positive") == 1


def test_belief_rows_are_drawn_once_when_the_theme_arrives(belief, qtbot):
    belief.setStyleSheet(get_stylesheet("dark"))
    belief.set_belief(["a", "b"], [1, 2], [0.3, 0.7], [None, True])
    belief.show()
    belief.setStyleSheet(get_stylesheet("light"))
    QApplication.processEvents()
    names = [label.text() for label in belief.findChildren(QLabel) if not label.isHidden()]
    assert names.count("a") == 1


def test_belief_of_many_classes_keeps_targets_and_the_surest(belief):
    probabilities = np.linspace(0, 0.1, 1000)
    names = [f"class {index}" for index in range(1000)]
    belief.set_belief(names, probabilities, probabilities, {"class 3": False})
    assert [row[0] for row in belief.rows][:3] == ["class 3", "class 999", "class 998"]
    assert len(belief.rows) == 6


def test_belief_without_classes_hides_and_wrong_lengths_are_refused(belief):
    belief.set_belief(["a"], [1], [1], [None])
    belief.set_belief([], [], [], {})
    assert belief.isHidden()
    with pytest.raises(ValueError, match="differ"):
        belief.set_belief(["a"], [1, 2], [1], [None])
