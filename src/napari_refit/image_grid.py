"""The grid of an image: its axes as the file has them and as they are displayed, its spacing, its planes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.planes import PlaneIndex, Planes, looks_rgb
from napari_refit.results import SliceResult


class ImageGrid:
    """An image's axes: results are in its own order, the stages see it as it is displayed.

    Parameters
    ----------
    image : array-like, Volume or path
        A channel axis comes last.
    spacing : sequence of float, optional
        mm per step of each axis (channels left out); a `Volume` brings its own.
    rgb : bool, optional
        Whether the last axis holds channels; guessed from the shape when left out.
    modality_axis : int, optional
        The axis whose slices are modalities, where that is known.

    Raises
    ------
    ValueError
        For an image with fewer than two axes or an axis of length 0, a spacing or an axis that does not fit.
    """

    def __init__(
        self,
        image: Any,
        spacing: Sequence[float] | None = None,
        rgb: bool | None = None,
        modality_axis: int | None = None,
    ) -> None:
        if isinstance(image, str | os.PathLike):
            from napari_refit.io.read import load

            image = load(image)
        if not hasattr(image, "shape"):
            image = np.asarray(image)
        self._image = image
        self._is_volume = hasattr(image, "affine")
        names: tuple[str, ...] = image.axes if self._is_volume else ()
        guessed = "c" in names if self._is_volume else looks_rgb(tuple(image.shape))
        self.rgb = guessed if rgb is None else rgb
        n_axes = len(image.shape) - self.rgb
        self.order = self._display_order(n_axes)
        self.spacing = self._checked_spacing(spacing, n_axes)
        if modality_axis is not None and modality_axis not in self.order:
            raise ValueError(f"modality_axis = {modality_axis}: the image has {n_axes} axes")
        self.modality_place = None if modality_axis is None else self.order.index(modality_axis)
        if not self._is_volume:
            _ = self.planes

    def _display_order(self, n_axes: int) -> tuple[int, ...]:
        """The image's axes in the order in which they are displayed."""
        if not self._is_volume:
            return tuple(range(n_axes))
        from napari_refit.io.display import display_order

        return tuple(axis for axis in display_order(self._image) if axis < n_axes)

    def _checked_spacing(self, spacing: Sequence[float] | None, n_axes: int) -> tuple[float, ...] | None:
        if spacing is None and self._is_volume and self._image.spacing is not None:
            # A file's time axis has no spacing in mm.
            known = dict(zip(self._image.spatial_axes, self._image.spacing, strict=True))
            spacing = [known.get(axis, 1.0) for axis in range(n_axes)]
        if spacing is None:
            return None
        steps = tuple(float(step) for step in spacing)
        if len(steps) != n_axes or not all(step > 0 for step in steps):
            raise ValueError(f"spacing must be {n_axes} positive numbers of mm, got {steps}")
        return steps

    @cached_property
    def planes(self) -> Planes:
        """The image as it is displayed; a file's voxels are read here."""
        return Planes(self.displayed(self._image.data if self._is_volume else self._image), self.rgb)

    @property
    def n_axes(self) -> int:
        """Axes of the image without channels."""
        return len(self.order)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image without channels, in its own order."""
        return tuple(int(length) for length in self._image.shape[: self.n_axes])

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The last (at most three) axes as displayed; what comes before is time or the like."""
        return self.order[-3:]

    def coarsest_axis(self) -> int:
        """The spatial axis with the coarsest spacing, the first one as displayed where all are alike."""
        slowest = self.spatial_axes[0]
        if self.spacing is None:
            return slowest
        spacing = self.spacing
        coarsest = max(self.spatial_axes, key=lambda axis: spacing[axis])
        # Rounding in a header must not turn an isotropic volume on its side.
        return slowest if spacing[slowest] >= spacing[coarsest] * 0.999 else coarsest

    def displayed(self, data: Any, leading: int = 0) -> Any:
        """An array on this grid as it is displayed; the first ``leading`` axes and channels stay."""
        return self._permuted(data, self.order, leading)

    def restored(self, data: Any, leading: int = 0) -> Any:
        """A displayed array in the image's own order; the first ``leading`` axes stay."""
        return self._permuted(data, tuple(int(axis) for axis in np.argsort(self.order)), leading)

    @staticmethod
    def _permuted(data: Any, order: tuple[int, ...], leading: int) -> Any:
        if order == tuple(range(len(order))):
            return data
        rest = range(leading + len(order), len(data.shape))
        return data.transpose([*range(leading), *(leading + axis for axis in order), *rest])

    def index(self, positions: Mapping[int, int]) -> PlaneIndex:
        """The displayed plane at these positions on the image's own axes (see `Planes.index`)."""
        places = {axis: place for place, axis in enumerate(self.order)}
        return self.planes.index({places.get(axis, axis): at for axis, at in positions.items()})

    def positions(self, index: PlaneIndex) -> dict[int, int]:
        """A displayed plane's positions on the image's own axes."""
        return {self.order[place]: position for place, position in index}

    def plane_spacing(self, index: PlaneIndex) -> tuple[float, ...] | None:
        """Spacing of a displayed plane's rows and columns."""
        displayed = None if self.spacing is None else tuple(self.spacing[axis] for axis in self.order)
        return self.planes.plane_spacing(index, displayed)

    def turned(self, index: PlaneIndex, result: SliceResult) -> SliceResult:
        """A displayed plane's result with H and W in the image's own order."""
        cut = dict(index)
        rows, columns = (axis for place, axis in enumerate(self.order) if place not in cut)
        return result.transposed() if rows > columns else result

    def displayed_cut(self, labels: NDArray[Any], positions: Mapping[int, int]) -> NDArray[Any]:
        """A plane of labels on this grid, as it is displayed."""
        return np.asarray(Planes(self.displayed(labels)).read(self.index(positions)))
