"""Rows put into arrays, one set per method, in an order that does not depend on that of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.study.results import BLANK, Row

Place = tuple[str, int | None, int | None]


@dataclass(frozen=True, eq=False)
class Measured:
    """One method's rows: N images, K classes.

    Attributes
    ----------
    method : str
    places : list of (case, axis, index)
        Sorted.
    patients, cases : ndarray of int64, (N,)
        Numbers in `Arranged.patients` and `Arranged.cases`.
    folds : ndarray of int64, (N,)
    both, in_mask, in_truth : ndarray of int64, (N, K)
        Pixel counts.
    both_background, pixels : ndarray of int64, (N,)
    dice, hd95, surface_dice : ndarray of float64, (N, K)
    seconds : ndarray of float64, (N,)
    """

    method: str
    places: list[Place]
    patients: NDArray[np.int64]
    cases: NDArray[np.int64]
    folds: NDArray[np.int64]
    both: NDArray[np.int64]
    in_mask: NDArray[np.int64]
    in_truth: NDArray[np.int64]
    both_background: NDArray[np.int64]
    pixels: NDArray[np.int64]
    dice: NDArray[np.float64]
    hd95: NDArray[np.float64]
    surface_dice: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def part(self, kept: NDArray[np.bool_]) -> Measured:
        """Only some of the images."""
        arrays = {
            item.name: getattr(self, item.name)[kept]
            for item in fields(self)
            if item.name not in ("method", "places")
        }
        places = [place for place, keep in zip(self.places, kept.tolist(), strict=True) if keep]
        return Measured(method=self.method, places=places, **arrays)


@dataclass(frozen=True, eq=False)
class Arranged:
    """The rows of a study.

    Attributes
    ----------
    level : str
        ``"image"``, or ``"case"`` where there are rows of whole volumes only.
    unit : str
        Of HD95.
    classes : tuple of (int, str)
        Numbers and names.
    patients, cases : tuple of str
        Sorted.
    methods : dict of str to Measured
        Blank first, then in the order asked for.
    volumes : dict of str to Measured
        Rows of whole volumes beside those of images; empty where there are none.
    """

    level: str
    unit: str
    classes: tuple[tuple[int, str], ...]
    patients: tuple[str, ...]
    cases: tuple[str, ...]
    methods: dict[str, Measured]
    volumes: dict[str, Measured]


def ordered(keys: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """Keys, each once: blank, then those of ``first`` in that order, then the others by name.

    Examples
    --------
    >>> ordered(["seam", "cam", "blank"], ["gradcam", "seam"])
    ['blank', 'seam', 'cam']
    """
    place = {key: number for number, key in enumerate(first)}
    return sorted(set(keys), key=lambda key: (key != BLANK, place.get(key, len(place)), key))


def arrange(rows: Sequence[Row], order: Sequence[str] = ()) -> Arranged:
    """Sort rows into arrays.

    Parameters
    ----------
    rows : sequence of Row
    order : sequence of str
        Methods in the order of the tables.

    Raises
    ------
    ValueError
        If two rows are of the same method, class and image, a case has two patients, or units are mixed.
    """
    units = sorted({row.unit for row in rows})
    if len(units) > 1:
        raise ValueError(f"HD95 is in {' and in '.join(units)}: one study must keep to one unit")
    patient_of: dict[str, str] = {}
    names: dict[int, str] = {}
    for row in rows:
        if patient_of.setdefault(row.case, row.patient) != row.patient:
            both = f"{patient_of[row.case]!r} and {row.patient!r}"
            raise ValueError(f"case {row.case!r} is said to be of two patients, {both}")
        if names.setdefault(row.class_number, row.class_name) != row.class_name:
            both = f"{names[row.class_number]!r} and {row.class_name!r}"
            raise ValueError(f"class {row.class_number} has two names, {both}")
    cases = tuple(sorted(patient_of))
    patients = tuple(sorted(set(patient_of.values())))
    classes = tuple(sorted(names.items()))
    level = "image" if not rows or any(row.level == "image" for row in rows) else "case"
    of_level: dict[str, dict[str, list[Row]]] = {"image": {}, "case": {}}
    for row in rows:
        of_level[row.level].setdefault(row.method, []).append(row)
    measured = {
        name: {
            key: _measured(key, found[key], classes, patients, cases, patient_of)
            for key in ordered(found, order)
        }
        for name, found in of_level.items()
    }
    return Arranged(
        level,
        units[0] if units else "px",
        classes,
        patients,
        cases,
        measured[level],
        measured["case"] if level == "image" else {},
    )


def _measured(
    method: str,
    rows: list[Row],
    classes: tuple[tuple[int, str], ...],
    patients: tuple[str, ...],
    cases: tuple[str, ...],
    patient_of: dict[str, str],
) -> Measured:
    places: list[Place] = sorted({row.place for row in rows}, key=_sortable)
    place_number = {place: number for number, place in enumerate(places)}
    class_number = {number: position for position, (number, _) in enumerate(classes)}
    patient_number = {name: number for number, name in enumerate(patients)}
    case_number = {name: number for number, name in enumerate(cases)}
    shape = len(places), len(classes)
    counts = {name: np.zeros(shape, np.int64) for name in ("both", "in_mask", "in_truth")}
    scores = {name: np.full(shape, np.nan) for name in ("dice", "hd95", "surface_dice")}
    single = {name: np.zeros(len(places), np.int64) for name in ("folds", "both_background", "pixels")}
    seconds = np.full(len(places), np.nan)
    filled = np.zeros(shape, bool)
    for row in rows:
        at = place_number[row.place], class_number[row.class_number]
        if filled[at]:
            where = f"{row.case!r}, slice {row.index}" if row.index is not None else repr(row.case)
            raise ValueError(f"{method}: there are two rows of class {row.class_name!r} of {where}")
        filled[at] = True
        for name, array in (*counts.items(), *scores.items()):
            array[at] = getattr(row, name)
        single["folds"][at[0]] = row.fold
        single["both_background"][at[0]] = row.both_background
        single["pixels"][at[0]] = row.pixels
        seconds[at[0]] = row.seconds
    arrays: dict[str, Any] = {**counts, **scores, **single}
    return Measured(
        method=method,
        places=places,
        patients=np.array([patient_number[patient_of[case]] for case, _, _ in places], np.int64),
        cases=np.array([case_number[case] for case, _, _ in places], np.int64),
        seconds=seconds,
        **arrays,
    )


def _sortable(place: Place) -> tuple[str, int, int]:
    case, axis, index = place
    return case, -1 if axis is None else axis, -1 if index is None else index
