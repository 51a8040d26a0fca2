"""The evaluation data, where it is at hand: everything is found, counted and read."""

from collections import Counter

import numpy as np
import pytest

from napari_refit.io.datasets import find_dataset, image_labels, make_split, training_set
from napari_refit.io.datasets.check import check_dataset
from napari_refit.io.datasets.groups import read_groups

pytestmark = pytest.mark.shared_data

SETS = {"busi": 445, "lgg": 30, "hippocampus": 120, "prostate158": 4, "brats2021": 1}


@pytest.mark.parametrize("name", SETS)
def test_all_cases_are_found_and_whole(shared_data, name):
    dataset = find_dataset(shared_data / name)
    assert len(dataset) == SETS[name]
    assert dataset.findings == ()
    assert all(case.truth is not None for case in dataset.cases)


def test_busi(shared_data):
    dataset = find_dataset(shared_data / "busi")
    assert Counter(case.label for case in dataset.cases) == {"benign": 316, "malignant": 40, "normal": 89}
    several = [case.name for case in dataset.cases if case.truth and len(case.truth.paths) > 1]
    assert sorted(int(name[8:-1]) for name in several) == [4, 25, 58, 98, 100, 163, 173, 195, 346, 424]
    groups = read_groups(shared_data / "busi" / "near_duplicate_groups.csv")
    for seed in range(3):
        params = dataset.default_split.model_copy(update={"seed": seed})
        fold = make_split(dataset.cases, params).folds[0]
        parted = {}
        for case, group in groups.items():
            parted.setdefault(group, set()).add(fold.sides[case])
        assert all(len(sides) == 1 for sides in parted.values())
        for label, count in Counter(case.label for case in dataset.cases).items():
            tested = sum(dataset.case(name).label == label for name in fold.test)
            assert tested == pytest.approx(count / 4, abs=2)
    assert len(dataset.prepared("paper")) == 316


def test_busi_check_finds_the_known_faults_and_the_published_groups(shared_data):
    published = read_groups(shared_data / "busi" / "near_duplicate_groups.csv")
    dataset = find_dataset(shared_data / "busi")
    # Without the table the same groups are found in the pictures themselves.
    report = check_dataset(dataset.with_groups({case.name: case.name for case in dataset.cases}))
    assert {item.message for item in report.findings if item.kind == "contradiction"} == {
        "benign (42), benign (131), malignant (51) look alike and are labelled benign and malignant",
        "benign (437), normal (34) look alike and are labelled benign and normal",
    }
    assert {item.kind for item in report.findings} == {"contradiction", "near duplicate"}

    def sets(groups):
        found = {}
        for case, group in groups.items():
            found.setdefault(group, set()).add(case)
        return {frozenset(part) for part in found.values()}

    assert sets(report.groups) == sets(published)
    assert len(sets(published)) == 98


def test_lgg(shared_data):
    dataset = find_dataset(shared_data / "lgg")
    labels = image_labels(dataset)
    assert len(labels) == 1027
    assert {row.axis for row in labels.rows} == {2}
    per_patient = Counter(row.case for row in labels.rows if row.labels[0])
    assert len(per_patient) == 30
    assert (min(per_patient.values()), max(per_patient.values())) == (3, 21)
    split = make_split(dataset.cases, dataset.declaration.paper_split, labels)
    assert [len(fold.test) for fold in split.folds] == [10, 10, 10]
    positives = [labels.of(fold.test).positives["tumour"] for fold in split.folds]
    assert max(positives) - min(positives) <= 5
    sample = training_set(dataset, labels)[5]
    assert sample.image.shape == (256, 256)
    copies = {item.case: item.message for item in check_dataset(dataset).findings if item.kind == "copy"}
    assert copies == {
        "TCGA_DU_7013_19860523": "pre-contrast, FLAIR, post-contrast hold the same values",
        "TCGA_HT_A616_19991226": "pre-contrast, FLAIR, post-contrast hold the same values",
        "TCGA_FG_7634_20000128": "FLAIR, post-contrast hold the same values",
    }


def test_hippocampus_prostate_and_brats(shared_data):
    hippocampus = find_dataset(shared_data / "hippocampus")
    assert hippocampus.class_names == ("Anterior", "Posterior")
    assert set(np.unique(hippocampus.read_truth(hippocampus.cases[0]).data)) == {0, 1, 2}
    prostate = find_dataset(shared_data / "prostate158")
    assert prostate.class_names == ("central gland", "peripheral zone", "tumour")
    assert set(np.unique(prostate.read_truth(prostate.cases[0]).data)) == {0, 1, 2, 3}
    brats = find_dataset(shared_data / "brats2021").prepared("paper")
    case = brats.cases[0]
    assert len(brats.slices(case)) == 128
    image = brats.read_slice(brats.slices(case)[60])
    assert image.shape == (128, 128)
    assert (image.min(), image.max()) == (0, 1)
    assert brats.read_truth_slice(brats.slices(case)[60]).shape == (128, 128)


@pytest.mark.parametrize("name", ["hippocampus", "prostate158", "brats2021"])
def test_the_rest_is_clean(shared_data, name):
    report = check_dataset(find_dataset(shared_data / name))
    assert report.count("error") == report.count("warning") == 0
