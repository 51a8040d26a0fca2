"""Paired comparisons: the difference with its interval, and two tests over patients, corrected over the methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_refit.study.arranging import Arranged, Measured
from napari_refit.study.bootstrap import Estimate, mean_estimate, sums_of
from napari_refit.study.figures import Group, image_dice

EXACT_UP_TO = 12
"""Patients up to which all flips of sign are gone through."""
DRAWS = 10_000


@dataclass(frozen=True)
class Comparison:
    """One method against another on the images that both have a Dice of.

    Attributes
    ----------
    method, against : str
    class_number : int
        0: mean over the classes.
    class_name : str
    difference : Estimate
        Mean over the paired images of the method's foreground Dice less the other's.
    n_unpaired : int
        Images on which only one of them has a Dice, or which only one of them was run on.
    n_higher, n_lower, n_equal : int
        Paired images by who is higher.
    p_sign_flip : float
        Two-sided sign-flip permutation test of the patients' mean differences.
    is_exact : bool
        Whether all flips were gone through.
    p_wilcoxon : float
        Wilcoxon's signed-rank test of the patients' mean differences.
    p_sign_flip_holm, p_wilcoxon_holm : float
        The same after Holm's correction over all methods that are compared with the same one.
    """

    method: str
    against: str
    class_number: int
    class_name: str
    difference: Estimate
    n_unpaired: int
    n_higher: int
    n_lower: int
    n_equal: int
    p_sign_flip: float
    is_exact: bool
    p_wilcoxon: float
    p_sign_flip_holm: float = math.nan
    p_wilcoxon_holm: float = math.nan


def sign_flip_p(differences: Sequence[float] | NDArray[np.float64], seed: int = 0) -> float:
    """Two-sided sign-flip permutation test of a mean difference of 0.

    Parameters
    ----------
    differences : sequence of float
        One per patient; under the null hypothesis each could as well have the other sign.
    seed : int
        Of the draws, where there are too many flips to go through.

    Returns
    -------
    float
        Exact up to 12 differences; above, from 10,000 draws, the flip that was observed counted among them, so that
        it is never 0. NaN without differences.

    References
    ----------
    Fisher, "The Design of Experiments" (1935). Phipson and Smyth, "Permutation p-values should never be zero",
    Statistical Applications in Genetics and Molecular Biology 9 (2010).

    Examples
    --------
    >>> sign_flip_p([0.1, 0.2, 0.3])
    0.25
    """
    values = np.asarray(differences, np.float64)
    n = len(values)
    if n == 0:
        return math.nan
    if n <= EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 1.0 - 2.0 * np.random.default_rng([seed, 2]).integers(2, size=(DRAWS, n))
    # Flips that give the same sum up to rounding are as extreme as the observed one.
    slack = 1e-12 * np.abs(values).sum()
    extreme = int(np.count_nonzero(np.abs(signs @ values) >= abs(values.sum()) - slack))
    return extreme / 2**n if n <= EXACT_UP_TO else (extreme + 1) / (DRAWS + 1)


def wilcoxon_p(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """Two-sided Wilcoxon signed-rank test, zeros left out; 1 if all are zero, NaN without differences.

    References
    ----------
    Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945); computed by SciPy.

    Examples
    --------
    >>> wilcoxon_p([0.1, 0.2, 0.3])
    0.25
    """
    from scipy.stats import wilcoxon

    values = np.asarray(differences, np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0 if len(np.atleast_1d(differences)) else math.nan
    return float(wilcoxon(values).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's correction; NaN stay NaN and do not count.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, float("nan")])
    [0.03, 0.06, 0.06, nan]
    """
    corrected = list(p_values)
    order = sorted(
        (k for k in range(len(corrected)) if not math.isnan(corrected[k])), key=lambda k: p_values[k]
    )
    highest = 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[k]))
        corrected[k] = highest
    return corrected


def paired_dice(
    one: Measured, other: Measured, columns: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], int]:
    """Dice of two methods on the images that both have one of.

    Returns
    -------
    of_one, of_other : ndarray of float64, (n,)
    numbers : ndarray of int64, (n,)
        Which images of ``one`` they are.
    n_unpaired : int
    """
    mine, theirs = image_dice(one, columns), image_dice(other, columns)
    number = {place: k for k, place in enumerate(other.places)}
    partner = np.array([number.get(place, -1) for place in one.places], np.int64)
    of_other = np.where(partner >= 0, theirs[partner], np.nan)
    kept = ~np.isnan(mine) & ~np.isnan(of_other)
    n_paired = int(np.count_nonzero(kept))
    n_unpaired = int(np.count_nonzero(~np.isnan(mine)) + np.count_nonzero(~np.isnan(theirs))) - 2 * n_paired
    return mine[kept], of_other[kept], np.flatnonzero(kept).astype(np.int64), n_unpaired


def compare(
    arranged: Arranged, group: Group, against: str, weights: NDArray[np.float64], seed: int = 0
) -> list[Comparison]:
    """Compare every method with one of them.

    Parameters
    ----------
    arranged : Arranged
    group : Group
        A class, or all of them.
    against : str
        The method that the others are compared with; without it there is nothing to compare.
    weights : ndarray
        Of `napari_refit.study.bootstrap.draw_weights`.
    seed : int
        Of the permutation test.

    Returns
    -------
    list of Comparison
        In the order of the methods.
    """
    other = arranged.methods.get(against)
    if other is None:
        return []
    found = [
        _compared(arranged, measured, other, group, weights, seed)
        for key, measured in arranged.methods.items()
        if key != against
    ]
    sign_flip = holm([item.p_sign_flip for item in found])
    wilcoxon = holm([item.p_wilcoxon for item in found])
    return [
        replace(item, p_sign_flip_holm=one, p_wilcoxon_holm=two)
        for item, one, two in zip(found, sign_flip, wilcoxon, strict=True)
    ]


def _compared(
    arranged: Arranged,
    one: Measured,
    other: Measured,
    group: Group,
    weights: NDArray[np.float64],
    seed: int,
) -> Comparison:
    mine, theirs, numbers, n_unpaired = paired_dice(one, other, group.columns)
    differences = mine - theirs
    patients = one.patients[numbers]
    n_patients = len(arranged.patients)
    counts = sums_of(np.ones(len(patients)), patients, n_patients)
    per_patient = sums_of(differences, patients, n_patients)[counts > 0] / counts[counts > 0]
    return Comparison(
        method=one.method,
        against=other.method,
        class_number=group.number,
        class_name=group.name,
        difference=mean_estimate(weights, differences, patients),
        n_unpaired=n_unpaired,
        n_higher=int(np.count_nonzero(differences > 0)),
        n_lower=int(np.count_nonzero(differences < 0)),
        n_equal=int(np.count_nonzero(differences == 0)),
        p_sign_flip=sign_flip_p(per_patient, seed),
        is_exact=len(per_patient) <= EXACT_UP_TO,
        p_wilcoxon=wilcoxon_p(per_patient),
    )
