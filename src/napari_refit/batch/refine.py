"""Refine one case and write its result: picture, labels, and the sidecar last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_refit.batch.cases import Case
from napari_refit.batch.memory import plan_of
from napari_refit.batch.record import shown_path
from napari_refit.batch.streamed import refine_streamed, scratch_files
from napari_refit.batch.thumbnails import write_thumbnail
from napari_refit.errors import one_line
from napari_refit.io._atomic import flush_folder
from napari_refit.io.pieces import FileArray
from napari_refit.io.sidecar import file_checksum, plain, sidecar_path, write_sidecar
from napari_refit.io.streaming import write_labels
from napari_refit.io.write import save
from napari_refit.job import Job
from napari_refit.pipeline import Progress
from napari_refit.recipe import RefitParams
from napari_refit.refining import Refined, refine_job

if TYPE_CHECKING:
    from napari_refit.batch.one import Work

THUMBNAILS = "thumbnails"


def refine_and_write(
    case: Case,
    params: RefitParams,
    work: Work,
    wanted: Mapping[str, Any],
    classifier: Any,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> dict[str, Any]:
    """Refine one case; what its sidecar says is returned.

    The labels are there whole or not at all, and count only with a sidecar that says what they were made of. So an
    old sidecar goes before new labels come, and the new one comes last.
    """
    job = Job(
        case.image,
        case.output,
        model=classifier,
        response=case.response,
        truth=case.truth,
        modalities=work.recipe.modalities,
    )
    plan = plan_of(job, params, work.memory)
    checksums = {name: value for name, value in wanted.items() if name.endswith("_checksum")}
    watched: dict[str, Any] = {"device": work.recipe.device, "progress": progress, "cancelled": cancelled}
    work.out.make_parent(case.output)
    with scratch_files(case.output.parent) as scratch:
        if plan.streamed:
            refined = refine_streamed(
                job,
                params,
                scratch,
                **watched,
                cache_bytes=plan.cache_bytes,
                checksums=checksums,
                memory=plan.room,
            )
        else:
            refined = refine_job(job, params, **watched, cache_bytes=plan.cache_bytes, checksums=checksums)
        return _write(case, work, refined)


def _write(case: Case, work: Work, refined: Refined) -> dict[str, Any]:
    report = {**refined.report, **_of_this_place(case, work)}
    # What differs from run to run is in records.jsonl: the same inputs give the same sidecar, byte for byte.
    del report["seconds"]
    report["thumbnail"], trouble = _thumbnail(case, work, refined) if work.thumbnails else ("", "")
    if trouble:
        report["warning"] = "; ".join(filter(None, (report["warning"], trouble)))
    work.out.check()
    with suppress(FileNotFoundError):
        sidecar_path(case.output).unlink()
        flush_folder(case.output.parent)
    labels: Any = refined.result.mask
    if isinstance(labels, FileArray):
        write_labels(case.output, labels, refined.volume)
    else:
        save(case.output, labels, like=refined.volume, labels=True)
    report["labels_checksum"] = file_checksum(case.output)
    write_sidecar(case.output, report)
    written: dict[str, Any] = plain(report)
    return written


def _of_this_place(case: Case, work: Work) -> dict[str, Any]:
    """Paths as a sidecar of a batch names them."""
    files = {"image": case.image, "truth": case.truth, "response": case.response}
    named = {name: path.absolute().as_posix() for name, path in files.items() if path is not None}
    return {**named, "case": case.name, "output": shown_path(case.output, work.out.path)}


def _thumbnail(case: Case, work: Work, refined: Refined) -> tuple[str, str]:
    """Draw the picture of a case; its path below the output folder, and what went wrong."""
    name = f"{THUMBNAILS}/{case.name}.webp"
    work.out.make_parent(work.out.path / name)
    try:
        write_thumbnail(work.out.path / name, refined.refit, refined.result, refined.truth)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a picture is no reason to lose a result
        return "", f"no picture: {one_line(error)}"
    return name, ""
