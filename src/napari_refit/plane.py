"""One plane through every stage: at half the resolution first, where the sharp answer takes long."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.cam.runs import quickest
from napari_refit.coarse import FACTOR, coarser, enlarged, halved, halved_response, worth_coarsening
from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams
from napari_refit.responses import PlaneResponse
from napari_refit.results import SliceResult
from napari_refit.segmenting import Segments, segment, shows_its_work
from napari_refit.stages import Run, Stages

if TYPE_CHECKING:
    from napari_refit.fit.types import Partition

COARSE_AFTER = 0.1
"""Seconds; what is expected to take longer gets a coarse answer first."""
NO_SOURCE = "Choose a classifier or a response map to get a mask."


def refine_plane(
    stages: Stages,
    index: PlaneIndex,
    params: RefitParams,
    run: Run,
    response: PlaneResponse | None = None,
) -> SliceResult:
    """Take a plane through every stage.

    Parameters
    ----------
    stages : Stages
    index : PlaneIndex
        As the stages see the image (see `napari_refit.image_grid.ImageGrid`).
    params : RefitParams
    run : Run
        Its watch is given the coarse answer, if it asks for one and the sharp one takes long.
    response : PlaneResponse, optional
        What `Stages.responses` gave for this plane and these parameters, where that was asked for already.

    Returns
    -------
    SliceResult
        H and W as the image is displayed.

    Raises
    ------
    Cancelled
        If the watch says so.
    """
    image = stages.image(index, params, run)
    on_coarse = run.watch.on_coarse
    if on_coarse is not None and _takes_long(stages, index, image, params):
        on_coarse(_coarse_plane(stages, index, image, params, run))
        run.watch.check()
    segments = stages.segments(index, image, params, run)
    if stages.source is None:
        return _result(image, segments, None, None, run)
    response = response or stages.cached_response(index, params)
    if response is None:
        if not shows_its_work(params.segmenter):
            run.watch.state(segments.clusters)
        response = stages.responses([index], params, run)[0]
    outcome = stages.outcome(index, image, segments, response, params, run)
    return _result(image, segments, response, outcome, run, params.mask_threshold)


def _takes_long(stages: Stages, index: PlaneIndex, image: NDArray[Any], params: RefitParams) -> bool:
    # A segmenter that shows its work needs no stand-in.
    # Nor is there one that knows of the planes beside it.
    if shows_its_work(params.segmenter) or index in stages.carried or not worth_coarsening(image.shape):
        return False
    expected = stages.seconds_expected(index, params, image.shape[0] * image.shape[1])
    return expected is None or expected > COARSE_AFTER


def _coarse_plane(
    stages: Stages, index: PlaneIndex, image: NDArray[np.float32], params: RefitParams, run: Run
) -> SliceResult:
    """The plane at half the resolution, enlarged; of its own only a sharp response map is cached."""
    from napari_refit.fitting import gate_and_fit

    small = halved(image)
    half = params.model_copy(update={params.segmenter: coarser(params.segmenter_params)})
    segments = segment(small, half, run.watch, stages.device)
    response = _coarse_response(stages, index, small, segments, params, run)
    if response is None:
        return enlarged(_result(small, segments, None, None, run), image)
    hints = stages.hints(index)
    partitions = _coarse_partitions(stages, index, small, segments.clusters, params, run)
    outcome = gate_and_fit(
        response,
        segments.clusters,
        segments.simplified,
        small,
        half,
        None,
        hints=None if hints is None else hints[::FACTOR, ::FACTOR],
        partitions=partitions,
        cancelled=run.watch.cancelled,
    )
    return enlarged(_result(small, segments, response, outcome, run, params.mask_threshold), image)


def _coarse_partitions(
    stages: Stages,
    index: PlaneIndex,
    small: NDArray[np.float32],
    clusters: NDArray[np.int32],
    params: RefitParams,
    run: Run,
) -> tuple[Partition, ...]:
    """The chosen segmenter's ``clusters``, and the others that the fit asks for; those that are there only shrink."""
    from napari_refit.fit.types import Partition
    from napari_refit.uss.edges import connected_clusters

    found = [Partition(clusters)]
    for each in params.partitions()[1:]:
        kept = stages.cache.get(stages.segment_key(index, each))
        if kept is not None:
            found.append(Partition(connected_clusters(kept.clusters[::FACTOR, ::FACTOR])))
            continue
        half = each.model_copy(update={each.segmenter: coarser(each.segmenter_params)})
        quiet = replace(run.watch, on_state=None)
        found.append(Partition(segment(small, half, quiet, stages.device).clusters))
    return tuple(found) if len(found) > 1 else ()


def _coarse_response(
    stages: Stages,
    index: PlaneIndex,
    small: NDArray[np.float32],
    segments: Segments,
    params: RefitParams,
    run: Run,
) -> PlaneResponse | None:
    source, simplified = stages.source, params.cam.cam_input == "simplified"
    if source is None:
        return None
    known = stages.cached_response(index, params)
    # A first answer is not worth several runs of the classifier.
    params = params.model_copy(update={"cam": quickest(params.cam)})
    halved_is_fed = stages.fed(index) == (index,) and not source.modalities
    if known is None and halved_is_fed and source.sees_plane and (simplified or source.cheaper_when_smaller):
        shown = segments.simplified if simplified else small
        return source.respond([index], [shown], params.cam, run.watch)[0]
    return halved_response(known or stages.responses([index], params, run)[0])


def _result(
    image: NDArray[np.float32],
    segments: Segments,
    response: PlaneResponse | None,
    outcome: Any,
    run: Run,
    threshold: float = 0.5,
) -> SliceResult:
    if response is None:
        empty = np.zeros(segments.clusters.shape, np.uint8)
        return SliceResult(
            image=image,
            clusters=segments.clusters,
            edges=segments.edges,
            simplified=segments.simplified,
            response=None,
            fitted=None,
            mask=empty,
            cam_mask=empty,
            seconds=dict(run.seconds),
            message=NO_SOURCE,
        )
    from napari_refit.fit.uncertainty import belief

    return SliceResult(
        image=image,
        clusters=segments.clusters,
        edges=segments.edges,
        simplified=segments.simplified,
        response=response.maps,
        fitted=outcome.fitted,
        mask=outcome.mask,
        cam_mask=outcome.cam_mask,
        seconds=dict(run.seconds),
        classes=response.classes,
        class_numbers=response.class_numbers,
        logits=response.logits,
        probabilities=response.probabilities,
        all_classes=response.all_classes,
        predicted=response.predicted,
        evidence=response.evidence,
        message=outcome.message,
        belief=belief(outcome.fitted, outcome.mask, response.class_numbers, threshold),
    )
