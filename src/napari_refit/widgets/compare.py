"""The Compare view: ground truth, CAM, edges and refined labels side by side, and back again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari.layers import Image

from napari_refit.widgets.layers import MARK
from napari_refit.widgets.planes import geometry

LINKED = ("contrast_limits", "gamma", "colormap", "interpolation2d")
GRID_FIELDS = ("stride", "shape", "spacing", "enabled")
WIDE = 1.6


@dataclass
class _Before:
    """How the viewer looked."""

    order: list[Any]
    visible: dict[Any, bool]
    named: dict[Any, bool]
    selection: set[Any]
    active: Any
    grid: dict[str, Any]
    camera: dict[str, Any]
    copies: list[Any] = field(default_factory=list)


class CompareView:
    """Shows layers in cells of napari's grid, each over its own copy of the image.

    Cells share camera and slice. Copies share the image's data and follow its contrast. Everything is put back by
    `leave`, also where layers were added or deleted meanwhile.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self._before: _Before | None = None

    @property
    def on(self) -> bool:
        """Whether the view is on."""
        return self._before is not None

    def enter(self, image: Any, layers: list[Any]) -> None:
        """Show one cell per layer, in this order from the top left.

        Parameters
        ----------
        image : napari.layers.Image
            What lies below each.
        layers : list of napari.layers.Layer
            Layers of the viewer.
        """
        if self.on or not layers:
            return
        all_layers = list(self.viewer.layers)
        before = self._before = _Before(
            order=all_layers,
            visible={layer: layer.visible for layer in all_layers},
            named={layer: layer.name_overlay.visible for layer in all_layers},
            selection=set(self.viewer.layers.selection),
            active=self.viewer.layers.selection.active,
            grid={name: getattr(self.viewer.canvas.grid, name) for name in GRID_FIELDS},
            camera={name: getattr(self.viewer.scene.camera, name) for name in ("center", "zoom", "angles")},
        )
        backs = [self._copy(image) for _ in layers[:-1]]
        before.copies = backs
        for copy in backs:
            self.viewer.layers.append(copy)
        if backs:
            self.viewer.layers.link_layers([image, *backs], LINKED)
        cells = [layer for pair in zip([*backs, image], layers, strict=True) for layer in pair]
        for layer in list(self.viewer.layers):
            layer.visible = layer in cells
        self._arrange([*cells, *(layer for layer in self.viewer.layers if layer not in cells)])
        for layer in layers:
            layer.name_overlay.visible = True
        self._restore_selection(before)
        rows, columns = self._shape(len(layers))
        grid = self.viewer.canvas.grid
        grid.stride = 2
        grid.shape = (rows, columns)
        grid.spacing = 4
        grid.enabled = True
        self.viewer.reset_view()

    def leave(self) -> None:
        """Put everything back."""
        before, self._before = self._before, None
        if before is None:
            return
        grid = self.viewer.canvas.grid
        grid.enabled = before.grid["enabled"]
        for name in GRID_FIELDS:
            setattr(grid, name, before.grid[name])
        there = list(self.viewer.layers)
        copies = [copy for copy in before.copies if copy in there]
        if copies:
            self.viewer.layers.unlink_layers(copies, LINKED)
        for copy in copies:
            self.viewer.layers.remove(copy)
        there = list(self.viewer.layers)
        old = [layer for layer in before.order if layer in there]
        self._arrange([*old, *(layer for layer in there if layer not in old)])
        for layer in old:
            layer.visible = before.visible[layer]
            layer.name_overlay.visible = before.named[layer]
        self._restore_selection(before)
        for name, value in before.camera.items():
            setattr(self.viewer.scene.camera, name, value)

    def _copy(self, image: Any) -> Image:
        place = geometry(image)
        place["metadata"] = {MARK: {"role": "compare"}}
        looks = {} if image.rgb else {"colormap": image.colormap, "contrast_limits": image.contrast_limits}
        return Image(
            image.data,
            name=image.name,
            rgb=image.rgb,
            multiscale=image.multiscale,
            gamma=image.gamma,
            interpolation2d=image.interpolation2d,
            **looks,
            **place,
        )

    def _arrange(self, wanted: list[Any]) -> None:
        """Bring the layer list into this order."""
        for place, layer in enumerate(wanted):
            now = self.viewer.layers.index(layer)
            if now != place:
                self.viewer.layers.move(now, place)

    def _restore_selection(self, before: _Before) -> None:
        selection = self.viewer.layers.selection
        selection.clear()
        selection.update(layer for layer in before.selection if layer in self.viewer.layers)
        if before.active is not None and before.active in self.viewer.layers:
            selection.active = before.active

    def _shape(self, n: int) -> tuple[int, int]:
        """One row on a wide canvas, else as square as it gets."""
        height, width = self.viewer.canvas.size
        if width >= WIDE * height or n < 3:
            return 1, n
        return 2, (n + 1) // 2
