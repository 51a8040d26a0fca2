"""How napari shows a volume: which axis comes first, and where it lies in the world."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from napari_refit.io.volume import SPATIAL, Volume

# napari's world is the RAS+ millimetres read backwards: z, y, x.
_WORLD = ("z", "y", "x")


def display_order(volume: Volume) -> tuple[int, ...]:
    """Return the axis order in which napari shows a volume.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    tuple of int
        For ``volume.data.transpose(...)``: extra axes first, then the three spatial axes so that each is shown
        along the world axis (z, y, x) nearest to it, then channels. For an axially stored x, y, z file that is
        the reverse. Without an affine the names decide.

    Examples
    --------
    >>> scan = Volume.from_array(np.zeros((4, 5, 6, 2)), ("x", "y", "z", "t"), np.eye(4))
    >>> display_order(scan)
    (3, 2, 1, 0)
    """
    spatial = list(volume.spatial_axes)
    ranks = _ranks(volume)
    extra = [i for i, name in enumerate(volume.axes) if name not in SPATIAL and name != "c"]
    if spatial and extra and spatial[0] < extra[0]:
        extra.reverse()
    channel = [i for i, name in enumerate(volume.axes) if name == "c"]
    return (*extra, *(spatial[rank] for rank in ranks), *channel)


def is_rgb(volume: Volume) -> bool:
    """Return whether the channels are colours that a screen can show."""
    return (
        "c" in volume.axes
        and volume.shape[volume.axes.index("c")] in (3, 4)
        and volume.dtype in (np.dtype(np.uint8), np.dtype(np.uint16))
    )


def napari_geometry(volume: Volume, order: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Return the keywords that place a layer of the permuted array where the volume lies.

    Parameters
    ----------
    volume : Volume
    order : tuple of int, optional
        Which axes the layer has, in order; `display_order` without colour channels when left out. Pass the
        spatial axes alone for a labels layer of a volume with extra axes.

    Returns
    -------
    dict
        ``affine`` (n+1 x n+1, from the permuted array's indices to napari's world, which is RAS+ millimetres in
        the order z, y, x), ``units`` and ``axis_labels``. Without a known position: the spacing, or pixels.
    """
    if order is None:
        order = display_order(volume)
        if is_rgb(volume):
            order = tuple(i for i in order if volume.axes[i] != "c")
    spatial = [i for i in order if volume.axes[i] in SPATIAL]
    positions = [position for position, i in enumerate(order) if volume.axes[i] in SPATIAL]
    columns = [volume.spatial_axes.index(i) for i in spatial]
    affine = np.eye(len(order) + 1)
    rows = _world_rows(volume)
    if volume.affine is not None and rows is not None:
        world = volume.affine[:3][::-1][list(rows)]
        affine[np.ix_(positions, positions)] = world[:, columns]
        affine[positions, -1] = world[:, 3]
        labels = [_WORLD[row] for row in rows]
    else:
        if volume.spacing is not None:
            affine[positions, positions] = [volume.spacing[column] for column in columns]
        labels = [volume.axes[i] for i in spatial]
    unit = "pixel" if volume.spacing is None else "mm"
    names = [volume.axes[i] for i in order]
    for position, label in zip(positions, labels, strict=True):
        names[position] = label
    return {
        "affine": affine,
        "units": tuple(unit if position in positions else "pixel" for position in range(len(order))),
        "axis_labels": tuple(names),
    }


def to_file_order(array: np.ndarray, axes: tuple[str, ...], order: tuple[int, ...]) -> np.ndarray:
    """Undo the display order.

    Parameters
    ----------
    array : array
        As shown: all axes of the volume, or only its spatial ones (labels).
    axes : tuple of str
        The volume's axes, in file order.
    order : tuple of int
        The order in which they are shown.

    Returns
    -------
    array
        A view in file order.

    Raises
    ------
    ValueError
        If the array has another number of axes.

    Examples
    --------
    >>> to_file_order(np.zeros((6, 5, 4)), ("x", "y", "z", "t"), (3, 2, 1, 0)).shape
    (4, 5, 6)
    """
    if array.ndim != len(order):
        order = tuple(i for i in order if axes[i] in SPATIAL)
    if array.ndim != len(order):
        raise ValueError(f"an array of shape {array.shape} does not have the axes {axes}")
    return array.transpose(np.argsort(order))


def _world_rows(volume: Volume) -> tuple[int, ...] | None:
    """Return which of the world axes z, y, x (by number) the layer spans; None for a plane tilted in space."""
    if volume.affine is None:
        return None
    n_spatial = len(volume.spatial_axes)
    if n_spatial == 3:
        return (0, 1, 2)
    lengths = np.abs(volume.affine[:3][::-1][:, :n_spatial]).max(axis=1)
    spanned = tuple(int(row) for row in np.flatnonzero(lengths > 1e-6 * lengths.max()))
    return spanned if len(spanned) == n_spatial else None


def _ranks(volume: Volume) -> tuple[int, ...]:
    """Return the spatial axes (counted among themselves) in the order in which they are shown."""
    names = [volume.axes[i] for i in volume.spatial_axes]
    by_name = tuple(sorted(range(len(names)), key=lambda rank: names[rank], reverse=True))
    rows = _world_rows(volume)
    if volume.affine is None or rows is None or len(rows) != len(names):
        return by_name
    columns = volume.affine[:3][::-1][list(rows)][:, : len(names)]
    cosines = np.abs(columns) / np.maximum(np.linalg.norm(columns, axis=0), 1e-300)

    def alignment(ranks: tuple[int, ...]) -> tuple[float, bool]:
        return round(float(sum(cosines[row, rank] for row, rank in enumerate(ranks))), 9), ranks == by_name

    return max(permutations(range(len(names))), key=alignment)
