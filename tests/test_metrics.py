"""Metrics against MONAI on random masks, and their conventions on cases worked out by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from napari_refit import metrics

GRIDS = [((19, 23), (1.0, 1.0)), ((24, 17), (0.7, 2.3)), ((9, 14, 12), (3.0, 0.5, 0.8))]


def blobs(shape: tuple[int, ...], seed: int, n_classes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two similar label maps; some touch the border, some miss a class."""
    rng = np.random.default_rng(seed)
    base = gaussian_filter(rng.normal(size=shape), 2)
    out = []
    for _ in range(2):
        field = base + gaussian_filter(rng.normal(size=shape), 1.5) * rng.uniform(0.05, 0.6)
        cuts = np.quantile(base, np.linspace(rng.uniform(0.5, 0.95), 1, n_classes + 1)[:-1])
        out.append(np.searchsorted(np.sort(cuts), field))
    return out[0], out[1]


def one_hot(labels: np.ndarray, n_classes: int):
    import torch

    return torch.from_numpy(np.stack([labels == k for k in range(n_classes + 1)])[None])


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_boundary_metrics_equal_monai(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    apart = 0
    for seed in range(25):
        mask, truth = blobs(shape, seed)
        pair = one_hot(mask, 1), one_hot(truth, 1)
        expected = compute_hausdorff_distance(*pair, percentile=95, spacing=list(spacing)).item()
        assert metrics.hd95(mask, truth, spacing) == pytest.approx(expected, abs=1e-5)
        tolerance = 0.5 + seed % 4
        expected = compute_surface_dice(*pair, [tolerance], spacing=list(spacing)).item()
        assert metrics.surface_dice(mask, truth, spacing, tolerance) == pytest.approx(expected, abs=1e-6)
        apart += 0 < expected < 1
    assert apart > 5


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_evaluate_equals_monai(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    from monai.metrics import DiceMetric, compute_hausdorff_distance, compute_iou

    for seed in range(15):
        mask, truth = blobs(shape, seed, n_classes=3)
        pair = one_hot(mask, 3), one_hot(truth, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI warns of empty classes
            overlap = DiceMetric(include_background=False, reduction="none")(*pair)[0].numpy()
            union = compute_iou(*pair, include_background=True, ignore_empty=False)[0].numpy()
            far = compute_hausdorff_distance(*pair, percentile=95, spacing=list(spacing))[0].numpy()
        scores = metrics.evaluate(mask, truth, spacing, classes=(1, 2, 3))
        for number in (1, 2, 3):
            in_both = (mask == number).any(), (truth == number).any()
            if not any(in_both):
                assert math.isnan(scores[f"dice_{number}"])
                continue
            assert scores[f"iou_{number}"] == pytest.approx(union[number], abs=1e-6)
            if in_both[1]:
                assert scores[f"dice_{number}"] == pytest.approx(overlap[number - 1], abs=1e-6)
            expected = far[number - 1] if all(in_both) else math.inf
            assert scores[f"hd95_{number}"] == pytest.approx(expected, abs=1e-5)
        if scores["n_empty"] == 0:
            assert scores["mean_iou"] == pytest.approx(union.mean(), abs=1e-6)
            assert scores["iou"] == pytest.approx(union[1:].mean(), abs=1e-6)


def boundary_of(region: np.ndarray) -> np.ndarray:
    return region & ~binary_erosion(region)


@given(
    st.one_of(
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=9),
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=6),
    ).flatmap(lambda shape: st.tuples(arrays.arrays(bool, shape), arrays.arrays(bool, shape))),
    st.tuples(*[st.sampled_from([0.3, 0.9, 1.0, 2.5])] * 3),
)
@settings(deadline=None, max_examples=150)
def test_boundary_metrics_equal_distance_transforms(pair, spacing) -> None:
    """Where nothing is cropped, nothing is looked up, and distances that equal the tolerance count."""
    spacing = spacing[: pair[0].ndim]
    surfaces = [boundary_of(part) for part in pair]
    if not all(surface.any() for surface in surfaces):
        return
    away = [distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    forth, back = away[1][surfaces[0]], away[0][surfaces[1]]
    expected = max(np.percentile(forth, 95), np.percentile(back, 95))
    assert metrics.hd95(*pair, spacing) == pytest.approx(expected, abs=1e-9)
    for tolerance in (0.0, *spacing, 2 * spacing[0]):
        near = np.concatenate([forth, back]) <= tolerance
        assert metrics.surface_dice(*pair, spacing, tolerance) == pytest.approx(near.mean(), abs=1e-12)


@pytest.mark.parametrize("highest", [1, 254, 255, 256, 65535, 65536])
@pytest.mark.parametrize("lowest", [0, -1])
@pytest.mark.parametrize("classes", [None, (1, 3, 70000)])
def test_counting_labels_of_any_size(lowest: int, highest: int, classes: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(highest)
    values = np.array([lowest, 0, 1, 2, 3, highest])
    mask, truth = (rng.choice(values, (20, 30))[::-1].T for _ in range(2))
    numbers = classes or sorted({int(value) for value in values if value > 0})
    scores = metrics.evaluate(mask, truth, classes=classes)
    for number in numbers:
        a, b = mask == number, truth == number
        if (a | b).any():
            assert scores[f"iou_{number}"] == pytest.approx((a & b).sum() / (a | b).sum())
        else:
            assert math.isnan(scores[f"iou_{number}"])
    a, b = (~np.isin(labels, numbers) for labels in (mask, truth))
    unions = [(a & b).sum() / (a | b).sum(), *(scores[f"iou_{number}"] for number in numbers)]
    assert scores["mean_iou"] == pytest.approx(np.nanmean(unions))


def test_pooled_equals_one_long_image() -> None:
    """Pooling over images is the score of all their pixels laid end to end."""
    pairs = [blobs((12, 13), seed, n_classes=2) for seed in range(8)]
    pooled = metrics.PooledScores()
    for mask, truth in pairs:
        pooled.add(mask, truth)
    mask, truth = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    whole = metrics.evaluate(mask, truth)
    assert pooled.n_images == 8
    assert pooled.dice() == pytest.approx(whole["dice"])
    assert pooled.dice(2) == pytest.approx(whole["dice_2"])
    assert pooled.iou() == pytest.approx(whole["iou"])
    assert pooled.iou(0) == pytest.approx(metrics.iou(mask == 0, truth == 0))
    assert pooled.mean_iou() == pytest.approx(whole["mean_iou"])
    assert pooled.paper_dsc() == pytest.approx(whole["paper_dsc"])
    per_image = [metrics.evaluate(*pair)["dice"] for pair in pairs]
    assert pooled.mean_dice() == pytest.approx(np.nanmean(per_image))
    assert pooled.n_empty == int(np.isnan(per_image).sum())


@pytest.mark.parametrize(
    ("mean_iou", "dsc"), [(0.472, 0.641), (0.506, 0.672), (0.557, 0.7155), (0.658, 0.794), (0.692, 0.818)]
)
def test_paper_convention_reproduces_the_tables(mean_iou: float, dsc: float) -> None:
    assert metrics.paper_dsc(mean_iou) == pytest.approx(dsc, abs=6e-4)


def test_paper_dsc_of_a_blank_mask() -> None:
    truth = np.zeros((10, 10), int)
    truth[:2, :3] = 1
    blank = np.zeros_like(truth)
    assert metrics.mean_iou(blank, truth) == pytest.approx((1 - 0.06) / 2)
    assert metrics.paper_dsc(blank, truth) == pytest.approx(0.94 / 1.47)
    assert metrics.dice(blank, truth) == 0


def test_empty_against_empty_has_no_score() -> None:
    empty = np.zeros((4, 5), int)
    scores = metrics.evaluate(empty, empty, spacing=(1, 1))
    assert scores.pop("n_empty") == 1
    assert scores.pop("mean_iou") == scores.pop("paper_dsc") == 1
    assert set(scores) == {
        f"{name}{suffix}" for name in ("dice", "iou", "hd95", "surface_dice") for suffix in ("", "_1")
    }
    assert all(math.isnan(value) for value in scores.values())
    assert math.isnan(metrics.dice(empty, empty))
    assert math.isnan(metrics.iou(empty, empty))
    assert math.isnan(metrics.hd95(empty, empty))
    assert math.isnan(metrics.surface_dice(empty, empty))


def test_one_empty_is_as_bad_as_can_be() -> None:
    empty, full = np.zeros((4, 5), int), np.ones((4, 5), int)
    for pair in ((empty, full), (full, empty)):
        assert metrics.dice(*pair) == metrics.iou(*pair) == metrics.surface_dice(*pair) == 0
        assert metrics.hd95(*pair) == math.inf
        scores = metrics.evaluate(*pair, spacing=(1, 1))
        assert scores["hd95"] == math.inf
        assert scores["n_empty"] == 0


def test_empty_classes_are_left_out_of_means() -> None:
    mask, truth = np.array([[1, 1, 0]]), np.array([[1, 0, 0]])
    scores = metrics.evaluate(mask, truth, classes=[3, 1])
    assert scores["dice"] == scores["dice_1"] == pytest.approx(2 / 3)
    assert math.isnan(scores["dice_3"])
    assert scores["n_empty"] == 1
    assert scores["mean_iou"] == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_other_classes_count_as_background() -> None:
    mask, truth = np.array([[1, 2, 2, 0]]), np.array([[2, 2, 0, 0]])
    scores = metrics.evaluate(mask, truth, classes=[2])
    assert metrics.mean_iou(mask, truth, classes=[2]) == scores["mean_iou"]
    assert scores["mean_iou"] == metrics.mean_iou(mask == 2, truth == 2)
    assert "dice_1" not in scores


def test_without_spacing_no_millimetres() -> None:
    mask, truth = blobs((9, 9), 1)
    scores = metrics.evaluate(mask, truth)
    assert math.isnan(scores["hd95"])
    assert math.isnan(scores["surface_dice_1"])
    assert not math.isnan(scores["dice"])
    assert all(type(value) is float for value in metrics.evaluate(mask, truth, (1, 1)).values())


def test_class_number_picks_a_class() -> None:
    mask, truth = blobs((14, 15), 2, n_classes=2)
    assert metrics.dice(mask, truth, 2) == metrics.dice(mask == 2, truth == 2)
    assert metrics.iou(mask, truth, 2) == metrics.iou(mask == 2, truth == 2)
    assert metrics.hd95(mask, truth, (1, 2), 2) == metrics.hd95(mask == 2, truth == 2, (1, 2))
    assert metrics.surface_dice(mask, truth, (1, 2), 1.0, 2) == metrics.surface_dice(
        mask == 2, truth == 2, (1, 2)
    )


def test_shift_is_measured_in_millimetres() -> None:
    mask, truth = np.zeros((2, 12, 12), int)
    mask[3:7, 3:7], truth[3:7, 5:9] = 1, 1
    assert metrics.hd95(mask, truth, (1.0, 0.25)) == pytest.approx(0.5)
    assert metrics.surface_dice(mask, truth, (1.0, 0.25), tolerance=0.5) == 1
    assert metrics.surface_dice(mask, truth, (1.0, 0.25), tolerance=0.4) < 1


def test_far_and_negative_labels() -> None:
    mask, truth = np.array([[70000, 5, -3, 0]]), np.array([[70000, 5, 5, -3]])
    scores = metrics.evaluate(mask, truth)
    assert scores["dice_70000"] == 1
    assert scores["dice_5"] == pytest.approx(2 / 3)
    assert metrics.dice(mask, truth) == pytest.approx(4 / 5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint64, np.float32, np.float64])
def test_any_type_of_whole_numbers(dtype: type) -> None:
    mask, truth = np.array([[1, 1, 0]], dtype), np.array([[1, 0, 0]], dtype)
    assert metrics.evaluate(mask, truth, (1, 1)) == metrics.evaluate(
        mask.astype(int), truth.astype(int), (1, 1)
    )


pairs = st.tuples(*[arrays.arrays(np.uint8, (6, 7), elements=st.integers(0, 2))] * 2)


@given(pairs, st.tuples(*[st.floats(0.1, 5)] * 2))
@settings(deadline=None, max_examples=60)
def test_swapping_mask_and_truth_changes_nothing(pair, spacing):
    forth, back = (metrics.evaluate(*both, spacing, (1, 2)) for both in (pair, pair[::-1]))
    assert forth == pytest.approx(back, nan_ok=True)


@given(pairs, st.floats(0.1, 5))
@settings(deadline=None, max_examples=60)
def test_ranges_and_relations(pair, size):
    scores = metrics.evaluate(*pair, (size, size), (1, 2))
    for number in (1, 2):
        overlap, union = scores[f"dice_{number}"], scores[f"iou_{number}"]
        assert math.isnan(overlap) == math.isnan(union)
        if not math.isnan(overlap):
            assert 0 <= union <= overlap <= 1
            assert overlap == pytest.approx(2 * union / (1 + union))
            assert 0 <= scores[f"surface_dice_{number}"] <= 1
            assert scores[f"hd95_{number}"] <= math.hypot(5, 6) * size + 1e-9 or overlap == 0
    assert scores["paper_dsc"] >= scores["mean_iou"]


@given(arrays.arrays(np.uint8, (6, 7), elements=st.integers(0, 2)))
@settings(deadline=None, max_examples=40)
def test_a_perfect_mask(labels):
    scores = metrics.evaluate(labels, labels, (1, 1), (1, 2))
    for number in (1, 2):
        if (labels == number).any():
            assert (
                scores[f"dice_{number}"] == scores[f"iou_{number}"] == scores[f"surface_dice_{number}"] == 1
            )
            assert scores[f"hd95_{number}"] == 0
    assert scores["mean_iou"] == 1


ONE = np.ones((3, 4), int)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: metrics.dice(ONE, ONE.T), ValueError, r"\(3, 4\) .* \(4, 3\)"),
        (lambda: metrics.iou(ONE[:0], ONE[:0]), ValueError, "empty"),
        (lambda: metrics.evaluate(ONE * 0.5, ONE), ValueError, "mask .*0.5"),
        (lambda: metrics.evaluate(ONE, ONE * np.nan), ValueError, "truth .*nan"),
        (lambda: metrics.dice(ONE.astype(str), ONE), TypeError, "mask"),
        (lambda: metrics.evaluate(ONE, ONE, classes=[0, 1]), ValueError, r"\(0, 1\)"),
        (lambda: metrics.evaluate(ONE, ONE, classes=[]), ValueError, "classes"),
        (lambda: metrics.evaluate(ONE, ONE, spacing=(1, 1, 1)), ValueError, "2 positive"),
        (lambda: metrics.hd95(ONE, ONE, (1, 0)), ValueError, r"\(1, 0\)"),
        (lambda: metrics.hd95(ONE, ONE, (1, math.nan)), ValueError, "nan"),
        (lambda: metrics.surface_dice(ONE, ONE, (1, 1), -1), ValueError, "-1"),
        (lambda: metrics.evaluate(ONE, ONE, (1, 1), tolerance=-2.0), ValueError, "-2.0"),
        (lambda: metrics.paper_dsc(1.5), ValueError, "1.5"),
    ],
)
def test_bad_arguments(call, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_pooled_scores_before_the_first_image() -> None:
    pooled = metrics.PooledScores(classes=[2])
    assert pooled.classes == (2,)
    assert pooled.n_images == pooled.n_empty == 0
    values = (pooled.dice(), pooled.iou(), pooled.mean_iou(), pooled.paper_dsc(), pooled.mean_dice())
    assert all(math.isnan(value) for value in values)
