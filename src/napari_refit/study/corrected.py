"""What a simulated user's corrections came to: one row per method and image, as a CSV file, and figures of them."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.io._atomic import atomic_path
from napari_refit.study.bootstrap import (
    RESAMPLES,
    Estimate,
    Floats,
    draw_weights,
    mean_estimate,
    median_estimate,
)
from napari_refit.study.tables import MISSING, Table, number, with_interval

USERS = {"clusters": "clusters", "levels": "clusters of any level"}
"""Who clicks, and on what."""


@dataclass(frozen=True)
class Round:
    """A look at the mask, and what followed.

    Attributes
    ----------
    strokes : int
        Painted in this round.
    in_mask : int
        Pixels marked afterwards.
    dice : float
        Of the mask afterwards; NaN where neither it nor the truth holds anything.
    seconds : float
        That refining took.
    """

    strokes: int
    in_mask: int
    dice: float
    seconds: float


@dataclass(frozen=True)
class Clicked:
    """Clicks on an image.

    Attributes
    ----------
    count : int
    dice : float
        Of the mask at the end.
    reached : bool
        Whether that is the Dice that was wanted.
    bound : float
        Of the mask in which every cluster has its most frequent class.
    """

    count: int
    dice: float
    reached: bool
    bound: float


@dataclass(frozen=True)
class Corrected:
    """One method's mask of one image, corrected.

    Attributes
    ----------
    dataset, method, case, patient : str
    fold : int
    axis, index : int or None
        As of `napari_refit.study.results.Row`.
    in_truth, in_mask : int
        Pixels of all classes in the reference mask, and in the automatic mask.
    dice : float
        Of the automatic mask: mean over the classes that it or the truth holds, NaN where neither holds any.
    map_bound : float
        Of the response maps at the threshold that is best for this very image; NaN where the truth is empty.
    rounds : tuple of Round
    clicks : dict of str to Clicked
        By `USERS`; empty where the truth is, or where nobody clicked.
    """

    dataset: str
    fold: int
    method: str
    case: str
    patient: str
    axis: int | None
    index: int | None
    in_truth: int
    in_mask: int
    dice: float
    map_bound: float
    rounds: tuple[Round, ...]
    clicks: Mapping[str, Clicked]


def as_corrected(values: Mapping[str, Any], **about: Any) -> Corrected:
    """A row of what `napari_refit.study.correcting.Corrections` keeps, with what it is of."""
    rounds = tuple(Round(**{**each, "dice": _real(each["dice"])}) for each in values["rounds"])
    clicks = {user: Clicked(**each) for user, each in values["clicks"].items()}
    numbers = {name: _real(values[name]) for name in ("dice", "map_bound")}
    return Corrected(**{**values, **about, **numbers, "rounds": rounds, "clicks": clicks})


def write_corrected(path: str | os.PathLike[str], rows: Sequence[Corrected]) -> Path:
    """Write rows as a CSV file, whole or not at all: what they hold, each round and each user in columns of its own.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    target = Path(path)
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(flat)
    return target


@dataclass(frozen=True)
class ClickSummary:
    """How many clicks images take.

    Attributes
    ----------
    median : Estimate
        Of the clicks to the Dice that was wanted; infinite if half of the images never get there.
    reached : Estimate
        Share of the images that get there.
    """

    median: Estimate
    reached: Estimate


@dataclass(frozen=True)
class CorrectionSummary:
    """One method, corrected; figures are over the images whose truth holds an object.

    Attributes
    ----------
    method : str
    n_images, n_patients : int
    dice, medians : tuple of Estimate
        Mean and median of the automatic mask's foreground Dice, then after each round.
    gains : tuple of Estimate
        Mean difference to the automatic mask, image by image, after each round.
    strokes : tuple of float
        Per image, of each round.
    map_bound : Estimate
        Mean Dice of the response maps, each image at the threshold that is best for it.
    bound : Estimate or None
        Mean Dice of the best mask that consists of whole clusters.
    clicks : dict of str to ClickSummary
        By `USERS`.
    n_without : int
        Images whose truth holds nothing.
    false_alarms : tuple of int
        Of those, how many are marked all the same: in the automatic mask, then after each round.
    """

    method: str
    n_images: int
    n_patients: int
    dice: tuple[Estimate, ...]
    medians: tuple[Estimate, ...]
    gains: tuple[Estimate, ...]
    strokes: tuple[float, ...]
    map_bound: Estimate
    bound: Estimate | None
    clicks: Mapping[str, ClickSummary]
    n_without: int
    false_alarms: tuple[int, ...]


