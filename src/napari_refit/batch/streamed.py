"""A volume that does not fit into memory: refined, scored and written slab by slab."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.batch.memory import BYTES_PER_SCORED_VOXEL
from napari_refit.errors import ReadError
from napari_refit.fitting import threshold_maps
from napari_refit.io.pieces import FileArray
from napari_refit.io.read import check_usable, load
from napari_refit.io.streaming import streamed
from napari_refit.io.volume import Volume
from napari_refit.job import Job
from napari_refit.metrics.evaluation import Distances, scores_of
from napari_refit.metrics.overlap import PooledScores
from napari_refit.metrics.surface import boundary_distances
from napari_refit.pipeline import Progress, Refit
from napari_refit.recipe import RefitParams
from napari_refit.refining import Refined, check_grid, describe
from napari_refit.results import VolumeResult
from napari_refit.scoring import ThresholdCounts, matching_classes

UNMEASURED = "surface distances need more memory than --memory allows and are left out"


class Scratch:
    """Files of one case that are gone when it ends; a broken run's are removed by the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: list[Path] = []

    def path(self) -> Path:
        """A name for a new file, as `napari_refit.batch.files` knows leftovers."""
        self._paths.append(self.folder / f".refit-{secrets.token_hex(6)}.raw")
        return self._paths[-1]

    def opened(self, path: Path) -> Volume:
        """A volume whose voxels stay in its file.

        Raises
        ------
        ReadError
            If they cannot.
        """
        found = streamed(load(path), self.path())
        if found is None:
            raise ReadError(path, "cannot be read piece by piece; raise --memory or convert it to .nii.gz")
        return found

    def zeros(self, refit: Refit, axis: int) -> Callable[[tuple[int, ...], Any], Any]:
        """What makes arrays for `napari_refit.pipeline.Refit.volume`: in files, one slice after the other."""
        grid = refit.grid
        shown = next(grid.planes.stack(grid.order.index(axis)))
        cut = [grid.order[place] for place, _ in shown]
        order = (*cut, *(own for own in grid.order if own not in cut))

        def make(shape: tuple[int, ...], dtype: Any) -> FileArray:
            lead = len(shape) - len(order)
            places = (*range(lead), *(lead + own for own in order))
            return FileArray.make(self.path(), shape, np.dtype(dtype), places)

        return make

    def clear(self) -> None:
        """Remove all files."""
        for path in self._paths:
            with suppress(OSError):
                path.unlink()


@contextmanager
def scratch_files(folder: Path) -> Iterator[Scratch]:
    """Files beside the results that are gone when the block ends."""
    scratch = Scratch(folder)
    try:
        yield scratch
    finally:
        scratch.clear()


def refine_streamed(
    job: Job,
    params: RefitParams,
    scratch: Scratch,
    *,
    device: str | None,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
    cache_bytes: int,
    checksums: Mapping[str, str],
    memory: int,
) -> Refined:
    """As `napari_refit.refining.refine_job`, slab by slab; masks and responses stay in files.

    Parameters
    ----------
    scratch : Scratch
        Where they go.
    memory : int
        Bytes that measuring distances may take.
    job, params, device, progress, cancelled, cache_bytes, checksums
        As there.
    """
    volume = scratch.opened(job.image)
    truth = None if job.truth is None else _on_grid(job.truth, volume, "ground truth", scratch)
    response = None
    if job.response is not None:
        response = _on_grid(job.response, volume, "response map", scratch, channels=True)
    warning = check_usable(volume)
    refit = Refit(
        volume, job.model, params, device=device, modalities=job.modalities, cache_bytes=cache_bytes
    )
    if response is not None:
        refit.use_response(response, name=str(job.response))
    axis = refit.slice_axis()
    result = refit.volume(
        progress, cancelled, keep_response=truth is not None, zeros=scratch.zeros(refit, axis)
    )
    report = {**describe(job, params, refit, result, warning), **checksums}
    if truth is not None:
        scores = _Scores(refit, axis, result, truth, memory)
        report["metrics"] = scores.rows()
        if scores.left_out:
            report["warning"] = "; ".join(filter(None, (warning, UNMEASURED)))
    return Refined(volume, refit, result, truth, report)


def _on_grid(path: Path, volume: Volume, what: str, scratch: Scratch, *, channels: bool = False) -> FileArray:
    other = scratch.opened(path)
    check_grid(other, volume, what, channels)
    data: Any = other.data
    array: FileArray = data
    if array.shape in (volume.shape, (array.shape[0], *volume.shape)):
        return array
    return array.transpose([array.ndim - 1, *range(array.ndim - 1)])


