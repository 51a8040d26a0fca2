"""BoundaryFit, eq. (1) of the paper, as one reduction of the response map per cluster."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check, n_threads, run_bands
from napari_refit.fit.checks import (
    check_shape,
    checked_colours,
    checked_numbers,
    cluster_sizes,
    flat_response,
    rounded_down,
)
from napari_refit.fit.types import FitInput, FitResult
from napari_refit.memo import Memo, forgetful
from napari_refit.params import BoundaryParams

if TYPE_CHECKING:
    from napari_refit.fit.flood import ClusterGraph

Stop = Callable[[], bool]

# Keeps coverage * size from being rounded up when it is a whole number in exact arithmetic.
COUNT_SLACK = 1e-9
# Clusters up to this many pixels are sorted by insertion; numpy's sort takes its time to begin.
SMALL = 64
# With less to do, a second thread on a busy machine starts later than the first one ends.
PIXELS_PER_BAND = 1 << 18


def boundary_fit(
    response: np.ndarray,
    clusters: np.ndarray,
    threshold: float = 0.5,
    *,
    coverage: float = 1.0,
    spread: float = 0.0,
    tolerance: float = 0.0,
    simplified: np.ndarray | None = None,
) -> np.ndarray:
    """Keep the clusters that lie inside the thresholded response map.

    The paper floods from every pixel whose response is below the threshold; every cluster that the flood
    reaches turns negative. A cluster therefore survives if and only if the *minimum* of the response over it
    is at least the threshold, and that is what is computed.

    Parameters
    ----------
    response : array_like, shape (H, W), (n, H, W), (D, H, W) or (n, D, H, W)
        One response map, or one per class, in [0, 1]. NaN counts as 0: no evidence.
    clusters : array_like of int, shape (H, W) or (D, H, W)
        Any integer labels. Each 4-connected (in 3-D: 6-connected) region of one label is one cluster.
    threshold : float, default 0.5
        The response is positive from here on, in [0, 1].
    coverage : float, default 1.0
        A cluster is kept if at least this fraction of its pixels is positive, in (0, 1]: 1 is the paper,
        0.5 a majority vote.
    spread : float, default 0.0
        How strongly the response spreads between touching clusters of like colour before the threshold, 0 or
        more (see `napari_refit.fit.spread`); 0 is the paper.
    tolerance : float, default 0.0
        The flood crosses between touching clusters as long as no channel of their mean colour differs from
        that of the cluster where the flood began by more than this fraction of the range of all mean
        colours, in [0, 1]. At 0 no flood leaves its cluster, even towards one of equal colour.
    simplified : array_like, shape of ``clusters`` with an optional channel axis at the end, optional
        The simplified image, whose colours ``spread`` and ``tolerance`` compare; needed when one is above 0. The
        mean is taken where a cluster has several colours, so the image itself serves as well.

    Returns
    -------
    ndarray of unsigned int, shape of ``clusters``
        Class numbers 1..n of the class with the highest fitted response (the lower number when equal);
        0 where every class is below the threshold.

    Raises
    ------
    ValueError
        If shapes disagree, an array is empty, a value is outside its range, or ``simplified`` is missing.
    TypeError
        If an array is not of real numbers, or the clusters are not integers.

    References
    ----------
    The ReFit paper, eq. (1); ``tolerance`` follows the flood fill of the authors' public scripts without its
    dependence on the order of the seeds.

    Examples
    --------
    >>> import numpy as np
    >>> response = np.array([[0.9, 0.8, 0.2], [0.7, 0.9, 0.9]])
    >>> clusters = np.array([[1, 1, 2], [1, 2, 2]])
    >>> boundary_fit(response, clusters, threshold=0.5)
    array([[1, 1, 0], [1, 0, 0]], dtype=uint8)
    >>> boundary_fit(response, clusters, threshold=0.5, coverage=0.6)
    array([[1, 1, 1], [1, 1, 1]], dtype=uint8)
    """
    from napari_refit.uss.checks import label_map, real_array
    from napari_refit.uss.edges import connected_clusters

    labels = label_map(clusters, "clusters")
    response = real_array(response, "response")
    if response.ndim == labels.ndim:
        response = response[None]
    check_shape(response, labels.shape)
    regions = connected_clusters(labels)
    values, graph = _prepared(response, regions, threshold, coverage, spread, tolerance, simplified)
    values = _flooded(values, graph, tolerance)
    return _mask(values, regions, threshold, tuple(range(1, len(values) + 1)))


def boundary_fit_stage(
    inputs: FitInput,
    params: BoundaryParams,
    *,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> FitResult:
    """BoundaryFit as an entry of the fit registry (see `boundary_fit`).

    Parameters
    ----------
    inputs : FitInput
        The clusters are taken at their word: 1..n without gaps, each connected. Without a simplified image
        the colours for ``spread`` and ``tolerance`` are averaged from the image.
    params : BoundaryParams
    memo : Memo
        Belongs to ``inputs``. With one, the threshold only costs a comparison per cluster and a mask, the
        coverage a look-up per cluster more, the spread a linear system, and the tolerance the flood.
    cancelled : callable, optional

    Returns
    -------
    FitResult
        The fitted response is constant within each cluster; the message says so when the mask is empty or
        fills the frame. What ``memo`` keeps is shared: nobody may write to ``fitted``.

    Raises
    ------
    ValueError
        As `boundary_fit`, and if the clusters are not numbered 1..n or ``class_numbers`` does not fit.
    Cancelled
        If ``cancelled()`` answered True.
    """
    from napari_refit.uss.checks import loopable, real_array

    response = real_array(inputs.response, "response")
    check_shape(response, inputs.clusters.shape)
    numbers = checked_numbers(inputs.class_numbers, len(response))
    clusters = loopable(inputs.clusters, np.int32)
    colours = inputs.image if inputs.simplified is None else inputs.simplified
    options = params.threshold, params.coverage, params.spread, params.tolerance
    dry, graph = _prepared(response, clusters, *options, colours, memo, cancelled)

    def fit() -> tuple[np.ndarray, np.ndarray]:
        values = _flooded(dry, graph, params.tolerance, cancelled)
        return values, _spread(values.astype(np.float32), clusters)

    values, fitted = memo(("fitted", params.coverage, params.spread, params.tolerance), fit)
    mask = _mask(values, clusters, params.threshold, numbers)
    return FitResult(fitted, mask, _message(values, response, params))


def _prepared(
    response: np.ndarray,
    clusters: NDArray[np.int32],
    threshold: float,
    coverage: float,
    spread: float,
    tolerance: float,
    colours: np.ndarray | None,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> tuple[np.ndarray, ClusterGraph | None]:
    """Response per class and cluster (n_classes, n_clusters) before the flood, and what the flood runs over."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1], got {threshold!r}")
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must be in (0, 1], got {coverage!r}")
    if not 0 <= spread < math.inf:
        raise ValueError(f"spread must be a number from 0 up, got {spread!r}")
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance must be in [0, 1], got {tolerance!r}")
    sizes: NDArray[np.int64] = memo("sizes", lambda: cluster_sizes(clusters))
    wanted = np.maximum(np.ceil(coverage * sizes - COUNT_SLACK).astype(np.int64), 1)
    values: np.ndarray
    if np.array_equal(wanted, sizes):
        values = memo("lowest", lambda: _lowest(flat_response(response), clusters, len(sizes)))
    else:
        # Without a memo nobody will ask for another coverage: half a sort is enough.
        places = sizes - wanted if memo is forgetful else None
        ranked = memo("ranked", lambda: _ranked(flat_response(response), clusters, sizes, places, cancelled))
        values = ranked[:, np.cumsum(sizes) - wanted]
    if spread == 0 and tolerance == 0:
        return values, None
    check(cancelled)
    user = f"tolerance {tolerance!r}" if spread == 0 else f"spread {spread!r}"
    graph: ClusterGraph = memo("graph", lambda: _graph(colours, clusters, len(sizes), user))
    if spread > 0:
        from napari_refit.fit.spread import spread_response

        dry = values
        values = memo(("spread", coverage, spread), lambda: spread_response(dry, graph, sizes, spread))
        check(cancelled)
    return values, graph


