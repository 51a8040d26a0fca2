"""Figures and intervals against plain loops that share no code with them."""

from __future__ import annotations

import math
import random
import statistics as stats
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_refit.metrics import PooledScores
from napari_refit.study.bootstrap import (
    draw_weights,
    mean_draws,
    mean_estimate,
    median_draws,
    median_estimate,
)
from napari_refit.study.results import Row
from napari_refit.study.statistics import analyse

MakeRows = Callable[..., list[Row]]


def plain_figures(rows: list[Row], classes: list[int], alone: bool) -> dict[str, float]:
    """All figures by loops over rows. ``alone``: one class of several, the others being background."""
    images: dict[tuple, list[Row]] = defaultdict(list)
    cases: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.class_number in classes:
            images[row.place].append(row)
            cases[row.case].append(row)

    def mean(values):  # type: ignore[no-untyped-def]
        kept = [value for value in values if value == value]
        return math.fsum(kept) / len(kept) if kept else math.nan

    def dice(both, mask, truth):  # type: ignore[no-untyped-def]
        return 2 * both / (mask + truth) if mask + truth else math.nan

    def iou(both, mask, truth):  # type: ignore[no-untyped-def]
        return both / (mask + truth - both) if mask + truth - both else math.nan

    def total(some):  # type: ignore[no-untyped-def]
        return [sum(getattr(row, name) for row in some) for name in ("both", "in_mask", "in_truth")]

    def background(some):  # type: ignore[no-untyped-def]
        both, mask, truth = total(some)
        pixels = some[0].pixels
        inside = pixels - (mask + truth - both) if alone else some[0].both_background
        return [inside, pixels - mask, pixels - truth]

    of_image = [mean(row.dice for row in some) for some in images.values()]
    of_patient: dict[str, list[float]] = defaultdict(list)
    for some in cases.values():
        by_class = [[row for row in some if row.class_number == k] for k in classes]
        value = mean(dice(*total(part)) for part in by_class)
        if value == value:
            of_patient[some[0].patient].append(value)
    pooled = [total([row for row in rows if row.class_number == k]) for k in classes]
    grounds = [background(some) for some in images.values()]
    ground = [sum(column) for column in zip(*grounds, strict=True)]
    miou = mean([iou(*ground), *(iou(*counts) for counts in pooled)])
    distances = [mean(row.hd95 for row in some) for some in images.values()]
    finite = [value for value in distances if math.isfinite(value)]
    known = [value for value in of_image if value == value]
    return {
        "dice_mean": mean(of_image),
        "dice_median": stats.median(known) if known else math.nan,
        "dice_mean_with_truth": mean(
            mean(row.dice for row in some if row.in_truth) for some in images.values()
        ),
        "dice_patient": mean(mean(values) for values in of_patient.values()),
        "dice_pooled": mean(dice(*counts) for counts in pooled),
        "iou_pooled": mean(iou(*counts) for counts in pooled),
        "iou_background": iou(*ground),
        "miou_pooled": miou,
        "miou_image": mean(
            mean([iou(*background(some)), *(iou(*total([row])) for row in some)]) for some in images.values()
        ),
        "paper_dsc": 2 * miou / (1 + miou),
        "hd95_median": stats.median(finite) if finite else math.nan,
        "hd95_mean": mean(finite),
        "surface_dice": mean(mean(row.surface_dice for row in some) for some in images.values()),
    }


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_that_of_plain_loops(make_rows: MakeRows, n_classes: int, seed: int) -> None:
    rows = make_rows(n_classes=n_classes, seed=seed)
    found = analyse(rows, resamples=10)
    assert len(found.summaries) == 4 * (1 if n_classes == 1 else 1 + n_classes)
    for summary in found.summaries:
        mine = [row for row in rows if row.method == summary.method]
        number = summary.class_number
        classes = [number] if number else list(range(1, n_classes + 1))
        wanted = plain_figures(mine, classes, alone=bool(number))
        assert {key: item.value for key, item in summary.figures.items()} == pytest.approx(
            wanted, rel=1e-12, nan_ok=True
        )


