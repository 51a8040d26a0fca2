"""Segmenters for runs of slices: clusters that reach across them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop
from napari_refit.params import SlicParams
from napari_refit.uss.block import Block
from napari_refit.uss.colour import lab_planes
from napari_refit.uss.slic import nearest_seeds
from napari_refit.uss.slic_pieces import merge_stray
from napari_refit.uss.slic_seeds import Seeds
from napari_refit.uss.smoothing import smooth

LEAST, MOST = 0.5, 3.0
"""Smallest and largest piece, as fractions of the mean supervoxel; those of `napari_refit.slic`."""


def slic_supervoxels(
    image: Any,
    params: SlicParams,
    *,
    spacing: tuple[float, float, float],
    block: Block,
    device: Any = None,
    cancelled: Stop | None = None,
) -> NDArray[np.int32]:
    """Cluster a run of slices by SLIC.

    Supervoxels are as wide as ``n_segments`` asks for in a slice, and as deep as they are wide. Their seeds lie on
    a grid over the whole volume, so that neighbouring blocks agree where influence from their cut sides does not
    reach: it goes one step of the grid further, or two, with each round.

    Parameters
    ----------
    image : array_like, (D, H, W) or (D, H, W, C)
        In [0, 1].
    params : SlicParams
        ``sigma`` is in pixels of a row, and as many mm across slices.
    spacing : tuple of float
        mm per slice, row and column.
    block : Block
        Where in its volume the run lies.
    device : None, str or torch.device
        As in `napari_refit.slic`.
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    ndarray of int32, (D, H, W)
        From 1; each supervoxel is connected over six neighbours.

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((4, 8, 8), np.float32)
    >>> labels = slic_supervoxels(image, SlicParams(n_segments=4), spacing=(1, 1, 1), block=Block(0, (4, 8, 8)))
    >>> len(np.unique(labels))
    4
    """
    values = np.asarray(image, dtype=np.float32)
    planes = values[np.newaxis] if values.ndim == 3 else np.ascontiguousarray(np.moveaxis(values, -1, 0))
    planes = lab_planes(planes) if len(planes) == 3 else planes * np.float32(100)
    deep = params.sigma * spacing[1] / spacing[0]
    channels = smooth(planes, (deep, params.sigma, params.sigma), cancelled=cancelled)
    seeds = _seeds_of(block, values.shape[0], params.n_segments, spacing)
    numbers = nearest_seeds(
        channels,
        seeds,
        compactness=params.compactness,
        spacing=spacing,
        rounds=params.max_num_iter,
        adaptive=params.slic_zero,
        device=device,
        cancelled=cancelled,
    )
    size = math.prod(seeds.reach) / 8
    return merge_stray(
        numbers, int(LEAST * size), math.ceil(MOST * size), 1, dtype=np.int32, cancelled=cancelled
    )


def _seeds_of(block: Block, depth: int, n_segments: int, spacing: tuple[float, float, float]) -> Seeds:
    """The seeds of the whole volume that can have a say in the block, moved to its origin."""
    _, rows, columns = block.shape
    side = math.sqrt(rows * spacing[1] * columns * spacing[2] / n_segments)
    counts = [max(1, round(length * mm / side)) for length, mm in zip(block.shape, spacing, strict=True)]
    steps = [length / count for length, count in zip(block.shape, counts, strict=True)]
    z, y, x = ((np.arange(count) + 0.5) * step - 0.5 for count, step in zip(counts, steps, strict=True))
    z = z[(z >= block.start - 2 * steps[0]) & (z < block.start + depth + 2 * steps[0])] - block.start
    places = np.stack(np.meshgrid(z, y, x, indexing="ij"), axis=-1).reshape(-1, 3)
    return Seeds(places, side, (2 * steps[0], 2 * steps[1], 2 * steps[2]))
