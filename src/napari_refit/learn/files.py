"""A training that leaves files: the checkpoint, its report beside it, and until it is done the state to go on from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_refit.declare import Parameters
from napari_refit.errors import ReadError, WriteError
from napari_refit.io.sidecar import file_checksum, plain, sidecar_path, write_sidecar
from napari_refit.learn import scores
from napari_refit.learn.feeding import Progress
from napari_refit.learn.places import SUFFIX, first_parts, fold_path, round_paths, state_path, state_paths
from napari_refit.learn.reporting import Trained, TrainingResult, background_of
from napari_refit.learn.samples import Samples, Subset, list_checksum, presence
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split, fold_patients, split_patients
from napari_refit.learn.state import read_state
from napari_refit.learn.training import check_labels, train

if TYPE_CHECKING:
    from napari_refit.learn.fsss.pixels import PixelSamples

__all__ = [
    "SUFFIX",
    "Callbacks",
    "check_target",
    "fold_path",
    "leave_files",
    "resumed_params",
    "state_path",
    "train_to_file",
]

P = TypeVar("P", bound=Parameters)
T = TypeVar("T", bound=Trained)


@dataclass(frozen=True)
class Callbacks:
    """What a face wants to hear, and how it stops the work.

    Attributes
    ----------
    progress : callable, optional
        As of `napari_refit.learn.training.train`.
    cancelled : callable, optional
    on_epoch : callable, optional
        Called with the fold (0 without folds) and the row.
    """

    progress: Progress | None = None
    cancelled: Callable[[], bool] | None = None
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None


def resumed_params(out: Path, params: P, given: Sequence[str]) -> P:
    """Parameters of the unfinished training of ``out``, so that they need not be said again.

    Parameters
    ----------
    out : Path
    params : Parameters
        `TrainingParams`, or those of another kind of training.
    given : sequence of str
        Names of the parameters that were said; the others are taken from the state file.

    Returns
    -------
    Parameters
        ``params`` where there is no unfinished training.

    Raises
    ------
    ReadError
        If the state cannot be read, is of another kind of training, or was made with another value of what is given.
    """
    place = next((path for path in state_paths(out) if path.exists()), None)
    if place is not None:
        values = read_state(place).parameters
    else:
        done = [(path, report) for path in first_parts(out) if (report := finished_report(path)) is not None]
        if not done:
            return params
        place, values = sidecar_path(done[0][0]), done[0][1]["parameters"]
    try:
        before = type(params).model_validate(values)
    except ValidationError:
        raise ReadError(place, "is of another kind of training; start anew (--overwrite)") from None
    made, wanted = before.items(), params.items()
    for name in given:
        if made[name] != wanted[name]:
            raise ReadError(
                place,
                f"was made with {name} = {made[name]!r}, not {wanted[name]!r}: "
                "go on with the same, or start anew (--overwrite)",
            )
    return before


def train_to_file(
    samples: Samples,
    params: TrainingParams,
    out: Path,
    *,
    split: Split | None = None,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Callbacks | None = None,
) -> dict[str, Any]:
    """Train and write the checkpoint, or one checkpoint per fold.

    Parameters
    ----------
    samples : Samples
    params : TrainingParams
    out : Path
        ``.safetensors``. The report goes beside it, as ``.refit.json``; folds are called ``-fold1`` and so on.
    split : Split, optional
        Who is trained on and who is not; by default patients are split as ``params`` say. Not with folds.
    device : str, optional
    resume : bool
        Go on where an earlier training of ``out`` stopped, if there was one.
    overwrite : bool
        Replace files that are there.
    callbacks : Callbacks, optional

    Returns
    -------
    dict
        The report.

    Raises
    ------
    ValueError, ReadError, Cancelled
        As `napari_refit.learn.training.train`.
    WriteError
        If ``out`` cannot be written, is there already, or belongs to an unfinished training; before any work.
    """
    callbacks = callbacks or Callbacks()
    if split is not None and params.folds > 1:
        raise ValueError(f"folds = {params.folds} does not go with a split that is given; folds must be 1")
    check_target(out, params.folds, resume=resume, overwrite=overwrite)
    check_labels(samples)
    if params.folds > 1:
        return _train_folds(samples, params, out, device, resume, callbacks)
    if split is None:
        split = split_patients(samples, params.validation_share, params.test_share, params.seed)
    return _train_one(samples, params, out, split, 0, device, resume, callbacks)


def check_target(
    out: Path, folds: int, *, rounds: int = 1, resume: bool = False, overwrite: bool = False
) -> None:
    """Check, before any work, that the checkpoints of all folds or rounds can be written (see `train_to_file`).

    Raises
    ------
    ValueError
        If the name does not end in ``.safetensors``.
    WriteError
        With the file that is in the way.
    """
    if out.suffix.lower() != SUFFIX:
        raise ValueError(f"a checkpoint's name must end in {SUFFIX}, got {out.name!r}")
    if not out.parent.is_dir():
        raise WriteError(out, "the folder does not exist; create it or choose another")
    files = round_paths(out, rounds) if folds == 1 else [fold_path(out, k) for k in range(1, folds + 1)]
    if overwrite and not resume:
        return
    for path in files:
        if path.exists() and not (resume and (len(files) > 1 or state_path(path).exists())):
            raise WriteError(path, "is there already; allow overwriting (--overwrite) to replace it")
        if state_path(path).exists() and not resume:
            raise WriteError(
                path,
                f"belongs to a training that was stopped ({state_path(path).name}): "
                "go on with it (--resume), or start anew (--overwrite)",
            )


def _train_one(
    samples: Samples,
    params: TrainingParams,
    out: Path,
    split: Split,
    fold: int,
    device: str | None,
    resume: bool,
    callbacks: Callbacks,
) -> dict[str, Any]:
    def answer(result: TrainingResult, index: int) -> dict[str, Any]:
        return {"label": samples.labels[index].tolist(), "logits": result.logits[index].tolist()}

    work = partial(train, samples, params, device=device, split=split)
    return leave_files(work, samples, out, answer, resume=resume, callbacks=callbacks, fold=fold)


def leave_files(
    work: Callable[..., T],
    samples: Samples | PixelSamples,
    out: Path,
    answer: Callable[[T, int], dict[str, Any]],
    *,
    resume: bool,
    callbacks: Callbacks,
    fold: int | None = None,
    names: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train, and write the checkpoint and its report; until both are there, the state lies beside them.

    Parameters
    ----------
    work : callable
        Trains; called with ``state``, ``resume_from``, ``progress``, ``cancelled`` and ``on_epoch`` as of
        `napari_refit.learn.training.train`.
    samples : Samples or PixelSamples
        What it trains on.
    out : Path
        The checkpoint.
    answer : callable
        From the result and an image's number, what the report says of an image that was not trained on.
    resume : bool
        Go on from the state, if there is one.
    callbacks : Callbacks
    fold : int, optional
        Said in the report.
    names : dict, optional
        More that only the file of the report says.

    Returns
    -------
    dict
        The report, without what names images.
    """
    state, hear = state_path(out), callbacks.on_epoch
    result = work(
        state=state,
        resume_from=state if resume and state.exists() else None,
        progress=callbacks.progress,
        cancelled=callbacks.cancelled,
        on_epoch=None if hear is None else partial(hear, fold or 0),
    )
    result.save(out)
    numbered = {} if fold is None else {"fold": fold}
    report = {"checkpoint": str(out), "checksum": file_checksum(out), **numbered, **result.report}
    predictions = {
        part: [
            {"name": samples.names[index], "patient": samples.patients[index], **answer(result, index)}
            for index in indices
        ]
        for part, indices in result.split.untrained.items()
    }
    # Names of images are for the report, as a checkpoint may be shared.
    write_sidecar(out, {**report, **(names or {}), "predictions": predictions})
    # Only now: until the checkpoint and its report are there, the state is all there is.
    state.unlink(missing_ok=True)
    return report


