"""The figures of a batch: means over cases with 95 % intervals, what refining gained, and charts of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_refit.study.bootstrap import CONFIDENCE, RESAMPLES, Floats, draw_weights, mean_estimate
from napari_refit.study.drawing import distribution_svg, scatter_svg
from napari_refit.study.tables import MISSING, Table, number, with_interval

if TYPE_CHECKING:
    from napari_refit.batch.record import Record

REFINED, CAM, BEST = "refined", "cam", "cam_best_threshold"
ROWS = {"blank": "Blank mask", CAM: "CAM", BEST: "CAM at its best threshold", REFINED: "Refined"}
FEW_CASES = 10
SEED = 0


@dataclass(frozen=True)
class Figure:
    """A figure of a case.

    Attributes
    ----------
    key : str
        In a record's metrics.
    title, help : str
    has_unit : bool
        Whether it is a distance, in mm.
    """

    key: str
    title: str
    help: str
    has_unit: bool = False


FIGURES = (
    Figure("dice", "DSC", "Mean Dice of the classes, background left out. Higher is better."),
    Figure(
        "iou", "IoU", "Mean intersection over union of the classes, background left out. Higher is better."
    ),
    Figure("mean_iou", "mIoU", "The same with the background as one of the classes. Higher is better."),
    Figure(
        "hd95",
        "HD95, mm",
        "95 % of the distances between the outlines are no larger. Lower is better. Only of cases in which mask and "
        "truth both have an outline, and the spacing is known.",
        has_unit=True,
    ),
    Figure(
        "surface_dice",
        "Surface DSC",
        "Share of both outlines that lies within the tolerance of the other. Higher is better.",
    ),
    Figure(
        "paper_dsc",
        "DSC as in the paper",
        "2 mIoU / (1 + mIoU), the background counted: a blank mask scores high. Not comparable with the DSC.",
    ),
)


@dataclass(frozen=True, eq=False)
class Scores:
    """The figures of the cases that have any.

    Attributes
    ----------
    cases : list of Record
        By name.
    rows : tuple of str
        Keys of the rows, as in `ROWS`; others after them.
    values : dict of (row, figure) to ndarray of float64, (n_cases,)
        NaN where a case has none.
    """

    cases: list[Record]
    rows: tuple[str, ...]
    values: Mapping[tuple[str, str], Floats]

    def of(self, row: str, figure: str) -> Floats:
        """One value per case."""
        return self.values.get((row, figure), np.full(len(self.cases), np.nan))


def gather(records: Sequence[Record]) -> Scores:
    """The figures of all cases that were scored."""
    cases = [record for record in records if record.metrics and record.state in ("done", "skipped")]
    # What is drawn must not depend on the order in which files were found.
    cases.sort(key=lambda record: record.name)
    found = {row for record in cases for row in record.metrics}
    rows = (*(row for row in ROWS if row in found), *sorted(found - set(ROWS)))
    keys = {(row, key) for record in cases for row, figures in record.metrics.items() for key in figures}
    values = {
        (row, key): np.array([as_number(record.metrics.get(row, {}).get(key)) for record in cases])
        for row, key in keys
    }
    return Scores(cases, rows, values)


def as_number(value: Any) -> float:
    """A figure as a number; NaN where it is none.

    Examples
    --------
    >>> as_number(1), as_number(None), as_number("high")
    (1.0, nan, nan)
    """
    return float(value) if isinstance(value, (int, float)) else math.nan


def title_of(row: str) -> str:
    """What a row is called in tables."""
    return ROWS.get(row, row)


def metric_table(scores: Scores) -> Table:
    """Means over the cases, with their intervals."""
    figures = [item for item in FIGURES if _is_there(scores, item.key)]
    weights = draw_weights(len(scores.cases), seed=SEED)
    places = np.arange(len(scores.cases))
    rows = []
    for row in scores.rows:
        cells = [mean_estimate(weights, scores.of(row, item.key), places) for item in figures]
        counted = str(int(np.isfinite(scores.of(row, "dice")).sum()))
        shown = (with_interval(cell, item) for cell, item in zip(cells, figures, strict=True))  # type: ignore[arg-type]
        rows.append((title_of(row), *shown, counted))
    head = ("mask", *(item.title for item in figures), "cases with a DSC")
    return Table("", head, tuple(rows), _notes(len(scores.cases)))


def gain_table(scores: Scores) -> Table | None:
    """What the refined masks have over the others, case by case; None where there is nothing to compare."""
    weights = draw_weights(len(scores.cases), seed=SEED)
    places = np.arange(len(scores.cases))
    refined = scores.of(REFINED, "dice")
    rows = []
    for row in scores.rows:
        gain = refined - scores.of(row, "dice")
        kept = gain[np.isfinite(gain)]
        if row in (REFINED, "blank") or not len(kept):
            continue
        rows.append(
            (
                f"Refined against {title_of(row)}",
                with_interval(mean_estimate(weights, gain, places), signed=True),
                f"{(kept > 0).sum()} / {(kept == 0).sum()} / {(kept < 0).sum()}",
                str(len(kept)),
            )
        )
    if not rows:
        return None
    return Table("", ("comparison", "difference of DSC", "higher / equal / lower", "cases"), tuple(rows))


def class_table(scores: Scores, names: Mapping[str, str]) -> Table | None:
    """The DSC of each class; None where there is only one.

    Parameters
    ----------
    scores : Scores
    names : mapping of str to str
        Class number to name, as far as they are known.
    """
    keys = {key for _, key in scores.values if key.startswith("dice_") and key[5:].isdecimal()}
    numbers = sorted((key[5:] for key in keys), key=int)
    if len(numbers) < 2:
        return None
    weights = draw_weights(len(scores.cases), seed=SEED)
    places = np.arange(len(scores.cases))
    rows = [
        (
            title_of(row),
            *(with_interval(mean_estimate(weights, scores.of(row, f"dice_{k}"), places)) for k in numbers),
        )
        for row in scores.rows
    ]
    return Table("", ("DSC", *(names.get(k, f"class {k}") for k in numbers)), tuple(rows))


def glossary(scores: Scores) -> list[tuple[str, str]]:
    """Title and meaning of each figure that is there."""
    return [(item.title, item.help) for item in FIGURES if _is_there(scores, item.key)]


def charts(scores: Scores, records: Sequence[Record]) -> list[tuple[str, str]]:
    """Title and SVG of each chart: distribution of the DSC, refined against CAM, distribution of the seconds."""
    found = []
    measured = [row for row in scores.rows if row != "blank" and np.isfinite(scores.of(row, "dice")).any()]
    if measured:
        rows = [(title_of(row), scores.of(row, "dice")) for row in measured]
        found.append(("DSC of the cases", distribution_svg(rows, "dsc", "DSC per case")))
    panels = []
    for row in (CAM, BEST):
        refined, other = scores.of(REFINED, "dice"), scores.of(row, "dice")
        kept = np.isfinite(refined) & np.isfinite(other)
        if kept.any():
            panels.append((title_of(row), other[kept], refined[kept]))
    if panels:
        found.append(
            (
                "Refined against others, case by case",
                scatter_svg(panels, "mask named above", "scatter", "case"),
            )
        )
    seconds = np.array([record.seconds for record in records if record.state in ("done", "skipped")])
    if len(seconds) > 1 and seconds.any():
        found.append(("Time", distribution_svg([("seconds", seconds)], "seconds", "seconds per case", None)))
    return found


def score(record: Record, row: str, key: str) -> float:
    """A figure of one case; NaN where it has none."""
    return as_number(record.metrics.get(row, {}).get(key)) if record.metrics else math.nan


def shown_number(value: float, key: str = "", *, signed: bool = False) -> str:
    """A figure of one case, as the table of cases shows it."""
    figure: Any = next((item for item in FIGURES if item.key == key), None)
    return MISSING if math.isnan(value) else number(value, figure, signed=signed)


def _is_there(scores: Scores, key: str) -> bool:
    return any(np.isfinite(values).any() for (_, name), values in scores.values.items() if name == key)


def _notes(n: int) -> tuple[str, ...]:
    if n < 2:
        return (
            "Only one case was scored: an interval says how much cases differ, and there is none to be given.",
        )
    told = (
        f"Means over the cases. In parentheses, a {100 * CONFIDENCE:.0f} % percentile interval of a bootstrap over "
        f"the {n} scored cases ({RESAMPLES} draws, seed {SEED}), as if each were of another patient: with several "
        "cases per patient it is too narrow.",
    )
    return (*told, f"With only {n} cases it is too narrow; read it as a hint.") if n < FEW_CASES else told
