"""report.html: one file that needs no network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from napari_refit import __version__
from napari_refit.errors import Cancelled, brief
from napari_refit.io._atomic import atomic_path
from napari_refit.pages import CITATIONS, environment, hex_colour
from napari_refit.study.comparing import paired_dice
from napari_refit.study.corrected import correction_tables
from napari_refit.study.drawing import distribution_svg, scatter_svg
from napari_refit.study.figures import image_dice
from napari_refit.study.pictures import Pick, draw_case, method_shown, picks
from napari_refit.study.results import BEST_THRESHOLD, BLANK, Panel, StudyResults
from napari_refit.study.statistics import Statistics
from napari_refit.study.summary import data_facts
from napari_refit.study.tables import (
    comparison_tables,
    count_table,
    figure_tables,
    flat,
    fold_table,
    glossary,
    number,
    titles_of,
)
from napari_refit.tiles import CAM, REFINED, TRUTH

PanelOf = Callable[[str, int | None, int | None], Panel]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Shown:
    """A picture of a case, or why there is none."""

    caption: str
    scores: tuple[tuple[str, str], ...]
    address: str = ""
    fault: str = ""


def write_report_html(
    path: str | os.PathLike[str],
    results: StudyResults,
    statistics: Statistics,
    panel: PanelOf | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `report_html`, whole or not at all (arguments as there).

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    page = report_html(results, statistics, panel, progress)
    target = Path(path)
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return target


def report_html(
    results: StudyResults,
    statistics: Statistics,
    panel: PanelOf | None = None,
    progress: Progress | None = None,
) -> str:
    """A page with everything in it: tables, charts, pictures, settings.

    Parameters
    ----------
    results : StudyResults
    statistics : Statistics
        Of the same rows.
    panel : callable, optional
        ``panel(case, axis, index) -> Panel``. One that raises costs its picture, and the page says so.
    progress : callable, optional
        ``progress(done, total, text)``, called for each picture.

    Returns
    -------
    str
        HTML. No name or setting in it is taken for markup, and nothing is loaded from elsewhere.
    """
    titles = titles_of(results)
    source = files("napari_refit.study").joinpath("report.html.jinja").read_text(encoding="utf-8")
    shown = method_shown(statistics, results.baseline)
    groups = [
        {
            "name": group.name,
            "figures": figure_tables(results, statistics, group),
            "comparisons": comparison_tables(results, statistics, group),
            "counts": count_table(results, statistics, group),
            "folds": fold_table(results, statistics, group),
        }
        for group in statistics.groups
    ]
    return (
        environment()
        .from_string(source)
        .render(
            title=results.title or results.dataset,
            data=data_facts(results),
            licence=results.licence,
            notes=results.notes,
            groups=groups,
            corrections=correction_tables(results.corrected, titles, results.wanted),
            glossary=glossary(results, statistics),
            scatters=list(_scatters(results, statistics, titles)),
            # Charts are made here of numbers and of text that matplotlib escapes.
            distribution=Markup(_distribution(statistics, titles)),
            cases=_cases(results, statistics, panel, progress, shown, titles),
            shown=titles.get(shown or "", ""),
            compared=titles.get(results.baseline, results.baseline),
            colours={
                name: hex_colour(value)
                for name, value in (("truth", TRUTH), ("cam", CAM), ("refined", REFINED))
            },
            left_out=dict(results.left_out),
            methods=[
                {
                    "title": titles[method.key],
                    "key": method.key,
                    "about": method.about,
                    "notes": method.notes,
                    "lines": [
                        *flat(method.settings),
                        *((f"threshold, {key}", text) for key, text in flat(method.threshold)),
                        *((f"checksum, {key}", text) for key, text in flat(method.checksums)),
                    ],
                }
                for method in results.methods
            ],
            made=[
                ("napari-refit", __version__),
                *flat(results.versions),
                *flat(results.machine),
                *((f"seconds, {key}", text) for key, text in flat(results.seconds)),
            ],
            citations=(*CITATIONS, *results.citation),
        )
    )


def _scatters(
    results: StudyResults, statistics: Statistics, titles: dict[str, str]
) -> Iterator[tuple[str, Markup]]:
    """For each method that others are compared with: its title and the chart."""
    methods = statistics.arranged.methods
    columns = range(len(statistics.arranged.classes))
    for number_of, against in enumerate(dict.fromkeys((results.baseline, BEST_THRESHOLD))):
        if against not in methods:
            continue
        panels = []
        for key, measured in methods.items():
            if key in (BLANK, results.baseline, BEST_THRESHOLD):
                continue
            mine, theirs, _, _ = paired_dice(measured, methods[against], columns)
            if len(mine):
                panels.append((titles[key], theirs, mine))
        if panels:
            yield titles[against], Markup(scatter_svg(panels, titles[against], f"scatter{number_of}"))


def _distribution(statistics: Statistics, titles: dict[str, str]) -> str:
    columns = range(len(statistics.arranged.classes))
    found = [
        (titles[key], image_dice(measured, columns)) for key, measured in statistics.arranged.methods.items()
    ]
    return distribution_svg(found)


def _cases(
    results: StudyResults,
    statistics: Statistics,
    panel: PanelOf | None,
    progress: Progress | None,
    shown: str | None,
    titles: dict[str, str],
) -> list[tuple[Pick, list[Shown]]]:
    if panel is None or shown is None:
        return []
    scores = {
        key: dict(
            zip(measured.places, image_dice(measured, range(len(statistics.arranged.classes))), strict=True)
        )
        for key, measured in statistics.arranged.methods.items()
    }
    chosen = picks(statistics, shown, results.baseline)
    total = sum(len(pick.places) for pick in chosen)
    drawn: dict[Any, tuple[str, str]] = {}
    found = []
    done = 0
    for pick in chosen:
        pictures = []
        for place in pick.places:
            if place not in drawn:
                drawn[place] = _drawn(panel, place, shown, results.baseline)
            address, fault = drawn[place]
            case, axis, index = place
            caption = (
                case
                if index is None
                else f"{case}, slice {index}" + ("" if axis is None else f" of axis {axis}")
            )
            told = tuple(
                (titles[key], number(float(of.get(place, float("nan")))))
                for key, of in scores.items()
                if key != BLANK
            )
            pictures.append(Shown(caption, told, address, fault))
            done += 1
            if progress is not None:
                progress(done, total, f"pictures: {caption}")
        found.append((pick, pictures))
    return found


def _drawn(panel: PanelOf, place: Any, shown: str, baseline: str) -> tuple[str, str]:
    """The picture's address and nothing, or nothing and what went wrong."""
    try:
        return draw_case(panel(*place), shown, baseline), ""
    except Cancelled:
        raise
    except Exception as error:  # hours of work must not be lost for the sake of a picture
        return "", brief(error)
