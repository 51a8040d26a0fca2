"""The plot of the scores per slice: mouse, keys, redraws."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from napari.qt import get_stylesheet
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

from napari_refit.widgets import style
from napari_refit.widgets.slice_plot import SlicePlot

pytestmark = pytest.mark.gui


@pytest.fixture
def plot(qtbot):
    widget = SlicePlot()
    widget.setFixedWidth(360)
    qtbot.addWidget(widget)
    with qtbot.waitExposed(widget):
        widget.show()
    widget.asked = []
    widget.clicked.connect(widget.asked.append)
    return widget


@pytest.fixture
def scored(plot, qtbot):
    cam = np.full(20, np.nan)
    cam[5:15] = 0.5
    refined = cam + 0.2
    refined[9] = 0.1
    plot.set_scores(cam, refined)
    qtbot.waitUntil(lambda: plot._background is not None)
    return plot


def position_of(plot, index):
    x, y = plot._axes.transData.transform((index, 0.5))
    ratio = plot._canvas.device_pixel_ratio
    return QPoint(round(x / ratio), round(plot._canvas.height() - y / ratio))


def test_empty_state_says_so(plot):
    assert plot._empty.isVisible()
    plot.set_scores(np.full(4, np.nan), None)
    assert plot._empty.isVisible()
    assert plot._canvas is None


@pytest.mark.parametrize("index", [0, 7, 19])
def test_click_asks_for_that_slice(scored, qtbot, index):
    qtbot.mouseClick(scored._canvas, Qt.MouseButton.LeftButton, pos=position_of(scored, index))
    assert scored.asked == [index]


def test_click_beside_the_axes_asks_for_nothing(scored, qtbot):
    qtbot.mouseClick(scored._canvas, Qt.MouseButton.LeftButton, pos=QPoint(2, 2))
    assert scored.asked == []


def test_arrows_go_to_the_next_scored_slice(scored, qtbot):
    scored.set_current(2)
    qtbot.keyClick(scored, Qt.Key.Key_Right)
    qtbot.keyClick(scored, Qt.Key.Key_Left)
    assert scored.asked == [5]
    scored.set_current(17)
    qtbot.keyClick(scored, Qt.Key.Key_Left)
    qtbot.keyClick(scored, Qt.Key.Key_Right)
    assert scored.asked == [5, 14]


def test_slices_with_a_loss_are_found(scored):
    assert scored.losses().tolist() == [9]
    scored.set_current(12)
    assert scored.neighbour(-1, scored.losses()) == 9
    assert scored.neighbour(1, scored.losses()) is None


def test_line_moves_without_a_full_redraw_and_leaves_no_trace(scored, qtbot):
    def picture():
        return np.asarray(scored._canvas.buffer_rgba()).copy()

    scored.set_current(3)
    first = picture()
    draws = []
    scored._canvas.mpl_connect("draw_event", draws.append)
    for index in (8, 16, 3):
        scored.set_current(index)
        QApplication.processEvents()
    assert draws == []
    np.testing.assert_array_equal(picture(), first)
    scored.set_current(8)
    assert (picture() != first).any()


def test_new_scores_are_drawn_without_a_full_redraw(scored, qtbot):
    def picture():
        return np.asarray(scored._canvas.buffer_rgba()).copy()

    cam, refined = scored._cam.copy(), scored._refined.copy()
    before, draws = picture(), []
    scored._canvas.mpl_connect("draw_event", draws.append)
    scored.set_scores(cam, np.full(20, np.nan))
    without = picture()
    scored.set_scores(cam, refined)
    QApplication.processEvents()
    assert draws == []
    assert (without != before).any()
    np.testing.assert_array_equal(picture(), before)
    scored.set_scores(cam[:10], refined[:10])
    qtbot.waitUntil(lambda: len(draws) == 1)


def test_scores_set_while_hidden_are_drawn_when_shown(plot, qtbot):
    plot.hide()
    plot.set_scores(None, np.array([0.5, np.nan, 0.7]))
    assert plot._canvas is None
    plot.show()
    qtbot.waitUntil(lambda: plot._background is not None)
    assert len(plot._axes.get_lines()) == 2
    plot.set_scores(None, None)
    assert plot._empty.isVisible()


def test_lengths_must_agree(plot):
    with pytest.raises(ValueError, match="3 CAM scores but 4"):
        plot.set_scores(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="1-D"):
        plot.set_scores(np.zeros((3, 2)), None)


@pytest.mark.parametrize(("theme", "palette"), [("dark", style.DARK), ("light", style.LIGHT)])
def test_colours_follow_the_theme(scored, qtbot, theme, palette):
    scored.setStyleSheet(get_stylesheet(theme))
    qtbot.waitUntil(lambda: scored._axes.get_lines()[0].get_color() == palette.cam)


def test_matplotlib_is_not_imported_with_the_module():
    code = "import sys; import napari_refit.widgets.slice_plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