class _Scores:
    """Metrics of a volume that is seen plane by plane, the same as `napari_refit.scoring.score_rows` gives."""

    def __init__(self, refit: Refit, axis: int, result: VolumeResult, truth: FileArray, memory: int) -> None:
        self.grid, self.memory, self.numbers = refit.grid, memory, result.class_numbers
        self.spacing = refit.spacing
        self.indices = list(self.grid.planes.stack(self.grid.order.index(axis)))
        self.truth, self.result = truth, result
        self.left_out = False

    def rows(self) -> dict[str, dict[str, Any]]:
        """Metrics of each row."""
        result = self.result
        shown = {"cam": self.grid.displayed(result.cam_mask), "refined": self.grid.displayed(result.mask)}
        response = None if result.response is None else self.grid.displayed(result.response, 1)
        threshold = None
        if response is not None:
            counts = ThresholdCounts(self.numbers)
            for where, truth in self._truths():
                counts.add(response[(slice(None), *where)], truth)
            threshold = counts.best()

        def blank(where: Any) -> NDArray[Any]:
            return np.zeros_like(shown["refined"][where])

        def best(where: Any) -> NDArray[Any]:
            assert response is not None
            assert threshold is not None
            return threshold_maps(response[(slice(None), *where)], self.numbers, threshold)

        rows = {"blank": self._row(blank), "cam": self._row(shown["cam"].__getitem__)}
        if threshold is not None:
            rows["cam_best_threshold"] = {**self._row(best), "threshold": threshold}
        rows["refined"] = self._row(shown["refined"].__getitem__)
        return rows

    def _truths(self) -> Iterator[tuple[Any, NDArray[Any]]]:
        shown = self.grid.displayed(self.truth)
        for index in self.indices:
            where = self.grid.planes.slices(index)
            yield where, matching_classes(shown[where], self.numbers)

    def _row(self, plane_of: Callable[[Any], NDArray[Any]]) -> dict[str, Any]:
        pooled = PooledScores(self.numbers)
        boxes = {number: _Box() for number in self.numbers}
        for where, truth in self._truths():
            mask = plane_of(where)
            pooled.add(mask, truth)
            for number, box in boxes.items():
                box.add(where, (mask == number) | (truth == number))

        def distances(number: int) -> Distances | None:
            return self._distances(plane_of, number, boxes[number])

        return scores_of(pooled, distances)

    def _distances(self, plane_of: Callable[[Any], NDArray[Any]], number: int, box: _Box) -> Distances | None:
        """Between the boundaries, in the box that both lie in: what is outside changes nothing."""
        if self.spacing is None:
            return None
        lengths = [high - low for low, high in box.limits] or [0] * len(self.spacing)
        if math.prod(lengths) * BYTES_PER_SCORED_VOXEL > self.memory:
            self.left_out = True
            return None
        both = np.zeros((2, *lengths), bool)
        if both.size:
            for where, truth in self._truths():
                inside = box.inside(where)
                if inside is not None:
                    for k, plane in enumerate((plane_of(where), truth)):
                        both[(k, *inside)] = plane[box.shown(where)] == number
        mask, truth = self.grid.restored(both, 1)
        return boundary_distances(mask, truth, self.spacing)


class _Box:
    """The smallest box around all that was added."""

    def __init__(self) -> None:
        self.limits: list[tuple[int, int]] = []

    def add(self, where: tuple[Any, ...], plane: NDArray[np.bool_]) -> None:
        """Add a plane at its place."""
        if not plane.any():
            return
        shown = iter(
            [np.flatnonzero(plane.any(axis=other)) for other in (1, 0)],
        )
        spans = []
        for at in where:
            used = None if isinstance(at, int) else next(shown)
            spans.append((at, at + 1) if used is None else (int(used[0]), int(used[-1]) + 1))
        old = self.limits or spans
        self.limits = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(old, spans, strict=True)]

    def inside(self, where: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The place of a plane within the box; None if it lies outside."""
        place = []
        for at, (low, high) in zip(where, self.limits, strict=True):
            if isinstance(at, int) and not low <= at < high:
                return None
            place.append(at - low if isinstance(at, int) else slice(None))
        return tuple(place)

    def shown(self, where: tuple[Any, ...]) -> tuple[slice, ...]:
        """What of a plane lies within."""
        return tuple(
            slice(*span) for at, span in zip(where, self.limits, strict=True) if not isinstance(at, int)
        )
