"""``napari-refit tune``: its options are made from the declarations of `napari_refit.tune.settings`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_refit.cli_shared import (
    Device,
    Json,
    UsageFault,
    WorkFailed,
    chosen_modalities,
    chosen_params,
    complain,
    first_line,
    parameter,
    print_json,
    progress,
    say,
)
from napari_refit.declare import Declaration, declarations
from napari_refit.errors import Cancelled
from napari_refit.tune.settings import TuneParams

if TYPE_CHECKING:
    from napari_refit.recipe import RefitParams
    from napari_refit.tune.images import TuneImage
    from napari_refit.tune.space import Range
    from napari_refit.tune.trials import Trial, TuneResult

_SHOWN_IMPORTANCES = 8


def tune(
    sources: list[Path],
    out: Path,
    model: str | None = None,
    arch: str | None = None,
    response: Path | None = None,
    truth: Path | None = None,
    masks: Path | None = None,
    layout: str | None = None,
    image_pattern: str | None = None,
    mask_pattern: str | None = None,
    preparation: str = "default",
    split: Path | None = None,
    fold: int = 1,
    modalities: str = "",
    param: list[str] | None = None,
    range_: list[str] | None = None,
    preset: str | None = None,
    params: Path | None = None,
    set_: list[str] | None = None,
    device: str | None = None,
    as_json: bool = False,
    **options: Any,
) -> None:
    """Search for the parameters that suit images best, and write them down for refine.

    Of a dataset only training and validation cases are looked at. The study is a file: the same command goes on with
    it, and a second process that is given the same joins in.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = TuneParams(**given)
    except ValueError as error:
        raise UsageFault(first_line(error)) from error
    base = chosen_params(preset, params, set_ or [])
    space = _space(base, param or [], range_ or [])

    from napari_refit.tune.note import write_results
    from napari_refit.tune.run import tune as search
    from napari_refit.tune.sources import Sources, find_images
    from napari_refit.tune.study_file import check_name, load_optuna

    load_optuna()
    named = Sources(
        tuple(sources),
        model,
        arch,
        response,
        truth,
        masks,
        layout,
        image_pattern,
        mask_pattern,
        preparation,
        split,
        fold,
        chosen_modalities(modalities),
        device,
    )
    try:
        check_name(out)
        with progress(quiet=as_json) as shown:
            images = find_images(named, settings, base, shown)
            if not as_json:
                say(_plan(images, space, settings))
            result = search(
                images,
                base,
                space,
                settings,
                study=out,
                progress=shown,
                on_trial=None if as_json else _teller(out),
            )
    except ValueError as error:
        raise UsageFault(first_line(error)) from error
    except (KeyboardInterrupt, Cancelled):
        complain("stopped; the same command goes on from here")
        raise WorkFailed from None
    files = write_results(out, result)
    if as_json:
        print_json({**_summary(result), "study": str(out), "files": files})
    else:
        _print_result(result, files)
    if result.best is None:
        reasons = [trial.error for trial in result.trials if trial.error]
        complain(f"no trial came to an end{f': {reasons[0]}' if reasons else ''}")
        raise WorkFailed
    if result.stopped == "stopped":
        complain("stopped; the same command goes on from here")
        raise WorkFailed


def _plan(images: Sequence[TuneImage], space: Sequence[Range], settings: TuneParams) -> str:
    patients = len({image.patient for image in images})
    names = ", ".join(each.key for each in space)
    if settings.sampler == "grid":
        from napari_refit.tune.samplers import grid_size

        count = f"a grid of {grid_size(space, settings.levels)} trials"
    else:
        count = f"{settings.trials} trials"
    return f"{count} over {names}; {len(images)} images of {patients} patients or files"


def _space(base: RefitParams, keys: Sequence[str], ranges: Sequence[str]) -> list[Range]:
    from napari_refit.tune.space import check_space, default_space, parse_range

    for text in ranges:
        if "=" not in text:
            raise UsageFault(f"--range {text}: write key=low:high, key=low:high:step or key=a,b")
    for key in keys:
        if "=" in key:
            raise UsageFault(f"--param {key}: a key alone; a range is given by --range")
    try:
        space = [parse_range(text, base) for text in (*keys, *ranges)]
        space = space or default_space(base)
        check_space(space, base)
    except ValueError as error:
        raise UsageFault(str(error)) from error
    return space


def _teller(study: Path) -> Callable[[Trial], None]:
    """Say each trial that is better than all before, those of earlier runs included."""
    from napari_refit.tune.run import read_trials
    from napari_refit.tune.trials import best_of

    known = best_of(read_trials(study)) if study.exists() else None
    best = float("-inf") if known is None or known.score is None else known.score

    def tell(trial: Trial) -> None:
        nonlocal best
        if trial.score is None or trial.score <= best:
            return
        best = trial.score
        say(f"trial {trial.number}: {trial.score:.4f}, the best so far; {_values(trial)}")

    return tell


def _values(trial: Trial) -> str:
    from napari_refit.tune.space import as_text

    return " ".join(f"{key}={as_text(value)}" for key, value in trial.values.items())


