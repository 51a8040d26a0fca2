from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_refit.learn.samples import ArraySamples, presence
from napari_refit.learn.splits import fold_patients, split_patients


def cohort(n_patients: int, seed: int, several: bool = False) -> ArraySamples:
    """Patients of one to six images; the first four patients make sure that each class has two of them."""
    draw = np.random.default_rng(seed)
    patients, labels = [], []
    for patient in range(n_patients):
        for _ in range(int(draw.integers(1, 7))):
            patients.append(f"p{patient}")
            label = patient % 2 if patient < 4 else int(draw.integers(0, 2))
            labels.append([label, 1 - label] if several else label)
    return ArraySamples(np.zeros((len(labels), 2, 2)), labels, ["a", "b"], patients)


@given(st.integers(4, 30), st.integers(0, 10_000), st.floats(0.05, 0.5), st.floats(0, 0.4), st.booleans())
def test_parts_are_all_images_and_share_no_patient(
    n_patients: int, seed: int, validation: float, test: float, several: bool
) -> None:
    samples = cohort(n_patients, seed, several)
    split = split_patients(samples, validation, test, seed)
    parts = [split.training, split.validation, split.test]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(samples)))
    people = [{samples.patients[index] for index in part} for part in parts]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert presence(samples)[split.training].any(0).all()
    assert len(split.validation)
    assert bool(len(split.test)) <= (test > 0)


def test_shares_are_kept_class_by_class() -> None:
    labels = np.repeat([0, 1], [80, 20])
    samples = ArraySamples(np.zeros((100, 2, 2)), labels, ["a", "b"])
    split = split_patients(samples, 0.2, 0.1, seed=3)
    for part, counts in ((split.training, [56, 14]), (split.validation, [16, 4]), (split.test, [8, 2])):
        assert np.bincount(labels[part]).tolist() == counts
    again = split_patients(samples, 0.2, 0.1, seed=3)
    other = split_patients(samples, 0.2, 0.1, seed=4)
    assert np.array_equal(split.validation, again.validation)
    assert not np.array_equal(split.validation, other.validation)


@given(st.integers(6, 30), st.integers(0, 10_000), st.integers(2, 3))
def test_folds_are_all_images_once_and_share_no_patient(n_patients: int, seed: int, folds: int) -> None:
    samples = cohort(n_patients, seed)
    parts = fold_patients(samples, folds, seed)
    assert len(parts) == folds
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(samples)))
    people = [{samples.patients[index] for index in part} for part in parts]
    assert sum(map(len, people)) == len(set(samples.patients))
    sizes = [len(part) for part in people]
    assert max(sizes) - min(sizes) <= 1


def test_too_few_patients_are_named() -> None:
    samples = ArraySamples(np.zeros((4, 2, 2)), [0, 0, 1, 1], ["a", "b"], ["p", "p", "q", "q"])
    with pytest.raises(ValueError, match="3 folds need as many patients, there are 2"):
        fold_patients(samples, 3)
    with pytest.raises(ValueError, match="no image of class 'a' is left for the training of fold 1"):
        fold_patients(samples, 2)
    # A class of one patient is trained on and not validated.
    split = split_patients(samples, 0.5)
    assert len(split.validation) == 0