def summarise(
    rows: Sequence[Corrected], resamples: int = RESAMPLES, seed: int = 0
) -> list[CorrectionSummary]:
    """Figures of each method with 95 % intervals over patients, in the order of the rows.

    Parameters
    ----------
    rows : sequence of Corrected
    resamples, seed : int
        Of the bootstrap.
    """
    found = []
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        found.append(_summary(method, mine, resamples, seed))
    return found


def correction_dict(rows: Sequence[Corrected], wanted: float) -> dict[str, Any] | None:
    """What summary.json says of the corrections; None where there are none."""
    if not rows:
        return None
    return {"wanted": wanted, "users": USERS, "summaries": [asdict(item) for item in summarise(rows)]}


def correction_tables(rows: Sequence[Corrected], titles: Mapping[str, str], wanted: float) -> list[Table]:
    """The tables of a report: scribbles, and clicks; none without rows."""
    summaries = summarise(rows)
    if not summaries:
        return []
    return [_scribbles(summaries, titles), *_clicks(summaries, titles, wanted)]


def _scribbles(summaries: Sequence[CorrectionSummary], titles: Mapping[str, str]) -> Table:
    n_rounds = max(len(item.gains) for item in summaries)
    rounds = [f"{k} round{'s' if k > 1 else ''}" for k in range(1, n_rounds + 1)]
    head = (
        "method",
        "images",
        "DSC, map at its best",
        "DSC, automatic",
        *(f"after {text}" for text in rounds),
        *(f"gain, {text}" for text in rounds),
        *(f"median, {text}" for text in rounds),
        "strokes per image and round",
        "false alarms",
    )
    rows = tuple(
        (
            titles.get(item.method, item.method),
            str(item.n_images),
            with_interval(item.map_bound),
            *(with_interval(each) for each in item.dice),
            *(with_interval(each, signed=True) for each in item.gains),
            *(with_interval(each) for each in item.medians[1:]),
            ", ".join(f"{count:.2f}" for count in item.strokes),
            " → ".join(map(str, item.false_alarms)) + f" of {item.n_without}",
        )
        for item in summaries
    )
    notes = (
        "A simulated user who knows the reference mask looks at the automatic one and paints at most one stroke on the "
        "object and one on the background, each along the centre line of the largest connected region that is wrong on "
        "that side; then the mask is refined with these hints. Foreground Dice over the images that show an object, "
        "with 95 % intervals over patients. Map at its best: the response map alone at the threshold that is best for "
        "the very image. False alarms: images without an object that are marked, in the automatic "
        "mask and after each round.",
    )
    return Table("Corrected by scribbles", head, rows, notes)


def _clicks(summaries: Sequence[CorrectionSummary], titles: Mapping[str, str], wanted: float) -> list[Table]:
    if not any(item.clicks for item in summaries):
        return []
    head = ["method", "images", "DSC of the best mask of whole clusters"]
    for text in USERS.values():
        head += [f"clicks on {text}, median", "images that reach it"]
    rows = []
    for item in summaries:
        cells = [
            titles.get(item.method, item.method),
            str(item.n_images),
            MISSING if item.bound is None else with_interval(item.bound),
        ]
        for user in USERS:
            clicks = item.clicks.get(user)
            if clicks is None:
                cells += [MISSING, MISSING]
            else:
                cells += [clicks_text(clicks.median), with_interval(clicks.reached)]
        rows.append(tuple(cells))
    notes = (
        f"Clicks of the same user, without scribbles, to a foreground Dice of {wanted:g}: each on the cluster that "
        "gains most, in or out of the mask; on any level of the hierarchy by the wheel, which is not counted. Images "
        "that never reach it count as infinitely many.",
    )
    return [Table(f"Clicks to a Dice of {wanted:g}", tuple(head), tuple(rows), notes)]


