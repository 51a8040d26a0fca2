"""Which plane of a layer is open in a viewer, and the geometry that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pint
from numpy.typing import NDArray

from napari_refit.io.display import to_true_world
from napari_refit.planes import PlaneIndex

MODALITY_LABELS = ("c", "channel", "modality")


class NoPlaneError(ValueError):
    """No single plane of the layer is open; the message says why and what to do."""


@dataclass(frozen=True)
class OpenPlane:
    """The plane of a layer that a viewer shows.

    Attributes
    ----------
    index : tuple of (axis, position)
        Position on every axis of the layer's data that is not displayed, in the order of the axes.
    shown : tuple of int
        The two data axes that are displayed, rows first.
    slice_axis : int or None
        The axis that "next slice" moves along: of those not displayed, the one nearest the displayed ones.
    """

    index: PlaneIndex
    shown: tuple[int, int]
    slice_axis: int | None

    @property
    def position(self) -> int:
        """Position on the slice axis (0 for a 2-D image)."""
        return 0 if self.slice_axis is None else dict(self.index)[self.slice_axis]

    def at(self, position: int) -> PlaneIndex:
        """The plane at another position of the slice axis."""
        return tuple((axis, position if axis == self.slice_axis else now) for axis, now in self.index)


def finest(layer: Any) -> Any:
    """A layer's array; of a multi-scale layer the finest level."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def grid_shape(layer: Any) -> tuple[int, ...]:
    """Shape of a layer's array without colour channels."""
    return tuple(int(length) for length in finest(layer).shape[: layer.ndim])


def open_plane(layer: Any, dims: Any) -> OpenPlane:
    """The plane of ``layer`` that a viewer with these ``dims`` shows.

    Parameters
    ----------
    layer : napari.layers.Layer
        May have fewer axes than the viewer, and any scale, rotation or affine.
    dims : napari.components.Dims

    Raises
    ------
    NoPlaneError
        In 3-D display, or where the viewer's position lies outside the layer.
    """
    if dims.ndisplay != 2:
        raise NoPlaneError("3-D view: switch to 2-D to see live results.")
    order = _layer_order(layer, dims)
    shown, cut = order[-2:], order[:-2]
    point = _layer_point(layer, dims)
    point[list(shown)] = 0.0
    position = np.asarray(layer.world_to_data(point))
    shape = grid_shape(layer)
    found = {axis: int(np.round(np.nan_to_num(position[axis]))) for axis in cut}
    for axis, place in found.items():
        if not 0 <= place < shape[axis]:
            raise NoPlaneError(f"The open slice lies outside {layer.name!r}.")
    return OpenPlane(tuple(sorted(found.items())), (shown[0], shown[1]), cut[-1] if cut else None)


def cut_axes(layer: Any, dims: Any) -> tuple[int, ...]:
    """The axes of a layer's data that a viewer with these ``dims`` steps through, in ascending order."""
    return tuple(sorted(_layer_order(layer, dims)[:-2]))


def go_to(layer: Any, dims: Any, index: PlaneIndex) -> None:
    """Move a viewer to a plane of a layer.

    Parameters
    ----------
    layer : napari.layers.Layer
    dims : napari.components.Dims
    index : tuple of (axis, position)
        Positions on the axes that are not displayed.
    """
    axes = [axis for axis, _ in index]
    if not axes:
        return
    zero = np.asarray(layer.world_to_data(np.zeros(layer.ndim)))
    columns = [np.asarray(layer.world_to_data(unit)) - zero for unit in np.eye(layer.ndim)[axes]]
    matrix = np.stack(columns, axis=1)[axes]
    if abs(np.linalg.det(matrix)) < 1e-9:
        # Turned so far that the viewer's slider does not move through these planes.
        return
    target = np.array([position for _, position in index]) - zero[axes]
    world = np.linalg.solve(matrix, target) / _unit_factors(layer, dims)[axes]
    offset = dims.ndim - layer.ndim
    dims.set_point([axis + offset for axis in axes], [float(value) for value in world])


def spacing_of(layer: Any) -> tuple[float, ...] | None:
    """Voxel spacing of a layer in mm, one number per axis, from its scale, shear and affine.

    Units of length are converted; axes in pixels with a scale other than 1 are taken to be in mm, as medical
    readers give them; None if every axis is in pixels of size 1.
    """
    corner = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    steps = np.stack([np.asarray(layer.data_to_world(unit)) - corner for unit in np.eye(layer.ndim)], axis=1)
    factors = [_millimetres(unit) for unit in layer.units]
    known = any(factor is not None for factor in factors)
    spacing = np.linalg.norm(steps * np.array([factor or 1.0 for factor in factors])[:, None], axis=0)
    if not known and np.allclose(spacing, 1.0):
        return None
    return tuple(float(value) for value in spacing)


def modality_axis(layer: Any) -> int | None:
    """The axis of a layer's data whose slices are modalities (channels), by its label; None if none says so."""
    names = [str(name).lower() for name in layer.axis_labels]
    return next((axis for axis, name in enumerate(names) if name in MODALITY_LABELS), None)


