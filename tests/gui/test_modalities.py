"""A classifier that compares modalities, on an image that has them as slices of one axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from qtpy.QtGui import QGuiApplication

from napari_refit.cam.checkpoint import CheckpointMetadata, save_checkpoint
from napari_refit.cam.cmer_network import CmerNetwork

pytestmark = pytest.mark.gui


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    metadata = CheckpointMetadata(
        architecture="cmer",
        classes=("background", "tumour"),
        in_channels=2,
        input_size=None,
        settings={"width": 4, "modality": "average"},
    )
    save_checkpoint(tmp_path / "two.safetensors", CmerNetwork(2, 2, width=4), metadata)
    return tmp_path / "two.safetensors"


def scan(modalities: int) -> np.ndarray:
    return np.random.default_rng(7).random((modalities, 4, 32, 32)).astype(np.float32)


def shown(work):
    (layer,) = [layer for layer in work.viewer.layers if layer.name.startswith("response ·")]
    cut = dict(work.session.plane.index)
    return layer.data[tuple(cut.get(axis, slice(None)) for axis in range(layer.data.ndim))].copy()


def test_the_response_is_that_of_all_modalities(bench, checkpoint):
    from napari_refit import Refit

    work = bench(image=scan(2), response=scan(2))
    work.dock.choose_classifier(str(checkpoint))
    work.set(gate="off")
    assert work.dock.footer.error.plain() == ""
    assert work.dock.chooser.modalities.isVisible()
    channels = np.moveaxis(work.image.data, 0, -1)
    position = dict(work.session.plane.index)[1]
    expected = Refit(channels, str(checkpoint), work.session.params, rgb=True).slice(position).response[0]
    np.testing.assert_array_equal(shown(work), expected)
    # Scrolled to the other modality, its own clusters are shown, and the same response.
    work.viewer.dims.set_point(0, 1)
    work.settle()
    assert dict(work.session.plane.index)[0] == 1
    np.testing.assert_array_equal(shown(work), expected)


def test_which_modalities_are_said_in_the_dock(bench, checkpoint):
    work = bench(image=scan(3), response=scan(3), axis_labels=("c", "z", "y", "x"))
    work.dock.choose_classifier(str(checkpoint))
    work.set(gate="off")
    assert "wants 2 modalities, the image has 3" in work.dock.footer.error.plain()
    field = work.dock.chooser.modalities
    assert field.isVisible()
    field.setText("2, one")
    field.editingFinished.emit()
    assert "got 'one'" in work.dock.chooser.error()
    field.setText("2, 0")
    field.editingFinished.emit()
    work.settle()
    assert work.dock.chooser.error() == work.dock.footer.error.plain() == ""
    assert work.session.source.modalities == (2, 0)
    assert shown(work).any()
    work.dock.commands.copy_command()
    assert "--modalities 2,0" in QGuiApplication.clipboard().text()


def test_another_classifier_is_not_asked_for_them(bench, checkpoint):
    work = bench(image=scan(2), response=scan(2))
    work.dock.choose_classifier(str(checkpoint))
    work.settle()
    work.dock.chooser.modalities.setText("1, 0")
    work.dock.chooser.modalities.editingFinished.emit()
    work.settle()
    work.dock.choose_classifier("sample")
    work.settle()
    assert not work.dock.chooser.modalities.isVisible()
    assert work.session.source.modalities == ()
    assert work.dock.chooser.modalities.text() == ""
