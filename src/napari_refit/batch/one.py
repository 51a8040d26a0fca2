"""One case of a batch, from checking what is done already to its sidecar: what every worker runs."""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_refit import __version__
from napari_refit.batch.cases import Case
from napari_refit.batch.files import OutputFolder
from napari_refit.batch.record import Record, shown_path
from napari_refit.batch.standing import KEPT, Standing, standing
from napari_refit.errors import Cancelled, WriteError, naming, one_line
from napari_refit.pipeline import Progress
from napari_refit.recipe import RefitParams

EXPECTED = (OSError, ValueError, TypeError, MemoryError, IndexError)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN)
_MOST_MESSAGES = 20


@dataclass(frozen=True)
class Recipe:
    """How every case is refined.

    Attributes
    ----------
    params : RefitParams
    model : str, path, Classifier or None
        See `napari_refit.cam.classifier.load_classifier`; not needed where every case has a response map. A file's
        path or a torchvision name, where other processes work.
    arch : str or None
        Architecture of a .pt or .pth checkpoint.
    device : str or None
        "cpu", "cuda", "mps"; the fastest there is when left out.
    modalities : tuple of int
        What the classifier is fed (see `napari_refit.pipeline.Refit`).
    """

    params: RefitParams = field(default_factory=RefitParams)
    model: Any = None
    arch: str | None = None
    device: str | None = None
    modalities: tuple[int, ...] = ()


@dataclass(frozen=True)
class Work:
    """What a worker must know besides the case.

    Attributes
    ----------
    recipe : Recipe
    out : OutputFolder
    overwrite, thumbnails : bool
        See `napari_refit.batch.settings.BatchParams`.
    memory : int or None
        Most bytes of this worker's process; None: half of what is free.
    model_checksum : str or None
        Of the checkpoint's file, where the model is one.
    version : str
        Of the program that began the batch.
    """

    recipe: Recipe
    out: OutputFolder
    overwrite: bool = False
    thumbnails: bool = True
    memory: int | None = None
    model_checksum: str | None = None
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """What became of a case, and what of the whole run.

    Attributes
    ----------
    record : Record
    fatal : str
        Why no other case can go better, if so: the disk is full, the folder is lost, the checkpoint cannot be read.
    """

    record: Record
    fatal: str = ""


class ModelFault(Exception):
    """The classifier cannot be had: no case can be refined."""