def other_grid(layer: Any, image: Any) -> str:
    """Why ``layer`` is not on the grid of ``image``; empty if it is.

    A layer of the same shape without any transform counts as being on the grid. Volumes that are shown
    straightened are compared where their files say that they lie.
    """
    mine, theirs = grid_shape(layer), grid_shape(image)
    if mine != theirs:
        return f"{layer.name!r} is on another grid: {_times(mine)}, but {image.name!r} is {_times(theirs)}."
    corners = np.concatenate([np.zeros((1, len(mine))), np.diag(np.array(mine) - 1.0)])
    (here, true_here), (there, true_there) = _corners(layer, corners), _corners(image, corners)
    if true_here is not None and true_there is not None:
        pairs = [(true_here, true_there)]
    else:
        # A layer that says nothing of its file lies where it was put: on what is shown, or on what the file says.
        mine_lies = [place for place in (here, true_here) if place is not None]
        theirs_lies = [place for place in (there, true_there) if place is not None]
        pairs = [(one, other) for one in mine_lies for other in theirs_lies]
    if any(
        np.allclose(one, corners)
        or np.allclose(one, other, atol=1e-3 * (np.abs(other - other[0]).max() or 1.0))
        for one, other in pairs
    ):
        return ""
    return f"{layer.name!r} has the shape of {image.name!r}, but lies elsewhere: its scale or affine differs."


def _corners(layer: Any, corners: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Where corners of a layer's data are shown, and where its file says that they lie (None: it has no file)."""
    shown = np.stack([layer.data_to_world(corner) for corner in corners])
    known = layer.metadata.get("refit")
    back = to_true_world(known if isinstance(known, dict) else None, layer.ndim)
    return shown, None if back is None else shown @ back[:-1, :-1].T + back[:-1, -1]


def geometry(layer: Any) -> dict[str, Any]:
    """Keyword arguments that give a new layer the place, units, axis labels and metadata of ``layer``."""
    keys = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    found = {key: getattr(layer, key) for key in keys}
    found["affine"] = np.array(layer.affine.affine_matrix)
    found["metadata"] = dict(layer.metadata)
    return found


def take(array: Any, index: PlaneIndex, ndim: int) -> NDArray[Any]:
    """A plane of an array of ``ndim`` axes, as a view where the array allows it."""
    return np.asarray(array[expression(index, ndim)])


def expression(index: PlaneIndex, ndim: int) -> tuple[int | slice, ...]:
    """The index expression of a plane."""
    cut = dict(index)
    return tuple(cut.get(axis, slice(None)) for axis in range(ndim))


def places(index: PlaneIndex, ndim: int, where: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """The places in the whole array of the pixels of a plane that ``where`` marks, as ``data_setitem`` takes them.

    Examples
    --------
    >>> [part.tolist() for part in places(((1, 7),), 3, np.array([[False, True], [True, False]]))]
    [[0, 1], [7, 7], [1, 0]]
    """
    found, cut = np.nonzero(where), dict(index)
    shown = iter(found)
    return tuple(np.full(len(found[0]), cut[axis]) if axis in cut else next(shown) for axis in range(ndim))


def adopt_geometry(layer: Any, source: Any) -> None:
    """Move a layer to where another one is; its metadata and axis labels stay."""
    for key, value in geometry(source).items():
        if key not in ("metadata", "axis_labels"):
            setattr(layer, key, value)


def stack_expression(plane: OpenPlane, ndim: int) -> tuple[int | slice, ...]:
    """The index expression of the volume that a plane belongs to: extra axes stay where they are."""
    return tuple(
        slice(None) if axis == plane.slice_axis else part
        for axis, part in enumerate(expression(plane.index, ndim))
    )


def _layer_order(layer: Any, dims: Any) -> tuple[int, ...]:
    offset = dims.ndim - layer.ndim
    return tuple(axis - offset for axis in dims.order if axis >= offset)


def _layer_point(layer: Any, dims: Any) -> NDArray[np.float64]:
    return np.array(dims.point[-layer.ndim :], dtype=float) * _unit_factors(layer, dims)


def _unit_factors(layer: Any, dims: Any) -> NDArray[np.float64]:
    """What a viewer's coordinate is multiplied by to become the layer's, where their units differ."""
    if dims.units is None or len(dims.units) < layer.ndim:
        return np.ones(layer.ndim)
    registry = pint.get_application_registry()
    pairs: Sequence[tuple[Any, Any]] = list(zip(dims.units[-layer.ndim :], layer.units, strict=True))
    return np.array([registry.get_base_units(a)[0] / registry.get_base_units(b)[0] for a, b in pairs], float)


def _millimetres(unit: Any) -> float | None:
    try:
        return float(pint.get_application_registry().Quantity(1.0, unit).to("mm").magnitude)
    except pint.DimensionalityError:
        return None


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in shape)
