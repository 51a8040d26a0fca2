"""A small picture of each case: image, truth, response map and refined mask of the slice with most to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.io._atomic import atomic_path
from napari_refit.tiles import compressed, tiles

if TYPE_CHECKING:
    from napari_refit.pipeline import Refit
    from napari_refit.planes import PlaneIndex
    from napari_refit.results import VolumeResult

SIDE = 176
"""Pixels of a tile's longer side."""
MOST_BYTES = 12_000
"""Of a file: a thousand of them, written as text in a page of less than 20 MB, leave room for the tables."""
_QUALITIES = (70, 50, 35, 20, 10)
# Half the time of the usual, for a tenth more bytes.
_EFFORT = 2


def write_thumbnail(
    path: Path,
    refit: Refit,
    result: VolumeResult,
    truth: NDArray[Any] | None = None,
) -> Mapping[int, int]:
    """Write the picture of a refined case, whole or not at all.

    Tiles from left to right: the image, the truth (where there is one), the response map with the CAM's mask, the
    refined mask; the truth is outlined on all but the first. They have the proportions of the patient, not of the
    pixels.

    Parameters
    ----------
    path : Path
        A WebP file of at most `MOST_BYTES`; its folder is made.
    refit : Refit
        What made the result. Clusters and fits are not computed anew; the response map of this one slice is, where
        neither the result nor the cache holds it.
    result : VolumeResult
    truth : ndarray of whole numbers, optional
        On the image's grid.

    Returns
    -------
    mapping of int to int
        Which slice it is (see `most_to_see`).

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    positions = most_to_see(refit, result, truth)
    grid = refit.grid
    index = grid.index(positions)
    image, response = _image(refit, index), _response(refit, result, index)
    truth_shown = None if truth is None else grid.displayed_cut(truth, positions)
    cam_mask, mask = (grid.displayed_cut(each, positions) for each in (result.cam_mask, result.mask))

    def draw(side: int) -> NDArray[np.uint8]:
        return tiles(
            image,
            truth=truth_shown,
            response=response,
            cam_mask=cam_mask,
            refined=mask,
            side=side,
            spacing=grid.plane_spacing(index),
        )

    content = _small_enough(draw)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return positions


def most_to_see(refit: Refit, result: VolumeResult, truth: NDArray[Any] | None = None) -> Mapping[int, int]:
    """The slice on which the truth and the refined mask together are largest; of equals, the first.

    Where both are empty everywhere the CAM's mask decides, then the response map, then the middle of the volume.

    Returns
    -------
    mapping of int to int
        Its position on each axis that is cut, in the image's own order; empty for a 2-D image.

    Examples
    --------
    >>> from napari_refit.pipeline import Refit
    >>> from napari_refit.recipe import RefitParams
    >>> image = np.zeros((4, 32, 32)); image[2, 8:24, 8:24] = 1
    >>> refit = Refit(image, response=image, params=RefitParams(n_segments=16, sigma=0))
    >>> dict(most_to_see(refit, refit.volume()))
    {0: 2}
    """
    grid = refit.grid
    axis = refit.slice_axis()
    indices = list(grid.planes.stack(grid.order.index(axis)))
    where = [grid.planes.slices(index) for index in indices]
    refined = grid.displayed(result.mask)
    masks = [refined] if truth is None else [refined, grid.displayed(truth)]
    seen: list[float] = [_area(*(mask[cut] for mask in masks)) for cut in where]
    if not any(seen):
        cam = grid.displayed(result.cam_mask)
        seen = [_area(cam[cut]) for cut in where]
    if not any(seen) and result.response is not None:
        maps = grid.displayed(result.response, 1)
        # Half precision is too coarse to sum in.
        seen = [
            float(np.asarray(maps[(slice(None), *cut)]).max(axis=0).sum(dtype=np.float64)) for cut in where
        ]
    best = int(np.argmax(seen)) if any(seen) else len(seen) // 2
    return grid.positions(indices[best])


def _small_enough(draw: Callable[[int], NDArray[np.uint8]]) -> bytes:
    """A picture as good as its bytes allow: coarser first, and smaller where that does not do."""
    content = b""
    for side in (SIDE, SIDE // 2, SIDE // 4):
        picture = draw(side)
        for quality in _QUALITIES:
            _, content = compressed(picture, quality, _EFFORT)
            if len(content) <= MOST_BYTES:
                return content
    return content


def _area(*planes: NDArray[Any]) -> int:
    found = np.asarray(planes[0]) != 0
    for plane in planes[1:]:
        found = found | (np.asarray(plane) != 0)
    return int(found.sum())


def _image(refit: Refit, index: PlaneIndex) -> NDArray[np.float32]:
    from napari_refit.stages import Run

    return refit.stages.image(index, refit.params, Run(prepares=False))


def _response(refit: Refit, result: VolumeResult, index: PlaneIndex) -> NDArray[Any]:
    from napari_refit.stages import Run

    known = refit.stages.cached_response(index, refit.params)
    if known is not None:
        return known.maps
    if result.response is not None:
        grid = refit.grid
        cut = (slice(None), *grid.planes.slices(index))
        return np.asarray(grid.displayed(result.response, 1)[cut], np.float32)
    return refit.stages.responses([index], refit.params, Run(prepares=False))[0].maps
