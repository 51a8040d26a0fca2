"""Splits by patient and by group: the same seed, the same split."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from napari_refit.errors import ReadError, brief
from napari_refit.io._atomic import atomic_path
from napari_refit.io.datasets.case import Case
from napari_refit.io.datasets.groups import tied
from napari_refit.io.datasets.labels import ImageLabels
from napari_refit.io.datasets.preparation import SplitParams

FORMAT = "napari-refit split 1"
SIDES = ("train", "validation", "test")
_MOST_SWAPPED = 400


@dataclass(frozen=True)
class Fold:
    """One round: names of cases, each on one side.

    Attributes
    ----------
    train, validation, test : tuple of str
        To learn from; to choose parameters on (may be empty); to test on, and for nothing else.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def sides(self) -> dict[str, str]:
        """Case to ``"train"``, ``"validation"`` or ``"test"``."""
        return {name: side for side in SIDES for name in getattr(self, side)}


@dataclass(frozen=True)
class Split:
    """How a dataset is divided.

    Attributes
    ----------
    dataset : str
        The dataset's name.
    params : SplitParams
    folds : tuple of Fold
    """

    dataset: str
    params: SplitParams
    folds: tuple[Fold, ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        content = {
            "format": FORMAT,
            "dataset": self.dataset,
            "params": self.params.model_dump(mode="json"),
            "folds": [{side: list(getattr(fold, side)) for side in SIDES} for fold in self.folds],
        }
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Split:
        """Read a split that `save` wrote.

        Raises
        ------
        ReadError
            If it is missing, damaged, no split, or has a case on two sides.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReadError(path, f"cannot be read as a split: {brief(error)}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ReadError(path, f"is no split of this program (its format is not {FORMAT!r})")
        try:
            split = cls(
                str(content["dataset"]),
                SplitParams.model_validate(content["params"]),
                tuple(Fold(*(_names(fold[side]) for side in SIDES)) for fold in content["folds"]),
            )
        except (ValidationError, KeyError, TypeError) as error:
            raise ReadError(path, f"is no valid split: {brief(error)}") from None
        for number, fold in enumerate(split.folds, start=1):
            names = Counter([*fold.train, *fold.validation, *fold.test])
            twice = [name for name, count in names.items() if count > 1]
            if twice:
                raise ReadError(path, f"fold {number} has {twice[0]!r} on two sides, or twice")
        return split


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{value!r} is no list of names")
    return tuple(value)


def make_split(
    cases: Sequence[Case],
    params: SplitParams | None = None,
    labels: ImageLabels | None = None,
    dataset: str = "",
) -> Split:
    """Divide cases so that no patient and no group is on two sides.

    Patients and groups that share a case are tied together and move as one. They are dealt out, the largest first,
    to whichever side lacks most of what they bring: cases, image-level labels, positive slices. Of ``k`` folds, no two
    differ by more cases than the largest tied set has; a fraction is met to within that many.

    Parameters
    ----------
    cases : sequence of Case
    params : SplitParams, optional
    labels : ImageLabels, optional
        To spread the classes evenly; without it the cases' own labels (folder names) are used.
    dataset : str
        Its name, kept in the split.

    Returns
    -------
    Split
        Names in the order of the cases.

    Raises
    ------
    ValueError
        If there are fewer independent sets of cases than sides, nothing can be kept for validation, or two cases have
        one name.

    Examples
    --------
    >>> cases = [Case(f"scan {k}", {}, patient=f"patient {k // 2}") for k in range(8)]
    >>> split = make_split(cases, SplitParams(folds=2))
    >>> [len(fold.test) for fold in split.folds]
    [4, 4]
    """
    params = SplitParams() if params is None else params
    names = [case.name for case in cases]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two cases are named {twice[0]!r}; a split needs names that differ")
    tied = tied_cases(cases)
    traits, n_kinds = _traits(cases, labels)
    rng = np.random.default_rng(params.seed)
    if params.method == "folds":
        tests = _dealt(tied, traits, [1 / params.folds] * params.folds, rng, n_kinds)
    else:
        tests = _dealt(tied, traits, [1 - params.test_fraction, params.test_fraction], rng, n_kinds)[1:]
    folds: list[Fold] = []
    for test in tests:
        tested = {name for group in test for name in group}
        left = [group for group in tied if group[0] not in tested]
        validation: set[str] = set()
        if params.validation_fraction > 0:
            share = params.validation_fraction
            if len(left) < 2:
                raise ValueError(
                    f"fold {len(folds) + 1}: all that is not tested is one patient or group, of which no part can be "
                    "kept for validation; set the validation fraction to 0"
                )
            chance = np.random.default_rng([params.seed, len(folds)])
            kept = _dealt(left, traits, [1 - share, share], chance, n_kinds)[1]
            validation = {name for group in kept for name in group}
        folds.append(
            Fold(
                tuple(name for name in names if name not in tested and name not in validation),
                tuple(name for name in names if name in validation),
                tuple(name for name in names if name in tested),
            )
        )
    return Split(dataset, params, tuple(folds))


def tied_cases(cases: Sequence[Case]) -> list[tuple[str, ...]]:
    """Names of cases that must stay together; see `tied`."""
    return tied((case.name, case.patient, case.group) for case in cases)


def _traits(cases: Sequence[Case], labels: ImageLabels | None) -> tuple[dict[str, np.ndarray], int]:
    """For each case how much it brings of what is to be spread: itself, its kind of label, positive slices.

    The second value is how many kinds of labels there are.
    """
    positive = {case.name: np.zeros(0) for case in cases}
    if labels is not None:
        matrix = labels.matrix
        positive = {case.name: np.zeros(len(labels.classes)) for case in cases}
        for row, present in zip(labels.rows, matrix, strict=True):
            if row.case in positive:
                positive[row.case] = positive[row.case] + present
    kinds = [(case.label, *(positive[case.name] > 0)) for case in cases]
    known = list(dict.fromkeys(kinds))
    return {
        case.name: np.concatenate([[1.0], [float(kind == other) for other in known], positive[case.name]])
        for case, kind in zip(cases, kinds, strict=True)
    }, len(known)


def _dealt(
    tied: Sequence[tuple[str, ...]],
    traits: dict[str, np.ndarray],
    shares: Sequence[float],
    rng: np.random.Generator,
    n_kinds: int,
) -> list[list[tuple[str, ...]]]:
    """Deal tied sets of cases out to sides that should get these shares of everything."""
    if len(tied) < len(shares):
        raise ValueError(
            f"{len(tied)} independent sets of cases (patients, groups) cannot be divided into {len(shares)} sides; "
            "ask for fewer folds or a smaller fraction"
        )
    brings = np.array([sum(traits[name] for name in group) for group in tied])
    sizes = brings[:, 0]
    totals = brings.sum(axis=0)
    wanted = np.outer(shares, totals)
    largest, equal = sizes.max(), len(set(shares)) == 1
    # Largest first, then the rarest label, so that what is alike is dealt out in one go.
    order = rng.permutation(len(tied))
    ranks = np.argsort(np.argsort(totals[1 : 1 + n_kinds], kind="stable"))
    rarest = np.array([ranks[np.flatnonzero(brings[k, 1 : 1 + n_kinds])].min() for k in order])
    order = order[np.lexsort((rarest, -sizes[order]))]
    sides: list[list[int]] = [[] for _ in shares]
    given = np.zeros_like(wanted)
    turn = rng.permutation(len(shares))
    for place, k in enumerate(order):
        after = given[:, 0] + sizes[k]
        allowed = after <= wanted[:, 0] + largest + 1e-9
        if equal:
            allowed &= after <= given[:, 0].min() + largest + 1e-9
        empty = [side for side, groups in enumerate(sides) if not groups]
        if len(order) - place <= len(empty):
            # Every side gets something, however small its share.
            allowed = np.isin(np.arange(len(shares)), empty)
        there = totals > 0
        filled = (given[:, there] + brings[k, there] / 2) / wanted[:, there]
        cost = (filled * (brings[k, there] / totals[there])).sum(axis=1)
        best = min(
            np.flatnonzero(allowed), key=lambda side: (round(cost[side], 9), given[side, 0], turn[side])
        )
        sides[best].append(int(k))
        given[best] += brings[k]
    _swap(sides, brings, given - wanted, n_kinds)
    return [[tied[k] for k in side] for side in sides]


def _swap(sides: list[list[int]], brings: np.ndarray, excess: np.ndarray, n_kinds: int) -> None:
    """Swap sets alike in size and labels between sides, the most useful first, while that evens positive slices out."""
    positives = brings[:, 1 + n_kinds :]
    scale = np.maximum(positives.sum(axis=0), 1.0)
    shares, alike = positives / scale, brings[:, : 1 + n_kinds]
    excess = excess[:, 1 + n_kinds :] / scale
    for _ in range(len(brings)):
        best = (-1e-12, 0, 0, 0, 0)
        for first, second in combinations(range(len(sides)), 2):
            # Of very many sets a part will do.
            here, there = np.array(sides[first][:_MOST_SWAPPED]), np.array(sides[second][:_MOST_SWAPPED])
            moved = shares[there][None] - shares[here][:, None]
            gains = 2 * (moved * (excess[first] - excess[second]) + moved**2).sum(axis=2)
            gains[(alike[there][None] != alike[here][:, None]).any(axis=2)] = 0
            i, j = np.unravel_index(int(gains.argmin()), gains.shape)
            best = min(best, (float(gains[i, j]), first, int(i), second, int(j)))
        gain, first, place, second, other = best
        if not gain < -1e-12:
            return
        moved = shares[sides[second][other]] - shares[sides[first][place]]
        excess[first] += moved
        excess[second] -= moved
        sides[first][place], sides[second][other] = sides[second][other], sides[first][place]
