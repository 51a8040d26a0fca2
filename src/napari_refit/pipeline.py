"""`Refit`: the stages as one graph with a cache per stage, for one slice or a whole volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_refit.cache import StageCache, array_bytes
from napari_refit.image_grid import ImageGrid
from napari_refit.plane import refine_plane
from napari_refit.planes import PlaneIndex, Planes
from napari_refit.recipe import RefitParams
from napari_refit.responses import ClassifierResponse, OutsideResponse
from napari_refit.results import SliceResult, VolumeResult
from napari_refit.stages import Run, Stages
from napari_refit.watch import Watch

if TYPE_CHECKING:
    from napari_refit.fit.carrying import Carried
    from napari_refit.propagating import Propagation

__all__ = ["Refit", "SliceResult", "VolumeResult"]

Progress = Callable[[int, int, str], None]
CACHE_BYTES = 512 << 20


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
    modalities : sequence of int
        For a classifier of several modalities: their positions on the image's modality axis (or among its
        channels), in the order that it was taught; empty: all.
    hints : array-like, optional
        See `use_hints`.
    modality_axis : int, optional
        That axis; found by its length when left out (see `napari_refit.modalities.fed_planes`).

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
        modalities: Sequence[int] = (),
        modality_axis: int | None = None,
        hints: Any = None,
    ) -> None:
        self.params = params if params is not None else RefitParams()
        self.device = device
        self.grid = ImageGrid(volume, spacing, rgb, modality_axis)
        self.stages = Stages(self.grid, StageCache(cache_bytes), device)
        if response is not None:
            self.use_response(response)
        elif model is not None:
            self.use_model(model, modalities)
        if hints is not None:
            self.use_hints(hints)

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

    def use_model(self, model: Any, modalities: Sequence[int] = ()) -> None:
        """Take response maps from a classifier from now on; it is loaded at first use."""
        self.stages.use(ClassifierResponse(model, self.device, modalities))

    def use_response(self, response: Any, name: str = "array") -> None:
        """Take response maps from an array on the image's grid: one, or one per class on a first axis."""
        values = response if hasattr(response, "shape") else np.asarray(response)
        leading = len(values.shape) - self.grid.n_axes
        if leading in (0, 1):
            values = self.grid.displayed(values, leading)
        self.stages.use(OutsideResponse(values, self.grid.planes.shape, name))

    def use_hints(self, hints: Any) -> None:
        """What the user insists on, as hard seeds of the fit; None: nothing.

        Parameters
        ----------
        hints : array-like of int or None
            On the image's grid: 0 nothing, a class number, or `napari_refit.fit.hints.BACKGROUND_HINT` (255) for what
            belongs to no class. It is read whenever a plane is refined and may change in between.

        Raises
        ------
        ValueError
            If the grid differs from the image's, or the values are no whole numbers.
        """
        if hints is None:
            self.stages.use_hints(None)
            return
        values = hints if hasattr(hints, "shape") else np.asarray(hints)
        if tuple(values.shape) != self.shape or np.dtype(values.dtype).kind not in "iu":
            raise ValueError(
                f"hints must be whole numbers of the image's shape {self.shape}, "
                f"got {values.dtype} of shape {tuple(values.shape)}"
            )
        self.stages.use_hints(Planes(self.grid.displayed(values)))

    def use_carried(self, carried: Mapping[PlaneIndex, Carried]) -> None:
        """Tell slices what a propagation told them (`Propagation.carried`); an empty mapping: nothing."""
        self.stages.carried = carried

    def use_nothing(self) -> None:
        """Clusters and edges only."""
        self.stages.use(None)

    @property
    def classifier(self) -> Any:
        """The loaded classifier, or None where the response comes from elsewhere."""
        source = self.stages.source
        return source.classifier if isinstance(source, ClassifierResponse) else None

    def describe(self) -> dict[str, Any]:
        """What a result's sidecar says: parameters in use, source of the response, program version."""
        from napari_refit import __version__

        return {
            "program": "napari-refit",
            "version": __version__,
            "parameters": self.params.model_dump(mode="json"),
            **(self.stages.source.describe() if self.stages.source is not None else {}),
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
        on_coarse = watch.pop("on_coarse", None)
        if on_coarse is not None:
            watch["on_coarse"] = lambda found: on_coarse(self.grid.turned(index, found))
        return self.grid.turned(index, refine_plane(self.stages, index, self.params, Run(Watch(**watch))))

    def displayed_plane(self, positions: Mapping[int, int], **watch: Any) -> SliceResult:
        """The same as `plane`, but with H and W as the image is displayed."""
        return refine_plane(self.stages, self.grid.index(positions), self.params, Run(Watch(**watch)))

    def prefetch(
        self, positions: Sequence[Mapping[int, int]], cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Compute planes that may be wanted next, as far as half of the cache holds them.

        Parameters
        ----------
        positions : sequence of mapping
            As `plane` takes them, the likeliest first. Response maps are computed in batches.
        cancelled : callable, optional
            Asked often; True raises `napari_refit.errors.Cancelled`.

        Returns
        -------
        int
            How many planes are ready now.
        """
        indices = [self.grid.index(each) for each in positions]
        if not indices:
            return 0
        run = Run(Watch(cancelled=cancelled), prepares=False)
        # The likeliest by itself: it is ready soonest, and shows how much a plane takes.
        n_bytes = array_bytes(refine_plane(self.stages, indices[0], self.params, run))
        for each in self.params.partitions()[1:]:
            n_bytes += array_bytes(self.stages.cache.get(self.stages.segment_key(indices[0], each)))
        indices = indices[: max(1, self.stages.cache.budget // 2 // n_bytes)]
        batch = self.params.cam.batch_size
        for first in range(1, len(indices), batch):
            group = indices[first : first + batch]
            has_source = self.stages.source is not None
            responses = self.stages.responses(group, self.params, run) if has_source else [None] * len(group)
            for index, response in zip(group, responses, strict=True):
                refine_plane(self.stages, index, self.params, run, response)
        return len(indices)

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
        zeros: Callable[[tuple[int, ...], Any], Any] = np.zeros,
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
        zeros : callable
            Makes the arrays that masks and responses are gathered in, from a shape and a dtype: in memory, or such
            as stay in a file (`napari_refit.io.pieces.FileArray`).

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
        return Sweep(self, axis, progress, cancelled, keep_response, on_slice, zeros).run()

    def propagate(
        self,
        labels: Any,
        accepted: Sequence[int],
        *,
        axis: int | None = None,
        within: Mapping[int, int] | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        on_slice: Callable[[dict[int, int], SliceResult], None] | None = None,
    ) -> Propagation:
        """Carry accepted slices and hints to the slices beside them, one after the other until the object ends.

        Parameters
        ----------
        labels : array-like of unsigned int
            Class numbers on the image's grid; only the accepted slices are read.
        accepted : sequence of int
            Positions of the slices that are right as they are. They are never written.
        axis : int, optional
            Slice axis, in the image's own order; `slice_axis` when left out.
        within : mapping of int to int, optional
            Position on each further axis (time, say) of an image of more than three; 0 where it is left out.
        progress, cancelled : callable, optional
            See `volume`.
        on_slice : callable, optional
            Given the positions and the result of each slice as it is finished.

        Returns
        -------
        Propagation

        Raises
        ------
        ValueError
            If the image is 2-D, the labels are not on its grid, or there is no response.
        IndexError
            If an accepted slice is outside the volume.

        Examples
        --------
        >>> import numpy as np
        >>> image = np.zeros((4, 32, 32)); image[:3, 8:24, 8:24] = 1
        >>> refit = Refit(image, response=image * 0.3, params=RefitParams(n_segments=16, sigma=0, trust=1))
        >>> truth = (image > 0).astype(np.uint8)
        >>> found = refit.propagate(truth, [0])
        >>> [int(found.masks[k].sum()) for k in sorted(found.masks)], found.ends
        ([256, 256], {2: 'nothing is sure on the next slice'})
        """
        from napari_refit.propagating import Spreading

        labels = labels if hasattr(labels, "shape") else np.asarray(labels)
        if tuple(labels.shape) != self.shape or np.dtype(labels.dtype).kind not in "iu":
            raise ValueError(
                f"labels must be whole numbers of the image's shape {self.shape}, "
                f"got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if self.n_axes == 2:
            raise ValueError("a 2-D image has no slices to carry a mask to")
        axis = self.slice_axis() if axis is None else axis % self.n_axes
        spreading = Spreading(self, labels, accepted, axis, within or {}, progress, cancelled, on_slice)
        return spreading.run()