def _train_folds(
    samples: Samples,
    params: TrainingParams,
    out: Path,
    device: str | None,
    resume: bool,
    callbacks: Callbacks,
) -> dict[str, Any]:
    """One training per fold, tested on the patients of the fold; then all answers together."""
    logits = np.full((len(samples), len(samples.classes)), np.nan)
    reports = []
    for fold, held_out in enumerate(fold_patients(samples, params.folds, params.seed), start=1):
        path = fold_path(out, fold)
        done = _finished(path, samples, params) if resume else None
        if done is None:
            if resume and path.exists() and not state_path(path).exists():
                raise WriteError(path, "was made with other parameters or images; start anew (--overwrite)")
            rest = np.setdiff1d(np.arange(len(samples)), held_out)
            inner = split_patients(Subset(samples, rest), params.validation_share, 0.0, params.seed)
            split = Split(rest[inner.training], rest[inner.validation], held_out)
            _train_one(samples, params, path, split, fold, device, resume, callbacks)
            done = _finished(path, samples, params)
        if done is None:
            raise ReadError(sidecar_path(path), "was changed while the folds were trained; start anew")
        report, answers = done
        logits[held_out] = [answers[samples.names[index]] for index in held_out]
        reports.append(
            {key: report[key] for key in ("checkpoint", "checksum", "fold", "epochs", "best_epoch", "test")}
        )
    shown = presence(samples)
    pooled = scores.report(
        logits,
        shown,
        samples.patients,
        samples.classes,
        background=background_of(samples, params.background),
        exclusive=samples.labels.ndim == 1,
        seed=params.seed,
    )
    summary = {"parameters": params.model_dump(), "folds": reports, "test": pooled}
    areas: NDArray[np.float64] = np.array([report["test"]["auroc"] for report in reports], dtype=float)
    summary["auroc_by_fold"] = areas.tolist()
    write_sidecar(out, summary)
    plain_summary: dict[str, Any] = plain(summary)
    return plain_summary


def _finished(
    path: Path, samples: Samples, params: TrainingParams
) -> tuple[dict[str, Any], dict[str, list[float]]] | None:
    """Report and test answers of a fold that is done, if it was made from the same images and parameters."""
    report = finished_report(path)
    if report is None or report["parameters"] != params.model_dump():
        return None
    if report["data"]["checksums"]["image list"] != list_checksum(samples):
        return None
    return report, {row["name"]: row["logits"] for row in report["predictions"]["test"]}


def finished_report(path: Path) -> dict[str, Any] | None:
    """The report of a finished checkpoint, if it is that of the file as it is now."""
    try:
        report: dict[str, Any] = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
        is_whole = {"parameters", "data", "predictions"} <= set(report)
        return report if is_whole and report["checksum"] == file_checksum(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
