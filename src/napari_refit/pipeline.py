"""`Refit`: the stages as one graph with a cache per stage, for one slice or a whole volume."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.cache import StageCache
from napari_refit.image_grid import ImageGrid
from napari_refit.intensity import IntensityRange, measure_range, normalise
from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams, digest
from napari_refit.responses import ClassifierResponse, OutsideResponse, PlaneResponse, ResponseSource
from napari_refit.results import SliceResult, VolumeResult
from napari_refit.segmenting import Segments, segment
from napari_refit.watch import Watch

__all__ = ["Refit", "SliceResult", "VolumeResult"]

Progress = Callable[[int, int, str], None]
CACHE_BYTES = 1 << 30


class Refit:
    """The live pipeline, image -> clusters -> response maps -> mask; stages cached by slice and parameters.

    Parameters
    ----------
    volume : array-like, Volume or path
        2-D image, 3-D volume or more axes; a channel axis comes last. Arrays may be lazy (dask, zarr).
    model : optional
        What `napari_refit.cam.classifier.load_classifier` takes: a checkpoint, a torchvision name, a module.
    params : RefitParams, optional
        Assigning to ``.params`` later reruns only what changed.
    spacing : sequence of float, optional
        mm per step of each axis (channels left out); a `Volume` brings its own.
    device : str, optional
        "cpu", "cuda", "mps"; the fastest there is when left out.
    response : array-like, optional
        Response maps from outside, on the image's grid, instead of a model.
    rgb : bool, optional
        Whether the last axis holds channels; guessed from the shape when left out.
    cache_bytes : int
        Byte budget of the stage cache.

    Raises
    ------
    ValueError
        For an image with fewer than two axes or an axis of length 0, a spacing or response that does not fit.

    Notes
    -----
    A `Volume` is presented to the stages as it is displayed (a NIfTI's axial slice: rows along y, columns along
    x), so that a file gives the same here and in napari. Results come back in the file's order.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((32, 32)); image[8:24, 8:24] = 1
    >>> result = Refit(image, response=image, params=RefitParams(n_segments=16, sigma=0)).slice(0)
    >>> int(result.mask.sum())
    256
    """

    def __init__(
        self,
        volume: Any,
        model: Any = None,
        params: RefitParams | None = None,
        *,
        spacing: Sequence[float] | None = None,
        device: str | None = None,
        response: Any = None,
        rgb: bool | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.params = params if params is not None else RefitParams()
        self.device = device
        self._cache = StageCache(cache_bytes)
        self._range_key: tuple[object, ...] = ()
        self._range: IntensityRange | None = None
        self.grid = ImageGrid(volume, spacing, rgb)
        self._source: ResponseSource | None = None
        self._source_version = 0
        if response is not None:
            self.use_response(response)
        elif model is not None:
            self.use_model(model)

    @property
    def n_axes(self) -> int:
        """Axes of the image without channels."""
        return self.grid.n_axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image without channels, in its own order."""
        return self.grid.shape

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """mm per step of each axis, in the image's own order."""
        return self.grid.spacing

    def use_model(self, model: Any) -> None:
        """Take response maps from a classifier from now on; it is loaded at first use."""
        self._use(ClassifierResponse(model, self.device))

    def use_response(self, response: Any, name: str = "array") -> None:
        """Take response maps from an array on the image's grid: one, or one per class on a first axis."""
        values = response if hasattr(response, "shape") else np.asarray(response)
        leading = len(values.shape) - self.grid.n_axes
        if leading in (0, 1):
            values = self.grid.displayed(values, leading)
        self._use(OutsideResponse(values, self.grid.planes.shape, name))

    def use_nothing(self) -> None:
        """Clusters and edges only."""
        self._use(None)

    def _use(self, source: ResponseSource | None) -> None:
        self._source = source
        self._source_version += 1

    @property
    def classifier(self) -> Any:
        """The loaded classifier, or None where the response comes from elsewhere."""
        return self._source.classifier if isinstance(self._source, ClassifierResponse) else None

    def describe(self) -> dict[str, Any]:
        """What a result's sidecar says: parameters in use, source of the response, program version."""
        from napari_refit import __version__

        return {
            "program": "napari-refit",
            "version": __version__,
            "parameters": self.params.model_dump(mode="json"),
            **(self._source.describe() if self._source is not None else {}),
        }

    def slice(
        self, index: int | Sequence[int] = 0, axis: int | Sequence[int] = 0, **watch: Any
    ) -> SliceResult:
        """Refine one slice.

        Parameters
        ----------
        index : int or sequence of int
            Position on ``axis``. Images with more than three axes take one position per axis that is cut.
        axis : int or sequence of int
            Which axis is cut, in the image's own order; negative counts from the end.
        **watch
            See `Watch`.

        Returns
        -------
        SliceResult
            H and W are the two axes left over, in the image's own order.

        Raises
        ------
        IndexError
            If the slice is outside the volume.
        """
        if self.n_axes == 2:
            if index not in (0, -1, (), []):
                raise IndexError(f"slice {index} of a 2-D image, which has one slice")
            return self.plane({}, **watch)
        positions = (index,) if isinstance(index, int | np.integer) else tuple(index)
        axes = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
        if len(positions) != len(axes):
            raise ValueError(f"{len(positions)} positions for {len(axes)} axes")
        for one in axes:
            if not -self.n_axes <= one < self.n_axes:
                raise ValueError(f"axis {one} is not one of the image's {self.n_axes} axes")
        return self.plane(
            {int(a) % self.n_axes: int(p) for a, p in zip(axes, positions, strict=True)}, **watch
        )

    def plane(self, positions: Mapping[int, int], **watch: Any) -> SliceResult:
        """Refine the plane at these positions (axis to position on every axis that is cut)."""
        index = self.grid.index(positions)
        return self.grid.turned(index, self._plane(index, Watch(**watch)))

    def displayed_plane(self, positions: Mapping[int, int], **watch: Any) -> SliceResult:
        """The same as `plane`, but with H and W as the image is displayed."""
        return self._plane(self.grid.index(positions), Watch(**watch))

    def _plane(self, index: PlaneIndex, watch: Watch, response: PlaneResponse | None = None) -> SliceResult:
        params = self.params
        seconds = {"image": 0.0, "clusters": 0.0, "response": 0.0, "fit": 0.0}
        image = self._image(index, params, seconds)
        segments = self._segments(index, image, params, watch, seconds)
        if response is None and self._source is not None:
            response = self._responses([index], params, watch, seconds)[0]
        return self._fit(index, image, segments, response, params, watch, seconds)

    def _cached(self, key: tuple[object, ...], seconds: dict[str, float], compute: Callable[[], Any]) -> Any:
        found = self._cache.get(key)
        if found is None:
            start = time.perf_counter()
            found = compute()
            seconds[str(key[0])] += time.perf_counter() - start
            self._cache.put(key, found)
        return found

    def _image(
        self, index: PlaneIndex, params: RefitParams, seconds: dict[str, float]
    ) -> NDArray[np.float32]:
        def compute() -> NDArray[np.float32]:
            return normalise(self.grid.planes.read(index), self._limits(params), params.intensity)

        return self._cached(("image", index, digest(params.intensity)), seconds, compute)

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

    def _segment_key(self, index: PlaneIndex, params: RefitParams) -> tuple[object, ...]:
        return ("clusters", index, digest(params.intensity, params.segmenter, params.segmenter_params))

    def _segments(
        self,
        index: PlaneIndex,
        image: NDArray[np.float32],
        params: RefitParams,
        watch: Watch,
        seconds: dict[str, float],
    ) -> Segments:
        def compute() -> Segments:
            watch.stage("clusters")
            return segment(image, params, watch, self.device)

        return self._cached(self._segment_key(index, params), seconds, compute)

    def _responses(
        self, indices: Sequence[PlaneIndex], params: RefitParams, watch: Watch, seconds: dict[str, float]
    ) -> list[PlaneResponse]:
        """Response maps of planes; those that the cache lacks are computed in one batch."""
        source = self._source
        if source is None:
            raise ValueError("there is no classifier and no response map; give a model or a response")
        cam = params.cam.model_copy(update={"gate": "off", "batch_size": 1})
        keys: list[tuple[object, ...]] = []
        for index in indices:
            segment_key = self._segment_key(index, params) if cam.cam_input == "simplified" else ()
            parts = digest(cam, params.intensity, segment_key)
            keys.append(("response", index, self._source_version, parts))
        found = [self._cache.get(key) for key in keys]
        missing = [k for k, response in enumerate(found) if response is None]
        if missing:
            inputs = [self._cam_input(indices[k], params, watch, seconds) for k in missing]
            watch.stage("response")
            start = time.perf_counter()
            new = source.respond([indices[k] for k in missing], inputs, params.cam, watch.cancelled)
            seconds["response"] += time.perf_counter() - start
            for k, response in zip(missing, new, strict=True):
                self._cache.put(keys[k], response)
                found[k] = response
        return found

    def _cam_input(
        self, index: PlaneIndex, params: RefitParams, watch: Watch, seconds: dict[str, float]
    ) -> NDArray[np.float32]:
        image = self._image(index, params, seconds)
        if params.cam.cam_input == "image":
            return image
        return self._segments(index, image, params, watch, seconds).simplified

    def _fit(
        self,
        index: PlaneIndex,
        image: NDArray[np.float32],
        segments: Segments,
        response: PlaneResponse | None,
        params: RefitParams,
        watch: Watch,
        seconds: dict[str, float],
    ) -> SliceResult:
        empty = np.zeros(segments.clusters.shape, np.uint8)
        unfitted = SliceResult(
            image=image,
            clusters=segments.clusters,
            edges=segments.edges,
            simplified=segments.simplified,
            response=None,
            fitted=None,
            mask=empty,
            cam_mask=empty,
            seconds=seconds,
            message="Choose a classifier or a response map to get a mask.",
        )
        if response is None:
            return unfitted
        from napari_refit.fitting import gate_and_fit

        watch.stage("fit")
        start = time.perf_counter()
        outcome = gate_and_fit(
            response,
            segments.clusters,
            segments.simplified,
            image,
            params,
            self.grid.plane_spacing(index),
        )
        seconds["fit"] += time.perf_counter() - start
        return replace(
            unfitted,
            response=response.maps,
            fitted=outcome.fitted,
            mask=outcome.mask,
            cam_mask=outcome.cam_mask,
            classes=response.classes,
            class_numbers=response.class_numbers,
            logits=response.logits,
            probabilities=response.probabilities,
            all_classes=response.all_classes,
            predicted=response.predicted,
            evidence=response.evidence,
            message=outcome.message,
        )

    def slice_axis(self) -> int:
        """The axis along which ``params.axis`` cuts the volume, in the image's own order."""
        if self.params.axis == "auto":
            return self.grid.coarsest_axis()
        axis = int(self.params.axis)
        if axis >= self.n_axes:
            raise ValueError(f"axis = {axis}: the image has {self.n_axes} axes")
        return axis

    def volume(
        self,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        *,
        axis: int | None = None,
        keep_response: bool = False,
        on_slice: Callable[[dict[int, int], SliceResult], None] | None = None,
    ) -> VolumeResult:
        """Refine every slice.

        Parameters
        ----------
        progress : callable, optional
            ``progress(done, total, text)`` after each slice.
        cancelled : callable, optional
            Asked often; True raises `napari_refit.errors.Cancelled`.
        axis : int, optional
            Slice axis, in the image's own order; `slice_axis` when left out.
        keep_response : bool
            Whether the result holds the gated response maps of the whole volume.
        on_slice : callable, optional
            Given the positions on the axes that are cut and the result of each slice as it is finished.

        Returns
        -------
        VolumeResult

        Raises
        ------
        ValueError
            If there is neither a model nor a response map.
        """
        from napari_refit.sweep import Sweep

        axis = self.slice_axis() if axis is None else axis % self.n_axes
        return Sweep(self, axis, progress, cancelled, keep_response, on_slice).run()
