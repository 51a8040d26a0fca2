"""Clicks on clusters that a simulated user makes: always the one that gains most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Clicks:
    """What clicking came to.

    Attributes
    ----------
    dice : tuple of float
        Before the first click, and after each.
    reached : bool
        Whether the last one is as high as was wanted.
    bound : float
        Of the mask in which every smallest region has its most frequent class: about as far as clicks can lead.
    """

    dice: tuple[float, ...]
    reached: bool
    bound: float

    @property
    def count(self) -> int:
        """How many clicks there were."""
        return len(self.dice) - 1


def click_clusters(
    mask: NDArray[np.integer],
    truth: NDArray[np.integer],
    levels: Sequence[NDArray[np.integer]],
    wanted: float,
    most: int,
) -> Clicks:
    """Click clusters until the mask is good enough, none gains any more, or there were too many clicks.

    A click does what it does in the dock: with a class in the hand it gives a whole region that class, or takes the
    region out of the mask where more than half of it has the class already. Choosing the class and the level costs
    nothing, and a cluster that is painted in one drag with others counts like a click. Of clicks that gain as much
    the one on the lowest level comes first, there the one on the region that begins in the highest row.

    Parameters
    ----------
    mask, truth : ndarray of int, (H, W)
        Class numbers, 0 is background; the truth holds some class.
    levels : sequence of ndarray of int, (H, W)
        The regions of each level that can be clicked, the finest first.
    wanted : float
        Foreground Dice to stop at, mean over the classes that truth or mask hold.
    most : int
        At most so many clicks.

    Returns
    -------
    Clicks

    Raises
    ------
    ValueError
        If shapes differ, or the truth is empty.

    Examples
    --------
    >>> clusters, truth = np.array([[1, 1, 2, 3, 3, 4]]), np.array([[1, 1, 1, 0, 0, 0]])
    >>> found = click_clusters(np.array([[0, 0, 0, 1, 1, 0]]), truth, [clusters], wanted=1.0, most=9)
    >>> [round(dice, 2) for dice in found.dice], found.count, found.reached
    ([0.0, 0.57, 0.8, 1.0], 3, True)
    >>> whole = np.array([[1, 1, 1, 2, 2, 2]])
    >>> click_clusters(np.zeros((1, 6), int), truth, [clusters, whole], 1.0, 9).dice
    (0.0, 1.0)
    """
    if mask.shape != truth.shape or any(level.shape != truth.shape for level in levels):
        shapes = [mask.shape, truth.shape, *(level.shape for level in levels)]
        raise ValueError(f"mask, truth and levels must have one shape, got {', '.join(map(str, shapes))}")
    if not truth.any():
        raise ValueError("the truth is empty: there is nothing to click")
    state = _State(mask, truth, levels)
    dice = [state.dice]
    while dice[-1] < wanted and len(dice) <= most:
        if not state.click():
            break
        dice.append(state.dice)
    return Clicks(tuple(dice), dice[-1] >= wanted, state.bound())


class _State:
    """Pixels counted by atom, a piece that no click divides: of each class in the truth, and in the mask."""

    def __init__(
        self, mask: NDArray[Any], truth: NDArray[Any], levels: Sequence[NDArray[np.integer]]
    ) -> None:
        numbers = np.union1d(np.union1d(mask, truth), [0])
        self._count = len(numbers)
        atoms = np.zeros(truth.size, np.int64)
        flat = []
        for level in levels:
            regions = np.unique(level, return_inverse=True)[1].ravel()
            flat.append(regions)
            atoms = np.unique(atoms * (regions.max() + 1) + regions, return_inverse=True)[1].ravel()
        n_atoms = int(atoms.max()) + 1
        first = np.unique(atoms, return_index=True)[1]
        self._levels = [_by_place(regions, first) for regions in flat]
        self.in_truth, self.in_mask, self.both = (
            np.zeros((n_atoms, self._count), np.int64) for _ in range(3)
        )
        of_truth, of_mask = np.searchsorted(numbers, truth).ravel(), np.searchsorted(numbers, mask).ravel()
        np.add.at(self.in_truth, (atoms, of_truth), 1)
        np.add.at(self.in_mask, (atoms, of_mask), 1)
        agree = of_truth == of_mask
        np.add.at(self.both, (atoms[agree], of_truth[agree]), 1)
        self.sizes = np.bincount(atoms, minlength=n_atoms)

    @property
    def dice(self) -> float:
        return float(_dice(self.both.sum(0), self.in_mask.sum(0), self.in_truth.sum(0)))

    def bound(self) -> float:
        best = self.in_truth.argmax(axis=1)
        chosen = best[:, np.newaxis] == np.arange(self._count)
        both, in_mask = self.in_truth * chosen, self.sizes[:, np.newaxis] * chosen
        return float(_dice(both.sum(0), in_mask.sum(0), self.in_truth.sum(0)))

    def click(self) -> bool:
        """The click that gains most; whether any gains."""
        best, chosen = self.dice, None
        for level, places in enumerate(self._levels):
            for value, dice in enumerate(self._after(places)):
                region = int(dice.argmax())
                # Rounding is no gain.
                if dice[region] > best + 1e-12:
                    best, chosen = float(dice[region]), (level, region, value)
        if chosen is None:
            return False
        level, region, value = chosen
        inside = self._levels[level] == region
        self.in_mask[inside], self.both[inside] = 0, 0
        self.in_mask[inside, value] = self.sizes[inside]
        self.both[inside, value] = self.in_truth[inside, value]
        return True

    def _after(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Dice if a region is given a class (or taken out, class 0): (classes, regions); 0 where no click does it."""
        in_truth, in_mask, both = (_sums(part, places) for part in (self.in_truth, self.in_mask, self.both))
        sizes = in_mask.sum(axis=1)
        held = 2 * in_mask > sizes[:, np.newaxis]
        found = np.zeros((self._count, len(sizes)))
        for value in range(self._count):
            chosen = np.arange(self._count) == value
            after = _dice(
                self.both.sum(0) - both + in_truth * chosen,
                self.in_mask.sum(0) - in_mask + sizes[:, np.newaxis] * chosen,
                self.in_truth.sum(0),
            )
            possible = ~held[:, value] if value else held[:, 1:].any(axis=1)
            found[value] = np.where(possible, after, 0.0)
        return found


def _by_place(regions: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """The region of each atom, numbered by where regions begin."""
    begins = np.unique(regions, return_index=True)[1]
    rank = np.empty(len(begins), np.int64)
    rank[np.argsort(begins)] = np.arange(len(begins))
    return rank[regions[first]]


def _sums(of_atoms: Counts, places: NDArray[np.int64]) -> Counts:
    found = np.zeros((int(places.max()) + 1, of_atoms.shape[1]), np.int64)
    np.add.at(found, places, of_atoms)
    return found


def _dice(both: Counts, in_mask: Counts, in_truth: Counts) -> NDArray[np.float64]:
    """Mean over the classes (last axis, 0 is background) that mask or truth hold."""
    total = (in_mask + in_truth)[..., 1:]
    there = total > 0
    each = np.divide(2 * both[..., 1:], total, out=np.zeros(total.shape), where=there)
    return np.asarray(each.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))
