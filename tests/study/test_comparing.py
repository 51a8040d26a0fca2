from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.study.comparing import DRAWS, EXACT_UP_TO, holm, sign_flip_p, wilcoxon_p
from napari_refit.study.results import Row
from napari_refit.study.statistics import analyse

MakeRow = Callable[..., Row]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_exact_sign_flips_are_all_gone_through(differences: list[int]) -> None:
    observed = abs(sum(differences))
    flips = list(itertools.product((1, -1), repeat=len(differences)))
    extreme = sum(
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= observed for signs in flips
    )
    # Tenths are not exact in binary: equal sums must still count as equal.
    assert sign_flip_p([value / 10 for value in differences]) == extreme / len(flips)


@pytest.mark.parametrize("n", [6, EXACT_UP_TO, EXACT_UP_TO + 1, 40])
@pytest.mark.parametrize("shift", [0.0, 0.25, 0.6])
def test_sign_flips_agree_with_scipy(n: int, shift: float) -> None:
    from scipy.stats import permutation_test

    differences = np.random.default_rng(n).normal(shift, 1, n)
    theirs = permutation_test(
        (differences,),
        np.sum,
        permutation_type="samples",
        n_resamples=20_000 if n > EXACT_UP_TO else 2**n,
        rng=1,
    ).pvalue
    exact = n <= EXACT_UP_TO
    assert sign_flip_p(differences) == pytest.approx(theirs, abs=1e-12 if exact else 0.015)


def test_a_drawn_p_value_is_never_zero_and_the_same_each_time() -> None:
    differences = np.linspace(0.5, 1, 50)
    assert sign_flip_p(differences) == 1 / (DRAWS + 1)
    noisy = np.random.default_rng(0).normal(0.2, 1, 50)
    assert sign_flip_p(noisy, seed=3) == sign_flip_p(noisy, seed=3)


def test_drawn_p_values_are_uniform_without_a_difference() -> None:
    draw = np.random.default_rng(0)
    found = np.array([sign_flip_p(draw.normal(0, 1, 15)) for _ in range(200)])
    assert 0.01 <= np.mean(found <= 0.05) <= 0.11
    assert 0.4 < found.mean() < 0.6


def test_wilcoxon_by_hand() -> None:
    # Ranks 1 to 5 with signs + + - + +: the negative ranks add up to 3; for 5 of the 32 patterns they do to 3 or less.
    assert wilcoxon_p([1, 2, -3, 4, 5]) == pytest.approx(2 * 5 / 32)
    assert wilcoxon_p([1, 2, -3, 4, 5, 0, 0]) == pytest.approx(2 * 5 / 32)
    assert wilcoxon_p([0.0, 0.0]) == 1.0
    assert math.isnan(wilcoxon_p([]))
    assert math.isnan(sign_flip_p([]))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_only_raises(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(q >= p and q <= 1 for p, q in zip(p_values, corrected, strict=True))
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert [q for _, q in pairs] == sorted(q for _, q in pairs)


def test_a_method_against_its_equal_differs_by_exactly_nothing(make_row: MakeRow) -> None:
    rows = [
        make_row(method, f"p{k}", index, both, 10, 10)
        for method in ("gradcam", "refit")
        for k in range(6)
        for index, both in enumerate((k, 9 - k))
    ]
    (found,) = analyse(rows).comparisons
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert (found.n_higher, found.n_lower, found.n_equal) == (0, 0, 12)
    assert (found.p_sign_flip, found.p_wilcoxon) == (1.0, 1.0)


def test_only_images_with_both_values_are_paired(make_row: MakeRow) -> None:
    rows = [
        make_row("gradcam", "a", 0, 4, 10, 10),
        make_row("refit", "a", 0, 6, 10, 10),
        make_row("gradcam", "a", 1, 0, 0, 0),  # no Dice
        make_row("refit", "a", 1, 0, 5, 0),
        make_row("gradcam", "b", 0, 2, 10, 10),
        make_row("refit", "b", 0, 8, 10, 10),
        make_row("refit", "c", 0, 8, 10, 10),  # the other was not run there
    ]
    (found,) = analyse(rows).comparisons
    assert (found.method, found.against) == ("refit", "gradcam")
    assert found.difference.value == pytest.approx((0.2 + 0.6) / 2)
    assert (found.difference.n, found.difference.n_patients, found.n_unpaired) == (2, 2, 2)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.2, 0.6))
    assert found.p_sign_flip == 0.5


def test_tests_are_over_patients_not_images(make_row: MakeRow) -> None:
    """Hundred images of three patients are three facts."""
    rows = [
        make_row(method, f"p{k}", index, both, 10, 10)
        for method, both in (("gradcam", 4), ("refit", 6))
        for k in range(3)
        for index in range(100)
    ]
    (found,) = analyse(rows).comparisons
    assert found.p_sign_flip == 0.25
    assert found.p_wilcoxon == 0.25
    assert found.is_exact


def test_against_baseline_and_best_threshold_with_holm_over_the_methods(
    make_rows: Callable[..., list[Row]],
) -> None:
    rows = make_rows(methods=("blank", "gradcam", "best-threshold", "refit", "seam"), n_patients=9)
    found = analyse(rows).comparisons
    assert [(item.against, item.method) for item in found] == [
        *(("gradcam", method) for method in ("blank", "best-threshold", "refit", "seam")),
        *(("best-threshold", method) for method in ("blank", "gradcam", "refit", "seam")),
    ]
    for against in ("gradcam", "best-threshold"):
        part = [item for item in found if item.against == against]
        assert [item.p_sign_flip_holm for item in part] == holm([item.p_sign_flip for item in part])
        assert [item.p_wilcoxon_holm for item in part] == holm([item.p_wilcoxon for item in part])
        assert any(item.p_sign_flip_holm > item.p_sign_flip for item in part)


def test_one_patient_has_no_interval_and_no_evidence(make_row: MakeRow) -> None:
    rows = [make_row("gradcam", "a", 0, 4), make_row("refit", "a", 0, 9)]
    (found,) = analyse(rows).comparisons
    assert math.isnan(found.difference.low)
    assert found.p_sign_flip == 1.0
    assert found.p_wilcoxon == 1.0
