"""How well a mask explains its image, without a reference mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SURE = 4
"""Power of the response map: what it is sure of counts, its long slopes do not."""


def explained(mask: NDArray[np.bool_], image: NDArray[np.floating[Any]], response: NDArray[Any]) -> float:
    r"""Contrast along a mask's boundary, times the overlap of the mask with what the response map is sure of.

    With image *I*, response map *r*, mask *M*, *b* the mean of \|I_p − I_q\| over touching pixels across the boundary
    of *M*, and *a* the same over all touching pixels of the image:

    ``Q = b / (a + b)  ·  2 Σ_M r⁴ / (|M| + Σ r⁴)``

    The first factor is one half for a boundary laid at random, more on edges, less where the image is flat. The second
    is the Dice coefficient of the mask and r⁴.

    Parameters
    ----------
    mask : ndarray of bool, (H, W)
    image : ndarray of float, (H, W) or (H, W, C)
        Differences of several channels are summed.
    response : ndarray of float, (H, W)
        In [0, 1].

    Returns
    -------
    float
        In [0, 1]; 0 for a mask that is empty or everything.

    References
    ----------
    Contrast along boundaries as a measure of a segmentation without a reference: Levine and Nazif, "Dynamic
    measurement of computer generated image segmentations", IEEE TPAMI 7 (1985); Zhang, Fritts and Goldman, "Image
    segmentation evaluation: A survey of unsupervised methods", CVIU 110 (2008). The overlap with the response map, and
    its power, are this program's own: without it, the best mask would be whatever has the sharpest outline.

    Examples
    --------
    >>> image = np.zeros((8, 8)); image[2:6, 2:6] = 1
    >>> round(explained(image > 0, image, image), 2), round(explained(np.roll(image, 1, 0) > 0, image, image), 2)
    (0.88, 0.54)
    """
    if not mask.any() or mask.all():
        return 0.0
    across = everywhere = 0.0
    n_across = n_everywhere = 0
    for axis in (0, 1):
        inside, values = np.moveaxis(mask, axis, 0), np.moveaxis(image, axis, 0)
        apart = np.abs(np.diff(values, axis=0))
        apart = apart.sum(axis=-1) if apart.ndim > 2 else apart
        boundary = inside[1:] != inside[:-1]
        across += float(apart[boundary].sum(dtype=np.float64))
        everywhere += float(apart.sum(dtype=np.float64))
        n_across += int(np.count_nonzero(boundary))
        n_everywhere += boundary.size
    if everywhere == 0:
        return 0.0
    at_boundary, usual = across / n_across, everywhere / n_everywhere
    sure = response.astype(np.float64) ** SURE
    overlap = 2 * float(sure[mask].sum()) / (int(np.count_nonzero(mask)) + float(sure.sum()))
    return at_boundary / (usual + at_boundary) * overlap
