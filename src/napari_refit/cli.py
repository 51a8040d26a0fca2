"""The command line: each command turns its options into a job's parameters and prints what came out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_refit.cli_batch import batch
from napari_refit.cli_evaluate import evaluate
from napari_refit.cli_reproduce import reproduce
from napari_refit.cli_shared import (
    Arch,
    Device,
    Json,
    Model,
    UsageFault,
    WorkFailed,
    chosen_modalities,
    chosen_params,
    complain,
    make_folder,
    naming,
    one_line,
    print_json,
    progress,
)
from napari_refit.cli_train import train
from napari_refit.cli_tune import tune

app = typer.Typer(
    name="napari-refit",
    help="Fine-grained segmentation masks from image-level labels only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Truth = Annotated[Path | None, typer.Option(help="Reference mask on the image's grid.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("refit-demo"),
    headless: Annotated[bool, typer.Option("--headless", help="No window: files and a picture.")] = False,
    as_json: Json = False,
) -> None:
    """Show the main job on the sample volume: napari with the dock, or files and a picture."""
    from napari_refit.widgets.launch import has_display, open_demo

    if not headless and has_display():
        open_demo()
        return
    from napari_refit.demo import run_demo

    with progress(quiet=as_json) as shown:
        report = run_demo(out, shown)
    _print_demo(out, report, as_json)


@app.command(name="open")
def open_image(
    image: Annotated[Path, typer.Argument(help="Image, volume or DICOM folder.")],
    truth: Truth = None,
    model: Model = None,
) -> None:
    """Open napari with these layers and the ReFit dock."""
    from napari_refit.widgets.launch import has_display, open_files

    if not has_display():
        raise UsageFault("open needs a display; 'napari-refit refine' works without one")
    open_files(image, truth, model)


@app.command()
def refine(
    images: Annotated[list[Path], typer.Argument(help="Images, volumes or DICOM folders.")],
    out: Annotated[Path, typer.Option(help="Folder for the refined labels and report.json.")],
    model: Model = None,
    arch: Arch = None,
    modalities: Annotated[
        str,
        typer.Option(
            help="For a classifier of several modalities: their positions in the image, from 0, as 0,1."
        ),
    ] = "",
    response: Annotated[Path | None, typer.Option(help="Response map file, instead of a classifier.")] = None,
    hints: Annotated[
        Path | None,
        typer.Option(help="Labels of what must be what: a class number, or 255 for what belongs to none."),
    ] = None,
    accepted: Annotated[
        Path | None,
        typer.Option(help="Labels of which some slices are right: they stay, and are carried on from there."),
    ] = None,
    accepted_slices: Annotated[
        str,
        typer.Option(help="Which slices, as 12,20; left out: those that the dock noted beside the labels."),
    ] = "",
    truth: Truth = None,
    preset: Annotated[str | None, typer.Option(help="Named parameters; see 'presets'.")] = None,
    params: Annotated[Path | None, typer.Option(help="Parameters as JSON.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One parameter, key=value; repeatable.")
    ] = None,
    device: Device = None,
    panels: Annotated[bool, typer.Option("--panels", help="Also write a picture of a few slices.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Refine images and save labels in each image's own geometry."""
    from napari_refit.refining import (
        Job,
        output_path,
        panels_path,
        refine_file,
        unique_outputs,
        write_report,
    )

    chosen, fed = chosen_params(preset, params, set_ or []), chosen_modalities(modalities)
    if (model is None) == (response is None):
        raise UsageFault("give either --model or --response")
    of_one = (truth, response, hints, accepted)
    if len(images) > 1 and any(file is not None for file in of_one):
        raise UsageFault(
            "--truth, --response, --hints and --accepted belong to one image; refine the images one by one"
        )
    if accepted_slices and accepted is None:
        raise UsageFault("--accepted-slices needs --accepted, the labels that they are of")
    positions = _positions(accepted_slices)
    jobs = []
    for image in images:
        target = output_path(image, out)
        picture = panels_path(target) if panels else None
        jobs.append(Job(image, target, None, response, truth, picture))
    unique_outputs(jobs)
    make_folder(out)
    if (out / "report.json").exists() and not overwrite:
        from napari_refit.errors import WriteError

        raise WriteError(out / "report.json", "is there already; add --overwrite to replace it")
    classifier = _classifier(model, arch, device)
    reports, failures = [], []
    for job in jobs:
        job = replace(
            job, model=classifier, modalities=fed, hints=hints, accepted=accepted, accepted_slices=positions
        )
        try:
            with progress(quiet=as_json) as shown:
                reports.append(refine_file(job, chosen, device=device, overwrite=overwrite, progress=shown))
        except (OSError, ValueError, TypeError, MemoryError) as error:
            failures.append({"image": str(job.image), "error": one_line(error)})
            complain(naming(error, job.image))
    summary = {"results": reports, "failures": failures}
    write_report(out / "report.json", summary)
    if as_json:
        print_json(summary)
    else:
        for report in reports:
            _print_result(report)
    if failures:
        raise WorkFailed


