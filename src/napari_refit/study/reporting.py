"""The files of a finished study."""

from __future__ import annotations

import os
from pathlib import Path

from napari_refit.errors import WriteError, brief
from napari_refit.study.corrected import write_corrected
from napari_refit.study.report_html import PanelOf, Progress, write_report_html
from napari_refit.study.results import StudyResults, write_rows
from napari_refit.study.statistics import analyse
from napari_refit.study.summary import write_summary_json, write_summary_markdown


def write_report(
    folder: str | os.PathLike[str],
    results: StudyResults,
    panel: PanelOf | None = None,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write ``results.csv``, ``summary.json``, ``summary.md`` and ``report.html``, each whole or not at all.

    Where a simulated user corrected masks, ``corrections.csv`` too.

    Parameters
    ----------
    folder : path-like
        Made if it is not there; files of these names are replaced.
    results : StudyResults
    panel : callable, optional
        ``panel(case, axis, index) -> Panel``: asked for the few images that the report shows. Without it the report
        has no pictures of images.
    progress : callable, optional
        ``progress(done, total, text)``.

    Returns
    -------
    dict of str to Path
        By name: ``results.csv``, ``summary.json``, ``summary.md``, ``report.html``; ``corrections.csv`` where it was
        written.

    Raises
    ------
    WriteError
        If a file cannot be written.
    ValueError
        If rows contradict each other (see `napari_refit.study.arranging.arrange`); ``results.csv`` is there then.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            target, f"is no folder to write to: {brief(error.strerror or str(error))}"
        ) from error
    # The rows first: whatever follows can be made of them again.
    written = {"results.csv": write_rows(target / "results.csv", results.rows)}
    if results.corrected:
        written["corrections.csv"] = write_corrected(target / "corrections.csv", results.corrected)
    order = [method.key for method in results.methods]
    statistics = analyse(results.rows, order, results.baseline)
    written["summary.json"] = write_summary_json(target / "summary.json", results, statistics)
    written["summary.md"] = write_summary_markdown(target / "summary.md", results, statistics)
    written["report.html"] = write_report_html(target / "report.html", results, statistics, panel, progress)
    return written