def _flooded(
    values: np.ndarray, graph: ClusterGraph | None, tolerance: float, cancelled: Stop | None = None
) -> np.ndarray:
    if graph is None or tolerance == 0:
        return values
    from napari_refit.fit.flood import flood_clusters

    return flood_clusters(values, graph, tolerance, cancelled=cancelled)


def _lowest(response: np.ndarray, clusters: NDArray[np.int32], n_clusters: int) -> np.ndarray:
    """The lowest response per class and cluster."""
    from napari_refit.fit.boundary_kernel import find_lowest

    lowest = np.full((len(response), n_clusters), np.inf, response.dtype)
    n_bands = _n_bands(response.size)
    run_bands(find_lowest, len(response), clusters.ravel(), response, lowest, n_bands=n_bands)
    return lowest


def _ranked(
    response: np.ndarray,
    clusters: NDArray[np.int32],
    sizes: NDArray[np.int64],
    places: NDArray[np.int64] | None,
    cancelled: Stop | None,
) -> np.ndarray:
    """The responses of each class cluster after cluster, rising within each.

    With ``places`` (n_clusters,) only what belongs at that place of each cluster is sure to be there.
    """
    from napari_refit.fit import boundary_kernel

    ranked = np.empty_like(response)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    n_bands = _n_bands(response.size)
    run_bands(
        boundary_kernel.group_pixels,
        len(response),
        clusters.ravel(),
        bounds[:-1],
        response,
        ranked,
        n_bands=n_bands,
        cancelled=cancelled,
    )
    if sizes.min() <= SMALL:
        run_bands(boundary_kernel.sort_small, len(sizes), bounds, SMALL, ranked, n_bands=n_bands)
    large = np.flatnonzero(sizes > SMALL)
    begins, ends = bounds[large].tolist(), bounds[large + 1].tolist()
    for row in ranked:
        if places is None:
            for begin, end in zip(begins, ends, strict=True):
                row[begin:end].sort()
        else:
            for begin, end, place in zip(begins, ends, places[large].tolist(), strict=True):
                row[begin:end].partition(place)
        check(cancelled)
    return ranked


