"""Refine image files: load, check, run, score, save, with everything needed to rerun it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import ReadError, WriteError
from napari_refit.pipeline import Progress, Refit
from napari_refit.recipe import RefitParams

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff", ".npy")
LOSSLESS = {".nhdr": ".nrrd", ".mhd": ".mha"}


@dataclass(frozen=True)
class Job:
    """One image to refine.

    Attributes
    ----------
    image, output : pathlib.Path
        What to read, and where the refined labels go.
    model : str or path or None
        The classifier; see `napari_refit.cam.classifier.load_classifier`.
    response, truth : path or None
        A response map instead of a classifier; a reference mask to score against.
    panels : path or None
        Where a picture of a few slices goes.
    modalities : tuple of int
        What the classifier is fed (see `napari_refit.pipeline.Refit`).
    hints : path or None
        Labels of what the user insists on (see `napari_refit.pipeline.Refit.use_hints`).
    accepted : path or None
        Labels of which some slices are right; they are kept, and carried on (see `Refit.propagate`).
    accepted_slices : tuple of int
        Their positions on the slice axis; empty: those that the sidecar of ``accepted`` names.
    """

    image: Path
    output: Path
    model: Any = None
    response: Path | None = None
    truth: Path | None = None
    panels: Path | None = None
    modalities: tuple[int, ...] = ()
    hints: Path | None = None
    accepted: Path | None = None
    accepted_slices: tuple[int, ...] = ()


def output_path(image: Path, folder: Path) -> Path:
    """Where the refined labels of an image go: ``<name>_refined`` with the image's own type where that is lossless.

    Examples
    --------
    >>> output_path(Path("scans/a.nii.gz"), Path("out")).as_posix()
    'out/a_refined.nii.gz'
    >>> output_path(Path("photo.jpg"), Path("out")).as_posix()
    'out/photo_refined.png'
    """
    lower = image.name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix):
            stem = image.name[: -len(suffix)]
            return folder / f"{stem}_refined{LOSSLESS.get(suffix, suffix)}"
    if image.is_dir():
        return folder / f"{image.resolve().name}_refined.nii.gz"
    return folder / f"{image.stem}_refined.png"


def panels_path(output: Path) -> Path:
    """Where the picture of refined labels goes.

    Examples
    --------
    >>> panels_path(Path("out/a_refined.nii.gz")).name
    'a_panels.png'
    """
    from napari_refit.io.formats import split_name

    return output.with_name(split_name(output)[0].removesuffix("_refined") + "_panels.png")


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
    from napari_refit.io.read import check_usable, load
    from napari_refit.io.sidecar import file_checksum, write_sidecar
    from napari_refit.io.write import save

    if job.model is None and job.response is None:
        raise ValueError(f"{job.image}: give a classifier (--model) or a response map (--response)")
    if not overwrite:
        _refuse_overwriting(job)
    volume = load(job.image)
    truth = None if job.truth is None else _same_grid(job.truth, volume, "ground truth")
    response = None if job.response is None else _same_grid(job.response, volume, "response map", True)
    hints = None if job.hints is None else _same_grid(job.hints, volume, "hint layer")
    accepted = None if job.accepted is None else _same_grid(job.accepted, volume, "accepted labels")
    warning = check_usable(volume)
    refit = Refit(volume, job.model, params, device=device, modalities=job.modalities)
    if response is not None:
        refit.use_response(response, name=str(job.response))
    refit.use_hints(hints)
    start = time.perf_counter()
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
        carried["accepted_checksum"] = file_checksum(job.accepted)
    report: dict[str, Any] = {
        "image": str(job.image),
        "output": str(job.output),
        **refit.describe(),
        "image_checksum": file_checksum(job.image),
        "classes": dict(zip(result.classes, result.class_numbers, strict=True)),
        "slice_axis": refit.slice_axis() if refit.n_axes > 2 else None,
        "n_slices": result.n_slices,
        "n_empty": result.n_empty,
        "n_negative": result.n_negative,
        "warning": warning,
        "messages": result.messages,
        "uncertainty": {at: round(value, 4) for at, value in result.uncertainty.items()},
        **carried,
        "seconds": {stage: round(spent, 4) for stage, spent in result.seconds.items()},
    }
    if job.response is not None:
        report["response_checksum"] = file_checksum(job.response)
    if job.hints is not None:
        report["hints_checksum"] = file_checksum(job.hints)
    if truth is not None:
        from napari_refit.scoring import score_rows

        spacing = refit.spacing
        report["truth"] = str(job.truth)
        report["metrics"] = score_rows(result, truth, spacing)
    save(job.output, result.mask, like=volume, overwrite=overwrite, labels=True)
    report["seconds"]["all"] = round(time.perf_counter() - start, 4)
    write_sidecar(job.output, report)
    if job.panels is not None:
        _draw(job.panels, refit, result.mask, truth, report)
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


def unique_outputs(jobs: Iterable[Job]) -> None:
    """Refuse a run in which two images would write the same file.

    Raises
    ------
    ValueError
        That names both images.
    """
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.output in seen:
            raise ValueError(
                f"{seen[job.output]} and {job.image} would both write {job.output}; use two folders"
            )
        seen[job.output] = job.image


def _refuse_overwriting(job: Job) -> None:
    for path in (job.output, job.panels):
        if path is not None and path.exists():
            raise WriteError(
                path, "is there already; add --overwrite to replace it, or choose another folder"
            )


def _same_grid(path: Path, volume: Any, what: str, channels: bool = False) -> Any:
    """Another file's data on the image's grid; a response map may bring a class axis first or last."""
    from napari_refit.io.read import load
    from napari_refit.io.volume import grid_difference

    other = load(path)
    n_axes = len(volume.shape) - ("c" in volume.axes)
    grid = tuple(volume.shape[:n_axes])
    shape = tuple(other.shape)
    if shape != grid and "c" in other.axes and not channels:
        shape = shape[:-1]
    fits = shape == grid or (channels and (shape[1:] == grid or shape[:-1] == grid))
    if not fits:
        raise ReadError(
            path, f"the {what} has shape {shape}, but {volume.path} has {grid}; give one on its grid"
        )
    if len(grid) == len(other.spatial_shape) == 3:
        apart = grid_difference(volume, other)
        if apart is not None:
            raise ReadError(
                path, f"the {what} does not lie on the grid of {volume.path}: {apart}; resample it to that"
            )
    data = np.asarray(other.data)
    if tuple(data.shape) == grid:
        return data
    if not channels:
        # A mask saved as a colour picture: any colour channel marks the object.
        return data[..., :3].max(axis=-1)
    return data if data.shape[1:] == grid else np.moveaxis(data, -1, 0)


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
