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
    demo_picture()
    return 0


if __name__ == "__main__":
    sys.exit(main())
