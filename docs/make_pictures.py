"""Make the documentation's pictures from the running program: ``make pictures``.

napari is opened for real (an Xvfb will do), the sample is loaded, the dock works, and the window is saved.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# The user's napari settings are neither read nor changed.
os.environ["NAPARI_CONFIG"] = ""

IMAGES = Path(__file__).parent / "img"
WINDOW = (1440, 900)
PATIENCE = 180.0


def wait_until(ready: Callable[[], bool], what: str) -> None:
    """Let Qt work until something holds; give up with a message after `PATIENCE` seconds."""
    from qtpy.QtWidgets import QApplication

    give_up = time.monotonic() + PATIENCE
    while not ready():
        QApplication.processEvents()
        time.sleep(0.02)
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")


def settle(seconds: float) -> None:
    """Let Qt work for a while."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, "the clock")


def save(picture: Any, name: str) -> None:
    """Save an RGB(A) array as a PNG."""
    from PIL import Image

    path = IMAGES / f"{name}.png"
    Image.fromarray(picture[..., :3]).save(path, optimize=True)
    print(f"{path.relative_to(IMAGES.parents[1])}: {picture.shape[1]} x {picture.shape[0]}")


def refined_something(viewer: Any) -> bool:
    """Whether refined labels with something in them are there."""
    shown = [layer for layer in viewer.layers if layer.name.lower().startswith("refined")]
    return any(layer.data.any() for layer in shown)


def window_pictures() -> None:
    """The window with the dock at work, the dock alone, and the compare view."""
    import napari

    from napari_refit.widgets.launch import show_demo

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW)
    dock = show_demo(viewer)
    wait_until(lambda: refined_something(viewer), "refined labels on the slice with most of the truth")
    settle(3.0)
    save(viewer.screenshot(canvas_only=False, flash=False), "refit-live")
    save(pixels(dock), "refit-dock")

    dock.commands.toggle_compare()
    settle(2.0)
    save(viewer.screenshot(canvas_only=False, flash=False), "refit-compare")
    dock.commands.toggle_compare()
    viewer.close()
    settle(0.5)


