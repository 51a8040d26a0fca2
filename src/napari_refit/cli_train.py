"""``napari-refit train``: its options are made from the declarations of `napari_refit.learn.settings`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_refit import cli_fsss
from napari_refit.cli_shared import (
    Device,
    Json,
    UsageFault,
    assigned,
    check_checkpoint_name,
    check_given_once,
    epoch_teller,
    parameter,
    print_json,
    print_training,
    training_progress,
)
from napari_refit.declare import Declaration, declarations
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.telling import scores_line
from napari_refit.params import IntensityParams

# The others are set with --set.
OFFERED = (
    "learner",
    "architecture",
    "weights",
    "input_size",
    "epochs",
    "batch_size",
    "balance",
    "learning_rate",
    "patience",
    "validation_share",
    "test_share",
    "folds",
    "seed",
)
_SHORT = {"architecture": "arch"}
_INTENSITY = "intensity."
_TOLD = {"loss": "loss", "accuracy": "accuracy", "auroc": "AUROC"}


def train(
    source: Path,
    out: Path,
    set_: list[str] | None = None,
    preparation: str | None = None,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    as_json: bool = False,
    **options: Any,
) -> None:
    """Train a network from image-level labels; masks, if there are any, only tell the labels.

    The images come from a known dataset, from a folder with one sub-folder per class, or from a CSV file with the
    columns image, label and, if you like, patient. The checkpoint works in refine and in the dock. Stopped
    trainings go on with --resume.
    """
    if options["learner"] == cli_fsss.FSSS:
        del options["learner"]
        cli_fsss.train_fsss(source, out, set_, preparation, device, resume, overwrite, as_json, **options)
        return
    for name in cli_fsss.OPTIONS:
        if options.pop(name, None) is not None:
            raise UsageFault(f"--{name} is for --learner {cli_fsss.FSSS}")
    pairs = assigned(set_ or [])
    given = {name: value for name, value in options.items() if value is not None}
    check_given_once(given, pairs)
    intensity = _intensity({key: pairs.pop(key) for key in list(pairs) if key.startswith(_INTENSITY)})
    try:
        params = TrainingParams().with_texts({**given, **pairs})
    except ValueError as error:
        raise UsageFault(str(error)) from error
    check_checkpoint_name(out)

    from napari_refit.cam.architectures import list_architectures
    from napari_refit.learn.files import Callbacks, check_target, resumed_params, train_to_file
    from napari_refit.learn.samples import DEFAULT, open_samples

    if resume:
        params = resumed_params(out, params, [*given, *pairs])
    if params.architecture not in list_architectures():
        raise UsageFault(
            f"unknown architecture {params.architecture!r}; such as resnet34 or efficientnet-lite0"
        )
    check_target(out, params.folds, resume=resume, overwrite=overwrite)
    try:
        samples = open_samples(source, intensity, preparation or DEFAULT)
    except ValueError as error:
        raise UsageFault(str(error)) from error
    with training_progress(quiet=as_json) as shown:
        report = train_to_file(
            samples,
            params,
            out,
            device=device,
            resume=resume,
            overwrite=overwrite,
            callbacks=Callbacks(shown, on_epoch=epoch_teller(params.epochs, _TOLD, params.folds)),
        )
    if as_json:
        print_json(report)
    else:
        _print_report(out, report)


def _intensity(pairs: dict[str, str]) -> IntensityParams:
    from pydantic import ValidationError

    from napari_refit.recipe import reason

    try:
        return IntensityParams(**{key.removeprefix(_INTENSITY): value for key, value in pairs.items()})  # type: ignore[arg-type]
    except ValidationError as error:
        raise UsageFault(f"{_INTENSITY}{reason(error)}") from error


def _print_report(out: Path, report: dict[str, Any]) -> None:
    if "folds" in report:
        areas = ", ".join("–" if area is None else f"{area:.3f}" for area in report["auroc_by_fold"])
        print(f"{out.stem}: {len(report['folds'])} folds, AUROC of each on its own patients {areas}")
    else:
        params = report["parameters"]
        what = params["architecture"] if params["learner"] == "classifier" else params["learner"]
        print_training(out, what, report)
    for part in ("validation", "test"):
        found = report.get(part)
        if found:
            print(f"  {part:<10} {scores_line(found)}")


def _parameters() -> list[inspect.Parameter]:
    """The command's options: its own, and those of the offered parameters."""

    declared = {item.name: item for item in declarations(TrainingParams)}
    return [
        parameter(
            "source",
            Annotated[
                Path, typer.Argument(help="Dataset, folder with one sub-folder per class, or CSV file.")
            ],
        ),
        parameter("out", Annotated[Path, typer.Option(help="Checkpoint to write, .safetensors.")]),
        *(parameter(name, _option(declared[name]), None) for name in OFFERED),
        parameter(
            "set_",
            Annotated[
                list[str] | None,
                typer.Option(
                    "--set",
                    help="Any training parameter, or intensity.NAME, as key=value; repeatable. Of --learner fsss: "
                    "fsss.NAME, or any parameter of the pipeline.",
                ),
            ],
            None,
        ),
        parameter(
            "preparation",
            Annotated[
                str | None, typer.Option(help="Of a dataset: a named preparation, such as benign-normal.")
            ],
            None,
        ),
        *(parameter(name, annotation, None) for name, annotation in cli_fsss.OPTIONS.items()),
        parameter("device", Device, None),
        parameter(
            "resume",
            Annotated[bool, typer.Option("--resume", help="Go on where a stopped training of --out stood.")],
            False,
        ),
        parameter(
            "overwrite",
            Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")],
            False,
        ),
        parameter("as_json", Json, False),
    ]


def _option(item: Declaration) -> Any:
    kind = {"int": int, "float": float}.get(item.kind, str)
    unit = f" {item.unit}" if item.unit else ""
    span = (
        f"{_plain(item.low)} to {_plain(item.high)}{unit}; "
        if item.low is not None and item.high is not None
        else ""
    )
    names = (*item.choices, cli_fsss.FSSS) if item.name == "learner" else item.choices
    choices = f"{', '.join(names)}; " if names else ""
    default = _plain(item.default)
    name = _SHORT.get(item.name, item.name.replace("_", "-"))
    about = f"{item.help} ({span}{choices}default {default})"
    return Annotated[kind | None, typer.Option(f"--{name}", help=about)]


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


train.__signature__ = inspect.Signature(_parameters())  # type: ignore[attr-defined]
train.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters()}