def test_pooled_figures_are_those_of_the_metrics(make_rows: MakeRows) -> None:
    draw = np.random.default_rng(5)
    scores, rows = PooledScores((1, 2)), []
    (pattern, *_) = make_rows(methods=("refit",))
    for k in range(6):
        mask, truth = draw.integers(3, size=(2, 30))
        scores.add(mask, truth)
        for number in (1, 2):
            both, in_mask, in_truth = (
                int(part.sum())
                for part in ((mask == number) & (truth == number), mask == number, truth == number)
            )
            values = asdict(pattern) | {
                "case": f"c{k}", "patient": f"c{k}", "class_number": number, "class_name": str(number), "pixels": 30,
                "both": both, "in_mask": in_mask, "in_truth": in_truth,
                "both_background": int(((mask == 0) & (truth == 0)).sum()),
                "dice": 2 * both / (in_mask + in_truth),
            }  # fmt: skip
            rows.append(Row(**values))
    figures = analyse(rows, resamples=10).of("refit").figures
    assert figures["miou_pooled"].value == scores.mean_iou()
    assert figures["paper_dsc"].value == scores.paper_dsc()
    assert figures["dice_pooled"].value == scores.dice()
    assert figures["iou_pooled"].value == scores.iou()
    assert figures["iou_background"].value == pytest.approx(
        scores.counts(0)[0] / (sum(scores.counts(0)[1:]) - scores.counts(0)[0])
    )
    assert figures["dice_mean"].value == pytest.approx(scores.mean_dice())


@pytest.mark.parametrize("n_classes", [1, 2])
def test_every_interval_is_that_of_the_figure_on_resampled_rows(make_rows: MakeRows, n_classes: int) -> None:
    """The rows of whole patients are copied as often as the patient is drawn, and counted as for the figure."""
    rows, resamples = make_rows(n_patients=5, n_classes=n_classes), 40
    found = analyse(rows, resamples=resamples, seed=3)
    weights = draw_weights(5, resamples, seed=3)
    patients = sorted({row.patient for row in rows})
    for summary in found.summaries[:8]:
        mine = [row for row in rows if row.method == summary.method]
        classes = [summary.class_number] if summary.class_number else list(range(1, n_classes + 1))
        drawn = defaultdict(list)
        for weight in weights[1:]:
            copies = [
                Row(**(asdict(row) | {"case": f"{row.case} {copy}", "patient": f"{row.patient} {copy}"}))
                for patient, times in zip(patients, weight, strict=True)
                for copy in range(int(times))
                for row in mine
                if row.patient == patient
            ]
            for key, value in plain_figures(copies, classes, alone=bool(summary.class_number)).items():
                drawn[key].append(value)
        for key, item in summary.figures.items():
            values = [value for value in drawn[key] if math.isfinite(value)]
            if not values:
                assert math.isnan(item.low), key
                continue
            assert (item.low, item.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5]))), key


def test_without_clusters_it_is_scipys_percentile_bootstrap() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).gamma(2.0, size=120)
    one_each = np.arange(120)
    weights = draw_weights(120, 20_000)
    for mine, statistic in ((mean_estimate, np.mean), (median_estimate, np.median)):
        found = mine(weights, values, one_each)
        theirs = bootstrap((values,), statistic, n_resamples=20_000, method="percentile", rng=7)
        low, high = theirs.confidence_interval
        width = high - low
        assert found.value == pytest.approx(statistic(values))
        assert found.low == pytest.approx(low, abs=0.05 * width)
        assert found.high == pytest.approx(high, abs=0.05 * width)


def test_images_of_one_patient_are_not_taken_for_independent() -> None:
    """Ten equal images of each patient tell no more than one: the interval must stay as wide."""
    values = np.random.default_rng(2).random(20)
    weights = draw_weights(20)
    single = mean_estimate(weights, values, np.arange(20))
    tenfold = mean_estimate(weights, np.repeat(values, 10), np.repeat(np.arange(20), 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((single.low, single.high))
    naive = mean_estimate(draw_weights(200), np.repeat(values, 10), np.arange(200))
    assert naive.high - naive.low < 0.5 * (single.high - single.low)


@settings(max_examples=40, deadline=None)
@given(half=st.lists(st.floats(0, 1), min_size=4, max_size=20))
def test_the_interval_holds_the_mean_of_symmetric_values(half: list[float]) -> None:
    values = np.array([*half, *(-value for value in half)])
    found = mean_estimate(draw_weights(len(values), 500), values, np.arange(len(values)))
    assert found.low <= found.value + 1e-12
    assert found.high >= found.value - 1e-12


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf])), max_size=15
    )
)
def test_mean_and_median_of_draws_are_those_of_copied_values(items: list[tuple[int, float]]) -> None:
    patients = np.array([patient for patient, _ in items], np.int64)
    values = np.array([value for _, value in items], np.float64)
    weights = draw_weights(6, 20, seed=4)
    for draws, plain in ((mean_draws, stats.fmean), (median_draws, stats.median)):
        for weight, found in zip(weights, draws(weights, values, patients), strict=True):
            copied = [
                value for patient, value in items for _ in range(int(weight[patient])) if math.isfinite(value)
            ]
            assert found == pytest.approx(plain(copied) if copied else math.nan, nan_ok=True)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, patients = np.random.default_rng(0).random(50), np.arange(50) % 9
    weights = draw_weights(9, 100)
    whole = median_draws(weights, values, patients)
    monkeypatch.setattr("napari_refit.study.bootstrap._BLOCK", 333)
    assert (median_draws(weights, values, patients) == whole).all()


