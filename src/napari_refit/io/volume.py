"""A volume as its file holds it: voxels in file order, read when first asked for, and where they lie."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SPATIAL = ("x", "y", "z")


class LazyArray:
    """An array that is read at the first call and kept.

    Parameters
    ----------
    read : callable
        Takes no argument, returns the array; picklable if the volume is to travel to other processes.
    """

    def __init__(self, read: Callable[[], np.ndarray]) -> None:
        self._read = read
        self._array: np.ndarray | None = None
        self._lock = threading.Lock()

    def __call__(self) -> np.ndarray:
        with self._lock:
            if self._array is None:
                array = self._read()
                array.flags.writeable = False
                self._array = array
            return self._array

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyArray, (self._read,)

    @property
    def loaded(self) -> bool:
        """Whether the array has been read."""
        return self._array is not None

    def fresh(self) -> LazyArray:
        """Return a copy that has not read anything yet."""
        return LazyArray(self._read)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or volume and its geometry.

    Attributes
    ----------
    path : Path or None
        Where it came from; None for one made in memory.
    shape : tuple of int
        Of ``data``, known without reading the voxels.
    dtype : numpy.dtype
        Of ``data``, known without reading the voxels.
    axes : tuple of str
        Name of each axis of ``data``: ``x y z`` are spatial, ``t`` (and ``u v``) are extra axes, ``c`` holds
        channels. Medical formats are x first, pictures and ``.npy`` are y, x last.
    affine : (4, 4) float64 array or None
        Maps voxel numbers to millimetres in RAS+ (right, anterior, superior). Column ``i`` belongs to the
        ``i``-th spatial axis in the order of ``axes``.
    spacing : tuple of float or None
        Millimetres per voxel along each spatial axis, in the order of ``axes``.
    header : object
        What the file format knows besides; kept so that saving restores it.

    Examples
    --------
    >>> volume = Volume.from_array(np.zeros((4, 5), np.uint8), ("y", "x"), spacing=(0.5, 0.25))
    >>> volume.shape, volume.axes, volume.spatial_shape, volume.affine is None
    ((4, 5), ('y', 'x'), (4, 5), True)
    """

    path: Path | None
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[str, ...]
    affine: np.ndarray | None
    spacing: tuple[float, ...] | None
    header: Any = field(default=None, repr=False)
    source: LazyArray = field(default_factory=lambda: LazyArray(partial(np.zeros, 0)), repr=False)

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or len(set(self.axes)) != len(self.axes):
            raise ValueError(f"axes {self.axes} do not name the {len(self.shape)} axes of shape {self.shape}")
        if self.affine is not None:
            affine = np.array(self.affine, dtype=np.float64)
            if affine.shape != (4, 4):
                raise ValueError(f"affine must be 4x4, got shape {affine.shape}")
            affine.flags.writeable = False
            object.__setattr__(self, "affine", affine)
        if self.spacing is not None and len(self.spacing) != len(self.spatial_axes):
            raise ValueError(f"spacing {self.spacing} must have one number per spatial axis of {self.axes}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Volume:
        return self

    @classmethod
    def from_array(
        cls,
        array: np.ndarray,
        axes: Sequence[str],
        affine: np.ndarray | None = None,
        spacing: Sequence[float] | None = None,
        *,
        header: Any = None,
        path: Path | None = None,
    ) -> Volume:
        """Wrap an array that is in memory.

        Parameters
        ----------
        array : array
            The voxels; not copied.
        axes : sequence of str
            Name of each axis, see `Volume`.
        affine : (4, 4) array, optional
            Voxel to RAS+ millimetres.
        spacing : sequence of float, optional
            Per spatial axis; taken from the affine when left out.

        Returns
        -------
        Volume

        Raises
        ------
        ValueError
            If axes, affine or spacing do not fit the array.
        """
        view = np.asarray(array).view()
        axes = tuple(axes)
        if spacing is None and affine is not None:
            spacing = spacing_of(affine, sum(name in SPATIAL for name in axes))
        return cls(
            path=path,
            shape=view.shape,
            dtype=view.dtype,
            axes=axes,
            affine=affine,
            spacing=None if spacing is None else tuple(float(step) for step in spacing),
            header=header,
            source=LazyArray(partial(_same, view)),
        )

    @property
    def data(self) -> np.ndarray:
        """The voxels in file order, read at first use and read-only; raises `ReadError` for a damaged file."""
        return self.source()

    @property
    def ndim(self) -> int:
        """Number of axes of ``data``."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values in ``data``."""
        return math.prod(self.shape)

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """Which axes of ``data`` are spatial."""
        return tuple(i for i, name in enumerate(self.axes) if name in SPATIAL)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape along the spatial axes: the shape of this volume's labels."""
        return tuple(self.shape[i] for i in self.spatial_axes)

    def unloaded(self) -> Volume:
        """Return the same volume without the voxels that were read; they are read again when asked for."""
        return replace(self, source=self.source.fresh())

    def ordered(self, names: str) -> Volume:
        """Return this volume with its axes in another order.

        Parameters
        ----------
        names : str
            Axis names in the wanted order; those that the volume lacks are skipped.

        Returns
        -------
        Volume
            Its affine and spacing follow the new order; the voxels are a view.
        """
        order = [self.axes.index(name) for name in names if name in self.axes]
        if len(order) != self.ndim:
            raise ValueError(f"the order {names!r} leaves out some of the axes {self.axes}")
        if order == list(range(self.ndim)):
            return self
        ranks = [self.spatial_axes.index(i) for i in order if i in self.spatial_axes]
        affine = self.affine
        if affine is not None:
            affine = affine[:, [*ranks, *range(len(ranks), 4)]]
        return Volume.from_array(
            self.data.transpose(order),
            tuple(self.axes[i] for i in order),
            affine,
            None if self.spacing is None else [self.spacing[rank] for rank in ranks],
            path=self.path,
        )


def spacing_of(affine: np.ndarray, n_spatial: int = 3) -> tuple[float, ...]:
    """Return the length of one voxel step along each spatial axis.

    Examples
    --------
    >>> spacing_of(np.diag([0.5, -2.0, 3.0, 1.0]))
    (0.5, 2.0, 3.0)
    """
    return tuple(float(step) for step in np.linalg.norm(np.asarray(affine)[:3, :n_spatial], axis=0))


def grid_difference(first: Volume, second: Volume) -> str | None:
    """Say in what two volumes' voxel grids differ.

    Parameters
    ----------
    first, second : Volume
        For instance an image and its ground truth.

    Returns
    -------
    str or None
        One line, or None when shape and position agree to within a hundredth of a voxel. A volume
        without an affine is compared by shape alone.

    Examples
    --------
    >>> image = Volume.from_array(np.zeros((4, 5)), ("y", "x"))
    >>> grid_difference(image, Volume.from_array(np.zeros((4, 6)), ("y", "x")))
    'its shape is (4, 6), not (4, 5)'
    """
    if first.spatial_shape != second.spatial_shape:
        return f"its shape is {second.spatial_shape}, not {first.spatial_shape}"
    if first.affine is None or second.affine is None:
        return None
    n_spatial = len(first.spatial_axes)
    columns = [*range(n_spatial), 3]
    corners = np.indices((2,) * n_spatial).reshape(n_spatial, -1) * (
        np.array(first.spatial_shape)[:, None] - 1
    )
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    offset = np.abs((first.affine - second.affine)[:3, columns] @ corners).max()
    if not offset <= 0.01 * min(spacing_of(first.affine, n_spatial)):
        return f"its corners lie up to {offset:.3g} mm from the image's"
    return None


def _same(array: np.ndarray) -> np.ndarray:
    return array
