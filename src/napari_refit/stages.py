"""The stages of one image as a graph: each plane's image, clusters, response maps and mask, cached by parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from napari_refit.cache import StageCache, content
from napari_refit.image_grid import ImageGrid
from napari_refit.intensity import IntensityRange, measure_range, normalise
from napari_refit.memo import Memo, forgetful
from napari_refit.modalities import fed_planes, picked_channels
from napari_refit.pace import Pace
from napari_refit.planes import PlaneIndex, Planes
from napari_refit.recipe import RefitParams, digest
from napari_refit.responses import PlaneResponse, ResponseSource
from napari_refit.segmenting import Segments, segment
from napari_refit.slabs import Slabs, reaches_across
from napari_refit.watch import Watch

if TYPE_CHECKING:
    from napari_refit.fit.carrying import Carried
    from napari_refit.fit.types import Partition

Key = tuple[object, ...]


@dataclass(frozen=True)
class Run:
    """One request: who watches it, what each stage took, and whether what it prepares is kept for the next move."""

    watch: Watch = field(default_factory=Watch)
    prepares: bool = True
    seconds: dict[str, float] = field(
        default_factory=lambda: {"image": 0.0, "clusters": 0.0, "response": 0.0, "fit": 0.0}
    )


@dataclass(frozen=True)
class _Fitted:
    key: Key
    outcome: Any


class Stages:
    """What `napari_refit.Refit` computes, plane by plane.

    Parameters
    ----------
    grid : ImageGrid
    cache : StageCache
    device : str, optional

    Attributes
    ----------
    source : ResponseSource or None
        Where response maps come from; `use` sets it.
    pace : Pace
        What each stage took so far.
    carried : mapping of PlaneIndex to Carried
        What planes are told by those beside them (see `napari_refit.propagating`).
    """

    def __init__(self, grid: ImageGrid, cache: StageCache, device: str | None) -> None:
        self.grid = grid
        self.cache = cache
        self.device = device
        self.pace = Pace()
        self.source: ResponseSource | None = None
        self._source_version = 0
        self._range_key: Key = ()
        self._range: IntensityRange | None = None
        self.slabs = Slabs(self)
        self.carried: Mapping[PlaneIndex, Carried] = {}
        self._hints: Planes | None = None
        self._clustered: tuple[PlaneIndex, str, BaseModel] | None = None

    def use(self, source: ResponseSource | None) -> None:
        """Take response maps from elsewhere."""
        self.source = source
        self._source_version += 1

    def beside(self, cache: StageCache, params: RefitParams) -> Stages:
        """The same image and source of response maps, with a cache of its own and without hints.

        What is computed with these parameters there disturbs nothing here.
        """
        self._limits(params)
        other = Stages(self.grid, cache, self.device)
        other.source = self.source
        other._range_key, other._range = self._range_key, self._range
        return other

    def use_hints(self, hints: Planes | None) -> None:
        """Take the user's hints from these planes, which may go on changing."""
        self._hints = hints

    def hints(self, index: PlaneIndex) -> NDArray[Any] | None:
        """What the user insists on in a plane; None if nothing."""
        if self._hints is None:
            return None
        # A copy: the user may paint on while the fit runs.
        plane = np.array(self._hints.read(index))
        return plane if plane.any() else None

    def image(self, index: PlaneIndex, params: RefitParams, run: Run) -> NDArray[np.float32]:
        """Grey values in [0, 1]."""
        key = ("image", index, digest(params.intensity))
        found: NDArray[np.float32] = self._cached(key, run, lambda: self.plain_image(index, params))
        return found

    def plain_image(self, index: PlaneIndex, params: RefitParams) -> NDArray[np.float32]:
        """The same, not cached."""
        return normalise(self.grid.planes.read(index), self._limits(params), params.intensity)

    def segments(
        self,
        index: PlaneIndex,
        image: NDArray[np.float32],
        params: RefitParams,
        run: Run,
    ) -> Segments:
        """Clusters, edge map and simplified image."""
        if index and reaches_across(params):
            return self.slabs.segments(index, params, run)
        return self._plane_segments(index, image, params, run)

    def _plane_segments(
        self,
        index: PlaneIndex,
        image: NDArray[np.float32],
        params: RefitParams,
        run: Run,
        chosen: bool = True,
    ) -> Segments:
        """Those of a plane by itself; ``chosen`` tells the user's segmenter from one that only the fit asks for."""

        def compute() -> Segments:
            run.watch.stage("clusters")
            kind = self._kind(index, params) if chosen else _partition_kind(params)
            start = time.perf_counter()
            # One place for each segmenter: where a fit asks for several, each keeps what it prepared.
            place = f"clusters {params.segmenter}"
            memo = self._memo(place, (index, digest(params.intensity), params.segmenter), run)
            found = segment(image, params, run.watch, self.device, memo)
            pixels = image.shape[0] * image.shape[1]
            self.pace.record("clusters", kind, pixels, time.perf_counter() - start)
            if run.prepares and chosen:
                self._clustered = (index, params.segmenter, params.segmenter_params)
            return found

        found: Segments = self._cached(self.segment_key(index, params), run, compute)
        return found

    def partition(
        self, index: PlaneIndex, image: NDArray[np.float32], params: RefitParams, run: Run
    ) -> NDArray[np.int32]:
        """The clusters of a plane by itself, of one of `RefitParams.partitions`; not shown while they are made."""
        quiet = replace(run, watch=replace(run.watch, on_state=None))
        return self._plane_segments(index, image, params, quiet, chosen=False).clusters

    def cached_response(self, index: PlaneIndex, params: RefitParams) -> PlaneResponse | None:
        """Response maps of a plane, if they are there already."""
        found: PlaneResponse | None = self.cache.get(self.response_key(index, params))
        return found

    def fed(self, index: PlaneIndex) -> tuple[PlaneIndex, ...]:
        """The planes that the source of response maps is fed for a plane; mostly that plane."""
        if self.source is None:
            return (index,)
        wanted, chosen = self.source.channels, self.source.modalities
        return fed_planes(self.grid.planes, index, wanted, chosen, self.grid.modality_place)

    def responses(self, indices: Sequence[PlaneIndex], params: RefitParams, run: Run) -> list[PlaneResponse]:
        """Response maps of planes; those that the cache lacks are computed in one batch."""
        source = self.source
        if source is None:
            raise ValueError("there is no classifier and no response map; give a model or a response")
        keys = [self.response_key(index, params) for index in indices]
        found = [self.cache.get(key) for key in keys]
        missing = [k for k, response in enumerate(found) if response is None]
        if missing:
            inputs = [self._cam_input(indices[k], params, run) for k in missing]
            run.watch.stage("response")
            start = time.perf_counter()
            new = source.respond([indices[k] for k in missing], inputs, params.cam, run.watch)
            spent = time.perf_counter() - start
            run.seconds["response"] += spent
            pixels = sum(plane.shape[0] * plane.shape[1] for plane in inputs)
            self.pace.record("response", _response_kind(params), pixels, spent)
            for k, response in zip(missing, new, strict=True):
                self.cache.put(keys[k], response)
                found[k] = response
        return found

    def outcome(
        self,
        index: PlaneIndex,
        image: NDArray[np.float32],
        segments: Segments,
        response: PlaneResponse,
        params: RefitParams,
        run: Run,
    ) -> Any:
        """What the gate and the fit make of it (`napari_refit.fitting.FitOutcome`)."""
        if index and reaches_across(params):
            return self.slabs.outcome(index, params, run)
        from napari_refit.fit.carrying import beside
        from napari_refit.fitting import gate_and_fit

        asked = params.partitions()
        response_key = self.response_key(index, params)
        keys = tuple(self.segment_key(index, each) for each in asked)
        inputs: Key = (self.segment_key(index, params), response_key, *keys)
        hints, told = self.hints(index), self.carried.get(index)
        if told is not None:
            response, hints = _leaning(response, told, params), beside(told.hints, hints, segments.clusters)
            inputs = (*inputs, content(response.maps))
        by_hand = None if hints is None else (digest(params.hints), content(hints))
        key = (*inputs, digest(params.fit, params.fit_params, params.finish), params.cam.gate, by_hand)
        place = ("fit", index)
        kept = self.cache.get(place)
        if kept is not None and kept.key == key:
            return kept.outcome
        partitions = self._partitions(index, image, asked, response_key, run)
        run.watch.stage("fit")
        start = time.perf_counter()
        outcome = gate_and_fit(
            response,
            segments.clusters,
            segments.simplified,
            image,
            params,
            self.grid.plane_spacing(index),
            hints=hints,
            partitions=partitions,
            memo=self._memo("fit", (*inputs, params.fit), run),
            cancelled=run.watch.cancelled,
        )
        run.seconds["fit"] += time.perf_counter() - start
        # Only the latest: a moving threshold must not push other slices out of the cache.
        self.cache.put(place, _Fitted(key, outcome))
        return outcome

    def _partitions(
        self,
        index: PlaneIndex,
        image: NDArray[np.float32],
        asked: tuple[RefitParams, ...],
        response_key: Key,
        run: Run,
    ) -> tuple[Partition, ...]:
        if not asked:
            return ()
        from napari_refit.fit.types import Partition

        found = []
        for number, each in enumerate(asked):
            run.watch.check()
            scope = (self.segment_key(index, each), response_key)
            memo = self._memo(f"partition {number}", scope, run)
            found.append(Partition(self.partition(index, image, each, run), memo))
        return tuple(found)

    def seconds_expected(self, index: PlaneIndex, params: RefitParams, pixels: int) -> float | None:
        """What the plane will take, going by this machine's own measurements; None if that is not known."""
        expected = 0.0
        for number, each in enumerate(params.partitions() or (params,)):
            if self.cache.get(self.segment_key(index, each)) is None:
                kind = _partition_kind(each) if number else self._kind(index, each)
                found = self.pace.predict("clusters", kind, pixels)
                if found is None:
                    return None
                expected += found
        if self.source is not None and self.cache.get(self.response_key(index, params)) is None:
            found = self.pace.predict("response", _response_kind(params), pixels)
            if found is None:
                return None
            expected += found
        return expected

    def segment_key(self, index: PlaneIndex, params: RefitParams) -> Key:
        """Under which a plane's clusters are cached."""
        return ("clusters", index, digest(params.intensity, params.segmenter, params.segmenter_params))

    def response_key(self, index: PlaneIndex, params: RefitParams) -> Key:
        """Under which a plane's response maps are cached."""
        cam = params.cam.model_copy(update={"gate": "off", "batch_size": 1})
        fed = self.fed(index)
        simplified = cam.cam_input == "simplified"
        segment_key = tuple(self.segment_key(each, params) for each in fed) if simplified else ()
        return ("response", fed, self._source_version, digest(cam, params.intensity, segment_key))

    def _memo(self, stage: str, scope: Key, run: Run) -> Memo:
        """Preparations are kept for the plane that the user is at, and for no other."""
        return self.cache.memo(("prepared", stage), scope) if run.prepares else forgetful

    def _cached(self, key: Key, run: Run, compute: Callable[[], Any]) -> Any:
        found = self.cache.get(key)
        if found is None:
            start = time.perf_counter()
            found = compute()
            run.seconds[str(key[0])] += time.perf_counter() - start
            self.cache.put(key, found)
        return found

    def _kind(self, index: PlaneIndex, params: RefitParams) -> str:
        """What made the segmenter run: another slice, or which of its parameters."""
        before, group = self._clustered, params.segmenter_params
        if before is None or before[:2] != (index, params.segmenter):
            return f"{params.segmenter} slice"
        moved = [
            name for name in type(group).model_fields if getattr(group, name) != getattr(before[2], name)
        ]
        return f"{params.segmenter} {' '.join(moved) or 'slice'}"

    def _limits(self, params: RefitParams) -> IntensityRange:
        intensity = params.intensity
        if intensity.mode == "percentile" and intensity.scope == "slice":
            return IntensityRange(0.0, 0.0)
        key = (
            intensity.mode,
            intensity.low_percentile,
            intensity.high_percentile,
            intensity.window_level,
            intensity.window_width,
        )
        if self._range is None or key != self._range_key:
            self._range, self._range_key = measure_range(self.grid.planes.array, intensity), key
        return self._range

    def _cam_input(self, index: PlaneIndex, params: RefitParams, run: Run) -> NDArray[np.float32]:
        shown = [self._classifier_sees(each, params, run) for each in self.fed(index)]
        if len(shown) > 1:
            return np.stack(shown, axis=-1)
        source = self.source
        return shown[0] if source is None else picked_channels(shown[0], source.channels, source.modalities)

    def _classifier_sees(self, index: PlaneIndex, params: RefitParams, run: Run) -> NDArray[np.float32]:
        image = self.image(index, params, run)
        if params.cam.cam_input == "image":
            return image
        return self.segments(index, image, params, run).simplified


def _partition_kind(params: RefitParams) -> str:
    return f"{params.segmenter} partition {getattr(params.segmenter_params, 'n_segments', '')}".strip()


def _leaning(response: PlaneResponse, told: Carried, params: RefitParams) -> PlaneResponse:
    """The response as it leans towards the masks of the planes beside it."""
    fit = params.fit_params
    # What speaks neither for nor against a class.
    level = float(getattr(fit, "start", getattr(fit, "threshold", 0.5)))
    trust = params.propagation.trust
    return replace(response, maps=told.leaning(response.maps, response.class_numbers, trust, level))


def _response_kind(params: RefitParams) -> str:
    cam = params.cam
    return f"{cam.method} {cam.smoothing} {cam.scales}"