@pytest.mark.parametrize("n_classes", [1, 2])
def test_the_order_of_the_rows_changes_nothing(make_rows: MakeRows, n_classes: int) -> None:
    rows = make_rows(n_classes=n_classes)
    shuffled = list(rows)
    random.Random(1).shuffle(shuffled)
    one, other = analyse(rows, resamples=200), analyse(shuffled, resamples=200)
    assert repr(one.summaries) == repr(other.summaries)
    assert repr(one.comparisons) == repr(other.comparisons)
    assert repr(one.folds) == repr(other.folds)


def test_the_seed_decides(make_rows: MakeRows) -> None:
    rows = make_rows()
    one, again, other = (analyse(rows, resamples=100, seed=seed) for seed in (1, 1, 2))
    assert repr(one.summaries) == repr(again.summaries)
    assert repr(one.summaries) != repr(other.summaries)


def test_what_is_counted(make_row: Callable[..., Row]) -> None:
    rows = [
        make_row("refit", "a", 0, 5, 10, 10),
        make_row("refit", "a", 1, 0, 0, 0),  # nothing there, nothing marked
        make_row("refit", "b", 0, 0, 7, 0),  # false alarm
        make_row("refit", "b", 1, 0, 0, 9),  # missed
    ]
    found = analyse(rows).of("refit")
    assert (found.n_images, found.n_cases, found.n_patients, found.n_left_out) == (4, 2, 2, 1)
    assert (found.n_with_truth, found.n_negative, found.n_false_positive, found.n_missed) == (2, 2, 1, 2)
    assert found.figures["dice_mean"].value == pytest.approx(0.5 / 3)
    assert found.figures["dice_mean"].n == 3
    assert found.figures["dice_mean_with_truth"].value == 0.25
    assert found.figures["hd95_mean"].value == 3.0
    assert found.figures["hd95_mean"].n == 1


def test_one_patient_has_figures_and_no_interval(make_rows: MakeRows) -> None:
    found = analyse(make_rows(n_patients=1))
    for summary in found.summaries:
        for item in summary.figures.values():
            assert math.isnan(item.low)
            assert math.isnan(item.high)
    assert not math.isnan(found.of("refit").figures["dice_mean"].value)


def test_no_rows() -> None:
    found = analyse([])
    assert (found.groups, found.summaries, found.folds, found.comparisons) == ([], [], [], [])


def test_blank_comes_first_and_the_others_as_asked(make_rows: MakeRows) -> None:
    rows = make_rows(methods=("seam", "refit", "blank", "gradcam"))
    found = analyse(rows, order=["gradcam", "refit"], resamples=5)
    assert [item.method for item in found.summaries] == ["blank", "gradcam", "refit", "seam"]


def test_folds_are_the_figures_of_their_rows(make_rows: MakeRows) -> None:
    rows = make_rows(n_classes=2)
    found = analyse(rows, resamples=5)
    assert {item.fold for item in found.folds} == {1, 2, 3}
    for item in found.folds:
        mine = [row for row in rows if row.method == item.method and row.fold == item.fold]
        classes = [item.class_number] if item.class_number else [1, 2]
        wanted = plain_figures(mine, classes, alone=bool(item.class_number))
        for key, value in item.figures.items():
            assert value == pytest.approx(wanted[key], nan_ok=True)
        assert item.n_images == len({row.place for row in mine})


def test_whole_volumes_have_their_own_outline_figures(make_row: Callable[..., Row]) -> None:
    slices = [make_row("refit", patient, k) for patient in "ab" for k in range(3)]
    volumes = [
        make_row("refit", patient, None, 15, 30, 30, pixels=300, level="case", hd95=hd95, surface_dice=0.5)
        for patient, hd95 in (("a", 4.0), ("b", 8.0))
    ]
    with_volumes = analyse([*slices, *volumes]).of("refit")
    assert with_volumes.n_images == 6
    assert with_volumes.figures["hd95_mean_volume"].value == 6.0
    assert with_volumes.figures["surface_dice_volume"].value == 0.5
    assert analyse(volumes).of("refit").figures["hd95_mean"].value == 6.0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "two rows of class 'lesion' of 'p1', slice 0"),
        (
            {"index": 1, "patient": "p2", "case": "p1"},
            "case 'p1' is said to be of two patients, 'p1' and 'p2'",
        ),
        ({"index": 1, "unit": "mm"}, "HD95 is in mm and in px"),
        ({"index": 1, "class_name": "cyst"}, "class 1 has two names, 'lesion' and 'cyst'"),
    ],
)
def test_rows_that_contradict_each_other_are_named(
    make_row: Callable[..., Row], change: dict, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        analyse([make_row(), make_row(**change)])
