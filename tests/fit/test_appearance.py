"""The graph cut by appearance: what it finds, and what must hold for any input."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_refit import Refit, RefitParams
from napari_refit.errors import Cancelled
from napari_refit.fit import appearance
from napari_refit.fit.appearance import appearance_fit
from napari_refit.fit.appearance_model import log_density, log_odds
from napari_refit.fit.labelling import Labelling
from napari_refit.fit.regions import measure_regions
from napari_refit.fit.types import FitInput
from napari_refit.params import AppearanceParams

DEFAULT = AppearanceParams()


def tiles(shape: tuple[int, ...], side: int) -> np.ndarray:
    """Square (cubic) clusters 1..n."""
    places = np.indices(shape) // side
    counts = [-(-length // side) for length in shape]
    return (np.ravel_multi_index(tuple(places), counts) + 1).astype(np.int32)


def scene(
    shape: tuple[int, ...] = (48, 48), n_classes: int = 1, channels: int = 0, seed: int = 0
) -> tuple[FitInput, np.ndarray]:
    """Bright balls on a dark ground, a response that is a smaller ball beside each centre, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.uint8)
    responses = np.zeros((n_classes, *shape), np.float32)
    grid = np.indices(shape)
    for k in range(n_classes):
        centre = [length / 2 for length in shape]
        centre[-1] = shape[-1] * (k + 0.5) / n_classes
        far = np.sqrt(sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True)))
        radius = 0.22 * shape[-1] / n_classes * (1 if n_classes > 1 else 1.2)
        truth[far < radius] = k + 1
        off = np.sqrt(sum((axis - place - 1) ** 2 for axis, place in zip(grid, centre, strict=True)))
        responses[k] = np.exp(-((off / (0.9 * radius)) ** 2) / 2)
    level = np.array([0.25, 0.7, 0.5, 0.9])[truth]
    noise = gaussian_filter(rng.normal(size=shape), 0.5) * 0.08
    image = (level + noise).clip(0, 1).astype(np.float32)
    if channels:
        image = np.stack([image, *(rng.random((channels - 1, *shape)) * 0.1)], axis=-1).astype(np.float32)
    return FitInput(responses, tiles(shape, 4), image=image), truth


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("shape", [(48, 48), (12, 32, 32)])
def test_an_object_is_found_better_than_by_any_threshold(shape: tuple[int, ...], channels: int) -> None:
    inputs, truth = scene(shape, channels=channels)
    found = dice(appearance_fit(inputs, DEFAULT).mask > 0, truth > 0)
    rivals = [dice(inputs.response[0] >= level, truth > 0) for level in np.arange(0.05, 1, 0.05)]
    assert found > 0.8
    assert found > np.mean(rivals) + 0.1


@pytest.mark.parametrize("shape", [(40, 90), (12, 28, 90)])
def test_several_classes_are_found_with_their_numbers(shape: tuple[int, ...]) -> None:
    inputs, truth = scene(shape, n_classes=3)
    numbers = (2, 5, 300)
    result = appearance_fit(replace(inputs, class_numbers=numbers), DEFAULT)
    assert result.mask.dtype == np.uint16
    assert result.fitted.shape == inputs.response.shape
    for k, number in enumerate(numbers):
        assert dice(result.mask == number, truth == k + 1) > 0.7


def least(task: appearance._Task, values: np.ndarray, bar: float) -> float:
    """The least energy over all labellings of a few clusters."""
    first, second = task.regions.graph.pairs
    gains = task.regions.sizes * (values[0] - bar)
    return min(
        cost(np.array(each), gains, first, second, task.weights)
        for each in product([0, 1], repeat=len(gains))
    )


