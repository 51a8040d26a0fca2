"""The scales in the dock: typed, told what they cost, and the open slice follows."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_refit import Refit
from napari_refit.demo import sample_classifier
from napari_refit.widgets.workbench import Order, stage_text

pytestmark = pytest.mark.gui


def test_the_open_slice_follows_the_scales(bench, qtbot):
    rng = np.random.default_rng(1)
    work = bench(rng.random((2, 64, 72)).astype(np.float32))
    dock = work.dock
    results = []
    dock.session.result.connect(results.append)
    dock.choose_classifier(str(sample_classifier()))
    work.settle()
    work.set(gate="off")
    position = dict(work.session.plane.index)[0]
    form = dock.sections.form("cam")
    before = results[-1].response
    assert dock.sections.cost.plain() == ""
    control = form.control("scales")
    control.line.setFocus()
    control.line.selectAll()
    qtbot.keyClicks(control.line, "0.5, 1, 1.5")
    qtbot.keyClick(control.line, Qt.Key.Key_Return)
    work.settle()
    assert dock.sections.params.cam.scales == (0.5, 1.0, 1.5)
    assert dock.sections.cost.plain() == (
        "Each slice takes 3 runs of the classifier: 3.5 times the cost of one."
    )
    after = results[-1].response
    assert not np.allclose(after, before)
    expected = Refit(work.image.data, sample_classifier(), dock.sections.params).slice(position).response
    np.testing.assert_allclose(after, expected, atol=1e-4)
    form.reset("scales")
    work.settle()
    assert np.array_equal(results[-1].response, before)
    assert dock.sections.cost.plain() == ""


def test_the_status_line_says_how_many_runs():
    from napari_refit import RefitParams

    def order(model, **changes):
        return Order(None, False, None, RefitParams(**changes), model=model)

    assert stage_text("response", order("m", scales=(0.5, 1), smoothing="mirror")) == (
        "CAM: 4 runs of the classifier…"
    )
    assert stage_text("response", order("m")) == "CAM…"
    assert stage_text("response", order(None, scales=(0.5, 1))) == "CAM…"
    assert stage_text("fit", order("m", scales=(0.5, 1))) == "Fit…"
