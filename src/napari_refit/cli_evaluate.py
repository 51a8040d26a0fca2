"""``napari-refit evaluate``: for now, a look at a dataset before any work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_refit.cli_shared import Json, UsageFault, WorkFailed, print_json, progress
from napari_refit.errors import ReadError

if TYPE_CHECKING:
    from napari_refit.io.datasets.check import Report

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset, or its table of image-level labels.")],
    check: Annotated[bool, typer.Option("--check", help="Look for what is wrong before any work.")],
    layout: Annotated[str | None, typer.Option(help="Dataset by name; left out: recognised.")] = None,
    images: Annotated[str | None, typer.Option(help="Pattern, e.g. {patient}/{case}_t2.nii.gz.")] = None,
    masks: Annotated[str | None, typer.Option(help="Pattern, e.g. {patient}/{case}_seg.nii.gz.")] = None,
    preparation: Annotated[str, typer.Option(help="Named preparation, such as paper.")] = "default",
    split: Annotated[
        Path | None, typer.Option(help="Split (JSON) to look at; left out: the default.")
    ] = None,
    groups: Annotated[Path | None, typer.Option(help="Write groups of near duplicates to this CSV.")] = None,
    as_json: Json = False,
) -> None:
    """Look at a dataset before any work: files, grids, values, labels, duplicates across splits."""
    from napari_refit.io.datasets.check import check_dataset
    from napari_refit.io.datasets.groups import write_groups
    from napari_refit.io.datasets.registry import find_dataset
    from napari_refit.io.datasets.splits import Split

    try:
        found = find_dataset(dataset, layout, images=images, masks=masks).prepared(preparation)
        chosen = None if split is None else Split.load(split)
    except (ReadError, ValueError) as error:
        raise UsageFault(str(error)) from error
    with progress(quiet=as_json) as shown:
        report = check_dataset(found, chosen, progress=shown)
    if groups is not None:
        write_groups(groups, report.groups)
    if as_json:
        print_json(report.as_dict())
    else:
        print_report(report)
    if report.count("error"):
        raise WorkFailed


def print_report(report: Report) -> None:
    """Print a report as a table, or as plain lines where the output is no terminal."""
    from napari_refit.io.datasets.findings import SEVERITIES
    from napari_refit.io.datasets.listing import counted

    positives = ", ".join(f"{count} with {name}" for name, count in report.positives.items())
    labels = ", ".join(f"{count} {label}" for label, count in report.labels.items())
    print(f"{report.title}: {report.root}")
    cases = f"{counted(report.n_cases, 'case')}{f' ({labels})' if labels else ''}"
    print(f"{cases}, {report.n_slices} images or slices: {positives}")
    if report.findings and sys.stdout.isatty():
        _print_table(report)
    else:
        for item in report.findings:
            advice = f"; {item.advice}" if item.advice else ""
            where = f"{item.where}: " if item.where else ""
            print(f"{item.severity}: {item.kind}: {where}{item.message}{advice}")
    counts = ", ".join(counted(report.count(severity), severity) for severity in SEVERITIES)
    print(f"{counts} in {report.seconds:.1f} s" if report.findings else f"clean, in {report.seconds:.1f} s")


def _print_table(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "where", "found", "what to do")
    for item in report.findings:
        where = item.where.replace(f"{report.root}/", "")
        cells: list[Any] = [Text(cell) for cell in (item.kind, where, item.message, item.advice)]
        table.add_row(Text(item.severity, _COLOURS[item.severity]), *cells)
    Console(highlight=False).print(table)