def hand_pictures() -> None:
    """A stroke that brings a missed lesion, and a cluster under the cursor; at a threshold that misses much."""
    import napari
    from skimage.measure import label, regionprops

    from napari_refit.widgets.launch import show_demo

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW)
    dock = show_demo(viewer)
    dock.set_params(dock.sections.params.replace(threshold=0.55))
    wait_until(lambda: refined_something(viewer), "refined labels on the slice with most of the truth")
    settle(3.0)
    position = dock.session.plane.position
    truth = (
        next(layer for layer in viewer.layers if layer.name.startswith("phantom truth")).data[position] > 0
    )
    missed = truth & (dock.session.outputs["labels"].data[position] == 0)
    lesion = max(regionprops(label(missed)), key=lambda region: region.area)
    row, column = lesion.coords[len(lesion.coords) // 2]
    states = [viewer.screenshot(flash=False)]
    dock.hints.object.click()
    hints = dock.session.hand.hints.layer
    with hints.block_history():
        for step in range(-4, 5):
            hints.paint((position, row, column + step), 1)
    wait_until(lambda: not dock.session.running, "the mask after the stroke")
    settle(1.0)
    states.append(viewer.screenshot(flash=False))
    hints.undo()
    wait_until(lambda: not dock.session.running, "the mask without the stroke")
    settle(1.0)
    states.append(viewer.screenshot(flash=False))
    save(beside(states), "refit-undo")
    hints.redo()
    wait_until(lambda: not dock.session.running, "the mask after the stroke once more")
    dock.scroll.verticalScrollBar().setValue(dock.scroll.verticalScrollBar().maximum())
    settle(2.0)
    save(viewer.screenshot(canvas_only=False, flash=False), "refit-hints")
    dock.hints.clusters.click()
    move = SimpleNamespace(position=tuple(hints.data_to_world((position, row, column + 30))))
    for callback in viewer.mouse_move_callbacks:
        if getattr(callback, "__self__", None) is dock.session.hand.clusters:
            callback(viewer, move)
    settle(2.0)
    save(viewer.screenshot(canvas_only=False, flash=False), "refit-clusters")
    viewer.close()
    settle(0.5)


def beside(canvases: list[Any]) -> Any:
    """The middles of pictures of the canvas, side by side, with a gap between them."""
    import numpy as np

    height, width = canvases[0].shape[:2]
    rows = slice(int(0.13 * height), int(0.79 * height))
    columns = slice(int(0.22 * width), int(0.85 * width))
    cut = [canvas[rows, columns] for canvas in canvases]
    gap = np.full((cut[0].shape[0], 12, cut[0].shape[2]), 255, np.uint8)
    return np.concatenate([part for canvas in cut for part in (gap, canvas)][1:], axis=1)


def propagation_picture() -> None:
    """A locked slice carried on, seen two slices further, at a threshold that misses much."""
    import napari
    import numpy as np

    from napari_refit.widgets.launch import show_demo

    viewer = napari.Viewer(show=True)
    viewer.window.resize(WINDOW[0], 1010)
    dock = show_demo(viewer)
    dock.set_params(dock.sections.params.replace(threshold=0.8))
    wait_until(lambda: refined_something(viewer), "refined labels on the slice with most of the truth")
    wait_until(lambda: not dock.session.running, "scores")
    dock.session.refine_volume()
    wait_until(lambda: not dock.session.running, "the refined volume")
    position = dock.session.plane.position
    truth = next(layer for layer in viewer.layers if layer.name.startswith("phantom truth"))
    labels = dock.session.outputs["labels"]
    wrong = np.nonzero(truth.data[position] != labels.data[position])
    place = (np.full(len(wrong[0]), position), *wrong)
    labels.data_setitem(place, truth.data[place].astype(labels.data.dtype))
    wait_until(lambda: not dock.session.running, "the painted slice")
    dock.propagate.button.click()
    wait_until(lambda: not dock.session.running, "the propagation")
    dock.session.go_to_slice(position + 2)
    wait_until(lambda: not dock.session.running, "the slice beside it")
    dock.propagate.parameters.expand(animate=False)
    dock.scroll.verticalScrollBar().setValue(dock.scroll.verticalScrollBar().maximum())
    settle(2.0)
    dock.scroll.verticalScrollBar().setValue(dock.scroll.verticalScrollBar().maximum())
    dock.propagate.view.scrollToTop()
    settle(0.5)
    save(viewer.screenshot(canvas_only=False, flash=False), "refit-propagate")
    viewer.close()
    settle(0.5)


def train_picture() -> None:
    """The Train dock after a training from tagged slices, with its curves."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(WINDOW[0], 1130)
    viewer.open_sample("napari-refit", "phantom")
    image, truth = (
        next(layer for layer in viewer.layers if layer.name.startswith("phantom truth") == is_truth)
        for is_truth in (False, True)
    )
    truth.contour, truth.opacity = 1, 1.0
    _, dock = viewer.window.add_plugin_dock_widget("napari-refit", "Train")
    with tempfile.TemporaryDirectory() as folder:
        dock.set_out(Path(folder) / "lesions.safetensors")
        dock.choose_source("truth")
        dock.truth.image.choose(image)
        dock.truth.truth.choose(truth)
        dock.truth.names.setText("lesion")
        dock.truth.look()
        wait_until(lambda: dock.truth.found is not None, "the labels of the slices")
        dock.truth.copy.click()
        dock.table.desk.name_blocks(4)
        dock.forms.set_params(
            dock.forms.params.model_copy(
                update={
                    "architecture": "phantom-cnn",
                    "weights": "none",
                    "input_size": 96,
                    "epochs": 12,
                    "patience": 0,
                    "learning_rate": 3e-3,
                }
            )
        )
        dock.start()
        wait_until(lambda: dock.session.trained is not None, "a trained classifier")
        dock.sections["Training"].collapse(animate=False)
        dock.table.desk.go(int(truth.data.reshape(len(truth.data), -1).any(1).argmax()))
        dock.out.line.setText("lesions.safetensors")
        settle(1.0)
        dock.scroll.verticalScrollBar().setValue(0)
        settle(0.5)
        save(viewer.screenshot(canvas_only=False, flash=False), "refit-train")
    viewer.close()
    settle(0.5)


def tune_picture() -> None:
    """The Tune dock after a search that began with poor parameters, beside what its best trial gives."""
    import napari

    from napari_refit.widgets.launch import show_demo

    viewer = napari.Viewer(show=True)
    viewer.window.resize(WINDOW[0], 1200)
    refit_dock = show_demo(viewer)
    refit_dock.set_params(refit_dock.sections.params.replace(threshold=0.6, tolerance=0.0))
    wait_until(lambda: refined_something(viewer), "refined labels on the slice with most of the truth")
    wait_until(lambda: not refit_dock.session.running, "scores")
    _, dock = viewer.window.add_plugin_dock_widget("napari-refit", "Tune", tabify=True)
    with tempfile.TemporaryDirectory() as folder:
        dock.set_study(Path(folder) / "phantom.db")
        dock.set_params(dock.params.model_copy(update={"trials": 40, "images": 8}))
        settle(1.0)
        dock.start()
        wait_until(lambda: not dock.session.running, "a finished search")
        dock.table.sort_by("Score", falling=True)
        dock.table.scrollToTop()
        dock.footer.apply.click()
        wait_until(lambda: not refit_dock.session.running, "the best trial's mask")
        dock.study.line.setText("phantom.db")
        dock.sections["Images"].collapse(animate=False)
        dock.sections["Method and budget"].collapse(animate=False)
        settle(1.0)
        dock.scroll.verticalScrollBar().setValue(dock.scroll.verticalScrollBar().maximum())
        settle(0.5)
        save(viewer.screenshot(canvas_only=False, flash=False), "refit-tune")
    refit_dock.shut_down()
    viewer.close()
    settle(0.5)


def study_of_phantoms(root: Path) -> Path:
    """A table of phantoms with their truths, one damaged file among them."""
    import csv

    from napari_refit.io.phantom import phantom_file

    rows = []
    for number, seed in enumerate(range(101, 109), start=1):
        made = phantom_file(root / "made", seed, (96, 96, 24))
        names = [f"scans/patient {number:02}.nii.gz", f"truth/patient {number:02}.nii.gz"]
        for path, name in zip(made, names, strict=True):
            (root / name).parent.mkdir(exist_ok=True)
            path.rename(root / name)
        rows.append(names)
    (root / "scans/patient 09.nii.gz").write_bytes((root / rows[0][0]).read_bytes()[:4000])
    rows.append(["scans/patient 09.nii.gz", ""])
    with (root / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "truth"), *rows])
    return root / "cases.csv"


def batch_pictures() -> None:
    """The Batch dock after a run with a damaged file, and a review of its results."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW)
    _, dock = viewer.window.add_plugin_dock_widget("napari-refit", "Batch")
    with tempfile.TemporaryDirectory() as folder:
        dock.set_input(study_of_phantoms(Path(folder)))
        dock.set_output(Path(folder) / "refined")
        dock.recipe.preset.set_value("preset:phantom")
        dock.recipe.refresh()
        dock.recipe.chooser.set_source_text("sample")
        dock.start()
        wait_until(lambda: not dock.session.running and dock.table.shown(), "a finished batch")
        dock.table.show_current("scans/patient 09")
        dock.input.line.setText("study/cases.csv")
        dock.output.line.setText("study/refined")
        dock.detail.set_plain(dock.detail.plain().replace(folder, "study"))
        settle(1.0)
        save(pixels(dock), "refit-batch")
        dock.review.begin(Path(folder) / "refined")
        review = dock.review.session
        for _ in range(2):
            wait_until(lambda: review.case is not None and not review.busy, "a case")
            review.accept()
        wait_until(lambda: review.case is not None and not review.busy, "a case")
        review.reject()
        wait_until(lambda: review.case is not None and not review.busy, "a case")
        settle(1.5)
        save(viewer.screenshot(canvas_only=False, flash=False), "refit-review")
        review.end()
    viewer.close()
    settle(0.5)


def pixels(widget: Any) -> Any:
    """What a widget shows, as an array."""
    import numpy as np
    from qtpy.QtGui import QImage

    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    buffer = image.constBits()
    buffer.setsize(image.sizeInBytes())
    return np.frombuffer(buffer, np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)[
        :, : image.width()
    ]


def demo_picture() -> None:
    """The panels that the demo leaves where there is no display."""
    import numpy as np
    from PIL import Image

    from napari_refit.demo import run_demo

    with tempfile.TemporaryDirectory() as folder:
        run_demo(Path(folder))
        save(np.asarray(Image.open(Path(folder) / "panels.png").convert("RGB")), "refit-panels")


def main() -> int:
    """Take every picture."""
    IMAGES.mkdir(exist_ok=True)
    window_pictures()
    hand_pictures()
    propagation_picture()
    train_picture()
    tune_picture()
    batch_pictures()
    demo_picture()
    return 0


if __name__ == "__main__":
    sys.exit(main())
