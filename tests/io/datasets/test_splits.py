"""Splits keep patients and groups together, use every case once, and are balanced and repeatable."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit import ReadError
from napari_refit.io.datasets import Case, ImageLabels, LabelRow, Split, SplitParams, make_split
from napari_refit.io.datasets.splits import tied_cases


@st.composite
def case_lists(draw):
    n = draw(st.integers(4, 60))
    patients = draw(st.lists(st.integers(0, max(2, n // 2)), min_size=n, max_size=n))
    groups = draw(st.lists(st.none() | st.integers(0, n // 2), min_size=n, max_size=n))
    labels = draw(st.lists(st.sampled_from([None, "benign", "malignant"]), min_size=n, max_size=n))
    return [
        Case(f"case {k}", {}, None, f"patient {patient}", "" if group is None else f"group {group}", label)
        for k, (patient, group, label) in enumerate(zip(patients, groups, labels, strict=True))
    ]


params = st.builds(
    SplitParams,
    method=st.sampled_from(["folds", "fraction"]),
    folds=st.integers(2, 5),
    test_fraction=st.sampled_from([0.1, 0.25, 0.5]),
    validation_fraction=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 5),
)


def tied_by_search(cases):
    """Sets of cases that share a patient or a group, found by walking from case to case."""
    left, sets = list(range(len(cases))), []
    while left:
        found = [left.pop(0)]
        for k in found:
            for other in [
                j for j in left if cases[j].patient == cases[k].patient or cases[j].group == cases[k].group
            ]:
                left.remove(other)
                found.append(other)
        sets.append({cases[k].name for k in found})
    return sets


@given(case_lists())
def test_ties_run_through_patients_and_groups(cases):
    assert sorted(map(sorted, tied_cases(cases))) == sorted(map(sorted, tied_by_search(cases)))


@settings(deadline=None, max_examples=200)
@given(case_lists(), params)
def test_no_patient_or_group_is_ever_on_two_sides(cases, params):
    tied = tied_by_search(cases)
    n_sides = params.folds if params.method == "folds" else 2
    n_left = len(tied)
    if n_left < n_sides:
        with pytest.raises(ValueError, match="independent sets"):
            make_split(cases, params)
        return
    plain = make_split(cases, params.model_copy(update={"validation_fraction": 0.0}))
    names_left = [{*fold.train} for fold in plain.folds]
    if params.validation_fraction and any(sum(part <= left for part in tied) < 2 for left in names_left):
        with pytest.raises(
            ValueError, match="one patient or group, of which no part can be kept for validation"
        ):
            make_split(cases, params)
        return
    split = make_split(cases, params)
    assert [fold.test for fold in split.folds] == [fold.test for fold in plain.folds]
    names = [case.name for case in cases]
    largest = max(map(len, tied))
    for fold in split.folds:
        assert sorted([*fold.train, *fold.validation, *fold.test]) == sorted(names)
        assert fold.train
        assert fold.test
        for key in ("patient", "group"):
            sides = {}
            for case in cases:
                sides.setdefault(getattr(case, key), set()).add(fold.sides[case.name])
            assert all(len(found) == 1 for found in sides.values())
        if params.validation_fraction == 0:
            assert not fold.validation
    tested = Counter(name for fold in split.folds for name in fold.test)
    if params.method == "folds":
        assert tested == Counter(names)
        sizes = [len(fold.test) for fold in split.folds]
        assert max(sizes) - min(sizes) <= largest
    else:
        assert len(split.folds) == 1
        assert abs(len(split.folds[0].test) - params.test_fraction * len(cases)) <= largest
    assert make_split(cases, params) == split


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["benign", "malignant", "normal"]), min_size=12, max_size=90),
    st.integers(2, 5),
    st.integers(0, 9),
)
def test_labels_are_spread_evenly_where_cases_are_free(labels, folds, seed):
    cases = [Case(f"{k}", {}, label=label) for k, label in enumerate(labels)]
    split = make_split(cases, SplitParams(folds=folds, seed=seed))
    of = {case.name: case.label for case in cases}
    for label in set(labels):
        counts = [sum(of[name] == label for name in fold.test) for fold in split.folds]
        assert max(counts) - min(counts) <= 1


def test_positive_slices_are_spread_where_every_patient_has_some():
    rows = tuple(
        LabelRow(f"p{k}", f"p{k}", f"p{k}", 2, z, (int(z < 2 + 3 * (k % 6)),))
        for k in range(30)
        for z in range(20)
    )
    labels = ImageLabels(("tumour",), rows)
    cases = [Case(f"p{k}", {}) for k in range(30)]
    split = make_split(cases, SplitParams(folds=3), labels)
    counts = [labels.of(fold.test).positives["tumour"] for fold in split.folds]
    assert sum(counts) == labels.positives["tumour"] == 285
    assert max(counts) - min(counts) <= 3


def test_seeds_differ_and_folds_are_tested_in_turn():
    cases = [Case(f"{k}", {}, patient=f"{k // 3}") for k in range(60)]
    splits = {make_split(cases, SplitParams(seed=seed)).folds for seed in range(5)}
    assert len(splits) == 5
    paper = make_split(cases, SplitParams(method="fraction", test_fraction=0.25)).folds[0]
    assert (len(paper.train), len(paper.validation), len(paper.test)) == (45, 0, 15)


def test_seeds_differ_though_slices_are_balanced():
    rows = tuple(
        LabelRow(f"{k}", f"{k}", f"{k}", 2, z, (int(z < k + 1),)) for k in range(12) for z in range(14)
    )
    labels = ImageLabels(("tumour",), rows)
    cases = [Case(f"{k}", {}) for k in range(12)]
    splits = [make_split(cases, SplitParams(folds=2, seed=seed), labels) for seed in range(6)]
    assert len({frozenset(fold.test for fold in split.folds) for split in splits}) > 1
    for split in splits:
        counts = [labels.of(fold.test).positives["tumour"] for fold in split.folds]
        assert abs(counts[0] - counts[1]) <= 4


def test_too_few_patients_and_twins_by_name():
    cases = [Case("a", {}, patient="p"), Case("b", {}, patient="p")]
    with pytest.raises(ValueError, match=r"1 independent sets of cases .* into 3 sides"):
        make_split(cases)
    with pytest.raises(ValueError, match="two cases are named 'a'"):
        make_split([cases[0], cases[0]])


def test_a_split_is_saved_and_loaded_as_it_is(tmp_path):
    cases = [Case(f"scan {k}", {}, patient=f"{k // 2}") for k in range(20)]
    split = make_split(cases, SplitParams(validation_fraction=0.2, seed=3), dataset="mine")
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
    content = json.loads((tmp_path / "split.json").read_text())
    assert content["params"]["seed"] == 3
    assert sorted(name for fold in content["folds"] for name in fold["test"]) == sorted(c.name for c in cases)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format="other"), "is no split of this program"),
        (lambda c: c.pop("folds"), "is no valid split"),
        (lambda c: c["params"].update(folds=1), "is no valid split: .*folds"),
        (lambda c: c["folds"][0]["train"].append(c["folds"][0]["test"][0]), "on two sides"),
        (lambda c: c["folds"][0].update(test="abc"), "is no list of names"),
    ],
)
def test_splits_that_are_damaged(tmp_path, change, words):
    cases = [Case(f"{k}", {}) for k in range(9)]
    path = tmp_path / "split.json"
    make_split(cases).save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ReadError, match=words):
        Split.load(path)
    path.write_text("{")
    with pytest.raises(ReadError, match="cannot be read as a split"):
        Split.load(path)
