"""The Compare view: cells side by side, and back to exactly what was before."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.gui


def looks(viewer):
    """Everything that entering and leaving must leave as it was."""
    camera, grid = viewer.scene.camera, viewer.canvas.grid
    return {
        "order": [layer.name for layer in viewer.layers],
        "visible": [layer.visible for layer in viewer.layers],
        "named": [layer.name_overlay.visible for layer in viewer.layers],
        "selection": sorted(layer.name for layer in viewer.layers.selection),
        "active": getattr(viewer.layers.selection.active, "name", None),
        "camera": (tuple(camera.center), camera.zoom, tuple(camera.angles)),
        "grid": (grid.enabled, grid.stride, tuple(grid.shape), grid.spacing),
        "point": tuple(viewer.dims.point),
        "contrast": [
            tuple(layer.contrast_limits) for layer in viewer.layers if hasattr(layer, "contrast_limits")
        ],
    }


def cells(viewer):
    grid, layers = viewer.canvas.grid, list(viewer.layers)
    found = {}
    for place, layer in enumerate(layers):
        if layer.visible:
            found.setdefault(grid.position(place, layers), []).append(layer.name)
    return found


def test_four_cells_and_back(bench):
    work = bench()
    work.viewer.scene.camera.zoom = 3.25
    work.viewer.scene.camera.center = (0, 11, 13)
    before = looks(work.viewer)
    work.dock.toolbar.compare.click()
    assert work.dock.commands.comparing
    assert work.dock.toolbar.compare.isChecked()
    found = cells(work.viewer)
    tops = [names[-1] for _, names in sorted(found.items())]
    assert tops == ["truth", "response · scan", "edges · scan", "refined · scan"]
    assert all(names[0].startswith("scan") and len(names) == 2 for names in found.values())
    work.dock.toolbar.compare.click()
    assert not work.dock.toolbar.compare.isChecked()
    assert looks(work.viewer) == before


def test_copies_share_data_and_contrast(bench):
    work = bench()
    work.dock.commands.toggle_compare()
    copies = [layer for layer in work.viewer.layers if layer.name.startswith("scan [")]
    assert len(copies) == 3
    assert all(np.shares_memory(copy.data, work.image.data) for copy in copies)
    work.image.contrast_limits = (0.25, 0.5)
    assert all(tuple(copy.contrast_limits) == (0.25, 0.5) for copy in copies)
    assert [layer.name for layer in work.dock.image.candidates()] == ["scan", "cam"]


def test_live_and_painting_go_on(bench):
    work = bench()
    work.dock.commands.toggle_compare()
    before = work.plane
    work.set(threshold=0.2)
    assert work.plane.sum() > before.sum()
    work.go(0)
    assert work.session.plane.position == 0
    work.labels.paint((0, 1, 1), 1)
    work.settle()
    assert work.session.painted


def test_without_truth_there_are_three_cells(bench):
    work = bench()
    work.dock.choose_truth(None)
    work.dock.commands.toggle_compare()
    tops = [names[-1] for _, names in sorted(cells(work.viewer).items())]
    assert tops == ["response · scan", "edges · scan", "refined · scan"]


def test_layers_that_come_and_go_meanwhile(bench):
    work = bench()
    work.dock.commands.toggle_compare()
    work.viewer.layers.remove(work.session.outputs["edges"])
    work.viewer.add_points(np.zeros((1, 3)), name="mine")
    work.dock.commands.toggle_compare()
    names = [layer.name for layer in work.viewer.layers]
    assert names == ["scan", "response · scan", "simplified · scan", "refined · scan", "cam", "truth", "mine"]
    assert not work.viewer.canvas.grid.enabled


def test_another_image_ends_it(bench):
    work = bench()
    work.dock.commands.toggle_compare()
    work.dock.choose_image(work.response)
    assert not work.dock.commands.comparing
    assert not work.viewer.canvas.grid.enabled


def test_nothing_to_compare_yet(make_napari_viewer_proxy, make_dock):
    viewer = make_napari_viewer_proxy(show=True)
    dock = make_dock(viewer)
    dock.toolbar.compare.click()
    assert not dock.toolbar.compare.isChecked()
    assert "no refined labels" in dock.footer.error.plain()