def cost(
    chosen: np.ndarray, gains: np.ndarray, first: np.ndarray, second: np.ndarray, weights: np.ndarray
) -> float:
    return -(gains * chosen).sum() + weights[chosen[first] != chosen[second]].sum()


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_costs_least_at_every_threshold(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all 2^12 labellings, with the costs as the fit has them in its last round."""
    rng = np.random.default_rng(seed)
    clusters = tiles((12, 16), 4)
    inputs = FitInput(rng.random((1, 12, 16), np.float32), clusters, image=rng.random((12, 16), np.float32))
    seen: list[tuple[Labelling, np.ndarray]] = []
    inner = Labelling.fitted

    def watched(task, values, labels, **options):
        seen.append((task, values))
        return inner(task, values, labels, **options)

    monkeypatch.setattr(Labelling, "fitted", watched)
    params = AppearanceParams(start=0.5, spread=0, response_weight=4, smoothness=1)
    fitted = appearance_fit(inputs, params).fitted[0]
    ((task, values),) = seen
    of_cluster = np.array([fitted[clusters == number][0] for number in range(1, 13)], float)
    assert len(np.unique(of_cluster)) > 2
    for threshold in (0.2, 0.4, 0.5, 0.6, 0.9):
        bar = np.log(threshold / (1 - threshold))
        gains = task.regions.sizes * (values[0] - bar)
        found = cost((of_cluster >= threshold).astype(int), gains, *task.regions.graph.pairs, task.weights)
        assert found == pytest.approx(least(task, values, bar), abs=1e-3)


def random_inputs(seed: int, n_classes: int, shape: tuple[int, ...] = (20, 24)) -> FitInput:
    rng = np.random.default_rng(seed)
    response = gaussian_filter(rng.random((n_classes, *shape)), (0, *[2] * len(shape)))
    response = (response - response.min()) / np.ptp(response)
    image = gaussian_filter(rng.random(shape), 1).astype(np.float32)
    return FitInput(response.astype(np.float32), tiles(shape, 4), image=image)


@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0, 1), st.floats(0.05, 0.95), st.floats(0, 20))
@settings(deadline=None, max_examples=60)
def test_the_mask_is_what_reaches_the_threshold(seed, n_classes, threshold, start, smoothness) -> None:
    inputs = random_inputs(seed, n_classes)
    params = AppearanceParams(threshold=threshold, start=start, smoothness=smoothness)
    result = appearance_fit(inputs, params)
    assert result.fitted.dtype == np.float32
    assert result.fitted.shape == inputs.response.shape
    assert 0 <= result.fitted.min() <= result.fitted.max() <= 1
    winner = result.fitted.argmax(axis=0) + 1
    np.testing.assert_array_equal(result.mask, np.where(result.fitted.max(axis=0) >= threshold, winner, 0))
    for number in np.unique(inputs.clusters):
        assert all(np.ptp(fitted[inputs.clusters == number]) == 0 for fitted in result.fitted)
    # The fitted response itself must not depend on the threshold, or a study could not choose one.
    other = appearance_fit(inputs, params.model_copy(update={"threshold": 1 - threshold}))
    np.testing.assert_array_equal(other.fitted, result.fitted)
    assert bool(result.message) == (result.mask.all() or not result.mask.any())


@pytest.mark.parametrize("n_classes", [1, 3])
def test_the_same_input_gives_the_same_output(n_classes: int) -> None:
    inputs, _ = scene((40, 90), n_classes=n_classes)
    results = [appearance_fit(inputs, DEFAULT) for _ in range(3)]
    # Where arrays lie in memory, and in what precision whole numbers come, must not matter either.
    turned = FitInput(
        np.asfortranarray(inputs.response),
        np.asfortranarray(inputs.clusters.astype(np.int64)),
        image=inputs.image,
    )
    results.append(appearance_fit(turned, DEFAULT))
    for result in results[1:]:
        np.testing.assert_array_equal(result.fitted, results[0].fitted)
        np.testing.assert_array_equal(result.mask, results[0].mask)


def test_cluster_numbers_do_not_matter() -> None:
    inputs, _ = scene()
    names = np.random.default_rng(0).permutation(inputs.clusters.max()) + 1
    renamed = replace(inputs, clusters=names[inputs.clusters - 1].astype(np.int32))
    first, second = appearance_fit(inputs, DEFAULT), appearance_fit(renamed, DEFAULT)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_allclose(first.fitted, second.fitted, atol=1e-5)


class Kept(dict):
    """A memo that keeps everything."""

    def __call__(self, key, compute):
        if key not in self:
            self[key] = compute()
        return self[key]


def test_a_slider_measures_the_clusters_only_once() -> None:
    inputs, _ = scene(n_classes=2)
    memo = Kept()
    sliders = [
        {},
        {"threshold": 0.3},
        {"smoothness": 9.0},
        {"start": 0.5},
        {"appearance_weight": 2.0},
        {"rounds": 1},
    ]
    for options in sliders:
        params = AppearanceParams(**options)
        kept, fresh = appearance_fit(inputs, params, memo=memo), appearance_fit(inputs, params)
        np.testing.assert_array_equal(kept.fitted, fresh.fitted)
        assert kept.message == fresh.message
        assert set(memo) == {"regions", "means", ("response", DEFAULT.spread)}
    appearance_fit(inputs, AppearanceParams(spread=3), memo=memo)
    assert set(memo) == {"regions", "means", ("response", DEFAULT.spread), ("response", 3.0)}


def test_an_empty_mask_says_why() -> None:
    inputs, _ = scene()
    nothing = appearance_fit(replace(inputs, response=np.zeros_like(inputs.response)), DEFAULT)
    assert not nothing.mask.any()
    assert "0 everywhere" in nothing.message
    low = appearance_fit(replace(inputs, response=inputs.response * 0.5), DEFAULT)
    assert not low.mask.any()
    assert "start level of 0.70" in low.message
    strict = appearance_fit(inputs, AppearanceParams(threshold=1.0))
    assert not strict.mask.any()
    assert "Lower the threshold" in strict.message


def test_a_full_mask_says_so() -> None:
    inputs, _ = scene()
    for full in (
        appearance_fit(replace(inputs, response=np.ones_like(inputs.response)), DEFAULT),
        appearance_fit(inputs, AppearanceParams(threshold=0)),
    ):
        assert full.mask.all()
        assert "fills the frame" in full.message
    assert appearance_fit(inputs, DEFAULT).message == ""


def test_one_cluster_and_one_colour() -> None:
    for shape in ((5, 6), (3, 5, 6)):
        for level, expected in ((0.9, 1), (0.1, 0)):
            inputs = FitInput(np.full((1, *shape), level), np.ones(shape, np.int32), image=np.zeros(shape))
            assert (appearance_fit(inputs, DEFAULT).mask == expected).all()
    inputs, _ = scene()
    flat = appearance_fit(replace(inputs, image=np.full(inputs.clusters.shape, 0.5)), DEFAULT)
    assert flat.mask.any()
    assert not flat.mask.all()


def test_nan_is_no_evidence() -> None:
    inputs, _ = scene()
    response = inputs.response.copy()
    response[:, :, 24:] = np.nan
    assert (
        not appearance_fit(replace(inputs, response=response), AppearanceParams(spread=0)).mask[:, 36:].any()
    )


def test_the_simplified_image_serves_where_there_is_no_other() -> None:
    inputs, truth = scene()
    result = appearance_fit(replace(inputs, image=None, simplified=inputs.image), DEFAULT)
    np.testing.assert_array_equal(result.mask, appearance_fit(inputs, DEFAULT).mask)
    assert dice(result.mask > 0, truth > 0) > 0.8


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"image": None}, ValueError, "pass the image"),
        ({"image": np.zeros((4, 4))}, ValueError, "image must be"),
        ({"image": np.full((48, 48), np.nan)}, ValueError, "not finite"),
        ({"response": np.zeros((1, 4, 4))}, ValueError, "clusters' shape"),
        ({"response": np.full((1, 48, 48), 2.0)}, ValueError, "in .0, 1."),
        ({"clusters": tiles((48, 48), 4) + 1}, ValueError, "without gaps"),
        ({"clusters": tiles((48, 48), 4) - 1}, ValueError, "numbered from 1"),
        ({"class_numbers": (1, 2)}, ValueError, "class_numbers"),
        ({"spacing": (1.0,)}, ValueError, "spacing"),
        ({"spacing": (1.0, 0.0)}, ValueError, "spacing"),
    ],
)
def test_bad_input_is_named(changes: dict, error: type[Exception], says: str) -> None:
    inputs, _ = scene()
    with pytest.raises(error, match=says):
        appearance_fit(replace(inputs, **changes), DEFAULT)


def test_a_fit_can_be_stopped() -> None:
    with pytest.raises(Cancelled):
        appearance_fit(scene()[0], DEFAULT, cancelled=lambda: True)


@pytest.mark.parametrize(("shape", "spacing"), [((9, 11), (2.0, 0.5)), ((5, 6, 7), (3.0, 1.0, 0.5))])
def test_borders_are_measured_in_the_spacing(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    """Against a count, face by face, in plain Python."""
    rng = np.random.default_rng(0)
    clusters = tiles(shape, 3)
    regions = measure_regions(rng.random(shape), clusters, np.bincount(clusters.ravel())[1:], spacing)
    lengths: dict[tuple[int, int], float] = {}
    for axis, step in enumerate(spacing):
        face = np.prod(spacing) / step
        ahead = np.moveaxis(clusters, axis, 0)
        for one, other in zip(ahead[:-1].ravel(), ahead[1:].ravel(), strict=True):
            if one != other:
                pair = (min(one, other) - 1, max(one, other) - 1)
                lengths[pair] = lengths.get(pair, 0.0) + face
    assert [tuple(pair) for pair in regions.graph.pairs.T] == sorted(lengths)
    expected = np.array([lengths[pair] for pair in sorted(lengths)])
    np.testing.assert_allclose(regions.borders, expected / expected.mean())


def test_features_are_those_of_the_pixels() -> None:
    """The deviation of a cluster and its neighbours, from the pixels themselves where all share as much border."""
    clusters = np.repeat(np.array([1, 2], np.int32), 8)[None]
    image = np.random.default_rng(0).random((1, 16))
    regions = measure_regions(image, clusters, np.array([8, 8]))
    halves = image.reshape(2, 8)
    assert regions.features.shape == (2, 1)
    np.testing.assert_allclose(regions.graph.colours[:, 0], halves.mean(axis=1))
    assert (
        np.sign(regions.features[1, 0] - regions.features[0, 0]) == np.sign(np.diff(halves.mean(axis=1)))[0]
    )


def test_a_normal_distribution_is_that_of_scipy() -> None:
    from scipy.stats import multivariate_normal

    from napari_refit.fit.appearance_model import NARROWEST

    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(40, 3)), rng.random(40)
    mean = np.average(features, axis=0, weights=weights)
    covariance = np.cov(features.T, aweights=weights, ddof=0) + NARROWEST * np.eye(3)
    expected = multivariate_normal(mean, covariance).logpdf(features) + 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(log_density(features, weights, 1), expected)


def test_a_mixture_fits_two_kinds_better_than_one() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(-3, 0.3, (60, 2)), rng.normal(3, 0.3, (60, 2))])
    one, two = (log_density(features, np.ones(120), parts).mean() for parts in (1, 2))
    assert two > one + 0.5
    assert np.isfinite(log_density(features, np.eye(120)[0], 4)).all()


def test_looks_say_nothing_where_a_side_is_missing() -> None:
    features = np.random.default_rng(0).normal(size=(6, 2))
    for labels in (np.zeros(6, int), np.ones(6, int)):
        assert (log_odds(features, np.ones(6), labels, 1, 2, 3.0) == 0).all()
    found = log_odds(features, np.ones(6), np.array([0, 0, 0, 1, 1, 1]), 2, 1, 3.0)
    assert found[0].any()
    assert not found[1].any()


def test_it_runs_in_the_pipeline() -> None:
    inputs, truth = scene((64, 64))
    params = RefitParams(fit="appearance", n_segments=80, **{"cam.gate": "off"})
    refit = Refit(inputs.image, response=inputs.response[0], params=params)
    assert dice(refit.slice(0).mask > 0, truth > 0) > 0.8
    stronger = params.replace(**{"appearance.smoothness": 8.0, "threshold": 0.4})
    refit.params = stronger
    assert dice(refit.slice(0).mask > 0, truth > 0) > 0.8


def test_it_runs_on_supervoxels() -> None:
    inputs, truth = scene((12, 40, 40))
    params = RefitParams(fit="appearance", n_segments=60, supervoxels=True, **{"cam.gate": "off"})
    result = Refit(inputs.image, response=inputs.response[0], params=params, spacing=(2, 1, 1)).volume(axis=0)
    assert dice(np.asarray(result.mask) > 0, truth > 0) > 0.7
