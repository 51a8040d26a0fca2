"""Which images a report shows, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_refit.pages import data_address
from napari_refit.study.arranging import Measured, Place
from napari_refit.study.comparing import paired_dice
from napari_refit.study.figures import image_dice
from napari_refit.study.results import BEST_THRESHOLD, BLANK, Panel
from napari_refit.study.statistics import Statistics
from napari_refit.tiles import compressed, tiles

PER_KIND = 4
TILE = 230


@dataclass(frozen=True)
class Pick:
    """Images of one kind.

    Attributes
    ----------
    title, about : str
    places : tuple of (case, axis, index)
    """

    title: str
    about: str
    places: tuple[Place, ...]


def method_shown(statistics: Statistics, baseline: str) -> str | None:
    """The refined method whose cases are shown: ReFit with default settings where it was run."""
    others = [key for key in statistics.arranged.methods if key not in (BLANK, baseline, BEST_THRESHOLD)]
    return next((key for key in ("refit", "refit-paper") if key in others), others[0] if others else None)


def picks(statistics: Statistics, method: str, baseline: str) -> list[Pick]:
    """Worst, best, most gained, most lost, and false alarms; of each patient one, while there are others.

    Parameters
    ----------
    statistics : Statistics
    method, baseline : str
        What is looked at, and what it is compared with.

    Returns
    -------
    list of Pick
        Kinds of which there is none are left out.
    """
    arranged = statistics.arranged
    measured = arranged.methods[method]
    columns = range(len(arranged.classes))
    dice = image_dice(measured, columns)
    held = np.flatnonzero((measured.in_truth > 0).any(axis=1) & ~np.isnan(dice))
    ranked = held[np.argsort(dice[held], kind="stable")]
    found = [
        Pick("Worst", "lowest DSC among the images with foreground", _spread(measured, ranked)),
        Pick("Best", "highest DSC", _spread(measured, ranked[::-1])),
    ]
    other = arranged.methods.get(baseline)
    if other is not None:
        mine, theirs, numbers, _ = paired_dice(measured, other, columns)
        gain = mine - theirs
        order = np.argsort(gain, kind="stable")
        up = [k for k in order[::-1] if gain[k] > 0]
        down = [k for k in order if gain[k] < 0]
        found += [
            Pick("Largest gain", "DSC above that of the CAM", _spread(measured, numbers[up])),
            Pick("Largest loss", "DSC below that of the CAM", _spread(measured, numbers[down])),
        ]
    alarms = np.flatnonzero((measured.in_truth == 0).all(axis=1) & (measured.in_mask > 0).any(axis=1))
    share = measured.in_mask[alarms].sum(axis=1) / measured.pixels[alarms]
    alarms = alarms[np.argsort(-share, kind="stable")]
    found.append(Pick("False alarms", "largest marks where the truth is empty", _spread(measured, alarms)))
    return [pick for pick in found if pick.places]


def _spread(measured: Measured, ranked: Iterable[Any]) -> tuple[Place, ...]:
    """The first few of a ranking, patients that are not yet there going first."""
    chosen: list[int] = []
    spare: list[int] = []
    seen: set[int] = set()
    for k in map(int, ranked):
        patient = int(measured.patients[k])
        (spare if patient in seen else chosen).append(k)
        seen.add(patient)
        if len(chosen) == PER_KIND:
            break
    return tuple(measured.places[k] for k in (chosen + spare)[:PER_KIND])


def draw_case(panel: Panel, method: str, baseline: str) -> str:
    """Four tiles side by side: image, truth, response map and CAM mask, refined mask.

    Returns
    -------
    str
        A ``data:`` address.

    Raises
    ------
    ValueError
        If the image is no picture, or a mask is of another size.
    """
    picture = tiles(
        panel.image,
        truth=panel.truth,
        response=panel.responses.get(baseline, next(iter(panel.responses.values()), None)),
        cam_mask=panel.masks.get(baseline),
        refined=panel.masks.get(method),
        side=TILE,
    )
    return data_address(*compressed(picture))
