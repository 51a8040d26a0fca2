"""The pipeline's first stage: the chosen segmenter, then clusters, edge map and simplified image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isgenerator, isgeneratorfunction, signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from napari_refit.devices import on_processor, out_of_memory
from napari_refit.memo import Memo, forgetful
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
    image: NDArray[np.float32],
    params: RefitParams,
    watch: Watch,
    device: str | None = None,
    memo: Memo = forgetful,
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
        For a segmenter that takes one; the processor goes on where it runs out of memory.
    memo : Memo
        For a segmenter that takes one.

    Raises
    ------
    ValueError
        If the segmenter returns anything but integer labels of the plane's shape.
    Cancelled
        If ``watch`` says so.
    """
    from napari_refit.uss.edges import connected_clusters, edge_map, simplify

    clusters = connected_clusters(_labels(image, params, watch, device, memo))
    return Segments(clusters, edge_map(clusters), simplify(image, clusters))


def shows_its_work(segmenter: str) -> bool:
    """Whether a segmenter yields intermediate label maps."""
    return isgeneratorfunction(SEGMENTERS[segmenter].function)


def accepted(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Those options that a registered function takes.

    Examples
    --------
    >>> accepted(lambda image, params, *, device=None: image, device="cpu", memo=None)
    {'device': 'cpu'}
    """
    taken = signature(function).parameters
    return {name: value for name, value in options.items() if name in taken}


def _labels(
    image: NDArray[np.float32], params: RefitParams, watch: Watch, device: str | None, memo: Memo
) -> NDArray[Any]:
    function, group = SEGMENTERS[params.segmenter].function, params.segmenter_params
    options = accepted(function, device=device, memo=memo, cancelled=watch.cancelled, notice=watch.notice)
    try:
        labels = _last_state(function(image, group, **options), watch)
    except (RuntimeError, MemoryError) as error:
        if "device" not in options or on_processor(device) or not out_of_memory(error):
            raise
        watch.notice(f"{device} ran out of memory: the processor clusters this slice.")
        labels = _on_processor(function, image, group, options, watch)
    if labels.shape != image.shape[:2] or labels.dtype.kind not in "biu":
        raise ValueError(
            f"segmenter {params.segmenter!r} must return integer labels of shape {image.shape[:2]}, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    return labels


def _on_processor(
    function: Callable[..., Any],
    image: NDArray[np.float32],
    group: BaseModel,
    options: dict[str, Any],
    watch: Watch,
) -> NDArray[Any]:
    return _last_state(function(image, group, **{**options, "device": "cpu"}), watch)


def _last_state(found: Any, watch: Watch) -> NDArray[Any]:
    if isgenerator(found):
        states, found = found, None
        for found in states:
            watch.check()
            watch.state(found)
    return np.asarray(found)
