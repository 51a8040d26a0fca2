"""A trained segmentation network in the dock: its probabilities are a response map that fits and hints work on."""

from __future__ import annotations

import numpy as np
import pytest

from napari_refit.fit.hints import BACKGROUND_HINT

pytestmark = pytest.mark.gui
pytest.importorskip("monai")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A checkpoint that finds what is bright."""
    from napari_refit.learn.fsss.params import FsssParams
    from napari_refit.learn.fsss.pixels import ArrayPixels
    from napari_refit.learn.fsss.training import train_fsss

    draw = np.random.default_rng(0)
    images = draw.uniform(0.0, 0.2, (24, 48, 40)).astype(np.float32)
    labels = np.zeros(images.shape, np.uint8)
    for number in range(24):
        if number % 4:
            row, column = draw.integers(0, 26, 2)
            labels[number, row : row + 16, column : column + 14] = 1
    images += 0.7 * labels
    params = FsssParams(
        network="unet", weights="none", input_size=64, epochs=10, batch_size=4, learning_rate=5e-3, threads=1
    )
    path = tmp_path_factory.mktemp("network") / "fsss.safetensors"
    train_fsss(ArrayPixels(images, labels, ["blob"]), params, device="cpu").save(path)
    return path


def test_fits_and_hints_work_on_a_networks_probabilities(bench, network):
    image = np.full((48, 40), 0.1, np.float32)
    image[10:26, 8:22] = 0.85
    image[0, 0], image[0, 1] = 0.0, 1.0
    work = bench(image=image)
    work.dock.choose_classifier(str(network))
    work.settle()
    square = image > 0.5
    square[0, 1] = False
    for changes in (
        {"fit": "boundary", "boundary.threshold": 0.5},
        {"fit": "appearance", "appearance.start": 0.5, "appearance.threshold": 0.5},
    ):
        work.dock.hints.clear.click()
        work.set(**{"slic.n_segments": 60}, **changes)
        found = work.plane > 0
        assert 2 * (found & square).sum() / (found.sum() + square.sum()) > 0.75
        # One stroke of background inside takes its cluster away, undo brings it back.
        row, column = np.argwhere(found)[found.sum() // 2]
        work.dock.hints.background.click()
        layer = work.session.hand.hints.layer
        assert layer.selected_label == BACKGROUND_HINT
        layer.brush_size = 1
        with layer.block_history():
            layer.paint((row, column), layer.selected_label)
        work.settle()
        assert work.plane[row, column] == 0
        layer.undo()
        work.settle()
        np.testing.assert_array_equal(work.plane > 0, found)
