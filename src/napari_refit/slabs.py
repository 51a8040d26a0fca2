"""Clusters that reach across slices: a volume is cut into slabs that overlap, each clustered and fitted as a whole."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.cache import content
from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams, digest
from napari_refit.registry import SEGMENTERS
from napari_refit.responses import PlaneResponse
from napari_refit.segmenting import Segments, accepted

if TYPE_CHECKING:
    from napari_refit.fit.types import Partition
    from napari_refit.stages import Key, Run, Stages

MOST_VOXELS = 16_000_000
"""Voxels of a slab, its overlaps included: some hundreds of MB with everything that is computed on it."""
OVERLAP_IN_CLUSTERS = 2
"""How many clusters deep slabs overlap on each side: about what a cluster moves and grows by."""


@dataclass(frozen=True)
class Slab:
    """A run of planes, and what is clustered along with it.

    Attributes
    ----------
    indices : tuple of PlaneIndex
        The planes of the slab and its overlaps, in order.
    first, last : int
        Which of ``indices`` belong to the slab itself: ``indices[first:last]``.
    start : int
        Position of ``indices[0]`` on the slice axis.
    length : int
        Slices of the whole volume.
    """

    indices: tuple[PlaneIndex, ...]
    first: int
    last: int
    start: int
    length: int


@dataclass(frozen=True)
class _Clustered:
    """A slab's clusters (D, H, W) int32 and their mean colours, overlaps included."""

    clusters: NDArray[np.int32]
    simplified: NDArray[np.float32]


@dataclass(frozen=True)
class _Fitted:
    fitted: NDArray[np.float32]
    mask: NDArray[Any]
    cam_mask: NDArray[Any]
    message: str


def reaches_across(params: RefitParams) -> bool:
    """Whether the chosen segmenter is asked for clusters that reach across slices.

    Raises
    ------
    ValueError
        If it is asked for them and cannot make them.
    """
    if not getattr(params.segmenter_params, "supervoxels", False):
        return False
    if SEGMENTERS[params.segmenter].volume is None:
        able = ", ".join(entry.name for entry in SEGMENTERS if entry.volume is not None)
        raise ValueError(f"segmenter {params.segmenter!r} makes no supervoxels; these do: {able}")
    return True


