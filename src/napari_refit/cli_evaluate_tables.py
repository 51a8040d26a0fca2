"""What ``napari-refit evaluate`` prints: results, corrections, a dataset's findings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_refit.io.datasets.check import Report

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_results(results: Any) -> None:
    """Print the means of every method, with intervals."""
    from napari_refit.study.statistics import analyse

    statistics = analyse(results.rows, [method.key for method in results.methods], resamples=1000)
    for group in statistics.groups:
        print(
            f"{group.name}: foreground Dice per image (95 % interval over patients), pooled mIoU, paper's DSC"
        )
        for method in results.methods:
            figures = statistics.of(method.key, group.number).figures
            dice = figures["dice_mean"]
            print(
                f"  {method.title:<28} {dice.value:.3f} ({dice.low:.3f} to {dice.high:.3f})"
                f"  {figures['miou_pooled'].value:.3f}  {figures['paper_dsc'].value:.3f}"
            )
    _print_corrections(results)
    for note in results.notes:
        print(f"Note: {note}")


def _print_corrections(results: Any) -> None:
    from napari_refit.study.corrected import clicks_text, summarise
    from napari_refit.study.tables import titles_of, with_interval

    for item in summarise(results.corrected, resamples=1000):
        print(
            f"{titles_of(results)[item.method]}, corrected by a simulated user: foreground Dice, images with an object"
        )
        for k, dice in enumerate(item.dice):
            what = "automatic" if not k else f"{k} round{'s' if k > 1 else ''} of scribbles"
            print(f"  {what:<28} {with_interval(dice)}")
        for user, clicks in item.clicks.items():
            print(
                f"  clicks on {user} to {results.wanted:g}: median {clicks_text(clicks.median)}, "
                f"reached by {clicks.reached.value:.0%}"
            )


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
