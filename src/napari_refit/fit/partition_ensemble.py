"""Several partitions of an image at once: what responds in most of them is the object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import check
from napari_refit.fit.checks import check_shape, checked_numbers, cluster_sizes, flat_response
from napari_refit.fit.clustered import cluster_means, image_colours, mask_message, strongest_class
from napari_refit.fit.flood import ClusterGraph, cluster_graph
from napari_refit.fit.spread import spread_response
from napari_refit.fit.types import FitInput, FitResult, Partition
from napari_refit.memo import Memo, forgetful
from napari_refit.params import PartitionEnsembleParams

Stop = Callable[[], bool]

SWITCHED = ("quickshift", "felzenszwalb", "watershed")


def partitions(params: PartitionEnsembleParams) -> list[tuple[str, Mapping[str, Any]]]:
    """The partitions that the fit asks for besides the chosen segmenter's (see `napari_refit.registry.Entry`).

    Examples
    --------
    >>> partitions(PartitionEnsembleParams(slic_clusters=(50,), with_felzenszwalb=True))
    [('slic', {}), ('slic', {'n_segments': 50}), ('felzenszwalb', {})]
    """
    found: list[tuple[str, Mapping[str, Any]]] = [("slic", {})] if params.slic_clusters else []
    found += [("slic", {"n_segments": round(count)}) for count in params.slic_clusters]
    switched = [name for name in SWITCHED if getattr(params, f"with_{name}")]
    return found + [(name, {}) for name in (*switched, *params.others)]


def partition_ensemble_fit(
    inputs: FitInput,
    params: PartitionEnsembleParams,
    *,
    memo: Memo = forgetful,
    cancelled: Stop | None = None,
) -> FitResult:
    """Fit a mask by the mean over several partitions of the mean response of each cluster.

    Parameters
    ----------
    inputs : FitInput
        Clusters of every partition are taken at their word: 1..n without gaps. Without partitions, ``clusters`` are
        the only one. With a spread above 0 ``image`` (else ``simplified``) is needed, with or without channels at its
        end. Hints are left to the caller (see `napari_refit.fit.strokes`).
    params : PartitionEnsembleParams
    memo : Memo
        Belongs to ``inputs``; keeps the mean over all partitions. What depends on a single one is kept by its own memo.
    cancelled : callable, optional

    Returns
    -------
    FitResult
        ``fitted`` is that mean, each partition counting the same; the mask is where it is at least ``threshold``, of
        several classes the highest. What ``memo`` keeps is shared: nobody may write to ``fitted``.

    Raises
    ------
    ValueError
        If shapes disagree, a value is outside its range, or there is no image.
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> halves, thirds = np.array([[1, 1, 1, 2, 2, 2]]), np.array([[1, 1, 2, 2, 3, 3]])
    >>> response = np.array([[[0, 0, 0, 0.9, 0.9, 0.9]]])
    >>> several = Partition(halves), Partition(thirds)
    >>> result = partition_ensemble_fit(
    ...     FitInput(response, halves, partitions=several), PartitionEnsembleParams(spread=0, threshold=0.6)
    ... )
    >>> result.fitted.astype(float).round(3).tolist(), result.mask.tolist()
    ([[[0.0, 0.0, 0.225, 0.675, 0.9, 0.9]]], [[0, 0, 0, 1, 1, 1]])
    """
    from napari_refit.uss.checks import real_array

    response = real_array(inputs.response, "response")
    check_shape(response, inputs.clusters.shape)
    numbers = checked_numbers(inputs.class_numbers, len(response))

    def average() -> NDArray[np.float32]:
        several = inputs.partitions or (Partition(inputs.clusters),)
        total = np.zeros(response.shape, np.float32)
        for partition in several:
            check(cancelled)
            values = _cluster_values(inputs, response, partition, params.spread)
            total += values.astype(np.float32)[:, np.asarray(partition.clusters) - 1]
        # Rounding must not leave the range of what went in.
        return (total / np.float32(len(several))).clip(0, 1)

    fitted: NDArray[np.float32] = memo(("mean", params.spread), average)
    message = mask_message(
        fitted.max(axis=0),
        params.threshold,
        float(np.fmax.reduce(response, axis=None, initial=0)),
        where="place",
        to_shrink=", or make smaller clusters",
        to_grow=" or the spread, or make smaller clusters",
    )
    return FitResult(fitted, strongest_class(fitted, params.threshold, numbers), message)


def _cluster_values(
    inputs: FitInput, response: np.ndarray, partition: Partition, spread: float
) -> NDArray[np.float64]:
    """Mean response per class and cluster of a partition, spread between clusters of like colour."""
    from napari_refit.uss.checks import loopable

    clusters = loopable(partition.clusters, np.int32)
    if clusters.shape != inputs.clusters.shape:
        raise ValueError(
            f"a partition must have the clusters' shape {inputs.clusters.shape}, got {clusters.shape}"
        )
    memo = partition.memo
    sizes: NDArray[np.int64] = memo("sizes", lambda: cluster_sizes(clusters))
    means: NDArray[np.float64] = memo("means", lambda: cluster_means(flat_response(response), clusters))
    if spread == 0:
        return means

    def touching() -> ClusterGraph:
        colours = image_colours(inputs, clusters.shape, f"spread {spread!r}")
        return cluster_graph(colours, clusters, len(sizes))

    graph: ClusterGraph = memo("graph", touching)
    found: NDArray[np.float64] = memo(
        ("spread", spread), lambda: spread_response(means, graph, sizes, spread)
    )
    return found
