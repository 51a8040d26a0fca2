"""The pipeline's first stage: the chosen segmenter, then clusters, edge map and simplified image."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import isgenerator, signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.recipe import RefitParams
from napari_refit.registry import SEGMENTERS
from napari_refit.watch import Watch


@dataclass(frozen=True)
class Segments:
    """Clusters (H, W) int32 numbered 1..n, their edge map (H, W) bool, and the simplified image."""

    clusters: NDArray[np.int32]
    edges: NDArray[np.bool_]
    simplified: NDArray[np.float32]


def segment(
    image: NDArray[np.float32], params: RefitParams, watch: Watch, device: str | None = None
) -> Segments:
    """Cut a plane into clusters.

    Parameters
    ----------
    image : ndarray of float32, (H, W) or (H, W, C)
        In [0, 1].
    params : RefitParams
    watch : Watch
        Told of intermediate label maps where the segmenter yields them.
    device : str, optional
        For a segmenter that takes one.

    Raises
    ------
    ValueError
        If the segmenter returns anything but integer labels of the plane's shape.
    Cancelled
        If ``watch`` says so.
    """
    from napari_refit.uss.edges import connected_clusters, edge_map, simplify

    clusters = connected_clusters(_labels(image, params, watch, device))
    return Segments(clusters, edge_map(clusters), simplify(image, clusters))


def _labels(
    image: NDArray[np.float32], params: RefitParams, watch: Watch, device: str | None
) -> NDArray[Any]:
    function = SEGMENTERS[params.segmenter].function
    options = {"device": device} if "device" in signature(function).parameters else {}
    found: Any = function(image, params.segmenter_params, **options)
    if isgenerator(found):
        states, found = found, None
        for found in states:
            watch.check()
            if watch.on_state is not None:
                watch.on_state(found)
    labels = np.asarray(found)
    if labels.shape != image.shape[:2] or labels.dtype.kind not in "biu":
        raise ValueError(
            f"segmenter {params.segmenter!r} must return integer labels of shape {image.shape[:2]}, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    return labels