app.command()(train)
app.command()(tune)
app.command()(evaluate)
app.command()(reproduce)
app.command()(batch)


@app.command()
def presets(as_json: Json = False) -> None:
    """List presets and parameters with bounds, defaults and units."""
    from napari_refit.params import declarations
    from napari_refit.recipe import RefitParams, group_models

    if as_json:
        print_json(
            {
                "presets": {
                    name: {"help": text, "parameters": RefitParams.preset(name).model_dump(mode="json")}
                    for name, text in RefitParams.presets().items()
                },
                "parameters": {
                    f"{group}.{item.name}": {
                        "title": item.title,
                        "help": item.help,
                        "unit": item.unit,
                        "kind": item.kind,
                        "default": item.default,
                        "low": item.low,
                        "high": item.high,
                        "choices": item.choices,
                    }
                    for group, model in group_models().items()
                    for item in declarations(model)
                },
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for name, text in RefitParams.presets().items():
        console.print(f"[bold]{name}[/bold]  {text}")
        for key, value in RefitParams.preset(name).changed().items():
            console.print(f"    {key} = {value}")
    table = Table("parameter", "default", "range", "unit", "what it does", title="Parameters")
    for group, model in group_models().items():
        for item in declarations(model):
            span = f"{item.low:g} .. {item.high:g}" if item.low is not None else " | ".join(item.choices)
            table.add_row(f"{group}.{item.name}", str(item.default), span, item.unit, item.help)
    console.print(table)


@app.command()
def info(as_json: Json = False) -> None:
    """Versions, devices, segmenters, CAM methods and fits."""
    from napari_refit.about import about

    facts = about()
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else value
        if isinstance(value, dict):
            text = ", ".join(f"{key} {item}" for key, item in value.items())
        print(f"{name}: {text}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 done, 1 work failed, 2 bad usage.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    from napari_refit.errors import Cancelled

    try:
        code = typer.main.get_command(app).main(arguments, prog_name="napari-refit", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except WorkFailed:
        return 1
    except UsageFault as error:
        complain(str(error))
        return 2
    except (KeyboardInterrupt, Cancelled, typer.Abort):
        complain("stopped")
        return 1
    except Exception as error:
        if debug:
            raise
        if _is_usage_error(error):
            message = error.format_message()  # type: ignore[attr-defined]
            complain(message or "a command is needed; see 'napari-refit --help'")
            return 2
        complain(one_line(error))
        return 1


def _is_usage_error(error: Exception) -> bool:
    # typer carries its own click or uses the installed one, by version: both give BadParameter this base.
    return any(base.__name__ == "ClickException" for base in type(error).__mro__)


def _positions(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageFault(f"--accepted-slices takes whole numbers between commas, got {text!r}") from None


def _classifier(model: str | None, arch: str | None, device: str | None) -> Any:
    if model is None:
        return None
    from napari_refit.cam.classifier import load_classifier

    return load_classifier(model, arch=arch, device=device)


def _print_result(report: dict[str, Any]) -> None:
    if report["warning"]:
        print(f"napari-refit: warning: {report['warning']}", file=sys.stderr)
    empty = f", {report['n_empty']} empty" if report["n_empty"] else ""
    print(f"{report['output']}: {report['n_slices']} slices{empty}, {report['seconds']['total']:.1f} s")
    for row, scores in report.get("metrics", {}).items():
        print(f"  {row:<20} DSC {scores['dice']:.3f}  mIoU {scores['mean_iou']:.3f}")


def _print_demo(out: Path, report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    _print_result(report)
    print(f"See {out / 'panels.png'} and {out / 'report.json'}")
