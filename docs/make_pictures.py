"""Make the documentation's pictures from the running program: ``make pictures``.

napari is opened for real (an Xvfb will do), the sample is loaded, the dock works, and the window is saved.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
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


def keep(viewer: Any, name: str) -> None:
    """Save the whole window as a PNG that does not weigh more than it must."""
    from PIL import Image

    settle(1.0)
    picture = viewer.screenshot(canvas_only=False, flash=False)
    path = IMAGES / f"{name}.png"
    Image.fromarray(picture[..., :3]).quantize(256, method=Image.Quantize.MAXCOVERAGE).save(
        path, optimize=True
    )
    print(f"{path.relative_to(IMAGES.parents[1])}: {picture.shape[1]} x {picture.shape[0]}")


def labels_found(viewer: Any) -> bool:
    """Whether refined labels with something in them are there."""
    layers = [layer for layer in viewer.layers if layer.name.lower().startswith("refined")]
    return any(layer.data.any() for layer in layers)


def main() -> int:
    """Open the program, take every picture."""
    import napari

    from napari_refit.demo import sample_classifier

    IMAGES.mkdir(exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW)
    viewer.open_sample("napari-refit", "phantom")
    _, dock = viewer.window.add_plugin_dock_widget("napari-refit", "ReFit")
    dock.choose_classifier(str(sample_classifier()))
    dock.show_first_lesion()
    wait_until(lambda: labels_found(viewer), "refined labels on the first lesion")
    settle(3.0)
    keep(viewer, "refit-live")

    dock.compare(True)
    settle(2.0)
    keep(viewer, "refit-compare")
    dock.compare(False)
    viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
