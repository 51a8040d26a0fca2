"""The files of a finished study."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from napari_refit.study.results import Panel, StudyResults

PanelOf = Callable[[str, int | None, int | None], Panel]
Progress = Callable[[int, int, str], None]


def write_report(
    folder: str | os.PathLike[str],
    results: StudyResults,
    panel: PanelOf | None = None,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write ``results.csv``, ``summary.json``, ``summary.md`` and ``report.html``, each whole or not at all.

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
        By name: ``results.csv``, ``summary.json``, ``summary.md``, ``report.html``.

    Raises
    ------
    WriteError
        If a file cannot be written.
    """
    raise NotImplementedError