def clicks_text(item: Estimate) -> str:
    """A number of clicks and its interval.

    Examples
    --------
    >>> clicks_text(Estimate(4.0, 2.5, math.inf, 10, 5))
    '4 (2.5–∞)'
    """
    texts = ["∞" if math.isinf(value) else f"{value:g}" for value in (item.value, item.low, item.high)]
    if math.isnan(item.value):
        return number(item.value)
    return texts[0] if math.isnan(item.low) else f"{texts[0]} ({texts[1]}–{texts[2]})"


def _summary(method: str, rows: Sequence[Corrected], resamples: int, seed: int) -> CorrectionSummary:
    shown = [row for row in rows if row.in_truth]
    without = [row for row in rows if not row.in_truth]
    names, patients = np.unique([row.patient for row in shown], return_inverse=True)
    weights = draw_weights(len(names), resamples, seed)
    n_rounds = len(rows[0].rounds)

    def mean(of: Callable[[Corrected], float]) -> Estimate:
        return mean_estimate(weights, np.array([of(row) for row in shown], float), patients)

    def after(k: int) -> Callable[[Corrected], float]:
        return lambda row: row.rounds[k - 1].dice if k else row.dice

    def gain(k: int) -> Callable[[Corrected], float]:
        return lambda row: row.rounds[k].dice - row.dice

    clicked = [user for user in USERS if shown and user in shown[0].clicks]
    steps = range(n_rounds + 1)
    return CorrectionSummary(
        method=method,
        n_images=len(shown),
        n_patients=len(names),
        dice=tuple(mean(after(k)) for k in steps),
        medians=tuple(
            median_estimate(weights, np.array([after(k)(row) for row in shown], float), patients)
            for k in steps
        ),
        gains=tuple(mean(gain(k)) for k in range(n_rounds)),
        strokes=tuple(
            float(np.mean([row.rounds[k].strokes for row in shown])) if shown else math.nan
            for k in range(n_rounds)
        ),
        map_bound=mean(lambda row: row.map_bound),
        bound=mean(lambda row: row.clicks[clicked[0]].bound) if clicked else None,
        clicks={user: _clicks_of([row.clicks[user] for row in shown], weights, patients) for user in clicked},
        n_without=len(without),
        false_alarms=(
            sum(row.in_mask > 0 for row in without),
            *(sum(row.rounds[k].in_mask > 0 for row in without) for k in range(n_rounds)),
        ),
    )


def _clicks_of(clicks: Sequence[Clicked], weights: Floats, patients: Any) -> ClickSummary:
    counts = np.array([each.count for each in clicks], float)
    reached = np.array([each.reached for each in clicks])
    # Medians pass over what is not finite: a number above all others stands for never.
    never = counts.max() + 1
    median = median_estimate(weights, np.where(reached, counts, never), patients)
    # The middle of an even number of images may lie between one that gets there and one that does not.
    value, low, high = (
        math.inf if end > counts.max() else end for end in (median.value, median.low, median.high)
    )
    return ClickSummary(
        Estimate(value, low, high, median.n, median.n_patients),
        mean_estimate(weights, reached.astype(float), patients),
    )


def _flat(row: Corrected) -> dict[str, Any]:
    values = {name: value for name, value in vars(row).items() if name not in ("rounds", "clicks")}
    for k, each in enumerate(row.rounds, start=1):
        values |= {f"{name}_round_{k}": value for name, value in vars(each).items()}
    for user, clicked in row.clicks.items():
        values |= {f"{name}_{user}": value for name, value in vars(clicked).items()}
    return values


def _real(value: float | None) -> float:
    # JSON has no NaN.
    return math.nan if value is None else float(value)
