"""The tables of a study as text, for summary.md and report.html alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from napari_refit.study.bootstrap import CONFIDENCE, Estimate
from napari_refit.study.comparing import DRAWS, EXACT_UP_TO
from napari_refit.study.figures import FIGURES, VOLUME_FIGURES, Figure, Group
from napari_refit.study.results import BEST_THRESHOLD, StudyResults
from napari_refit.study.statistics import FOLD_FIGURES, Statistics

MISSING = "–"
FEW_PATIENTS = 10


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes
    ----------
    title : str
    head : tuple of str
    rows : tuple of tuple of str
        The first cell is what the row is about.
    notes : tuple of str
        What a reader must know to read it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def number(value: float, figure: Figure | None = None, *, signed: bool = False) -> str:
    """A number for people: shares with three digits, distances with one; a dash for NaN.

    Examples
    --------
    >>> number(0.61249), number(-0.0125, signed=True), number(float("nan"))
    ('0.612', '−0.013', '–')
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    digits = 1 if figure is not None and figure.has_unit else 3
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "−")


def with_interval(item: Estimate, figure: Figure | None = None, *, signed: bool = False) -> str:
    """A figure and its interval.

    Examples
    --------
    >>> with_interval(Estimate(0.61249, 0.5, 0.7, 10, 5))
    '0.612 (0.500–0.700)'
    >>> with_interval(Estimate(0.01, -0.02, 0.03, 10, 5), signed=True)
    '+0.010 (−0.020 to +0.030)'
    """
    value = number(item.value, figure, signed=signed)
    if math.isnan(item.low):
        return value
    low, high = (number(end, figure, signed=signed) for end in (item.low, item.high))
    return f"{value} ({low} to {high})" if signed else f"{value} ({low}–{high})"


