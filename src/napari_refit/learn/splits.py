"""Who is trained on, who chooses the epoch, who is kept for the test: always whole patients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_refit.learn.samples import Samples, presence


@dataclass(frozen=True, eq=False)
class Split:
    """Image numbers of the three parts, each sorted.

    Attributes
    ----------
    training, validation, test : ndarray of int64
    """

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Image numbers by the part's name."""
        return {"training": self.training, **self.untrained}

    @property
    def untrained(self) -> dict[str, NDArray[np.int64]]:
        """The parts that are not trained on, by name."""
        return {"validation": self.validation, "test": self.test}


def split_patients(samples: Samples, validation: float, test: float = 0.0, seed: int = 0) -> Split:
    """Split by patient; every part gets its share of every class as far as patients allow.

    Parameters
    ----------
    samples : Samples
    validation, test : float
        Shares of the patients. Every class of two patients or more is in the validation part, and in the test part
        from three on.
    seed : int

    Raises
    ------
    ValueError
        If a class would have nobody to train on.
    """
    draw = np.random.default_rng([seed, 1])
    roles: dict[str, int] = {}
    for patients in _strata(samples):
        order = [patients[k] for k in draw.permutation(len(patients))]
        left = len(order)
        n_test = min(max(round(test * left), 1), left - 2) if test > 0 and left > 2 else 0
        n_validation = min(max(round(validation * left), 1), left - n_test - 1) if left > 1 else 0
        for position, patient in enumerate(order):
            roles[patient] = 2 if position < n_test else 1 if position < n_test + n_validation else 0
    role = np.array([roles[patient] for patient in samples.patients])
    parts = [np.flatnonzero(role == number).astype(np.int64) for number in range(3)]
    _require_classes(samples, parts[0], "training")
    return Split(*parts)


def split_cases(
    cases: Sequence[str], training: Iterable[str], validation: Iterable[str] = (), test: Iterable[str] = ()
) -> Split:
    """A split of samples by the cases that they come from, such as a fold of a dataset's split.

    Parameters
    ----------
    cases : sequence of str
        Of each sample: ``samples.cases`` of what comes from a dataset.
    training, validation, test : iterable of str
        Names of cases; samples of no part are not used.

    Raises
    ------
    ValueError
        If there is nothing to train on.

    Examples
    --------
    >>> split_cases(["a", "a", "b", "c"], ["a", "d"], ["c"]).training.tolist()
    [0, 1]
    """
    parts = [
        np.flatnonzero([case in wanted for case in cases]).astype(np.int64)
        for wanted in map(set, (training, validation, test))
    ]
    if not len(parts[0]):
        raise ValueError("none of the training cases has an image to train on")
    return Split(*parts)


def fold_patients(samples: Samples, folds: int, seed: int = 0) -> list[NDArray[np.int64]]:
    """Deal patients into folds, class by class, so that each fold holds its share of each.

    Parameters
    ----------
    samples : Samples
    folds : int
    seed : int

    Returns
    -------
    list of ndarray of int64
        Image numbers of each fold; together all images, each once.

    Raises
    ------
    ValueError
        If there are fewer patients than folds, or one class cannot be outside every fold.
    """
    draw = np.random.default_rng([seed, 2])
    strata = _strata(samples)
    count = sum(map(len, strata))
    if count < folds:
        raise ValueError(f"{folds} folds need as many patients, there are {count}")
    fold: dict[str, int] = {}
    for patients in strata:
        for k in draw.permutation(len(patients)):
            # Dealing goes on where the class before left off, so that folds are of one size.
            fold[patients[k]] = len(fold) % folds
    number = np.array([fold[patient] for patient in samples.patients])
    parts = [np.flatnonzero(number == k).astype(np.int64) for k in range(folds)]
    for k, part in enumerate(parts, start=1):
        _require_classes(samples, np.setdiff1d(np.arange(len(samples)), part), f"training of fold {k}")
    return parts


def _strata(samples: Samples) -> list[list[str]]:
    """Patients by the rarest class that they show, in a fixed order."""
    shown = presence(samples)
    by_patient: dict[str, NDArray[np.bool_]] = {}
    for patient, row in zip(samples.patients, shown, strict=True):
        by_patient[patient] = by_patient.get(patient, np.zeros(shown.shape[1], bool)) | (row > 0)
    how_many = np.sum(list(by_patient.values()), axis=0)
    strata: dict[int, list[str]] = {}
    for patient in sorted(by_patient):
        classes = np.flatnonzero(by_patient[patient])
        rarest = int(classes[np.argmin(how_many[classes])]) if len(classes) else -1
        strata.setdefault(rarest, []).append(patient)
    return [strata[key] for key in sorted(strata)]


def _require_classes(samples: Samples, indices: NDArray[np.int64], part: str) -> None:
    shown = presence(samples)[indices]
    for name, column in zip(samples.classes, shown.T, strict=True):
        if not column.any():
            raise ValueError(
                f"no image of class {name!r} is left for the {part}: it needs more patients, or fewer folds"
            )