def _graph(
    colours: np.ndarray | None, clusters: NDArray[np.int32], n_clusters: int, user: str
) -> ClusterGraph:
    from napari_refit.fit.flood import cluster_graph

    return cluster_graph(_checked_colours(colours, clusters.shape, user), clusters, n_clusters)


def _n_bands(n_values: int) -> int:
    return max(1, min(n_threads(), n_values // PIXELS_PER_BAND))


def _spread(table: np.ndarray, clusters: NDArray[np.int32]) -> np.ndarray:
    """Maps (n, *clusters.shape) in which every pixel has what ``table`` (n, n_clusters) holds for its cluster."""
    from napari_refit.fit.boundary_kernel import spread

    maps = np.empty((len(table), clusters.size), table.dtype)
    run_bands(spread, clusters.size, clusters.ravel(), table, maps, n_bands=_n_bands(maps.size))
    return maps.reshape(-1, *clusters.shape)


def _checked_colours(colours: np.ndarray | None, shape: tuple[int, ...], user: str) -> np.ndarray:
    if colours is None:
        raise ValueError(f"{user} compares colours: pass the simplified image too")
    return checked_colours(colours, shape, "simplified")


def _mask(
    values: np.ndarray, clusters: NDArray[np.int32], threshold: float, numbers: tuple[int, ...]
) -> NDArray[Any]:
    """Class number of each pixel."""
    dtype = np.min_scalar_type(max(numbers))
    winner = np.asarray(numbers, dtype)[values.argmax(axis=0)]
    names = np.where(values.max(axis=0) >= float(threshold), winner, dtype.type(0))
    return _spread(names[np.newaxis], clusters)[0]


def _message(values: np.ndarray, response: np.ndarray, params: BoundaryParams) -> str:
    best = values.max(axis=0)
    passing = best >= params.threshold
    if passing.all():
        what = "every cluster" if len(best) > 1 else "the only cluster"
        return (
            f"The mask fills the frame: {what} reaches {rounded_down(best.min())}, threshold is "
            f"{params.threshold:.2f}. Raise the threshold"
            + ("." if len(best) > 1 else ", or make more clusters.")
        )
    if passing.any():
        return ""
    top = int(best.argmax())
    found = (
        f"Nothing passes: best cluster (number {top + 1}) reaches {rounded_down(best[top])}, "
        f"threshold is {params.threshold:.2f}."
    )
    highest = np.fmax.reduce(response, axis=None, initial=0)
    if highest <= 0:
        return "Nothing passes: the response map is 0 everywhere, so no slider will bring a mask here."
    if highest < params.threshold:
        return f"{found} The response map itself reaches only {rounded_down(highest)}: lower the threshold."
    hints = ["lower the threshold", "lower the coverage"]
    if params.tolerance > 0:
        hints.append("lower the tolerance")
    hints.append("make the clusters smaller")
    text = ", ".join(hints[:-1]) + " or " + hints[-1]
    return f"{found} {text[0].upper()}{text[1:]}."
