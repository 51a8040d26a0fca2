"""Refine image files: load, check, run, score, save, with everything needed to rerun it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import ReadError, WriteError
from napari_refit.job import (
    Job,
    input_checksums,
    output_path,
    panels_path,
    parameters_checksum,
    unique_outputs,
)
from napari_refit.pipeline import CACHE_BYTES, Progress, Refit
from napari_refit.recipe import RefitParams
from napari_refit.results import VolumeResult

__all__ = [
    "Job",
    "Refined",
    "check_grid",
    "describe",
    "input_checksums",
    "output_path",
    "panels_path",
    "parameters_checksum",
    "refine_file",
    "refine_job",
    "same_grid",
    "unique_outputs",
    "write_report",
]


@dataclass(frozen=True)
class Refined:
    """A refined image that is not written yet.

    Attributes
    ----------
    volume : Volume
        The image.
    refit : Refit
        What refined it.
    result : VolumeResult
    truth : ndarray or None
        On the image's grid.
    report : dict
        What the sidecar will hold (see `refine_file`).
    """

    volume: Any
    refit: Refit
    result: VolumeResult
    truth: Any
    report: dict[str, Any]


def refine_file(
    job: Job,
    params: RefitParams,
    *,
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Refine one image and save the labels on its own grid, with a sidecar beside them.

    Parameters
    ----------
    job : Job
    params : RefitParams
    device : str, optional
        "cpu", "cuda", "mps"; the fastest there is when left out.
    overwrite : bool
        Whether files that are there may be replaced.
    progress, cancelled : callable, optional
        See `napari_refit.pipeline.Refit.volume`.

    Returns
    -------
    dict
        What the sidecar holds: parameters, checksums, version, seconds, messages, and with a truth the metrics.

    Raises
    ------
    ReadError
        If a file cannot be read or does not fit the image's grid.
    WriteError
        If the output is there already or cannot be written.
    ValueError
        If there is neither a model nor a response.
    """
    from napari_refit.io.sidecar import file_checksum, write_sidecar
    from napari_refit.io.write import save

    if not overwrite:
        _refuse_overwriting(job)
    start = time.perf_counter()
    refined = refine_job(job, params, device=device, progress=progress, cancelled=cancelled)
    report = refined.report
    save(job.output, refined.result.mask, like=refined.volume, overwrite=overwrite, labels=True)
    report["labels_checksum"] = file_checksum(job.output)
    report["seconds"]["all"] = round(time.perf_counter() - start, 4)
    write_sidecar(job.output, report)
    if job.panels is not None:
        _draw(job.panels, refined.refit, refined.result.mask, refined.truth, report)
    return report


def refine_job(
    job: Job,
    params: RefitParams,
    *,
    device: str | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    cache_bytes: int = CACHE_BYTES,
    checksums: Mapping[str, str] | None = None,
) -> Refined:
    """Read, check, refine and score one image; nothing is written.

    Parameters
    ----------
    cache_bytes : int
        See `napari_refit.pipeline.Refit`.
    checksums : mapping, optional
        What `input_checksums` returns, where that is known.
    job, params, device, progress, cancelled
        See `refine_file`.

    Raises
    ------
    ReadError
        If a file cannot be read or does not fit the image's grid.
    ValueError
        If there is neither a model nor a response.
    """
    from napari_refit.io.read import check_usable, load

    if job.model is None and job.response is None:
        raise ValueError(f"{job.image}: give a classifier (--model) or a response map (--response)")
    volume = load(job.image)
    truth = None if job.truth is None else same_grid(job.truth, volume, "ground truth")
    response = None if job.response is None else same_grid(job.response, volume, "response map", True)
    hints = None if job.hints is None else same_grid(job.hints, volume, "hint layer")
    accepted = None if job.accepted is None else same_grid(job.accepted, volume, "accepted labels")
    warning = check_usable(volume)
    refit = Refit(
        volume, job.model, params, device=device, modalities=job.modalities, cache_bytes=cache_bytes
    )
    if response is not None:
        refit.use_response(response, name=str(job.response))
    refit.use_hints(hints)
    result = refit.volume(progress, cancelled, keep_response=truth is not None)
    carried: dict[str, Any] = {}
    if job.accepted is not None and accepted is not None:
        from napari_refit.propagating import carry_on

        positions, within = (
            (job.accepted_slices, {})
            if job.accepted_slices
            else _accepted_slices(job.accepted, refit.slice_axis())
        )
        result, carried = carry_on(
            refit, result, accepted, positions, within=within, progress=progress, cancelled=cancelled
        )
    found = input_checksums(job) if checksums is None else checksums
    report = {**describe(job, params, refit, result, warning), **found, **carried}
    if truth is not None:
        from napari_refit.scoring import score_rows

        report["metrics"] = score_rows(result, truth, refit.spacing)
    return Refined(volume, refit, result, truth, report)


