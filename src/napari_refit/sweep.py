"""Whole volumes, slice by slice, with response maps computed in batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_refit.doubt import slice_uncertainties
from napari_refit.fit.uncertainty import Belief
from napari_refit.plane import refine_plane
from napari_refit.results import SliceResult, VolumeResult, slice_name
from napari_refit.stages import Run
from napari_refit.watch import Watch

if TYPE_CHECKING:
    from napari_refit.pipeline import Progress, Refit


class Sweep:
    """One run over every plane of ``refit`` along ``axis`` (see `Refit.volume` for the rest)."""

    def __init__(
        self,
        refit: Refit,
        axis: int,
        progress: Progress | None,
        cancelled: Callable[[], bool] | None,
        keep_response: bool,
        on_slice: Callable[[dict[int, int], SliceResult], None] | None,
        zeros: Callable[[tuple[int, ...], Any], Any] = np.zeros,
    ) -> None:
        self.refit, self.axis = refit, axis
        self.planes = refit.grid.planes
        self.indices = list(self.planes.stack(refit.grid.order.index(axis)))
        self.progress = progress
        self.watch = Watch(cancelled=cancelled)
        self.keep_response = keep_response
        self.on_slice = on_slice
        self.zeros = zeros
        self.mask: Any = None
        self.cam_mask: Any = None
        self.response: Any = None
        self.messages: dict[str, str] = {}
        self.beliefs: dict[str, Belief] = {}
        self.seconds: dict[str, float] = {"image": 0.0, "clusters": 0.0, "response": 0.0, "fit": 0.0}
        self.n_empty = self.n_negative = self.n_done = 0
        self.last: SliceResult | None = None

    def run(self) -> VolumeResult:
        """Refine every plane."""
        start = time.perf_counter()
        params, stages = self.refit.params, self.refit.stages
        batch = params.cam.batch_size
        for first in range(0, len(self.indices), batch):
            group = self.indices[first : first + batch]
            run = Run(self.watch, prepares=False)
            responses = stages.responses(group, params, run)
            self._add(run.seconds)
            for index, response in zip(group, responses, strict=True):
                run = Run(self.watch, prepares=False)
                self._take(index, refine_plane(stages, index, params, run, response))
        self.seconds["total"] = time.perf_counter() - start
        last = self.last
        assert last is not None
        return VolumeResult(
            mask=self.mask,
            cam_mask=self.cam_mask,
            response=self.response,
            classes=last.classes,
            class_numbers=last.class_numbers,
            messages=self.messages,
            uncertainty=slice_uncertainties(self.refit.grid, self.axis, self.mask, self.beliefs),
            beliefs=self.beliefs,
            seconds=self.seconds,
            n_slices=len(self.indices),
            n_empty=self.n_empty,
            n_negative=self.n_negative,
        )

    def _take(self, index: Any, result: SliceResult) -> None:
        if self.mask is None:
            shape = self.refit.shape
            self.mask = self.zeros(shape, result.mask.dtype)
            self.cam_mask = self.zeros(shape, result.mask.dtype)
            if self.keep_response and result.response is not None:
                self.response = self.zeros((len(result.response), *shape), np.float16)
        # Written through views in display order: no second copy of the volume is ever made.
        where, grid = self.planes.slices(index), self.refit.grid
        grid.displayed(self.mask)[where] = result.mask
        grid.displayed(self.cam_mask)[where] = result.cam_mask
        closed = self.refit.params.cam.gate == "positive" and not any(result.predicted)
        if self.response is not None and result.response is not None:
            open_classes = np.array(result.predicted) | (self.refit.params.cam.gate == "off")
            grid.displayed(self.response, 1)[(slice(None), *where)] = (
                result.response * open_classes[:, None, None]
            )
        positions = self.refit.grid.positions(index)
        if result.message:
            self.messages[slice_name(positions)] = result.message
        if result.belief is not None:
            self.beliefs[slice_name(positions)] = result.belief
        self.n_negative += closed and not result.mask.any()
        self.n_empty += not result.mask.any()
        self._add(result.seconds)
        self.n_done += 1
        self.last = result
        if self.on_slice is not None:
            self.on_slice(positions, self.refit.grid.turned(index, result))
        if self.progress is not None:
            self.progress(self.n_done, len(self.indices), "refining slices")

    def _add(self, seconds: dict[str, float]) -> None:
        for stage, spent in seconds.items():
            self.seconds[stage] += spent
