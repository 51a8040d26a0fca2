"""summary.json for programs and summary.md for people."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_refit import __version__
from napari_refit.io._atomic import atomic_path
from napari_refit.io.sidecar import plain
from napari_refit.study.bootstrap import CONFIDENCE
from napari_refit.study.corrected import correction_dict, correction_tables
from napari_refit.study.figures import FIGURES, VOLUME_FIGURES
from napari_refit.study.results import StudyResults
from napari_refit.study.statistics import Statistics
from napari_refit.study.tables import (
    Table,
    comparison_tables,
    count_table,
    figure_tables,
    flat,
    fold_table,
    glossary,
    titles_of,
)

FORMAT = 1


def summary_dict(results: StudyResults, statistics: Statistics) -> dict[str, Any]:
    """Everything that is known of a study but its rows, with all digits, as JSON can say it.

    Returns
    -------
    dict
        NaN and infinity, which JSON lacks, are None.
    """
    facts = {
        "format": FORMAT,
        "program": {"name": "napari-refit", "version": __version__},
        "dataset": {
            "name": results.dataset,
            "title": results.title,
            "root": results.root,
            "preparation": results.preparation,
            "counts": results.counts,
            "licence": results.licence,
            "citation": results.citation,
            "url": results.url,
        },
        "split": results.split,
        "methods": [asdict(method) for method in results.methods],
        "baseline": results.baseline,
        "left_out": results.left_out,
        "notes": results.notes,
        "unit": statistics.arranged.unit,
        "level": statistics.arranged.level,
        "tolerance": results.tolerance,
        "interval": {
            "kind": "percentile, cluster bootstrap over patients",
            "confidence": CONFIDENCE,
            "resamples": statistics.resamples,
            "seed": statistics.seed,
            "n_patients": len(statistics.arranged.patients),
        },
        "figures": {
            item.key: {"title": item.title, "help": item.help, "better": item.better}
            for item in (*FIGURES, *VOLUME_FIGURES)
        },
        "summaries": [asdict(item) for item in statistics.summaries],
        "folds": [asdict(item) for item in statistics.folds],
        "comparisons": [asdict(item) for item in statistics.comparisons],
        "corrections": correction_dict(results.corrected, results.wanted),
        "seconds_per_image": statistics.seconds,
        "versions": results.versions,
        "machine": results.machine,
        "seconds": results.seconds,
    }
    return plain(facts)


def write_summary_json(path: str | os.PathLike[str], results: StudyResults, statistics: Statistics) -> Path:
    """Write `summary_dict`, whole or not at all.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    content = summary_dict(results, statistics)
    # A setting of an unexpected kind must not cost the results: it is written as its text.
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    target = Path(path)
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return target


def write_summary_markdown(
    path: str | os.PathLike[str], results: StudyResults, statistics: Statistics
) -> Path:
    """Write `summary_markdown`, whole or not at all.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    target = Path(path)
    with atomic_path(target) as temporary:
        temporary.write_text(summary_markdown(results, statistics), encoding="utf-8", errors="replace")
    return target


def summary_markdown(results: StudyResults, statistics: Statistics) -> str:
    """Plain tables to paste into a paper or an issue."""
    lines = [f"# {_escaped(results.title or results.dataset)}", ""]
    if not results.rows:
        lines += ["There are no results: no image was evaluated.", ""]
    for group in statistics.groups:
        for table in (
            *figure_tables(results, statistics, group),
            *comparison_tables(results, statistics, group),
            count_table(results, statistics, group),
            fold_table(results, statistics, group),
        ):
            lines += _lines_of(table)
    for table in correction_tables(results.corrected, titles_of(results), results.wanted):
        lines += _lines_of(table)
    if results.left_out:
        lines += ["## Left out", ""]
        lines += [f"- {_escaped(what)}: {count}" for what, count in results.left_out.items()] + [""]
    lines += ["## What the columns mean", ""]
    lines += [f"- **{_escaped(title)}**: {text}" for title, text in glossary(results, statistics)] + [""]
    lines += ["## Data", ""]
    lines += [f"- {_escaped(name)}: {_escaped(text)}" for name, text in data_facts(results)] + [""]
    lines += ["## Methods", ""]
    for method in results.methods:
        about = f": {_escaped(method.about)}" if method.about else ""
        lines.append(f"- **{_escaped(titles_of(results)[method.key])}** (`{_escaped(method.key)}`){about}")
        settings = [*flat(method.settings), *flat(method.threshold, "threshold: "), *flat(method.checksums)]
        if settings:
            lines.append(
                "    - " + "; ".join(f"{_escaped(key)} = {_escaped(text)}" for key, text in settings)
            )
        lines += [f"    - {_escaped(note)}" for note in method.notes]
    lines += ["", "## Made by", "", f"- napari-refit {__version__}"]
    for part in (results.versions, results.machine):
        lines += [f"- {_escaped(key)}: {_escaped(text)}" for key, text in flat(part)]
    lines += [f"- seconds, {_escaped(key)}: {text}" for key, text in flat(results.seconds)]
    lines += [f"- {_escaped(note)}" for note in results.notes]
    return "\n".join(lines) + "\n"


def data_facts(results: StudyResults) -> list[tuple[str, str]]:
    """Name, counts, split, licence and citation of the data, as (what, text)."""
    found = [
        ("dataset", f"{results.title or results.dataset} ({results.dataset})"),
        ("folder", results.root),
        ("preparation", results.preparation),
        *flat(results.counts),
        *((f"split, {key}", text) for key, text in flat(results.split)),
        ("published at", results.url),
        ("licence", results.licence or "not stated"),
        *(("cite", text) for text in results.citation),
    ]
    return [(what, text) for what, text in found if text]


def _lines_of(table: Table) -> list[str]:
    lines = [f"## {_escaped(table.title)}", ""]
    lines.append("| " + " | ".join(map(_escaped, table.head)) + " |")
    lines.append("|" + "---|" * len(table.head))
    lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in table.rows]
    return [*lines, "", *(line for note in table.notes for line in (note, ""))]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: on one line, no markup, no HTML, no new cell.

    Examples
    --------
    >>> print(_escaped("<b>a|b_c</b>"), _escaped("< 0.001"))
    &lt;b>a\\|b\\_c&lt;/b> < 0.001
    """
    text = " ".join(str(text).split())
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)