def run_case(
    case: Case, work: Work, *, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None
) -> Outcome:
    """Refine one case, unless it is done already; whatever is wrong with its files ends up in its record.

    Parameters
    ----------
    case : Case
    work : Work
    progress : callable, optional
        ``progress(done, total, text)`` after each slice.
    cancelled : callable, optional
        Asked often; True leaves the case undone.
    """
    start = time.perf_counter()
    heard: list[warnings.WarningMessage] = []
    blank = Record(
        case.name, shown_path(case.image, work.out.path), shown_path(case.output, work.out.path), "failed"
    )
    try:
        with warnings.catch_warnings(record=True) as heard:
            # Every time: the second file with the same fault is to say so too.
            warnings.simplefilter("always")
            record = _run(case, work, blank, progress, cancelled)
    except Cancelled:
        return Outcome(replace(blank, state="cancelled", seconds=_since(start)))
    except ModelFault as error:
        return Outcome(replace(blank, error=one_line(error)), one_line(error))
    except Exception as error:
        text = (
            one_line(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {one_line(error)}"
        )
        record = replace(blank, error=naming(text, case.image))
        return Outcome(replace(record, seconds=_since(start)), _fatal(error, work))
    if record.state == "done":
        said = tuple(dict.fromkeys(one_line(str(item.message)) for item in heard if _is_ours(item)))
        record = replace(record, seconds=_since(start), messages=said + record.messages)
    return Outcome(record)


def _run(
    case: Case,
    work: Work,
    blank: Record,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> Record:
    from napari_refit.batch.refine import refine_and_write

    params = params_of(case, work.recipe)
    wanted = wanted_of(case, params, work)
    if not work.overwrite:
        found = standing(case, wanted)
        if found.state != "todo":
            return record_of(blank, found)
    work.out.check()
    classifier = None if case.response is not None else model_of(work.recipe)
    if classifier is None and case.response is None:
        raise ValueError(
            f"{case.image}: give a classifier (--model) or a response map (in a table: response)"
        )
    report = refine_and_write(case, params, work, wanted, classifier, progress, cancelled)
    return replace(record_of(blank, Standing("done", report)), state="done")


def params_of(case: Case, recipe: Recipe) -> RefitParams:
    """The parameters with the case's own classes."""
    return recipe.params.replace(**{"cam.classes": case.classes}) if case.classes else recipe.params


def wanted_of(case: Case, params: RefitParams, work: Work) -> dict[str, Any]:
    """What a sidecar must say for the result to be up to date.

    Raises
    ------
    ReadError
        If an input cannot be read.
    """
    from napari_refit import __version__
    from napari_refit.job import Job, input_checksums, parameters_checksum

    recipe = work.recipe
    job = Job(case.image, case.output, truth=case.truth, response=case.response)
    wanted: dict[str, Any] = {
        "program": "napari-refit",
        "version": __version__,
        "parameters_checksum": parameters_checksum(params),
        **input_checksums(job),
    }
    if case.response is None and recipe.model is not None:
        wanted["model_checksum"] = work.model_checksum or model_of(recipe).checksum
        wanted["modalities"] = list(recipe.modalities) or None
    return wanted


def record_of(blank: Record, found: Standing) -> Record:
    """The record of a result that is there, from its sidecar."""
    report = found.report
    messages = [report["warning"]] if report.get("warning") else []
    said = Counter(report.get("messages", {}).values()) if isinstance(report.get("messages"), Mapping) else {}
    for text, times in list(said.items())[:_MOST_MESSAGES]:
        messages.append(f"{times} slices: {text}" if times > 1 else text)
    if found.state == "kept":
        messages.insert(0, KEPT)
    ending = "_checksum"
    return replace(
        blank,
        state="skipped",
        metrics=report.get("metrics", {}),
        n_slices=int(report.get("n_slices", 0)),
        n_empty=int(report.get("n_empty", 0)),
        messages=tuple(messages),
        thumbnail=report.get("thumbnail", ""),
        checksums={
            name.removesuffix(ending): value
            for name, value in report.items()
            if name.endswith(ending) and isinstance(value, str)
        },
    )


_loaded: dict[tuple[Any, ...], Any] = {}


def model_of(recipe: Recipe) -> Any:
    """The recipe's classifier, loaded once per process; None if it names none.

    Raises
    ------
    ModelFault
        If it cannot be loaded.
    """
    if recipe.model is None:
        return None
    key = (
        str(recipe.model) if isinstance(recipe.model, str | Path) else id(recipe.model),
        recipe.arch,
        recipe.device,
    )
    if key not in _loaded:
        from napari_refit.cam.classifier import load_classifier
        from napari_refit.devices import torch_device

        try:
            found = load_classifier(recipe.model, arch=recipe.arch, device=torch_device(recipe.device))
        except Exception as error:
            raise ModelFault(naming(error, recipe.model)) from error
        _loaded.clear()
        _loaded[key] = found
    return _loaded[key]


def forget_model() -> None:
    """Let go of the classifier that `model_of` keeps."""
    _loaded.clear()


def _fatal(error: Exception, work: Work) -> str:
    with suppress(OSError):
        work.out.check()
        if isinstance(error, WriteError) and error.errno in _NO_SPACE:
            return one_line(error)
        return ""
    return f"{work.out.path}: the output folder is gone; bring it back and start again"


def _is_ours(item: warnings.WarningMessage) -> bool:
    """Whether a warning is for the user: what other libraries say to programmers is not."""
    from napari_refit.io._guard import ReadWarning

    return issubclass(item.category, ReadWarning) or f"{os.sep}napari_refit{os.sep}" in item.filename


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 4)