def _summary(result: TuneResult) -> dict[str, Any]:
    from napari_refit.tune.note import score_at_start

    states = [trial.state for trial in result.trials]
    best = result.best
    return {
        "objective": result.objective,
        "best": None if best is None else {"number": best.number, "score": best.score, "values": best.values},
        "score_at_start": score_at_start(result),
        "trials": {state: states.count(state) for state in ("done", "pruned", "failed", "running")},
        "importances": result.importances,
        "stage_runs": {
            stage: {"run": run, "saved": saved} for stage, (run, saved) in result.stage_runs.items()
        },
        "images": result.images,
        "stopped": result.stopped,
        "seconds": round(result.seconds, 3),
    }


def _print_result(result: TuneResult, files: dict[str, Path]) -> None:
    from napari_refit.tune.objective import OBJECTIVES

    summary = _summary(result)
    counts = ", ".join(f"{count} {state}" for state, count in summary["trials"].items() if count)
    print(f"{len(result.trials)} trials ({counts}) on {len(result.images)} images, {result.seconds:.0f} s")
    if result.stopped not in ("", "stopped"):
        print(f"Ended early: {result.stopped}; the same command goes on.")
    if result.best is not None and result.best.score is not None:
        start = summary["score_at_start"]
        before = "" if start is None else f"; with the parameters it began with {start:.4f}"
        title = OBJECTIVES[result.objective].title
        print(f"Best: {result.best.score:.4f} ({title}) in trial {result.best.number}{before}")
        print(f"  {_values(result.best)}")
    ranked = sorted(result.importances.items(), key=lambda item: -item[1])[:_SHOWN_IMPORTANCES]
    if ranked:
        print(f"What mattered: {', '.join(f'{key} {share:.0%}' for key, share in ranked)}")
    runs = ", ".join(f"{stage} {run} ({saved} saved)" for stage, (run, saved) in result.stage_runs.items())
    print(f"Stage runs: {runs}")
    if "best" in files:
        print(f"See {files['trials']}; for refine: --params {files['best']}")


def _parameters() -> list[inspect.Parameter]:
    """The command's options: its own, and those of every parameter of a search."""

    def text(about: str) -> Any:
        return Annotated[str | None, typer.Option(help=about)]

    def path(about: str) -> Any:
        return Annotated[Path | None, typer.Option(help=about)]

    def several(option: str, about: str) -> Any:
        return Annotated[list[str] | None, typer.Option(option, help=about)]

    return [
        parameter(
            "sources",
            Annotated[
                list[Path], typer.Argument(help="A dataset, a folder of images, or images and volumes.")
            ],
        ),
        parameter(
            "out",
            Annotated[
                Path, typer.Option(help="The study: a file, .db (SQLite) or .journal; results lie beside it.")
            ],
        ),
        parameter("model", text("Classifier, as of refine."), None),
        parameter("arch", text("Architecture of a .pt or .pth checkpoint."), None),
        parameter("response", path("Response map of one image, instead of a classifier."), None),
        parameter("truth", path("Reference mask of one image."), None),
        parameter("masks", path("Folder of reference masks that have the images' names."), None),
        parameter("layout", text("Dataset by name; left out: recognised."), None),
        parameter("image_pattern", text("Of a dataset of your own, e.g. {patient}/{case}_t2.nii.gz."), None),
        parameter("mask_pattern", text("Likewise, e.g. {patient}/{case}_seg.nii.gz."), None),
        parameter(
            "preparation", Annotated[str, typer.Option(help="Of a dataset, such as paper.")], "default"
        ),
        parameter("split", path("Split (JSON) of the dataset; left out: that of evaluate."), None),
        parameter(
            "fold",
            Annotated[int, typer.Option(help="Whose training and validation cases, from 1.")],
            1,
        ),
        parameter(
            "modalities",
            Annotated[str, typer.Option(help="For a classifier of several modalities, as of refine.")],
            "",
        ),
        parameter(
            "param",
            several("--param", "Tune this parameter within its declared range; repeatable."),
            None,
        ),
        parameter(
            "range_",
            several(
                "--range",
                "Tune this parameter, key=low:high, key=low:high:step, or key=a,b for choices; repeatable. Without any "
                "--param and --range: the numbers of the segmenter and the fit in use.",
            ),
            None,
        ),
        parameter("preset", text("What is not tuned: named parameters; see 'presets'."), None),
        parameter("params", path("The same from a JSON file."), None),
        parameter("set_", several("--set", "One of these, key=value; repeatable."), None),
        *(parameter(item.name, _option(item), None) for item in declarations(TuneParams)),
        parameter("device", Device, None),
        parameter("as_json", Json, False),
    ]


def _option(item: Declaration) -> Any:
    name = item.name.replace("_", "-")
    default = str(item.default).lower() if item.kind == "bool" else f"{item.default}"
    if item.kind == "bool":
        return Annotated[
            bool | None, typer.Option(f"--{name}/--no-{name}", help=f"{item.help} (default {default})")
        ]
    kind = {"int": int, "float": float}.get(item.kind, str)
    unit = f" {item.unit}" if item.unit else ""
    span = f"{item.low:g} to {item.high:g}{unit}; " if item.low is not None and item.high is not None else ""
    choices = f"{', '.join(item.choices)}; " if item.choices else ""
    return Annotated[
        kind | None, typer.Option(f"--{name}", help=f"{item.help} ({span}{choices}default {default})")
    ]


tune.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
tune.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters()}
