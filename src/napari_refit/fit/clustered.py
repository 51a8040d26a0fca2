"""What fits over clusters share: means per cluster, hints per cluster, masks, and what to tell the user."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.checks import checked_colours, rounded_down
from napari_refit.fit.hints import seeded_clusters
from napari_refit.fit.types import BACKGROUND_HINT, FitInput

Values = NDArray[np.float64]


def cluster_means(response: np.ndarray, clusters: NDArray[np.int32]) -> Values:
    """Mean of each map (n, n_pixels) over each cluster: (n, n_clusters), in [0, 1].

    Examples
    --------
    >>> cluster_means(np.array([[0.0, 1.0, 0.5]]), np.array([1, 1, 2])).tolist()
    [[0.5, 0.5]]
    """
    places = clusters.ravel() - 1
    sizes = np.bincount(places)
    return np.stack([np.bincount(places, each) / sizes for each in response]).clip(0, 1)


def image_colours(inputs: FitInput, shape: tuple[int, ...], user: str) -> np.ndarray:
    """The image, or where there is none the simplified one.

    Raises
    ------
    ValueError
        If there is neither; the message begins with ``user``.
    """
    name = "simplified" if inputs.image is None else "image"
    colours = inputs.simplified if inputs.image is None else inputs.image
    if colours is None:
        raise ValueError(f"{user} compares colours: pass the image too")
    return checked_colours(colours, shape, name)


def checked_spacing(inputs: FitInput, ndim: int) -> tuple[float, ...] | None:
    """The spacing, as many positive numbers as there are axes; None where it is not known."""
    if inputs.spacing is None:
        return None
    spacing = tuple(float(step) for step in inputs.spacing)
    if len(spacing) != ndim or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"spacing must be {ndim} positive numbers, got {inputs.spacing!r}")
    return spacing


def fixed_labels(
    hints: np.ndarray | None, clusters: NDArray[np.int32], numbers: tuple[int, ...], count: int
) -> NDArray[np.int64]:
    """The label (0 background, k + 1 the k-th class) that hints fix each cluster to, -1 where they say nothing.

    Raises
    ------
    TypeError
        If the hints are no whole numbers.
    ValueError
        If their shape differs from the clusters', or they name an unknown class.

    Examples
    --------
    >>> fixed_labels(np.array([[7, 0, 255]]), np.array([[1, 2, 3]]), (7,), 3).tolist()
    [1, -1, 0]
    """
    nothing = np.full(count, -1)
    if hints is None:
        return nothing
    hints = np.asarray(hints)
    if hints.dtype.kind not in "iu":
        raise TypeError(f"hints must be whole numbers, got dtype {hints.dtype}")
    if hints.shape != clusters.shape:
        raise ValueError(f"hints must have the clusters' shape {clusters.shape}, got {hints.shape}")
    known = (BACKGROUND_HINT, *numbers)
    strange = np.setdiff1d(hints, (0, *known))
    if strange.size:
        raise ValueError(
            f"hints hold {int(strange[0])}, which is none of: 0 for nothing, {BACKGROUND_HINT} for background, "
            f"{', '.join(map(str, numbers))} for classes"
        )
    seeds = seeded_clusters(clusters, hints)[1:]
    for label, number in enumerate(known):
        nothing[seeds == number] = label
    return nothing


def strongest_class(fitted: np.ndarray, threshold: float, numbers: tuple[int, ...]) -> NDArray[Any]:
    """Class number of the highest of the values (n, ...), 0 where none reaches the threshold.

    Examples
    --------
    >>> strongest_class(np.array([[0.2, 0.6], [0.3, 0.5]]), 0.5, (4, 9)).tolist()
    [0, 4]
    """
    dtype = np.min_scalar_type(max(numbers))
    winner = np.asarray(numbers, dtype)[fitted.argmax(axis=0)]
    return np.where(fitted.max(axis=0) >= threshold, winner, dtype.type(0))


def mask_message(
    best: np.ndarray, threshold: float, highest: float, *, where: str, to_shrink: str, to_grow: str
) -> str:
    """What the user should know of a mask that is empty or fills the frame; nothing of any other.

    Parameters
    ----------
    best : ndarray
        The highest fitted response of each cluster or pixel.
    threshold, highest : float
        What ``best`` is held against, and the highest response before the fit.
    where : str
        What ``best`` is of, for a user.
    to_shrink, to_grow : str
        What to do besides moving the threshold.

    Examples
    --------
    >>> mask_message(np.array([0.2]), 0.5, 0.9, where="cluster", to_shrink="", to_grow=", or wait")
    'Nothing passes: the best cluster reaches 0.20, threshold is 0.50. Lower the threshold, or wait.'
    """
    passing = best >= threshold
    if passing.all():
        return (
            f"The mask fills the frame: every {where} reaches {rounded_down(best.min())}, threshold is "
            f"{threshold:.2f}. Raise the threshold{to_shrink}."
        )
    if passing.any():
        return ""
    if highest <= 0:
        return "Nothing passes: the response map is 0 everywhere, so no slider will bring a mask here."
    return (
        f"Nothing passes: the best {where} reaches {rounded_down(best.max())}, threshold is {threshold:.2f}. "
        f"Lower the threshold{to_grow}."
    )