def cut_into_slabs(length: int, thickness: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Cut slices into slabs of nearly the same thickness.

    Parameters
    ----------
    length : int
        Slices of the volume.
    thickness : int
        Most slices of a slab.
    overlap : int
        Slices that are added on each side, as far as there are any.

    Returns
    -------
    list of (begin, end, first, last)
        Each slab with its overlaps, and the slab itself within the volume.

    Examples
    --------
    >>> cut_into_slabs(10, 5, 2)
    [(0, 7, 0, 5), (3, 10, 5, 10)]
    """
    count = math.ceil(length / thickness)
    ends = [length * k // count for k in range(count + 1)]
    return [
        (max(0, first - overlap), min(length, last + overlap), first, last) for first, last in pairwise(ends)
    ]


class Slabs:
    """Clusters, response and mask of a plane, computed on the slab that it lies in.

    Parameters
    ----------
    stages : Stages
        Whose cache, planes and responses are used.
    most_voxels : int
        Size of a slab, overlaps included.
    """

    def __init__(self, stages: Stages, most_voxels: int = MOST_VOXELS) -> None:
        self._stages = stages
        self.most_voxels = most_voxels

    def segments(self, index: PlaneIndex, params: RefitParams, run: Run) -> Segments:
        """The clusters of a plane; their numbers are those of the supervoxels, with gaps."""
        from napari_refit.uss.edges import edge_map

        slab = self._slab(index, params)
        found = self._clustered(slab, params, run)
        k = slab.indices.index(index)
        return Segments(found.clusters[k], edge_map(found.clusters[k]), found.simplified[k])

    def outcome(self, index: PlaneIndex, params: RefitParams, run: Run) -> Any:
        """What gate and fit make of a plane (`napari_refit.fitting.FitOutcome`)."""
        from napari_refit.fitting import FitOutcome

        slab = self._slab(index, params)
        k = slab.indices.index(index)
        responses = self._responses(slab, params, run)
        found = self._fitted(slab, responses, params, run)
        message = found.message
        if params.cam.gate == "positive" and not any(responses[k].predicted):
            message = (
                f"Predicted negative for {', '.join(responses[k].classes)}: the gate keeps this slice empty."
            )
        return FitOutcome(found.fitted[:, k], found.mask[k], found.cam_mask[k], message)

    def overlap(self, index: PlaneIndex, params: RefitParams) -> int:
        """Slices that neighbouring slabs share on each side."""
        rows, columns = (length for axis, length in self._axes(index) if axis not in dict(index))
        depth, row, column = self._spacing(index)
        across = [each for each in params.partitions() or (params,) if reaches_across(each)]
        n_clusters = min(getattr(each.segmenter_params, "n_segments", 1) for each in across)
        side = math.sqrt(rows * row * columns * column / n_clusters)
        return max(1, math.ceil(OVERLAP_IN_CLUSTERS * side / depth))

    def _axes(self, index: PlaneIndex) -> list[tuple[int, int]]:
        return list(enumerate(self._stages.grid.planes.shape))

    def _slice_axis(self, index: PlaneIndex) -> int:
        """The cut axis that is nearest to those displayed; what comes before is time or the like."""
        return index[-1][0]

    def _spacing(self, index: PlaneIndex) -> tuple[float, float, float]:
        """mm per slice, row and column; 1 where that is not known."""
        grid = self._stages.grid
        if grid.spacing is None:
            return (1.0, 1.0, 1.0)
        displayed = [grid.spacing[axis] for axis in grid.order]
        row, column = grid.plane_spacing(index) or (1.0, 1.0)
        return (displayed[self._slice_axis(index)], row, column)

    def _slab(self, index: PlaneIndex, params: RefitParams) -> Slab:
        axis = self._slice_axis(index)
        shape = self._stages.grid.planes.shape
        plane = math.prod(length for other, length in self._axes(index) if other not in dict(index))
        overlap = self.overlap(index, params)
        # Never thinner than a cluster is deep, or overlaps would be nearly all of the work.
        least = max(1, overlap // OVERLAP_IN_CLUSTERS)
        thickness = max(least, self.most_voxels // plane - 2 * overlap)
        if self.most_voxels // plane >= shape[axis]:
            thickness = shape[axis]
        position = dict(index)[axis]
        slabs = cut_into_slabs(shape[axis], thickness, overlap)
        begin, end, first, last = next(slab for slab in slabs if slab[2] <= position < slab[3])
        indices = tuple(
            tuple((other, at if other == axis else now) for other, now in index) for at in range(begin, end)
        )
        return Slab(indices, first - begin, last - begin, begin, shape[axis])

    def _clustered(self, slab: Slab, params: RefitParams, run: Run) -> _Clustered:
        key = ("clusters", slab.indices[0], len(slab.indices), _segment_digest(params))

        def compute() -> _Clustered:
            from napari_refit.uss.block import Block
            from napari_refit.uss.edges import connected_clusters, simplify

            run.watch.stage("clusters")
            image = np.stack([self._stages.plain_image(index, params) for index in slab.indices])
            function = SEGMENTERS[params.segmenter].volume_function
            watch = run.watch
            options = accepted(
                function, cancelled=watch.cancelled, device=self._stages.device, notice=watch.notice
            )
            labels = np.asarray(
                function(
                    image,
                    params.segmenter_params,
                    spacing=self._spacing(slab.indices[0]),
                    block=Block(slab.start, (slab.length, *image.shape[1:3])),
                    **options,
                )
            )
            if labels.shape != image.shape[:3] or labels.dtype.kind not in "biu":
                raise ValueError(
                    f"segmenter {params.segmenter!r} must return integer supervoxels of shape {image.shape[:3]}, "
                    f"got {labels.dtype} of shape {labels.shape}"
                )
            run.watch.check()
            clusters = connected_clusters(labels)
            return _Clustered(clusters, simplify(image, clusters))

        found: _Clustered = self._cached(key, run, compute)
        return found

    def _partitions(self, slab: Slab, params: RefitParams, run: Run) -> tuple[Partition, ...]:
        """Clusters of the slab in each partition that the fit asks for, slice by slice where need be."""
        from napari_refit.fit.types import Partition

        found = []
        for each in params.partitions():
            run.watch.check()
            if reaches_across(each):
                found.append(Partition(self._clustered(slab, each, run).clusters))
                continue
            planes, count = [], 0
            for index in slab.indices:
                image = self._stages.plain_image(index, each)
                planes.append(self._stages.partition(index, image, each, run) + np.int32(count))
                count = int(planes[-1].max())
            found.append(Partition(np.stack(planes)))
        return tuple(found)

    def _responses(self, slab: Slab, params: RefitParams, run: Run) -> list[PlaneResponse]:
        batch = params.cam.batch_size
        found: list[PlaneResponse] = []
        for first in range(0, len(slab.indices), batch):
            run.watch.check()
            found += self._stages.responses(slab.indices[first : first + batch], params, run)
        return found

    def _fitted(self, slab: Slab, responses: list[PlaneResponse], params: RefitParams, run: Run) -> _Fitted:
        shape = responses[0].maps.shape[1:]
        hints = _stacked([self._stages.hints(index) for index in slab.indices], shape)
        told = [self._stages.carried.get(index) for index in slab.indices]
        carried = _stacked([None if each is None else each.hints for each in told], shape)
        if carried is not None:
            from napari_refit.fit.carrying import beside

            hints = beside(carried, hints, self._clustered(slab, params, run).clusters)
        by_hand = None if hints is None else (digest(params.hints), content(hints))
        fit = (digest(params.fit, params.fit_params, params.finish, params.cam.gate), by_hand)
        clusters = tuple(_segment_digest(each) for each in params.partitions() or (params,))
        inputs = (*clusters, self._stages.response_key(slab.indices[0], params))
        key = ("fit", slab.indices[0], len(slab.indices), *inputs, fit)

        def compute() -> _Fitted:
            from napari_refit.fitting import gate_and_fit

            clustered = self._clustered(slab, params, run)
            partitions = self._partitions(slab, params, run)
            run.watch.stage("fit")
            open_maps = np.ones((len(responses), len(responses[0].predicted)), bool)
            if params.cam.gate == "positive":
                open_maps = np.array([each.predicted for each in responses])
                if hints is not None:
                    numbers = responses[0].class_numbers
                    open_maps |= np.array(
                        [[(plane == number).any() for number in numbers] for plane in hints]
                    )
            maps = np.stack([each.maps for each in responses], axis=1) * open_maps.T[:, :, None, None]
            whole = replace(
                responses[0], maps=maps, predicted=tuple(bool(column.any()) for column in open_maps.T)
            )
            outcome = gate_and_fit(
                whole,
                clustered.clusters,
                clustered.simplified,
                clustered.simplified,
                params,
                self._spacing(slab.indices[0]),
                hints=hints,
                partitions=partitions,
                cancelled=run.watch.cancelled,
            )
            mask = outcome.mask.copy()
            for number, is_open in zip(whole.class_numbers, open_maps.T, strict=True):
                # A cluster may reach into slices where its class is predicted negative: the gate keeps those empty.
                mask[~is_open] = np.where(mask[~is_open] == number, 0, mask[~is_open])
            return _Fitted(outcome.fitted, mask, outcome.cam_mask, outcome.message)

        found: _Fitted = self._cached(key, run, compute)
        return found

    def _cached(self, key: Key, run: Run, compute: Callable[[], Any]) -> Any:
        cache = self._stages.cache
        found = cache.get(key)
        if found is None:
            before, start = sum(run.seconds.values()), time.perf_counter()
            found = compute()
            # What a stage below took is counted there.
            inside = sum(run.seconds.values()) - before
            run.seconds[str(key[0])] += max(0.0, time.perf_counter() - start - inside)
            cache.put(key, found)
        return found


def _stacked(planes: list[NDArray[Any] | None], shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Planes of hints one above the other; None where there is none."""
    if all(plane is None for plane in planes):
        return None
    nothing = np.zeros(shape, np.uint8)
    return np.stack([nothing if plane is None else plane for plane in planes])


def _segment_digest(params: RefitParams) -> str:
    return digest(params.intensity, params.segmenter, params.segmenter_params)
