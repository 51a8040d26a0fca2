"""How much each slice of a volume is in need of a look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from napari_refit.fit.uncertainty import Belief, uncertainty
from napari_refit.image_grid import ImageGrid
from napari_refit.results import slice_name


def slice_uncertainties(
    grid: ImageGrid, axis: int, mask: NDArray[Any], beliefs: Mapping[str, Belief]
) -> dict[str, float]:
    """The uncertainty of each slice that a fit has a belief of (see `napari_refit.fit.uncertainty.uncertainty`).

    Parameters
    ----------
    grid : ImageGrid
    axis : int
        Slice axis, in the image's own order.
    mask : ndarray of unsigned int
        Of the whole volume, in the image's own order.
    beliefs : mapping
        By the slice's name.

    Returns
    -------
    dict
        By the slice's name, in the order of the slices.
    """
    place, shown = grid.order.index(axis), grid.displayed(mask)
    found = {}
    for index in grid.planes.stack(place):
        name = slice_name(grid.positions(index))
        if name not in beliefs:
            continue
        beside = []
        for step in (-1, 1):
            other = dict(index)
            if other:
                other[place] += step
                if 0 <= other[place] < shown.shape[place]:
                    beside.append(shown[grid.planes.slices(tuple(other.items()))])
        found[name] = uncertainty(shown[grid.planes.slices(index)], beliefs[name], beside)
    return found