def describe(
    job: Job, params: RefitParams, refit: Refit, result: VolumeResult, warning: str
) -> dict[str, Any]:
    """What a sidecar says of a result, but for its metrics and the checksums of its inputs."""
    report = {
        "image": str(job.image),
        "output": str(job.output),
        **refit.describe(),
        "parameters_checksum": parameters_checksum(params),
        "classes": dict(zip(result.classes, result.class_numbers, strict=True)),
        "slice_axis": refit.slice_axis() if refit.n_axes > 2 else None,
        "n_slices": result.n_slices,
        "n_empty": result.n_empty,
        "n_negative": result.n_negative,
        "warning": warning,
        "messages": result.messages,
        "uncertainty": {at: round(value, 4) for at, value in result.uncertainty.items()},
        "seconds": {stage: round(spent, 4) for stage, spent in result.seconds.items()},
    }
    if job.truth is not None:
        report["truth"] = str(job.truth)
    return report


def write_report(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON report through a temporary file.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    from napari_refit.io._atomic import atomic_path
    from napari_refit.io.sidecar import plain

    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _refuse_overwriting(job: Job) -> None:
    for path in (job.output, job.panels):
        if path is not None and path.exists():
            raise WriteError(
                path, "is there already; add --overwrite to replace it, or choose another folder"
            )


def same_grid(path: Path, volume: Any, what: str, channels: bool = False) -> Any:
    """Another file's data on the image's grid; a response map may bring a class axis first or last."""
    from napari_refit.io.read import load

    other = load(path)
    check_grid(other, volume, what, channels)
    grid = _grid(volume)
    data = np.asarray(other.data)
    if tuple(data.shape) == grid:
        return data
    if not channels:
        # A mask saved as a colour picture: any colour channel marks the object.
        return data[..., :3].max(axis=-1)
    return data if data.shape[1:] == grid else np.moveaxis(data, -1, 0)


def check_grid(other: Any, volume: Any, what: str, channels: bool = False) -> None:
    """Check from the headers that another file lies on the image's grid.

    Parameters
    ----------
    other, volume : Volume
    what : str
        What the other one is called.
    channels : bool
        Whether it may bring a class axis, first or last.

    Raises
    ------
    ReadError
        If it does not.
    """
    from napari_refit.io.volume import grid_difference

    grid = _grid(volume)
    shape = tuple(other.shape)
    if shape != grid and "c" in other.axes and not channels:
        shape = shape[:-1]
    fits = shape == grid or (channels and (shape[1:] == grid or shape[:-1] == grid))
    if not fits:
        raise ReadError(
            other.path, f"the {what} has shape {shape}, but {volume.path} has {grid}; give one on its grid"
        )
    if len(grid) == len(other.spatial_shape) == 3:
        apart = grid_difference(volume, other)
        if apart is not None:
            raise ReadError(
                other.path,
                f"the {what} does not lie on the grid of {volume.path}: {apart}; resample it to that",
            )


def _grid(volume: Any) -> tuple[int, ...]:
    """Shape of an image without its channels."""
    return tuple(volume.shape[: len(volume.shape) - ("c" in volume.axes)])


def _accepted_slices(path: Path, axis: int) -> tuple[tuple[int, ...], dict[int, int]]:
    """The slices that the dock's sidecar says the user accepted, and where they are on further axes.

    Raises
    ------
    ReadError
        If there is no such sidecar, or it speaks of another slice axis.
    """
    from napari_refit.io.sidecar import sidecar_path

    beside = sidecar_path(path)
    try:
        known = json.loads(beside.read_text(encoding="utf-8"))
        found = tuple(int(position) for position in known["accepted_slices"])
        along = int(known["slice_axis"])
        within = {int(other): int(position) for other, position in known.get("within", {}).items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadError(
            path, f"which slices are accepted is not in {beside.name}; name them with --accepted-slices"
        ) from error
    if along != axis:
        raise ReadError(
            path, f"its slices were accepted along axis {along}, not {axis}; add --set axis={along}"
        )
    return found, within


def _draw(path: Path, refit: Refit, mask: Any, truth: Any, report: dict[str, Any]) -> None:
    from napari_refit.panels import choose_slices, draw_panels

    caption = _caption(report)
    if refit.n_axes == 2:
        shown_truth = None if truth is None else refit.grid.displayed_cut(truth, {})
        draw_panels(path, [refit.displayed_plane({})], [Path(report["image"]).name], [shown_truth], caption)
        return
    axis = refit.slice_axis()
    extra = [other for other in range(refit.n_axes) if other not in refit.grid.spatial_axes]
    first = tuple(0 if other in extra else slice(None) for other in range(refit.n_axes))
    shown = axis - sum(other < axis for other in extra)
    results, titles, truths = [], [], []
    for position in choose_slices(mask[first], None if truth is None else truth[first], shown):
        cut = {axis: position, **dict.fromkeys(extra, 0)}
        results.append(refit.displayed_plane(cut))
        truths.append(None if truth is None else refit.grid.displayed_cut(truth, cut))
        titles.append(f"slice {position}")
    draw_panels(path, results, titles, truths, caption)


def _caption(report: dict[str, Any]) -> str:
    rows = report.get("metrics")
    if not rows:
        return ""
    names = {
        "blank": "blank",
        "cam": "CAM",
        "cam_best_threshold": "CAM, best threshold",
        "refined": "refined",
    }
    parts = [f"{names[row]} {rows[row]['dice']:.3f}" for row in names if row in rows]
    return "foreground DSC of the volume: " + "   ".join(parts)
