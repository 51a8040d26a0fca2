"""What the user's hints make of any fit's result: near them the strokes speak, far from them the result stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check
from napari_refit.fit.checks import checked_numbers, cluster_sizes
from napari_refit.fit.clustered import checked_spacing, fixed_labels, image_colours
from napari_refit.fit.labelling import (
    Labelling,
    Labels,
    Stop,
    Values,
    border_costs,
    chances,
    logit,
    on_their_side,
)
from napari_refit.fit.regions import Regions, measure_regions
from napari_refit.fit.types import BACKGROUND_HINT, FitInput, FitResult
from napari_refit.fit_params import HintParams
from napari_refit.memo import Memo, forgetful

# Where all strokes together speak less loudly than this, nothing changes.
QUIET = 0.01
# The fit's own certainty never counts for more than this.
CERTAIN = 0.02, 0.98
# What a mask is taken for where the fitted response does not say the same.
CONTRARY = 0.4, 0.6
# Pieces smaller than this, in pixels, are not worth cutting.
SMALLEST_PIECE = 9
# So many superpixels are enough for any picture: a stroke has to be followed at once.
MOST_PIECES = 4000


@dataclass(frozen=True, eq=False)
class Pieces:
    """Clusters cut finer, as the nodes of a graph.

    Attributes
    ----------
    places : ndarray of int64, shape (H, W) or (D, H, W)
        Number of the piece, counted from 0; each lies in one cluster.
    regions : Regions
    steps : ndarray of float64, shape (m,)
        Distance between the centres of touching pieces, where the side of a square as large as the image is 1.
    """

    places: NDArray[np.int64]
    regions: Regions
    steps: NDArray[np.float64]


def follow_strokes(
    result: FitResult,
    inputs: FitInput,
    params: HintParams,
    threshold: float = 0.5,
    *,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> FitResult:
    """Change a fit's result so that it follows ``inputs.hints``.

    The clusters are cut into smaller pieces. A pixel with a hint is of its class, and the piece that it lies in too.
    A stroke of a class speaks to the other pieces by ``exp(-d / stroke_reach)``, with ``d`` the length of the shortest
    way to it over touching pieces, on which each step counts ``1 + stroke_edges`` times the squared difference of
    colours over what is usual. Against the strokes stands what the fit itself believes, with the weight ``fit_trust``:
    a class is worth to a piece

    ``log((stroke of the class + fit_trust * belief) / (stroke of the background + fit_trust * other belief))``

    and of all labels those are taken for which the values are high and the borders short, or along edges
    (`napari_refit.fit.labelling`). Where strokes are too far away to say anything, the result stays as it was.

    Parameters
    ----------
    result : FitResult
        Of the fit on the same input, without its hints. It stays as it is.
    inputs : FitInput
        With ``image`` or ``simplified``. Without hints the result comes back as it is.
    params : HintParams
    threshold : float
        Of the fit: where the fitted response reaches it, the mask is.
    memo : Memo
        Belongs to ``inputs``; keeps the pieces.
    cancelled : callable, optional

    Returns
    -------
    FitResult
        As before, but ``fitted`` is constant within pieces rather than clusters. Near strokes it is what strokes and
        fit believe before borders count, on that side of the threshold on which the mask is.

    Raises
    ------
    ValueError
        If shapes disagree, there is no image, or hints name an unknown class.
    TypeError
        If hints are not whole numbers.
    Cancelled
        If ``cancelled()`` answered True.

    References
    ----------
    Bai and Sapiro, "Geodesic matting", International Journal of Computer Vision 82, 2009, for the distances; Boykov and
    Jolly, "Interactive graph cuts", ICCV 2001, for the cut.

    Examples
    --------
    >>> clusters = np.repeat(np.arange(1, 7, dtype=np.int32), 4).reshape(6, 4)
    >>> image = np.array([0.1, 0.2, 0.8, 0.8, 0.1, 0.1], np.float32)[clusters - 1]
    >>> nothing = FitResult(np.full((1, 6, 4), 0.1, np.float32), np.zeros((6, 4), np.uint8))
    >>> hints = np.zeros((6, 4), np.uint8)
    >>> hints[2, 1], hints[5, 1] = 1, 255
    >>> inputs = FitInput(nothing.fitted, clusters, image=image, hints=hints)
    >>> follow_strokes(nothing, inputs, HintParams(fit_trust=0.05)).mask[:, 0].tolist()
    [0, 0, 1, 1, 0, 0]
    """
    if inputs.hints is None:
        return result
    numbers = checked_numbers(inputs.class_numbers, len(inputs.response))
    hints = np.asarray(inputs.hints)
    pieces: Pieces = memo(("pieces", params.fineness), lambda: _pieces_of(inputs, params.fineness))
    check(cancelled)
    places = (pieces.places + 1).astype(np.int32)
    fixed = fixed_labels(hints, places, numbers, len(pieces.regions.sizes))
    if not hints.any():
        return result
    loudness = _loudness(pieces, fixed, len(numbers), params)
    near = (loudness.max(axis=0) >= QUIET) | (fixed >= 0)
    belief, before = _belief(result, pieces, numbers, threshold)
    voices = loudness + params.fit_trust * belief
    values = np.log(voices[1:]) - np.log(voices[0])
    regions = pieces.regions
    labelling = Labelling(
        regions,
        border_costs(regions, params.stroke_smoothness, params.stroke_contrast),
        np.where(near, fixed, before),
    )
    labels = labelling.labels(values, cancelled)
    # What all thresholds at once would say takes several times as long, too long for a stroke.
    bar = float(np.clip(threshold, *CERTAIN))
    fitted = on_their_side(chances(values + logit(bar)), labels, bar)
    there = near[pieces.places]
    mask = np.asarray((0, *numbers), result.mask.dtype)[labels][pieces.places]
    mask = np.where(there, mask, result.mask).astype(result.mask.dtype, copy=False)
    fitted = np.where(there, fitted[:, pieces.places], result.fitted).astype(np.float32, copy=False)
    # A piece may hold hints of several kinds; each pixel is what its own says.
    drawn = hints != 0
    mask[drawn] = np.where(hints[drawn] == BACKGROUND_HINT, 0, hints[drawn])
    for number, plane in zip(numbers, fitted, strict=True):
        plane[drawn] = hints[drawn] == number
    return replace(result, fitted=fitted, mask=mask, message=_message(mask))


def _pieces_of(inputs: FitInput, fineness: int) -> Pieces:
    colours = image_colours(inputs, inputs.clusters.shape, "what follows hints")
    spacing = checked_spacing(inputs, inputs.clusters.ndim)
    pieces = cut_finer(inputs.clusters, colours, fineness)
    regions = measure_regions(colours, pieces, cluster_sizes(pieces), spacing)
    return Pieces(pieces.astype(np.int64) - 1, regions, _steps(pieces, regions, spacing))


def cut_finer(clusters: NDArray[np.int32], image: np.ndarray, fineness: int) -> NDArray[np.int32]:
    """Cut clusters into pieces by superpixels that are so many times smaller.

    In 3-D, and where clusters are hardly larger than pixels, they stay as they are.

    Parameters
    ----------
    clusters : ndarray of int32, shape (H, W) or (D, H, W)
        1..n without gaps, each connected.
    image : ndarray of float, of the same shape, with an optional channel axis at the end
        In [0, 1].
    fineness : int
        1: pieces are the clusters.

    Returns
    -------
    ndarray of int32, shape of ``clusters``
        1..m without gaps; each piece lies in one cluster and is connected.

    Examples
    --------
    >>> clusters = np.repeat([[1, 2]], 12, axis=0).repeat(12, axis=1).astype(np.int32)
    >>> image = np.linspace(0, 1, clusters.size).reshape(clusters.shape)
    >>> bool(cut_finer(clusters, image, 4).max() > 2), int(cut_finer(clusters, image, 1).max())
    (True, 2)
    """
    from napari_refit.params import SlicParams
    from napari_refit.uss.checks import loopable
    from napari_refit.uss.edges import connected_clusters
    from napari_refit.uss.superpixels import slic_segmenter

    count = int(clusters.max(initial=0))
    wanted = min(fineness * count, clusters.size // SMALLEST_PIECE, MOST_PIECES)
    if clusters.ndim != 2 or fineness == 1 or wanted <= count:
        return loopable(clusters, np.int32)
    finer = slic_segmenter(np.asarray(image, np.float32), SlicParams(n_segments=wanted)).astype(np.int64)
    # Numbers of clusters and superpixels together, so that no piece lies in two of either.
    both = clusters.astype(np.int64) * (finer.max() + 1) + finer
    pieces = connected_clusters(np.unique(both, return_inverse=True)[1].reshape(both.shape) + 1)
    return loopable(pieces, np.int32)


def _steps(
    pieces: NDArray[np.int32], regions: Regions, spacing: tuple[float, ...] | None
) -> NDArray[np.float64]:
    lengths = np.array(spacing if spacing is not None else (1.0,) * pieces.ndim)
    places, counts = pieces.ravel() - 1, cluster_sizes(pieces)
    first, second = regions.graph.pairs
    squares = np.zeros(len(first))
    for axis, length in enumerate(lengths):
        along = np.arange(pieces.shape[axis]) * length
        along = np.broadcast_to(
            np.expand_dims(along, [k for k in range(pieces.ndim) if k != axis]), pieces.shape
        )
        centres = np.bincount(places, along.ravel(), len(counts)) / counts
        squares += (centres[first] - centres[second]) ** 2
    side = (pieces.size * lengths.prod()) ** (1 / pieces.ndim)
    return np.asarray(np.sqrt(squares) / side)


def _loudness(pieces: Pieces, fixed: Labels, n_classes: int, params: HintParams) -> Values:
    """How loudly strokes of the background and of each class speak to each piece: (1 + n_classes, n), in [0, 1]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    count = len(fixed)
    first, second = pieces.regions.graph.pairs
    lengths = pieces.steps * (1 + params.stroke_edges * pieces.regions.differences)
    # A length of 0 would be no link at all.
    lengths = np.maximum(lengths, np.finfo(np.float64).tiny)
    both_ways = (np.concatenate([first, second]), np.concatenate([second, first]))
    graph = coo_array((np.concatenate([lengths, lengths]), both_ways), (count, count)).tocsr()
    found = np.zeros((1 + n_classes, count))
    for label in range(1 + n_classes):
        seeds = np.flatnonzero(fixed == label)
        if len(seeds):
            limit = -params.stroke_reach * np.log(QUIET)
            away = dijkstra(graph, indices=seeds, min_only=True, limit=limit)
            found[label] = np.exp(-away / params.stroke_reach)
    return found


