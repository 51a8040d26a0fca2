"""Where SLIC's centres start: on a grid, or spread over a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Pixels per seed along each axis that the spreading over a mask looks at.
_DENSITY = 10


@dataclass(frozen=True)
class Seeds:
    """First places of the centres.

    Attributes
    ----------
    places : ndarray of float64, (K, 3)
        z, y, x in pixels; a plane is at z = 0.
    step : float
        The distance between neighbours, in pixels: what nearness is measured by.
    reach : tuple of 3 float
        How far a centre looks for pixels along z, y and x.
    """

    places: NDArray[np.float64]
    step: float
    reach: tuple[float, float, float]


def grid_seeds(shape: tuple[int, int, int], n_segments: float) -> Seeds:
    """Spread about ``n_segments`` seeds regularly over an image.

    Parameters
    ----------
    shape : tuple of 3 int
        Depth, height and width; a plane has depth 1.
    n_segments : float

    Returns
    -------
    Seeds

    Examples
    --------
    >>> seeds = grid_seeds((1, 20, 20), 4)
    >>> seeds.places[:, 1:].tolist(), seeds.step
    ([[5.0, 5.0], [5.0, 15.0], [15.0, 5.0], [15.0, 15.0]], 10.0)
    """
    from skimage.util import regular_grid

    slices = regular_grid(shape, n_segments)
    axes = [np.arange(length, dtype=np.float64)[cut] for length, cut in zip(shape, slices, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    step = max(1.0 if cut.step is None else float(cut.step) for cut in slices)
    return Seeds(places, step, _reach(shape, len(places)))


def mask_seeds(mask: NDArray[np.bool_], n_segments: int, *, multichannel: bool) -> Seeds:
    """Spread about ``n_segments`` seeds evenly over the pixels of a mask.

    Parameters
    ----------
    mask : ndarray of bool, (D, H, W)
        With at least one pixel.
    n_segments : int
    multichannel : bool
        Whether the image has channels; scikit-image, whose seeds these are, takes fewer samples then.

    Returns
    -------
    Seeds

    References
    ----------
    B. Irving, maskSLIC: regional superpixel generation with application to local pathology characterisation in
    medical images, arXiv:1606.09518, 2016.

    Examples
    --------
    >>> mask = np.zeros((1, 8, 8), bool)
    >>> mask[0, 2:4] = True
    >>> mask_seeds(mask, 2, multichannel=False).places.round(1).tolist()
    [[0.0, 2.5, 5.5], [0.0, 2.5, 1.5]]
    """
    from scipy.cluster.vq import kmeans2

    pixels = np.argwhere(mask).astype(np.float64)
    # scikit-image draws with this generator and seed.
    random = np.random.RandomState(123)
    everything = np.arange(len(pixels))
    chosen = np.sort(random.choice(everything, min(n_segments, len(pixels)), replace=False))
    samples = pixels
    wanted = int(_DENSITY ** (2 if multichannel else 3) * n_segments)
    if len(pixels) > wanted:
        samples = pixels[np.sort(random.choice(everything, wanted, replace=False))]
    places, _ = kmeans2(samples, pixels[chosen], iter=5)
    steps = np.abs(places - places[_nearest_others(places)]).mean(axis=0)
    # A single seed has no neighbour to be measured by.
    step = float(steps.max()) or 1.0
    return Seeds(places, step, _reach(mask.shape, len(places)))


def _nearest_others(places: NDArray[np.float64]) -> NDArray[np.intp]:
    from scipy.spatial.distance import cdist

    nearest = []
    for first in range(0, len(places), 1000):
        distances = cdist(places[first : first + 1000], places)
        rows = np.arange(len(distances))
        distances[rows, first + rows] = np.inf
        nearest.append(distances.argmin(axis=1))
    return np.concatenate(nearest)


def _reach(shape: tuple[int, ...], count: int) -> tuple[float, float, float]:
    """Twice the steps of a grid of that many seeds over the whole image."""
    from skimage.util import regular_grid

    z, y, x = (2.0 * (1 if cut.step is None else int(cut.step)) for cut in regular_grid(shape, count))
    return z, y, x
