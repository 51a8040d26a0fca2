"""What a finished slice says about the one beside it: seeds where it is sure, a leaning elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.fit.types import BACKGROUND_HINT
from napari_refit.params import PropagationParams

Spacing = tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of one slice.

    Attributes
    ----------
    image : ndarray of float32, (H, W) or (H, W, C)
        Grey values in [0, 1].
    sure : ndarray of uint8 or wider, (H, W)
        0 where nothing is sure, a class number, or `BACKGROUND_HINT`.
    inside : dict of int to ndarray of float32, (H, W)
        For each class how deep a pixel lies in it, from -1 (surely outside) over 0 (the outline) to 1 (surely inside).
        Empty where the slice has hints but no mask that counts.
    """

    image: NDArray[np.float32]
    sure: NDArray[np.integer]
    inside: dict[int, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Carried:
    """What a slice is told by its neighbours.

    Attributes
    ----------
    hints : ndarray of uint8 or wider, (H, W)
        Whole clusters: 0 for nothing, a class number, or `BACKGROUND_HINT`.
    inside : dict of int to ndarray of float16, (H, W)
        As of `Known`.
    """

    hints: NDArray[np.integer]
    inside: dict[int, NDArray[np.float16]]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The classes that some cluster surely belongs to."""
        found = np.unique(self.hints).tolist()
        return tuple(number for number in found if number not in (0, BACKGROUND_HINT))

    def without(self, numbers: Iterable[int]) -> Carried:
        """The same, but for these classes."""
        gone = set(numbers)
        kept = {number: depth for number, depth in self.inside.items() if number not in gone}
        return Carried(np.where(np.isin(self.hints, list(gone)), 0, self.hints), kept)

    def leaning(
        self, maps: NDArray[np.float32], class_numbers: tuple[int, ...], trust: float, level: float
    ) -> NDArray[np.float32]:
        """Response maps that lean towards the neighbours' masks.

        Parameters
        ----------
        maps : ndarray of float32, (n, H, W)
            In [0, 1].
        class_numbers : tuple of int
            Of the maps.
        trust : float
            0: the maps themselves; 1: the neighbours alone.
        level : float
            The response that speaks neither for nor against the class; the neighbours' outline is put there.

        Examples
        --------
        >>> carried = Carried(np.zeros((1, 3), int), {1: np.array([[-1, 0, 1]], np.float16)})
        >>> carried.leaning(np.full((1, 1, 3), 0.4, np.float32), (1,), 0.5, 0.6).round(2)
        array([[[0.2, 0.5, 0.7]]], dtype=float32)
        """
        if trust == 0 or not self.inside:
            return maps
        found = maps.copy()
        for plane, number in zip(found, class_numbers, strict=True):
            if number in self.inside:
                depth = self.inside[number].astype(np.float32)
                said = level + depth * np.where(depth > 0, 1 - level, level)
                plane += np.float32(trust) * (said - plane)
        return found


def beside(
    carried: NDArray[np.integer], hints: NDArray[np.integer] | None, clusters: NDArray[np.int32]
) -> NDArray[np.integer]:
    """Carried hints and the user's, who is always right: where he touches a cluster nothing else is said of it.

    Parameters
    ----------
    carried, hints : ndarray of int, (H, W) or (D, H, W)
        ``hints`` is None where the user said nothing.
    clusters : ndarray of int32, of the same shape

    Examples
    --------
    >>> beside(np.array([1, 1, 1, 255]), np.array([0, 255, 0, 0]), np.array([1, 1, 2, 3])).tolist()
    [0, 255, 1, 255]
    """
    if hints is None or not hints.any():
        return carried
    touched = np.zeros(int(clusters.max()) + 1, bool)
    touched[clusters[hints != 0]] = True
    return np.where(touched[clusters], hints, carried)


def known_from_mask(
    image: NDArray[np.float32], mask: NDArray[np.integer], erosion: float, spacing: Spacing = None
) -> Known:
    """What an accepted mask makes sure.

    Each piece of a class is eroded by ``erosion`` times its own greatest depth: what is left is sure, whether the
    piece is large or small. Background is sure from as far outside as the deepest piece is eroded.

    Parameters
    ----------
    image : ndarray of float32, (H, W) or (H, W, C)
    mask : ndarray of int, (H, W)
        Class numbers; 0 is background.
    erosion : float
        From 0, where all is sure, to below 1, where the middle of each piece is.
    spacing : tuple of float, optional
        Size of a pixel.

    Returns
    -------
    Known
        Nothing is sure where the mask is empty.

    Examples
    --------
    >>> mask = np.array([[0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]])
    >>> known_from_mask(mask.astype(np.float32), mask, 0.5).sure.tolist()
    [[255, 255, 255, 0, 0, 1, 1, 1, 0, 0, 255, 255]]
    """
    from scipy import ndimage

    sure = np.zeros(mask.shape, np.promote_types(mask.dtype, np.uint8))
    inside: dict[int, NDArray[np.float32]] = {}
    margins = [0.0]
    for number in np.unique(mask[mask != 0]).tolist():
        here = mask == number
        # A pixel at the outline is half a pixel deep, on either side of it.
        deep = _distance(here, spacing)
        pieces, count = ndimage.label(here)
        deepest = ndimage.maximum(deep, pieces, np.arange(count + 1))
        margin = erosion * np.asarray(deepest, np.float64)[pieces]
        sure[here & (deep >= margin)] = number
        margins.append(erosion * float(deep.max()))
        widest = max(margins[-1], 1e-6)
        inside[number] = np.clip(
            np.where(here, deep / np.maximum(margin, 1e-6), -_distance(~here, spacing) / widest), -1, 1
        ).astype(np.float32)
    if inside:
        sure[(mask == 0) & (_distance(mask == 0, spacing) >= max(margins))] = BACKGROUND_HINT
    return Known(image, sure, inside)


def known_from_hints(
    image: NDArray[np.float32], clusters: NDArray[np.int32], hints: NDArray[np.integer]
) -> Known:
    """What hints make sure on a slice that has no accepted mask: the clusters that they touch.

    Examples
    --------
    >>> known = known_from_hints(np.zeros((1, 4)), np.array([[1, 1, 2, 2]]), np.array([[0, 1, 0, 0]]))
    >>> known.sure.tolist(), known.inside
    ([[1, 1, 0, 0]], {})
    """
    from napari_refit.fit.hints import seeded_clusters

    return Known(image, seeded_clusters(clusters, hints)[clusters], {})


def carry(
    neighbours: Iterable[Known],
    image: NDArray[np.float32],
    clusters: NDArray[np.int32],
    params: PropagationParams,
) -> Carried:
    """What the slices beside a slice say about its clusters.

    A cluster is seeded where at least ``overlap`` of it lies where the neighbour is sure of one thing, and its mean
    colour differs from the neighbour's in that place by at most ``likeness``. Neighbours that disagree seed nothing.

    Parameters
    ----------
    neighbours : iterable of Known
    image : ndarray of float32, (H, W) or (H, W, C)
        In [0, 1].
    clusters : ndarray of int32, (H, W)
        Numbered from 1.
    params : PropagationParams

    Returns
    -------
    Carried

    Raises
    ------
    ValueError
        If a neighbour has another shape.

    Examples
    --------
    >>> clusters = np.array([[1, 1, 2, 2, 3, 3]])
    >>> before, here = np.array([[0.9, 0.9, 0.9, 0.9, 0.1, 0.1]]), np.array([[0.9, 0.9, 0.1, 0.1, 0.1, 0.1]])
    >>> known = Known(before, np.array([[1, 1, 1, 1, 255, 255]]), {})
    >>> carry([known], here, clusters, PropagationParams(overlap=1, likeness=0.2)).hints.tolist()
    [[1, 1, 0, 0, 255, 255]]
    """
    count = int(clusters.max(initial=0)) + 1
    sizes = np.bincount(clusters.ravel(), minlength=count)
    said = np.zeros(count, np.int64)
    silent = np.zeros(count, bool)
    depths: dict[int, list[NDArray[np.float32]]] = {}
    for known in neighbours:
        if known.sure.shape != clusters.shape or known.image.shape != image.shape:
            raise ValueError(f"a neighbour has shape {known.image.shape}, this slice {image.shape}")
        seeds = _seeds(known, image, clusters, sizes, params)
        silent |= (said != 0) & (seeds != 0) & (said != seeds)
        said = np.where(said == 0, seeds, said)
        for number, depth in known.inside.items():
            depths.setdefault(number, []).append(depth)
    said[silent] = 0
    dtype = np.min_scalar_type(max(int(said.max(initial=0)), BACKGROUND_HINT))
    inside = {number: np.mean(planes, axis=0).astype(np.float16) for number, planes in depths.items()}
    return Carried(said.astype(dtype)[clusters], inside)


def _seeds(
    known: Known,
    image: NDArray[np.float32],
    clusters: NDArray[np.int32],
    sizes: NDArray[np.int64],
    params: PropagationParams,
) -> NDArray[np.int64]:
    """What one neighbour says of each cluster."""
    count = len(sizes)
    own = _sums(image, clusters, count) / np.maximum(sizes, 1)[:, np.newaxis]
    found = np.zeros(count, np.int64)
    most = np.zeros(count, np.int64)
    for number in np.unique(known.sure[known.sure != 0]).tolist():
        where = known.sure == number
        covered = np.bincount(clusters[where], minlength=count)
        theirs = _sums(known.image[where], clusters[where], count) / np.maximum(covered, 1)[:, np.newaxis]
        alike = np.abs(own - theirs).max(axis=1) <= params.likeness
        taken = (covered > most) & (covered >= params.overlap * sizes) & alike
        found[taken] = number
        most = np.maximum(most, covered)
    return found


def _sums(image: NDArray[np.float32], clusters: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Sum of each channel per cluster, (n + 1, C)."""
    channels = image.reshape(clusters.size, -1).T
    return np.stack([np.bincount(clusters.ravel(), channel, count) for channel in channels], axis=1)


def _distance(where: NDArray[np.bool_], spacing: Spacing) -> NDArray[np.float64]:
    """How deep pixels lie where it is True, 0 elsewhere; half a pixel at the border."""
    from scipy import ndimage

    if where.all():
        return np.full(where.shape, float(np.hypot(*where.shape)))
    found = ndimage.distance_transform_edt(where, sampling=spacing)
    half = 0.5 * (1.0 if spacing is None else min(spacing))
    return np.asarray(np.maximum(found - half, 0.0))
