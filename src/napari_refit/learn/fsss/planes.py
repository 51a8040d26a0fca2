"""The planes of a case, scaled to [0, 1], as the stack that the pipeline takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.image_grid import ImageGrid
from napari_refit.io.datasets import TrainingSet, reading
from napari_refit.io.datasets.case import Slice
from napari_refit.learn.datasets import DatasetSamples
from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams
from napari_refit.slabs import reaches_across


@dataclass(frozen=True, eq=False)
class PlaneStack:
    """Planes as displayed.

    Attributes
    ----------
    values : ndarray of float32
        (n, H, W) or (n, H, W, C); (H, W) or (H, W, C) of a picture.
    rgb : bool
        Whether the last axis holds channels.
    spacing : tuple of float or None
        mm between planes, rows, columns.
    offsets : dict of int to int
        Row of the training set to position in the stack.
    """

    values: NDArray[np.float32]
    rgb: bool
    spacing: tuple[float, ...] | None
    offsets: dict[int, int]

    @property
    def is_picture(self) -> bool:
        return self.values.ndim - self.rgb == 2

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        first = 0 if self.is_picture else 1
        return int(self.values.shape[first]), int(self.values.shape[first + 1])

    def index(self, row: int) -> PlaneIndex:
        """The plane of a row, as the pipeline names it."""
        return () if self.is_picture else ((0, self.offsets[row]),)


def plane_stack(
    training: TrainingSet, images: DatasetSamples, rows: Sequence[int], params: RefitParams
) -> PlaneStack:
    """The planes of some rows of one case.

    Parameters
    ----------
    training : TrainingSet
    images : DatasetSamples
        Of the same training set: says how grey values become [0, 1].
    rows : sequence of int
        Of one case and one axis, in the order of the slices.
    params : RefitParams
        Where clusters are to reach across slices, the slices between those of the rows are there too.

    Raises
    ------
    ReadError
        If a file cannot be read.
    """
    first = training.labels.rows[rows[0]]
    if first.axis is None or first.index is None:
        picture = images.image(rows[0])
        return PlaneStack(picture, picture.ndim == 3, None, {rows[0]: 0})
    places = [training.labels.rows[row].index or 0 for row in rows]
    wanted = list(range(places[0], places[-1] + 1)) if reaches_across(params) else places
    of_row = dict(zip(places, rows, strict=True))
    planes = [
        images.image(of_row[place]) if place in of_row else images.plane(Slice(first.case, first.axis, place))
        for place in wanted
    ]
    offsets = {of_row[place]: at for at, place in enumerate(wanted) if place in of_row}
    values = np.stack(planes)
    return PlaneStack(
        values, values.ndim == 4, _spacing(training, first.case, first.axis, values.shape), offsets
    )


def _spacing(training: TrainingSet, case: str, axis: int, shape: tuple[int, ...]) -> tuple[float, ...] | None:
    volume = training.volume(case)
    grid = ImageGrid(volume, rgb="c" in volume.axes)
    if grid.spacing is None:
        return None
    index = grid.index({axis: 0})
    steps = grid.plane_spacing(index) or (1.0, 1.0)
    # Planes may be resized.
    lengths = reading.raw_plane(volume, axis, 0).shape[:2]
    return (grid.spacing[axis], *(s * n / m for s, n, m in zip(steps, lengths, shape[1:3], strict=True)))
