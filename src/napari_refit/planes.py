"""Planes of an array: which axes are cut, which are shown, and how results find their way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

PlaneIndex = tuple[tuple[int, int], ...]


def looks_rgb(shape: tuple[int, ...]) -> bool:
    """Whether the last axis looks like colour: 3 or 4 long, after two axes that are longer."""
    return len(shape) >= 3 and shape[-1] in (3, 4) and min(shape[-3:-1]) > shape[-1] * 2


@dataclass(frozen=True)
class Planes:
    """An array seen as a stack of planes.

    Attributes
    ----------
    array : array-like
        Anything with ``shape``, ``ndim`` and numpy indexing (numpy, dask, zarr).
    rgb : bool
        Whether the last axis holds channels.
    """

    array: Any
    rgb: bool = False

    def __post_init__(self) -> None:
        if self.n_axes < 2:
            raise ValueError(f"an image has at least two axes, got shape {tuple(self.array.shape)}")
        if 0 in self.array.shape:
            raise ValueError(f"the image has an axis of length 0: shape {tuple(self.array.shape)}")

    @property
    def n_axes(self) -> int:
        """Number of spatial (and time) axes, channels left out."""
        return len(self.array.shape) - bool(self.rgb)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without channels."""
        return tuple(int(length) for length in self.array.shape[: self.n_axes])

    def index(self, positions: Mapping[int, int]) -> PlaneIndex:
        """Check the position on every axis that is cut, and give it in a canonical form.

        Raises
        ------
        ValueError
            If not all axes but two are given.
        IndexError
            If a position is outside the array.
        """
        checked = []
        for axis, position in sorted(positions.items()):
            if not 0 <= axis < self.n_axes:
                raise ValueError(f"axis {axis} is not one of the image's {self.n_axes} axes")
            length = self.shape[axis]
            if not -length <= position < length:
                raise IndexError(f"slice {position} is outside axis {axis}, which has {length} slices")
            checked.append((int(axis), int(position) % length))
        if len(checked) != self.n_axes - 2:
            raise ValueError(
                f"a plane of {self.n_axes} axes needs {self.n_axes - 2} positions, got {checked}"
            )
        return tuple(checked)

    def slices(self, index: PlaneIndex) -> tuple[int | slice, ...]:
        """The index expression of a plane in a label array of this shape."""
        positions = dict(index)
        return tuple(positions.get(axis, slice(None)) for axis in range(self.n_axes))

    def read(self, index: PlaneIndex) -> NDArray[Any]:
        """The plane's grey values, ``(H, W)`` or ``(H, W, C)``, in the order of the array's axes."""
        plane = np.asarray(self.array[self.slices(index)])
        # The fourth channel of an 8-bit picture is opacity, not a grey value.
        return plane[..., :3] if self.rgb and plane.dtype == np.uint8 and plane.shape[-1] == 4 else plane

    def stack(self, axis: int) -> Iterator[PlaneIndex]:
        """Every plane that leaves out ``axis``, in order; axes beyond three are stepped through too."""
        if self.n_axes == 2:
            yield ()
            return
        shown = [other for other in range(self.n_axes) if other != axis][-2:]
        cut = [other for other in range(self.n_axes) if other not in shown]
        for positions in product(*(range(self.shape[other]) for other in cut)):
            yield tuple(zip(cut, positions, strict=True))

    def plane_spacing(self, index: PlaneIndex, spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """Spacing of the two axes that a plane shows, from the spacing of all axes."""
        if spacing is None:
            return None
        cut = dict(index)
        return tuple(spacing[axis] for axis in range(self.n_axes) if axis not in cut)
