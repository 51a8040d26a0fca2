"""How the command line opens napari."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def has_display() -> bool:
    """Whether a window can be opened."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_demo() -> None:
    """napari with the sample volume and the ReFit dock set to the sample classifier; returns when it is closed."""
    show_demo(_viewer())
    _run()


def show_demo(viewer: Any) -> Any:
    """Fill a viewer with the demo: sample volume, outline of its truth, and the dock at work, which is returned."""
    viewer.open_sample("napari-refit", "phantom")
    for layer in viewer.layers:
        if layer.name.startswith("phantom truth"):
            layer.contour, layer.opacity = 1, 1.0
    _, dock = viewer.window.add_plugin_dock_widget("napari-refit", "ReFit")
    dock.choose_classifier("sample")
    dock.commands.use_preset("phantom")
    dock.show_first_lesion()
    return dock


def open_files(image: Path, truth: Path | None, model: str | None) -> None:
    """napari with these layers and the ReFit dock; returns when it is closed."""
    from napari_refit._reader import layers_of

    viewer = _viewer()
    (image_layer,) = [viewer.add_layer(_layer(data)) for data in layers_of(str(image))]
    truth_layers = (
        [viewer.add_layer(_layer(data)) for data in layers_of(str(truth), labels=True)] if truth else []
    )
    _, dock = viewer.window.add_plugin_dock_widget("napari-refit", "ReFit")
    dock.choose_image(image_layer)
    if truth_layers:
        truth_layers[0].name = f"{image_layer.name} truth"
        dock.choose_truth(truth_layers[0])
    if model:
        dock.choose_classifier(model)
    _run()


def _layer(data: tuple[Any, ...]) -> Any:
    from napari.layers import Layer

    return Layer.create(*data)


def _viewer() -> Any:
    try:
        import qtpy

        _ = qtpy.API_NAME
    except Exception as error:
        raise RuntimeError(
            "napari needs a Qt binding; install it with: pip install 'napari-refit[all]'"
        ) from error
    import napari

    return napari.Viewer(title="napari-refit")


def _run() -> None:
    import napari

    napari.run()
