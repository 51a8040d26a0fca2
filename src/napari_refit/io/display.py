"""How napari shows a volume: which axis comes first, and where it lies in the world."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.io.volume import SPATIAL, Volume

# napari's world is the RAS+ millimetres read backwards: z, y, x.
_WORLD = ("z", "y", "x")
# Far above what a header's single precision leaves of an exact turn, and less than a voxel across any volume.
_ROUNDING = 1e-4
# From the affines of straightened layers, rounded, to what turns them back; None where two volumes differ.
_straightened: dict[tuple[float, ...], NDArray[np.float64] | None] = {}


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

    An oblique volume, one with three spatial axes of which any is tilted against the world's, is straightened:
    its axes lie along the world's, with its spacing, about its own centre. napari draws a slice of an oblique
    layer beside where it finds the mouse. `to_true_world` turns back.

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
    affine, labels = _true_affine(volume, order)
    straight = _straight_affine(volume, order, affine)
    if straight is not None:
        _remember(straight, affine @ np.linalg.inv(straight))
        affine = straight
    positions = _spatial_positions(volume, order)
    unit = "pixel" if volume.spacing is None else "mm"
    names = [volume.axes[i] for i in order]
    for position, label in zip(positions, labels, strict=True):
        names[position] = label
    return {
        "affine": affine,
        "units": tuple(unit if position in positions else "pixel" for position in range(len(order))),
        "axis_labels": tuple(names),
    }


def to_true_world(
    known: Mapping[str, Any] | None, n_axes: int, affine: NDArray[np.float64] | None = None
) -> NDArray[np.float64] | None:
    """Return the matrix from where a layer is shown to where its file says that it lies.

    Parameters
    ----------
    known : mapping or None
        The layer's ``metadata["refit"]``: the volume and the order of its axes.
    n_axes : int
        Of the layer, without colour channels.
    affine : array, optional
        The layer's affine, n+1 x n+1. By it a layer without metadata is told that took its place over from a
        straightened one, as napari's own new labels do.

    Returns
    -------
    array or None
        n+1 x n+1, in napari's world; the identity for a volume that is not oblique. None if the layer does not
        say what volume it belongs to.
    """
    volume, order = (known or {}).get("volume"), (known or {}).get("permutation")
    if isinstance(volume, Volume) and order is not None:
        orders = (
            tuple(order),
            tuple(i for i in order if volume.axes[i] != "c"),
            tuple(i for i in order if volume.axes[i] in SPATIAL),
        )
        for found in orders:
            if len(found) == n_axes:
                true, _ = _true_affine(volume, found)
                straight = _straight_affine(volume, found, true)
                return np.eye(n_axes + 1) if straight is None else true @ np.linalg.inv(straight)
    if affine is None or _key(affine) not in _straightened:
        return None
    back = _straightened[_key(affine)]
    if back is None:
        warnings.warn(
            "the layer lies where volumes of different tilt are shown, so it is saved without a tilt; make it "
            "from the layer of its own volume",
            stacklevel=2,
        )
    return back


def _spatial_positions(volume: Volume, order: tuple[int, ...]) -> list[int]:
    return [position for position, i in enumerate(order) if volume.axes[i] in SPATIAL]


def _true_affine(volume: Volume, order: tuple[int, ...]) -> tuple[NDArray[np.float64], list[str]]:
    """Return the matrix from a permuted array's indices to napari's world, and the spatial axes' labels."""
    spatial = [i for i in order if volume.axes[i] in SPATIAL]
    positions = _spatial_positions(volume, order)
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
    return affine, labels


def _straight_affine(
    volume: Volume, order: tuple[int, ...], affine: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the affine with the axes along the world's, about the same centre; None if they lie so already."""
    positions = _spatial_positions(volume, order)
    if volume.affine is None or len(positions) != 3:
        return None
    block = affine[np.ix_(positions, positions)]
    lengths = np.linalg.norm(block, axis=0)
    tilt = np.abs(block - np.diag(np.diag(block))) / np.maximum(lengths, 1e-300)
    if tilt.max() <= _ROUNDING:
        return None
    steps = np.where(np.diag(block) < 0, -lengths, lengths)
    centre = (np.array([volume.shape[order[position]] for position in positions]) - 1) / 2
    straight = affine.copy()
    straight[np.ix_(positions, positions)] = np.diag(steps)
    straight[positions, -1] += block @ centre - steps * centre
    return straight


def _key(affine: NDArray[np.float64]) -> tuple[float, ...]:
    # Adding zero makes -0 and 0 one.
    return tuple((np.round(np.asarray(affine, float), 6) + 0.0).ravel().tolist())


def _remember(straight: NDArray[np.float64], back: NDArray[np.float64]) -> None:
    known = _straightened.setdefault(_key(straight), back)
    if known is not None and not np.allclose(known, back, rtol=0, atol=1e-4):
        _straightened[_key(straight)] = None


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