def p_value(value: float) -> str:
    """A p value for people.

    Examples
    --------
    >>> p_value(0.0312), p_value(0.00002), p_value(float("nan"))
    ('0.031', '< 0.001', '–')
    """
    if math.isnan(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def titles_of(results: StudyResults) -> dict[str, str]:
    """Title of each method; its key where it has none."""
    titles = {row.method: row.method for row in results.rows}
    return titles | {method.key: method.title or method.key for method in results.methods}


def figure_tables(results: StudyResults, statistics: Statistics, group: Group) -> list[Table]:
    """All figures of a group: those of the headline, then the others, each with all methods."""
    unit = statistics.arranged.unit
    used = [*FIGURES, *(VOLUME_FIGURES if statistics.arranged.volumes else ())]
    parts = (
        ("", [figure for figure in used if figure.is_headline and figure in FIGURES]),
        (": further figures", [figure for figure in used if not figure.is_headline or figure not in FIGURES]),
    )
    titles = titles_of(results)
    summaries = [item for item in statistics.summaries if item.class_number == group.number]
    tables = []
    for suffix, figures in parts:
        rows = []
        for item in summaries:
            cells = [
                with_interval(item.figures[figure.key], figure) if figure.key in item.figures else MISSING
                for figure in figures
            ]
            if not suffix:
                counts = (item.n_missed, item.figures["dice_mean"].n, item.n_left_out)
                cells.extend(map(str, counts))
            rows.append((titles[item.method], *cells))
        head = [
            "method",
            *(_column(figure, unit) for figure in figures),
            *(("missed", "with a DSC", "left out") if not suffix else ()),
        ]
        notes = _interval_notes(statistics) if not suffix else ()
        tables.append(Table(f"{group.name}{suffix}", tuple(head), tuple(rows), notes))
    return tables


def count_table(results: StudyResults, statistics: Statistics, group: Group) -> Table:
    """What the figures of a group are made of, and what has none."""
    titles = titles_of(results)
    rows = []
    for item in statistics.summaries:
        if item.class_number != group.number:
            continue
        seconds = statistics.seconds[item.method]
        rows.append(
            (
                titles[item.method],
                *(str(value) for value in (item.n_patients, item.n_cases, item.n_images, item.n_with_truth)),
                str(item.n_left_out),
                f"{item.n_false_positive} of {item.n_negative}",
                str(item.n_missed),
                MISSING if math.isnan(seconds) else f"{seconds:.3g}",
            )
        )
    head = (
        "method",
        "patients",
        "cases",
        "images",
        "truth not empty",
        "left out",
        "false alarms",
        "missed",
        "s per image",
    )
    notes = (
        "Left out: no foreground in truth and mask, so no Dice (as nnU-Net counts). False alarms: images without "
        "foreground in the truth that were marked all the same; they count as Dice 0. Missed: the outline distance is "
        "infinite, since only one of truth and mask holds a class; left out of HD95. Seconds: median.",
    )
    return Table(f"{group.name}: what was counted", head, tuple(rows), notes)


def comparison_tables(results: StudyResults, statistics: Statistics, group: Group) -> list[Table]:
    """Each method against the baseline, and against the CAM's best single threshold."""
    titles = titles_of(results)
    tables = []
    for against in dict.fromkeys((results.baseline, BEST_THRESHOLD)):
        found = [
            item
            for item in statistics.comparisons
            if item.against == against and item.class_number == group.number
        ]
        if not found:
            continue
        rows = tuple(
            (
                titles[item.method],
                with_interval(item.difference, signed=True),
                f"{item.n_higher} / {item.n_equal} / {item.n_lower}",
                str(item.difference.n),
                str(item.n_unpaired),
                p_value(item.p_sign_flip),
                p_value(item.p_sign_flip_holm),
                p_value(item.p_wilcoxon),
                p_value(item.p_wilcoxon_holm),
            )
            for item in found
        )
        head = (
            "method",
            "difference of DSC",
            "higher / equal / lower",
            "images",
            "unpaired",
            "p, sign flip",
            "Holm",
            "p, Wilcoxon",
            "Holm",
        )
        tables.append(Table(f"{group.name}: against {titles[against]}", head, rows, _test_notes(found)))
    return tables


def fold_table(results: StudyResults, statistics: Statistics, group: Group) -> Table:
    """The same figures for each fold alone."""
    titles = titles_of(results)
    figures = [figure for figure in FIGURES if figure.key in FOLD_FIGURES]
    rows = tuple(
        (
            titles[item.method],
            str(item.fold),
            str(item.n_patients),
            str(item.n_images),
            *(number(item.figures[figure.key], figure) for figure in figures),
        )
        for item in statistics.folds
        if item.class_number == group.number
    )
    head = (
        "method",
        "fold",
        "patients",
        "images",
        *(_column(figure, statistics.arranged.unit) for figure in figures),
    )
    return Table(f"{group.name}: fold by fold", head, rows)


def glossary(results: StudyResults, statistics: Statistics) -> list[tuple[str, str]]:
    """Head and meaning of each column of figures."""
    unit = statistics.arranged.unit
    used = [*FIGURES, *(VOLUME_FIGURES if statistics.arranged.volumes else ())]
    return [
        (
            _column(figure, unit),
            figure.help
            + (f" Tolerance {results.tolerance:g} {unit}." if figure.key == "surface_dice" else "")
            + f" {figure.better.capitalize()} is better.",
        )
        for figure in used
    ]


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as lines.

    Examples
    --------
    >>> list(flat({"fit": {"threshold": 0.2, "on": True}, "sizes": (1, 2), "none": {}}))
    [('fit.threshold', '0.2'), ('fit.on', 'yes'), ('sizes', '1, 2')]
    """
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _shown(item)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return str(value)


def _column(figure: Figure, unit: str) -> str:
    return f"{figure.title}, {unit}" if figure.has_unit else figure.title


def _interval_notes(statistics: Statistics) -> tuple[str, ...]:
    n = len(statistics.arranged.patients)
    if n < 2:
        return (
            "There is one patient only: no interval and no test can be given, for both say how much patients differ.",
        )
    told = (
        f"In parentheses: {100 * CONFIDENCE:.0f} % percentile interval of a bootstrap over the {n} patients "
        f"(whole patients are drawn; {statistics.resamples} draws, seed {statistics.seed})."
    )
    if n < FEW_PATIENTS:
        return (told, f"With only {n} patients such an interval is too narrow; read it as a hint.")
    return (told,)


def _test_notes(found: list[Any]) -> tuple[str, ...]:
    exact = all(item.is_exact for item in found)
    how = "all flips" if exact else f"{DRAWS} drawn flips (all flips up to {EXACT_UP_TO} patients)"
    return (
        "Mean over the images that both methods have a Dice of; unpaired: only one of them has, such as where "
        "one marks something in an image that holds nothing: see the false alarms. Both tests are "
        f"two-sided and take one mean difference per patient: sign-flip permutation test, {how}, and Wilcoxon's "
        f"signed-rank test; each corrected by Holm's method over the {len(found)} methods of the table.",
    )
