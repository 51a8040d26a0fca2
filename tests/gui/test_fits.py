"""Choosing a fit in a real window: its sliders, the mask, and hints."""

from __future__ import annotations

import numpy as np
import pytest

from napari_refit import Refit

pytestmark = pytest.mark.gui


def choose(work, name):
    work.dock.sections.fit.set_value(name)
    work.dock.sections.fit.chosen.emit(name)
    work.settle()


def expected(work):
    response = work.viewer.layers["cam"].data
    return Refit(work.image.data, response=response, params=work.session.params).plane(
        dict(work.session.plane.index)
    )


@pytest.mark.parametrize("name", ["hierarchy", "partition_ensemble"])
def test_a_fit_is_chosen_and_its_sliders_move_the_mask(bench, name):
    work = bench()
    choose(work, name)
    assert work.session.params.fit == name
    form = work.dock.sections.form(name)
    assert form.isVisible()
    assert not work.dock.sections.form("boundary").isVisible()
    np.testing.assert_array_equal(work.plane, expected(work).mask)
    assert work.plane.any()
    before = work.plane
    form.control("threshold").box.setValue(0.3)
    work.settle()
    assert (work.plane > 0).sum() > (before > 0).sum()
    np.testing.assert_array_equal(work.plane, expected(work).mask)
    form.control("threshold").box.setValue(1.0)
    work.settle()
    assert not work.plane.any()
    assert "Nothing passes" in expected(work).message


def test_the_sliders_of_every_segmenter_of_an_ensemble_are_there(bench):
    work = bench()
    sections = work.dock.sections
    sections.form("quickshift")
    assert not sections.form("quickshift").isVisible()
    choose(work, "partition_ensemble")
    sections.form("partition_ensemble").control("with_quickshift").box.setChecked(True)
    work.settle()
    shown = work.session.params.segmenters()
    assert {"slic", "quickshift"} < set(shown)
    for name in shown:
        assert sections.form(name).isVisible()
        title = sections._titles[name]
        assert title.isVisible() == (name != work.session.params.segmenter)
    sections.form("quickshift").control("max_dist").box.setValue(4.0)
    work.settle()
    assert work.session.params.of("quickshift").max_dist == 4.0
    np.testing.assert_array_equal(work.plane, expected(work).mask)
    form = sections.form("partition_ensemble")
    form.control("with_quickshift").box.setChecked(False)
    work.settle()
    assert not sections.form("quickshift").isVisible()
    choose(work, "boundary")
    assert sections.form(work.session.params.segmenter).isVisible()
    assert not sections.form("felzenszwalb").isVisible()


@pytest.mark.parametrize("name", ["hierarchy", "partition_ensemble"])
def test_a_hint_is_followed_whichever_fit_is_chosen(bench, name):
    work = bench()
    choose(work, name)
    work.dock.hints.object.click()
    layer = work.session.hand.hints.layer
    layer.brush_size = 1
    place = [dict(work.session.plane.index).get(axis, 0) for axis in range(layer.ndim)]
    place[-2:] = 1, 1
    assert not work.plane[1, 1]
    with layer.block_history():
        layer.paint(tuple(place), layer.selected_label)
    work.settle()
    assert work.plane[1, 1] == 1
    layer.undo()
    work.settle()
    np.testing.assert_array_equal(work.plane, expected(work).mask)
