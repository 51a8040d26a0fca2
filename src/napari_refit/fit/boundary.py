"""BoundaryFit, eq. (1) of the paper, as one reduction of the response map per cluster."""

from __future__ import annotations

import math

import numpy as np

from napari_refit.fit.types import FitInput, FitResult
from napari_refit.params import BoundaryParams

# Keeps coverage * size from being rounded up when it is a whole number in exact arithmetic.
COUNT_SLACK = 1e-9
# Resampling in float32 may leave [0, 1] by as much as this.
RANGE_SLACK = 1e-6


def boundary_fit(
    response: np.ndarray,
    clusters: np.ndarray,
    threshold: float = 0.5,
    *,
    coverage: float = 1.0,
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
    tolerance : float, default 0.0
        The flood crosses between touching clusters as long as no channel of their mean colour differs from
        that of the cluster where the flood began by more than this fraction of the range of all mean
        colours, in [0, 1]. At 0 no flood leaves its cluster, even towards one of equal colour.
    simplified : array_like, shape of ``clusters`` with an optional channel axis at the end, optional
        The simplified image, whose colours ``tolerance`` compares; needed when that is above 0. The mean
        is taken where a cluster has several colours, so the image itself serves as well.

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
    response = _checked_response(response, labels.shape)
    values, indices = _fit(response, connected_clusters(labels), threshold, coverage, tolerance, simplified)
    return _mask(values, threshold, tuple(range(1, len(values) + 1)))[indices]


def boundary_fit_stage(inputs: FitInput, params: BoundaryParams) -> FitResult:
    """BoundaryFit as an entry of the fit registry (see `boundary_fit`).

    Parameters
    ----------
    inputs : FitInput
        The clusters are taken at their word: 1..n without gaps, each connected. Without a simplified image
        the colours for ``tolerance`` are averaged from the image.
    params : BoundaryParams

    Returns
    -------
    FitResult
        The fitted response is constant within each cluster; the message says so when the mask is empty or
        fills the frame.

    Raises
    ------
    ValueError
        As `boundary_fit`, and if the clusters are not numbered 1..n or ``class_numbers`` does not fit.
    """
    from napari_refit.uss.checks import real_array

    response = _checked_response(real_array(inputs.response, "response"), inputs.clusters.shape)
    numbers = inputs.class_numbers or tuple(range(1, len(response) + 1))
    if len(numbers) != len(response) or min(numbers) < 1:
        raise ValueError(f"class_numbers must be {len(response)} numbers from 1 up, got {numbers}")
    colours = inputs.image if inputs.simplified is None else inputs.simplified
    values, indices = _fit(
        response, inputs.clusters, params.threshold, params.coverage, params.tolerance, colours
    )
    fitted = np.take(values.astype(np.float32), indices, axis=1)
    mask = _mask(values, params.threshold, numbers)[indices]
    return FitResult(fitted, mask, _message(values, response, params))


def _checked_response(response: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if response.shape[1:] != shape:
        raise ValueError(
            f"response must have the clusters' shape {shape} after its classes, got {response.shape}"
        )
    if response.dtype not in (np.float32, np.float64):
        response = response.astype(np.float32)
    low, high = float(response.min()), float(response.max())
    if math.isnan(low):
        response = np.nan_to_num(response, nan=0.0, posinf=math.inf, neginf=-math.inf)
        low, high = float(response.min()), float(response.max())
    if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
        raise ValueError(f"response must be in [0, 1], got {low:g} to {high:g}: rescale it first")
    return response


def _fit(
    response: np.ndarray,
    clusters: np.ndarray,
    threshold: float,
    coverage: float,
    tolerance: float,
    colours: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fitted response per class and cluster (n_classes, n_clusters), and each pixel's column in it."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1], got {threshold!r}")
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must be in (0, 1], got {coverage!r}")
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance must be in [0, 1], got {tolerance!r}")
    if clusters.min() < 1:
        raise ValueError(f"clusters must be numbered from 1, got {clusters.min()}")
    indices = clusters - 1
    sizes = np.bincount(indices.ravel())
    if not sizes.all():
        raise ValueError(f"clusters must be numbered without gaps, {int(np.argmin(sizes)) + 1} is missing")
    values = np.stack(
        [_cluster_values(plane.ravel(), indices.ravel(), sizes, coverage) for plane in response]
    )
    if tolerance > 0:
        from napari_refit.fit.flood import cluster_colours, flood_clusters, neighbour_pairs

        colours = _checked_colours(colours, clusters.shape, tolerance)
        pairs = neighbour_pairs(indices, len(sizes))
        means = cluster_colours(colours, indices, len(sizes))
        values = np.stack([flood_clusters(row, pairs, means, tolerance) for row in values])
    return values, indices


def _checked_colours(colours: np.ndarray | None, shape: tuple[int, ...], tolerance: float) -> np.ndarray:
    if colours is None:
        raise ValueError(f"tolerance {tolerance!r} compares colours: pass the simplified image too")
    from napari_refit.uss.checks import real_array

    colours = real_array(colours, "simplified")
    if shape not in (colours.shape, colours.shape[:-1]):
        raise ValueError(
            f"simplified must be {shape} or {shape} with channels at the end, got {colours.shape}"
        )
    finite = np.isfinite(colours)
    if not finite.all():
        raise ValueError(f"simplified has {colours.size - int(finite.sum())} values that are not finite")
    return colours


def _cluster_values(
    response: np.ndarray, indices: np.ndarray, sizes: np.ndarray, coverage: float
) -> np.ndarray:
    """The k-th largest response of each cluster, k = coverage of its size; all arrays flat."""
    wanted = np.maximum(np.ceil(coverage * sizes - COUNT_SLACK).astype(np.int64), 1)
    if np.array_equal(wanted, sizes):
        lowest = np.full(len(sizes), np.inf, response.dtype)
        np.minimum.at(lowest, indices, response)
        return lowest
    by_response = np.argsort(response)
    small = indices.astype(np.min_scalar_type(len(sizes)))  # up to 16 bits a stable sort takes linear time
    order = by_response[np.argsort(small[by_response], kind="stable")]
    return response[order[np.cumsum(sizes) - wanted]]


def _mask(values: np.ndarray, threshold: float, numbers: tuple[int, ...]) -> np.ndarray:
    """Class number of each cluster."""
    dtype = np.min_scalar_type(max(numbers))
    winner = np.asarray(numbers, dtype)[values.argmax(axis=0)]
    return np.where(values.max(axis=0) >= float(threshold), winner, dtype.type(0))


def _message(values: np.ndarray, response: np.ndarray, params: BoundaryParams) -> str:
    best = values.max(axis=0)
    passing = best >= params.threshold
    if passing.all():
        what = "every cluster" if len(best) > 1 else "the only cluster"
        return (
            f"The mask fills the frame: {what} reaches {_floor(best.min())}, threshold is "
            f"{params.threshold:.2f}. Raise the threshold"
            + ("." if len(best) > 1 else ", or make more clusters.")
        )
    if passing.any():
        return ""
    top = int(best.argmax())
    found = (
        f"Nothing passes: best cluster (number {top + 1}) reaches {_floor(best[top])}, "
        f"threshold is {params.threshold:.2f}."
    )
    highest = response.max()
    if highest <= 0:
        return "Nothing passes: the response map is 0 everywhere, so no slider will bring a mask here."
    if highest < params.threshold:
        return f"{found} The response map itself reaches only {_floor(highest)}: lower the threshold."
    hints = ["lower the threshold", "lower the coverage"]
    if params.tolerance > 0:
        hints.append("lower the tolerance")
    hints.append("make the clusters smaller")
    text = ", ".join(hints[:-1]) + " or " + hints[-1]
    return f"{found} {text[0].upper()}{text[1:]}."


def _floor(value: float) -> str:
    """Two decimals, rounded down, so that a value just below the threshold does not read as equal to it."""
    return f"{math.floor(float(value) * 100 + 1e-5) / 100:.2f}"
