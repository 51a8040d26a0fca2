"""From accepted slices and hints to the slices beside them, one after the other until the object ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.doubt import slice_uncertainties
from napari_refit.fit.carrying import Carried, Known, beside, carry, known_from_hints, known_from_mask
from napari_refit.fit.types import BACKGROUND_HINT
from napari_refit.fit.uncertainty import Belief
from napari_refit.plane import refine_plane
from napari_refit.planes import PlaneIndex, Planes
from napari_refit.results import SliceResult, VolumeResult, slice_name
from napari_refit.slabs import reaches_across
from napari_refit.stages import Run
from napari_refit.watch import Watch

if TYPE_CHECKING:
    from napari_refit.pipeline import Progress, Refit

NOTHING_SURE = "nothing is sure on the next slice"
OBJECT_ENDS = "the object ends"
GATE_CLOSED = "the classifier sees nothing on the next slice"


@dataclass(frozen=True)
class Propagation:
    """What came of a propagation.

    Attributes
    ----------
    masks : dict of int to ndarray of unsigned int
        Position on the slice axis to the new mask of that slice, its rows and columns in the image's own order.
    beliefs : dict of int to Belief
        How far the fit believes in those masks.
    ends : dict of int to str
        Position of the last slice of each run to why it ended there, where that was not the reach or another accepted
        slice.
    carried : dict of PlaneIndex to Carried
        What the slices were told; `napari_refit.stages.Stages.carried` takes it, so that they can be refined again.
    """

    masks: dict[int, NDArray[Any]] = field(default_factory=dict)
    beliefs: dict[int, Belief] = field(default_factory=dict)
    ends: dict[int, str] = field(default_factory=dict)
    carried: dict[PlaneIndex, Carried] = field(default_factory=dict)


class Spreading:
    """One propagation over ``refit`` (see `Refit.propagate`)."""

    def __init__(
        self,
        refit: Refit,
        labels: NDArray[Any],
        accepted: Iterable[int],
        axis: int,
        within: Mapping[int, int],
        progress: Progress | None,
        cancelled: Callable[[], bool] | None,
        on_slice: Callable[[dict[int, int], SliceResult], None] | None,
    ) -> None:
        self.refit, self.stages, self.params = refit, refit.stages, refit.params
        self.labels = Planes(refit.grid.displayed(labels))
        self.axis, self.within = axis, dict(within)
        self.length = refit.shape[axis]
        self.accepted = sorted({self._checked(position) for position in accepted})
        self.progress, self.on_slice = progress, on_slice
        self.watch = Watch(cancelled=cancelled)
        self.found = Propagation()
        self.known: dict[int, Known] = {}
        self.hinted: set[int] = set()
        self.n_done = 0

    def run(self) -> Propagation:
        """Carry on from slice to slice, on all sides at once."""
        before = self.stages.carried
        self.stages.carried = self.found.carried
        try:
            if reaches_across(self.params):
                self._across()
            else:
                self._step_by_step()
        finally:
            self.stages.carried = before
        return self.found

    # -- from slice to slice

    def _step_by_step(self) -> None:
        live = self._sources()
        for _ in range(self.params.propagation.reach):
            steps: dict[int, list[int]] = {}
            for position in sorted(live):
                for target in (position - 1, position + 1):
                    if self._may_reach(target, position):
                        steps.setdefault(target, []).append(position)
            if not steps:
                return
            live = {target for target, sources in steps.items() if self._reach(target, sources)}
            self.known = {position: self.known[position] for position in live}

    def _may_reach(self, target: int, source: int) -> bool:
        # What came from hints alone says nothing new to the slices that they are on.
        back = target in self.hinted and not self.known[source].inside
        inside = 0 <= target < self.length
        return inside and not back and target not in self.accepted and target not in self.found.masks

    def _sources(self) -> set[int]:
        for position in self.accepted:
            self.watch.check()
            index = self._index(position)
            mask = self.labels.read(index)
            if mask.any():
                self.known[position] = self._known(index, mask)
        for position in range(self.length):
            index = self._index(position)
            hints = None if position in self.accepted else self.stages.hints(index)
            if hints is not None:
                image = self._image(index)
                clusters = self.stages.segments(
                    index, image, self.params, Run(self.watch, prepares=False)
                ).clusters
                self.known[position] = known_from_hints(image, clusters, hints)
                self.hinted.add(position)
        return set(self.known)

    def _reach(self, target: int, sources: list[int]) -> bool:
        """Refine a slice with what those beside it say; returns whether it goes on from there."""
        self.watch.check()
        index = self._index(target)
        run = Run(self.watch, prepares=False)
        neighbours = [self.known[position] for position in sources]
        image = self._image(index)
        clusters = self.stages.segments(index, image, self.params, run).clusters
        told = carry(neighbours, image, clusters, self.params.propagation)
        told, why = self._gated(index, told, run)
        from_masks = any(known.inside for known in neighbours)
        own = self.stages.hints(index)
        hinted = own is not None and bool(np.isin(own, (0, BACKGROUND_HINT), invert=True).any())
        if not (told.numbers or hinted or (not from_masks and told.hints.any())):
            self._end(sources, why or NOTHING_SURE)
            return False
        self.found.carried[index] = told
        result = refine_plane(self.stages, index, self.params, run)
        self._take(target, index, result)
        if not from_masks:
            self.known[target] = known_from_hints(image, clusters, beside(told.hints, own, clusters))
            return True
        if not result.mask.any():
            self._end([target], OBJECT_ENDS)
            return False
        self.known[target] = self._known(index, result.mask)
        return True

    def _gated(self, index: PlaneIndex, told: Carried, run: Run) -> tuple[Carried, str]:
        """Without the classes that the gate keeps out."""
        if self.params.cam.gate != "positive":
            return told, ""
        (response,) = self.stages.responses([index], self.params, run)
        closed = [
            number
            for number, is_open in zip(response.class_numbers, response.predicted, strict=True)
            if not is_open
        ]
        return (told.without(closed), GATE_CLOSED) if set(closed) & set(told.numbers) else (told, "")

    def _known(self, index: PlaneIndex, mask: NDArray[Any]) -> Known:
        erosion = self.params.propagation.erosion
        return known_from_mask(self._image(index), mask, erosion, self.refit.grid.plane_spacing(index))

    # -- through supervoxels

    def _across(self) -> None:
        """Seeds on the accepted slices: whatever supervoxel they lie in takes them along."""
        sources = set(self.accepted)
        for position in self.accepted:
            self.watch.check()
            index = self._index(position)
            mask = self.labels.read(index)
            if mask.any():
                self.found.carried[index] = Carried(self._known(index, mask).sure, {})
            else:
                sources.discard(position)
        for position in range(self.length):
            if position not in sources and self.stages.hints(self._index(position)) is not None:
                sources.add(position)
        reach = self.params.propagation.reach
        for position in range(self.length):
            near = any(abs(position - source) <= reach for source in sources)
            if near and position not in self.accepted:
                index = self._index(position)
                run = Run(self.watch, prepares=False)
                self._take(position, index, refine_plane(self.stages, index, self.params, run))

    # -- places

    def _checked(self, position: int) -> int:
        if not -self.length <= position < self.length:
            raise IndexError(f"slice {position} is outside axis {self.axis}, which has {self.length} slices")
        return int(position) % self.length

    def _index(self, position: int) -> PlaneIndex:
        return self.refit.grid.index({**self.within, self.axis: position})

    def _image(self, index: PlaneIndex) -> NDArray[np.float32]:
        return self.stages.image(index, self.params, Run(self.watch, prepares=False))

    def _take(self, position: int, index: PlaneIndex, result: SliceResult) -> None:
        own = self.refit.grid.turned(index, result)
        self.found.masks[position] = own.mask
        if own.belief is not None:
            self.found.beliefs[position] = own.belief
        self.n_done += 1
        if self.on_slice is not None:
            self.on_slice({**self.within, self.axis: position}, own)
        if self.progress is not None:
            self.progress(self.n_done, self.length - len(self.accepted), "propagating")

    def _end(self, positions: Iterable[int], why: str) -> None:
        for position in positions:
            self.found.ends[position] = why


def carry_on(
    refit: Refit,
    result: VolumeResult,
    labels: NDArray[Any],
    accepted: Iterable[int],
    *,
    within: Mapping[int, int] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[VolumeResult, dict[str, Any]]:
    """A refined volume in which accepted slices are as they were, and carried on.

    Parameters
    ----------
    refit : Refit
    result : VolumeResult
        Of ``refit``; stays as it is.
    labels, accepted, within, progress, cancelled
        See `Refit.propagate`, along the axis of `Refit.slice_axis`.

    Returns
    -------
    result : VolumeResult
    report : dict
        What a sidecar says of it.
    """
    positions = [int(position) for position in accepted]
    axis, fixed = (
        refit.slice_axis(),
        {other: 0 for other in range(refit.n_axes) if other not in refit.grid.spatial_axes},
    )
    fixed |= dict(within or {})
    found = refit.propagate(
        labels, positions, axis=axis, within=fixed, progress=progress, cancelled=cancelled
    )
    mask = result.mask.astype(
        np.promote_types(result.mask.dtype, np.min_scalar_type(int(labels.max(initial=0))))
    )
    beliefs, messages = dict(result.beliefs), dict(result.messages)
    for position in [*positions, *found.masks]:
        at = {**fixed, axis: position % refit.shape[axis]}
        where = tuple(at.get(other, slice(None)) for other in range(refit.n_axes))
        mask[where] = found.masks[position] if position in found.masks else labels[where]
        key = slice_name(refit.grid.positions(refit.grid.index(at)))
        messages.pop(key, None)
        beliefs.pop(key, None)
        if position in found.beliefs:
            beliefs[key] = found.beliefs[position]
    n_empty = sum(
        not refit.grid.displayed(mask)[refit.grid.planes.slices(index)].any() for index in _stack(refit)
    )
    report = {
        "accepted_slices": positions,
        "propagated_slices": sorted(found.masks),
        "propagation_ends": {str(position): why for position, why in sorted(found.ends.items())},
    }
    uncertainty = slice_uncertainties(refit.grid, axis, mask, beliefs)
    kept = replace(
        result, mask=mask, n_empty=n_empty, uncertainty=uncertainty, beliefs=beliefs, messages=messages
    )
    return kept, report


def _stack(refit: Refit) -> Iterable[PlaneIndex]:
    return refit.grid.planes.stack(refit.grid.order.index(refit.slice_axis()))