def _belief(
    result: FitResult, pieces: Pieces, numbers: tuple[int, ...], threshold: float
) -> tuple[Values, Labels]:
    """What the fit believes of background and classes, (1 + n_classes, n), summing to 1, and its labels."""
    places, sizes = pieces.places.ravel(), np.bincount(pieces.places.ravel())
    count = len(sizes)
    bar = logit(float(np.clip(threshold, *CERTAIN)))
    shares = np.stack([np.bincount(places, (result.mask == number).ravel(), count) for number in numbers])
    shares = np.concatenate([(sizes - shares.sum(axis=0))[np.newaxis], shares])
    labels = shares.argmax(axis=0)
    odds = np.ones((1 + len(numbers), count))
    for k, plane in enumerate(result.fitted, start=1):
        mean = np.bincount(places, plane.ravel(), count) / sizes
        believed = 1 / (1 + np.exp(bar - logit(mean.clip(*CERTAIN))))
        believed = np.where(labels == k, believed.clip(CONTRARY[1], None), believed.clip(None, CONTRARY[0]))
        odds[k] = believed / (1 - believed)
    return odds / odds.sum(axis=0), labels


def _message(mask: NDArray[Any]) -> str:
    if not mask.any():
        return "The hints leave nothing of the mask."
    return "The mask fills the frame: draw where the background is." if mask.all() else ""
