"""BoundaryFit against the paper's flood fill, against direct counts, and what must hold for any input."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import gaussian_filter, label

from napari_refit.errors import Cancelled
from napari_refit.fit import boundary
from napari_refit.fit.boundary import boundary_fit, boundary_fit_stage
from napari_refit.fit.types import FitInput
from napari_refit.params import BoundaryParams

EQUATION_1 = {"threshold": 0.5, "coverage": 1.0, "spread": 0.0, "tolerance": 0.0}


def _oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flood_oracle", Path(__file__).with_name("flood_oracle.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = _oracle()

KINDS = [("grey", (17, 14)), ("rgb", (15, 16)), ("grey", (5, 8, 7)), ("rgb", (6, 7, 6))]
N_MAPS = 50  # of each kind


def random_case(kind: str, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Response, labels (disconnected, not contiguous, negative ones too) and whole-numbered colours per label."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), rng.uniform(0.5, 1.5))
    levels = np.quantile(smooth, np.linspace(0, 1, rng.integers(3, 9))[1:-1])
    numbers = rng.choice(np.arange(-20, 500), len(levels) + 1, replace=False)
    labels = numbers[np.searchsorted(levels, smooth)]
    response = gaussian_filter(rng.random(shape), rng.uniform(0, 2))
    response = (response - response.min()) / np.ptp(response)
    # Ten grey levels, so that some responses are exactly the threshold.
    response = np.round(response, 1).astype(np.float32)
    channels = 3 if kind == "rgb" else 1
    regions = connected(labels)
    palette = rng.integers(0, 12, (regions.max() + 1, channels))
    return response, labels, palette[regions]


def connected(labels: np.ndarray) -> np.ndarray:
    """Regions 0..n-1 by scipy, one label at a time."""
    regions, count = np.zeros(labels.shape, int), 0
    for number in np.unique(labels):
        parts, found = label(labels == number)
        regions[parts > 0] = parts[parts > 0] + count - 1
        count += found
    return regions


@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_equals_the_flood_fill(kind: str, shape: tuple[int, ...]) -> None:
    kept = 0
    for seed in range(N_MAPS):
        response, labels, colours = random_case(kind, shape, seed)
        threshold = round(0.1 + 0.1 * (seed % 6), 1)
        expected = oracle.flooded_mask(response, labels, threshold)
        mask = boundary_fit(response, labels, threshold, simplified=colours)
        np.testing.assert_array_equal(mask, expected)
        kept += expected.any() and not expected.all()
    assert kept > N_MAPS / 2


@pytest.mark.parametrize("scale", [1, 1 / 255], ids=["whole numbers", "fractions"])
@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_equals_the_flood_fill_by_colour(kind: str, shape: tuple[int, ...], scale: float) -> None:
    kept = crossed = 0
    for seed in range(N_MAPS):
        response, labels, colours = random_case(kind, shape, seed)
        if np.ptp(colours) == 0:
            continue
        steps, threshold = 1 + seed % 3, round(0.1 + 0.1 * (seed % 4), 1)
        expected = oracle.flooded_mask_by_colour(response, colours, threshold, steps)
        simplified = (colours * scale).astype(np.float32)
        tolerance = steps / np.ptp(colours)
        mask = boundary_fit(response, labels, threshold, tolerance=tolerance, simplified=simplified)
        np.testing.assert_array_equal(mask, expected)
        kept += expected.any()
        crossed += (mask != boundary_fit(response, labels, threshold)).any()
    assert kept > N_MAPS / 5
    assert crossed > N_MAPS / 5


def test_flood_is_measured_against_its_start() -> None:
    """A chain of small steps: each flood stops where the colour is too far from where it began."""
    labels = np.arange(5)[None]
    response = np.array([[0.0, 1.0, 1.0, 1.0, 1.0]])
    simplified = np.array([[0.0, 0.1, 0.2, 0.3, 1.0]])
    mask = boundary_fit(response, labels, 0.5, tolerance=0.2, simplified=simplified)
    assert mask.tolist() == [[0, 0, 0, 1, 1]]


def test_flood_needs_a_path() -> None:
    labels = np.arange(3)[None]
    mask = boundary_fit(
        np.array([[0.0, 1, 1]]), labels, tolerance=0.1, simplified=np.array([[0.0, 1.0, 0.05]])
    )
    assert mask.tolist() == [[0, 1, 1]]


def test_every_channel_has_to_be_close() -> None:
    labels = np.arange(3)[None]
    simplified = np.array([[[0.0, 0.0, 0.0], [0.1, 0.1, 0.0], [0.1, 0.9, 1.0]]])
    mask = boundary_fit(np.array([[0.0, 1, 1]]), labels, tolerance=0.2, simplified=simplified)
    assert mask.tolist() == [[0, 0, 1]]


def test_full_tolerance_is_all_or_nothing() -> None:
    rng = np.random.default_rng(3)
    labels, colours = rng.integers(0, 6, (9, 9)), rng.random((9, 9))
    response = np.full((9, 9), 0.9)
    assert boundary_fit(response, labels, tolerance=1.0, simplified=colours).all()
    response[4, 4] = 0.4
    assert not boundary_fit(response, labels, tolerance=1.0, simplified=colours).any()


maps = arrays.arrays(np.float32, (6, 7), elements=st.integers(0, 10).map(lambda value: value / 10))
label_maps = arrays.arrays(np.int64, (6, 7), elements=st.integers(-1, 3))
grey_maps = arrays.arrays(np.float32, (6, 7), elements=st.integers(0, 10).map(lambda value: value / 10))
fractions = st.integers(0, 20).map(lambda value: value / 20)
coverages = st.integers(1, 20).map(lambda value: value / 20)


@given(maps, label_maps, grey_maps, st.tuples(fractions, fractions), coverages, fractions)
@settings(deadline=None, max_examples=60)
def test_a_higher_threshold_shrinks_the_mask(response, labels, colours, thresholds, coverage, tolerance):
    options = {"coverage": coverage, "tolerance": tolerance, "simplified": colours}
    low, high = (boundary_fit(response, labels, value, **options) for value in sorted(thresholds))
    assert (high <= low).all()


@given(maps, label_maps, grey_maps, fractions, st.tuples(coverages, coverages), fractions)
@settings(deadline=None, max_examples=60)
def test_a_higher_coverage_shrinks_the_mask(response, labels, colours, threshold, both, tolerance):
    options = {"tolerance": tolerance, "simplified": colours}
    low, high = (
        boundary_fit(response, labels, threshold, coverage=value, **options) for value in sorted(both)
    )
    assert (high <= low).all()


@given(maps, label_maps, grey_maps, fractions, coverages, st.tuples(fractions, fractions))
@settings(deadline=None, max_examples=60)
def test_a_higher_tolerance_shrinks_the_mask(response, labels, colours, threshold, coverage, both):
    options = {"coverage": coverage, "simplified": colours}
    low, high = (
        boundary_fit(response, labels, threshold, tolerance=value, **options) for value in sorted(both)
    )
    assert (high <= low).all()


@given(maps, label_maps, grey_maps, fractions, st.permutations(range(-1, 4)))
@settings(deadline=None, max_examples=60)
def test_label_numbers_do_not_matter(response, labels, colours, tolerance, names):
    renamed = np.array(names)[labels + 1] * 1000 - 7
    options = {"tolerance": tolerance, "simplified": colours}
    np.testing.assert_array_equal(
        boundary_fit(response, labels, **options), boundary_fit(response, renamed, **options)
    )


@given(maps, label_maps, fractions, coverages)
@settings(deadline=None, max_examples=100)
def test_coverage_counts_positive_pixels(response, labels, threshold, coverage):
    mask = boundary_fit(response, labels, threshold, coverage=coverage)
    regions = connected(labels)
    for region in range(regions.max() + 1):
        inside = regions == region
        positive, size = int((response[inside] >= threshold).sum()), int(inside.sum())
        survives = positive * 20 >= round(coverage * 20) * size
        assert (mask[inside] == survives).all()


@given(
    arrays.arrays(np.float32, (3, 6, 7), elements=st.integers(0, 10).map(lambda value: value / 10)),
    label_maps,
)
@settings(deadline=None, max_examples=100)
def test_the_highest_fitted_response_wins(responses, labels):
    mask = boundary_fit(responses, labels, 0.3)
    regions = connected(labels)
    for region in range(regions.max() + 1):
        inside = regions == region
        fitted = [float(response[inside].min()) for response in responses]
        best = max(fitted)
        expected = fitted.index(best) + 1 if best >= np.float32(0.3) else 0
        assert (mask[inside] == expected).all()


@given(maps, label_maps, grey_maps, fractions, coverages)
@settings(deadline=None, max_examples=60)
def test_stage_and_function_agree(response, labels, colours, tolerance, coverage):
    regions = (connected(labels) + 1).astype(np.int32)
    responses = np.stack([response, 1 - response])
    params = BoundaryParams(threshold=0.4, coverage=coverage, spread=0, tolerance=tolerance)
    result = boundary_fit_stage(FitInput(responses, regions, simplified=colours), params)
    expected = boundary_fit(
        responses, labels, 0.4, coverage=coverage, tolerance=tolerance, simplified=colours
    )
    np.testing.assert_array_equal(result.mask, expected)
    assert result.fitted.shape == responses.shape
    assert result.fitted.dtype == np.float32
    np.testing.assert_array_equal(result.mask > 0, result.fitted.max(axis=0) >= 0.4)
    for region in range(1, regions.max() + 1):
        assert all(np.ptp(fitted[regions == region]) == 0 for fitted in result.fitted)


class Kept(dict):
    """A memo that keeps everything and notes what was computed."""

    def __call__(self, key, compute):
        if key not in self:
            self[key] = compute()
        return self[key]


def smooth_case(shape: tuple[int, ...], n_classes: int, levels: int) -> FitInput:
    rng = np.random.default_rng(levels)
    image = gaussian_filter(rng.normal(size=shape), 2)
    clusters = connected(np.digitize(image, np.quantile(image, np.linspace(0, 1, levels)))) + 1
    responses = np.stack([gaussian_filter(rng.random(shape), 2) for _ in range(n_classes)])
    responses = (responses - responses.min()) / np.ptp(responses)
    return FitInput(responses.astype(np.float32), clusters.astype(np.int32), image=image.astype(np.float32))


def test_a_memo_changes_nothing_and_each_slider_costs_what_it_moves() -> None:
    inputs, memo = smooth_case((40, 44), 3, 6), Kept()
    moves = [
        (
            {"threshold": 0.3, "coverage": 0.5, "spread": 0.0, "tolerance": 0.02},
            {"sizes", "ranked", "graph", ("fitted", 0.5, 0.0, 0.02)},
        ),
        ({"threshold": 0.6, "coverage": 0.5, "spread": 0.0, "tolerance": 0.02}, set()),
        ({"threshold": 0.6, "coverage": 0.8, "spread": 0.0, "tolerance": 0.02}, {("fitted", 0.8, 0.0, 0.02)}),
        ({"threshold": 0.6, "coverage": 0.8, "spread": 0.0, "tolerance": 0.1}, {("fitted", 0.8, 0.0, 0.1)}),
        (
            {"threshold": 0.5, "coverage": 1.0, "spread": 0.0, "tolerance": 0.0},
            {"lowest", ("fitted", 1.0, 0.0, 0.0)},
        ),
        ({"threshold": 0.2, "coverage": 0.5, "spread": 0.0, "tolerance": 0.02}, set()),
    ]
    for options, computed in moves:
        before = set(memo)
        result = boundary_fit_stage(inputs, BoundaryParams(**options), memo=memo)
        assert set(memo) - before == computed
        fresh = boundary_fit_stage(inputs, BoundaryParams(**options))
        np.testing.assert_array_equal(result.mask, fresh.mask)
        np.testing.assert_array_equal(result.fitted, fresh.fitted)
        assert result.message == fresh.message


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [1, 4])
@pytest.mark.parametrize("per_band", [1, 1 << 18])
@pytest.mark.parametrize(("shape", "levels"), [((50, 60), 3), ((50, 60), 8), ((12, 14, 16), 5)])
def test_order_statistics_in_bands(shape, levels, per_band, n_classes, dtype, monkeypatch) -> None:
    monkeypatch.setattr(boundary, "PIXELS_PER_BAND", per_band)
    monkeypatch.setattr(boundary, "n_threads", lambda: 3)
    inputs = smooth_case(shape, n_classes, levels)
    response, clusters = inputs.response.astype(dtype), inputs.clusters
    sizes = np.bincount(clusters.ravel())[1:]
    assert sizes.min() <= boundary.SMALL < sizes.max()
    for coverage in (0.01, 0.37, 0.5, 1.0):
        params = BoundaryParams(threshold=0, coverage=coverage, spread=0, tolerance=0)
        fitted = boundary_fit_stage(FitInput(response, clusters), params).fitted
        kept = boundary_fit_stage(FitInput(response, clusters), params, memo=Kept()).fitted
        np.testing.assert_array_equal(kept, fitted)
        for number, size in enumerate(sizes, start=1):
            inside = clusters == number
            wanted = max(math.ceil(round(coverage * size, 6)), 1)
            expected = [np.sort(plane[inside])[-wanted] for plane in response]
            np.testing.assert_array_equal(fitted[:, inside].T, np.tile(np.float32(expected), (size, 1)))


def test_values_that_resampling_has_pushed_below_zero() -> None:
    response = np.array([[-5e-7, 0.0, -0.0, 0.2, 1.0000005]], np.float32)
    result = boundary_fit_stage(
        FitInput(response[None], np.ones((1, 5), np.int32)),
        BoundaryParams(coverage=0.8, spread=0, tolerance=0),
    )
    assert (result.fitted == 0).all()


@pytest.mark.parametrize("options", [{}, {"coverage": 1.0}])
def test_a_fit_can_be_stopped(options: dict[str, float]) -> None:
    with pytest.raises(Cancelled):
        boundary_fit_stage(smooth_case((30, 30), 2, 5), BoundaryParams(**options), cancelled=lambda: True)


def test_arrays_that_may_not_be_written_to_or_lie_apart() -> None:
    response = np.array([[0.9, 0.2], [0.9, 0.9]])[:, ::-1].T
    clusters = np.array([[1, 2], [1, 2]], np.int64)[::-1]
    response.flags.writeable = clusters.flags.writeable = False
    assert boundary_fit(response, clusters).tolist() == [[0, 1], [0, 1]]
    result = boundary_fit_stage(FitInput(response[None], clusters), BoundaryParams(**EQUATION_1))
    assert result.mask.tolist() == [[0, 1], [0, 1]]


def test_nan_is_no_evidence() -> None:
    response = np.array([[0.9, np.nan, 0.9]])
    assert boundary_fit(response, np.array([[1, 1, 2]])).tolist() == [[0, 0, 1]]
    assert boundary_fit(np.full((2, 2), np.nan), np.ones((2, 2), int), 0.1).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_any_real_response(dtype: type) -> None:
    response = np.array([[1, 1, 0]]).astype(dtype)
    assert boundary_fit(response, np.array([[4, 4, 4]])).tolist() == [[0, 0, 0]]
    assert boundary_fit(response, np.array([[4, 4, -4]])).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint64, np.int64])
def test_any_whole_labels(dtype: type) -> None:
    labels = np.array([[1, 1, 0], [0, 0, 1]]).astype(dtype)
    response = np.array([[0.9, 0.9, 0.9], [0.9, 0.1, 0.9]])
    assert boundary_fit(response, labels).tolist() == [[1, 1, 1], [0, 0, 1]]


def test_float64_is_not_rounded_to_the_threshold() -> None:
    just_below = np.nextafter(0.5, 0)
    assert boundary_fit(np.array([[just_below, 0.5]]), np.array([[1, 2]])).tolist() == [[0, 1]]


def test_arguments_are_left_alone() -> None:
    response = np.array([[0.2, np.nan]])
    labels, colours = np.array([[3, 9]]), np.array([[0.1, 0.9]])
    copies = response.copy(), labels.copy(), colours.copy()
    boundary_fit(response, labels, coverage=0.5, tolerance=0.3, simplified=colours)
    for array, copy in zip((response, labels, colours), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_mask_type_grows_with_the_classes() -> None:
    responses = np.zeros((300, 1, 2), np.float32)
    responses[299] = 1
    mask = boundary_fit(responses, np.array([[1, 2]]))
    assert mask.dtype == np.uint16
    assert mask.tolist() == [[300, 300]]


GOOD = {"response": np.full((4, 5), 0.7), "clusters": np.ones((4, 5), int)}


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        ({"response": np.full((4, 6), 0.7)}, ValueError, r"\(4, 5\) .*\(1, 4, 6\)"),
        ({"response": np.full(5, 0.7)}, ValueError, r"\(5,\)"),
        ({"response": np.full((2, 5, 4), 0.7)}, ValueError, r"\(2, 5, 4\)"),
        ({"response": np.zeros((0, 4, 5))}, ValueError, "empty"),
        ({"response": np.full((4, 5), 255, np.uint8)}, ValueError, "255"),
        ({"response": np.full((4, 5), -0.5)}, ValueError, "-0.5"),
        ({"response": np.full((4, 5), np.inf)}, ValueError, "inf"),
        ({"response": np.full((4, 5), 1j)}, TypeError, "complex"),
        ({"response": np.full((4, 5), "a")}, TypeError, "real"),
        ({"clusters": np.ones((4, 5))}, TypeError, "whole"),
        ({"clusters": np.ones(20, int)}, ValueError, r"\(20,\)"),
        ({"clusters": np.ones((0, 5), int), "response": np.ones((0, 5))}, ValueError, "empty"),
        ({"threshold": 1.2}, ValueError, "1.2"),
        ({"threshold": -0.1}, ValueError, "-0.1"),
        ({"threshold": math.nan}, ValueError, "nan"),
        ({"coverage": 0.0}, ValueError, "coverage.*0.0"),
        ({"coverage": 1.01}, ValueError, "1.01"),
        ({"tolerance": -0.2}, ValueError, "-0.2"),
        ({"tolerance": 2}, ValueError, "tolerance.*2"),
        ({"tolerance": 0.1}, ValueError, "simplified"),
        ({"tolerance": 0.1, "simplified": np.ones((5, 4))}, ValueError, r"\(5, 4\)"),
        ({"tolerance": 0.1, "simplified": np.ones((4, 5, 0))}, ValueError, "empty"),
        ({"tolerance": 0.1, "simplified": np.full((4, 5), np.nan)}, ValueError, "20 values"),
    ],
)
def test_bad_arguments(bad: dict, error: type[Exception], says: str) -> None:
    boundary_fit(**GOOD)
    with pytest.raises(error, match=says):
        boundary_fit(**{**GOOD, **bad})


def stage(response, clusters, **params):
    inputs = FitInput(np.asarray(response, np.float32), np.asarray(clusters, np.int32))
    return boundary_fit_stage(inputs, BoundaryParams(**{**EQUATION_1, **params}))


def test_an_empty_mask_says_how_close_it_came() -> None:
    result = stage([[[0.2, 0.434, 0.9]]], [[1, 2, 2]], threshold=0.5)
    assert not result.mask.any()
    assert result.message == (
        "Nothing passes: best cluster (number 2) reaches 0.43, threshold is 0.50. "
        "Lower the threshold, lower the coverage or make the clusters smaller."
    )
    assert stage([[[0.2, 0.434, 0.9]]], [[1, 2, 2]], threshold=0.43).message == ""


def test_an_empty_mask_that_no_coverage_helps() -> None:
    result = stage([[[0.2, 0.499]]], [[1, 2]], threshold=0.5)
    assert "reaches 0.49, threshold is 0.50. The response map itself reaches only 0.49" in result.message


def test_an_empty_mask_through_tolerance() -> None:
    inputs = FitInput(
        np.array([[[0.1, 0.9]]], np.float32),
        np.array([[1, 2]], np.int32),
        image=np.array([[0.5, 0.5]], np.float32),
    )
    assert (
        "lower the tolerance"
        in boundary_fit_stage(inputs, BoundaryParams(**{**EQUATION_1, "tolerance": 0.1})).message
    )


def test_a_full_mask_is_said() -> None:
    assert stage([[[0.7, 0.6]]], [[1, 2]]).message == (
        "The mask fills the frame: every cluster reaches 0.60, threshold is 0.50. Raise the threshold."
    )
    assert "the only cluster reaches 0.60" in stage([[[0.7, 0.6]]], [[1, 1]]).message


def test_class_numbers_of_the_stage() -> None:
    inputs = FitInput(
        np.array([[[0.9, 0.1]], [[0.8, 0.8]]]), np.array([[1, 2]], np.int32), class_numbers=(4, 2)
    )
    assert boundary_fit_stage(inputs, BoundaryParams(**EQUATION_1)).mask.tolist() == [[4, 2]]


@pytest.mark.parametrize(
    ("clusters", "numbers", "says"),
    [
        ([[0, 1]], (), "from 1, got 0"),
        ([[1, 3]], (), "2 is missing"),
        ([[1, 2]], (1, 2), r"\(1, 2\)"),
        ([[1, 2]], (0,), r"\(0,\)"),
    ],
)
def test_bad_stage_inputs(clusters: list, numbers: tuple[int, ...], says: str) -> None:
    inputs = FitInput(np.full((1, 1, 2), 0.7), np.array(clusters, np.int32), class_numbers=numbers)
    with pytest.raises(ValueError, match=says):
        boundary_fit_stage(inputs, BoundaryParams(**EQUATION_1))


def test_names_of_the_folder() -> None:
    from napari_refit import fit

    assert fit.boundary_fit is boundary_fit
    assert fit.FitInput is FitInput
    assert {"FitInput", "FitResult", "boundary_fit"} <= set(dir(fit))
    with pytest.raises(AttributeError, match="nothing"):
        _ = fit.nothing


def test_a_response_of_nothing_is_not_blamed_on_a_slider() -> None:
    message = stage([[[0.0, 0.0]]], [[1, 2]]).message
    assert message.startswith("Nothing passes: the response map is 0 everywhere")
    assert "lower" not in message
