"""What a batch would do, and what is wrong with what, without doing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from napari_refit.batch.cases import Case, Problem
from napari_refit.batch.files import OutputFolder
from napari_refit.batch.memory import plan_of, share_of
from napari_refit.batch.one import Recipe, Work, model_of, params_of, wanted_of
from napari_refit.batch.settings import BatchParams
from napari_refit.batch.standing import KEPT, standing
from napari_refit.errors import one_line
from napari_refit.io.sidecar import sidecar_path
from napari_refit.job import Job

Action = Literal["refine", "again", "skip", "keep", "fail"]


@dataclass(frozen=True)
class Expected:
    """What would become of a case.

    Attributes
    ----------
    case : Case
    action : {"refine", "again", "skip", "keep", "fail"}
        again: there is a result, made of other inputs or with other parameters (or everything is made again); skip:
        done already; keep: labels that were changed by hand.
    text : str
        What is wrong, or why.
    """

    case: Case
    action: Action
    text: str = ""


def check_cases(
    cases: Sequence[Case],
    recipe: Recipe,
    out: OutputFolder,
    params: BatchParams,
    *,
    model_checksum: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Expected]:
    """Look at headers and grids of all files, and at what is done already; nothing is written.

    Parameters
    ----------
    cases, recipe, params
        As `napari_refit.batch.run.run_batch` takes them.
    out : OutputFolder
    model_checksum : str, optional
        Of the checkpoint's file.
    progress : callable, optional
        ``progress(done, total, text)``.
    """
    work = Work(recipe, out, params.overwrite, params.thumbnails, share_of(params), model_checksum)
    expected = []
    for k, case in enumerate(cases):
        if progress is not None:
            progress(k, len(cases), case.name)
        try:
            expected.append(_expected(case, work))
        except Exception as error:  # whatever a damaged file makes a library raise
            expected.append(Expected(case, "fail", one_line(error)))
    return expected


def problems_of(expected: Sequence[Expected]) -> list[Problem]:
    """Those that would fail."""
    return [Problem(item.case.name, item.case.image, item.text) for item in expected if item.action == "fail"]


def _expected(case: Case, work: Work) -> Expected:
    from napari_refit.io.read import load
    from napari_refit.refining import check_grid

    recipe, params = work.recipe, params_of(case, work.recipe)
    if case.response is None and recipe.model is None:
        raise ValueError(
            f"{case.image}: give a classifier (--model) or a response map (in a table: response)"
        )
    there = sidecar_path(case.output).exists() and case.output.exists()
    if there and not work.overwrite:
        found = standing(case, wanted_of(case, params, work))
        if found.state != "todo":
            return Expected(case, *_STANDING[found.state])
    volume = load(case.image)
    others: list[tuple[Any, str, bool]] = [
        (case.truth, "ground truth", False),
        (case.response, "response map", True),
    ]
    for path, what, channels in others:
        if path is not None:
            check_grid(load(path), volume, what, channels)
    if case.response is None and case.classes:
        model_of(recipe).class_indices(case.classes)
    plan = plan_of(
        Job(case.image, case.output, response=case.response, truth=case.truth), params, work.memory
    )
    return Expected(case, "again" if there else "refine", plan.text)


_STANDING: dict[str, tuple[Action, str]] = {
    "done": ("skip", "is done already with the same inputs and parameters"),
    "kept": ("keep", KEPT),
}
