"""A study's cases as stacks of planes, and views of a dataset that hide what a stage must not see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.image_grid import ImageGrid
from napari_refit.io.datasets import Case, Dataset, Preparation, reading
from napari_refit.io.volume import Volume
from napari_refit.recipe import RefitParams


@dataclass(frozen=True, eq=False)
class Stack:
    """A case's image, prepared: what every method is given.

    Attributes
    ----------
    values : ndarray, (D, H, W[, C]), or (H, W[, C]) for a picture
        Planes as they are displayed.
    rgb : bool
        Whether the last axis holds channels.
    axis : int or None
        Which axis of the file was cut; None for a picture.
    start : int
        Position of the first plane in the file.
    spacing : tuple of float or None
        mm from slice to slice (not for a picture), per row and per column; None where they are not known.
    """

    values: NDArray[Any]
    rgb: bool
    axis: int | None
    start: int
    spacing: tuple[float, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Without channels."""
        return tuple(self.values.shape[: self.values.ndim - self.rgb])

    @property
    def n_planes(self) -> int:
        """How many planes there are."""
        return 1 if self.axis is None else len(self.values)

    def place(self, number: int) -> tuple[int | None, int | None]:
        """Axis and position in the file of the n-th plane."""
        return (None, None) if self.axis is None else (self.axis, self.start + number)


def read_stack(dataset: Dataset, case: Case) -> Stack:
    """A case's planes, cropped, scaled and resized as the preparation says.

    Raises
    ------
    ReadError
        If a file is missing or damaged.
    ValueError
        If the preparation does not fit the case.
    """
    preparation, number = dataset.preparation, len(dataset.chosen_modalities)
    volume = reading.scaled_image(dataset.read_image(case), preparation, number)
    # Once, not for every plane.
    volume = Volume.from_array(volume.data, volume.axes, volume.affine, volume.spacing, path=volume.path)
    axis = reading.slice_axis(volume, preparation)
    rgb = "c" in volume.axes
    if axis is None:
        plane = reading.plane_of(volume, None, None, preparation, number)
        return Stack(plane, rgb, None, 0, _spacing(dataset, volume, rgb, None, plane.shape))
    count = volume.spatial_shape[axis]
    planes = [reading.plane_of(volume, axis, k, preparation, number) for k in range(count)]
    spacing = _spacing(dataset, volume, rgb, axis, planes[0].shape)
    return Stack(np.stack(planes), rgb, axis, reading.offset(preparation, axis), spacing)


def read_truth_stack(dataset: Dataset, case: Case) -> NDArray[np.uint8]:
    """A case's reference mask on the grid of `read_stack`: 0 background, k + 1 the k-th class.

    Raises
    ------
    ReadError
        If there is none, it is damaged, or it lies on another grid.
    """
    truth, size = dataset.read_truth(case), dataset.preparation.size
    axis = reading.slice_axis(truth, dataset.preparation)
    if axis is None:
        return reading.resized(reading.raw_plane(truth, None, None), size, labels=True)
    planes = [
        reading.resized(reading.raw_plane(truth, axis, k), size, labels=True)
        for k in range(truth.spatial_shape[axis])
    ]
    return np.stack(planes)


def fitting_params(params: RefitParams, preparation: Preparation) -> RefitParams:
    """Parameters as they suit prepared planes: what the preparation has scaled to [0, 1] is not scaled again."""
    if preparation.scaling == "none":
        return params
    window = {"mode": "window", "window_level": 0.5, "window_width": 1.0}
    return params.replace(intensity=params.intensity.model_copy(update=window))


def only(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """The dataset as if it had no other cases: asked for one of them it raises KeyError.

    This is what everything is chosen on: it is given the training and validation cases of a fold.
    """
    kept = set(names)
    cases = tuple(case for case in dataset.every_case if case.name in kept)
    labels = None if dataset.labels is None else dataset.labels.of(kept)
    return replace(dataset, every_case=cases, labels=labels, findings=())


def some(names: Sequence[str], limit: int) -> tuple[str, ...]:
    """At most so many names (0: all), evenly spread.

    Examples
    --------
    >>> some("abcdefg", 3)
    ('a', 'd', 'g')
    """
    if not limit or len(names) <= limit:
        return tuple(names)
    return tuple(names[k] for k in np.unique(np.linspace(0, len(names) - 1, limit).round().astype(int)))


def without_truth(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """Only these cases, and without masks and labels: asked for a mask it raises ReadError.

    This is what the masks of test cases are made from.
    """
    found = only(dataset, names)
    cases = tuple(replace(case, truth=None, label=None) for case in found.every_case)
    preparation = found.preparation.model_copy(update={"include": ()})
    return replace(found, every_case=cases, labels=None, preparation=preparation)


def _spacing(
    dataset: Dataset, volume: Volume, rgb: bool, axis: int | None, shape: tuple[int, ...]
) -> tuple[float, ...] | None:
    if not dataset.declaration.has_millimetres or volume.spacing is None:
        return None
    grid = ImageGrid(volume, rgb=rgb)
    assert grid.spacing is not None
    shown = [other for other in grid.order if other != axis]
    pairs = zip(shown, shape[:2], strict=True)
    # Resizing keeps the field of view.
    sides = [grid.spacing[other] * grid.shape[other] / length for other, length in pairs]
    return tuple(sides if axis is None else [grid.spacing[axis], *sides])
