"""The per-image USS network."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_refit.params import NetworkParams, SlicParams
from napari_refit.uss.network import (
    REPORT_EVERY,
    majority_labels,
    network_segmenter,
    uss_network,
)
from napari_refit.uss.superpixels import slic_segmenter

NOISE = np.random.default_rng(0).random((20, 24))
TILES = np.arange(20)[:, None] // 5 * 6 + np.arange(24) // 4


def two_regions(shape: tuple[int, ...] = (32, 32)) -> tuple[np.ndarray, np.ndarray]:
    """A noisy plane with a bright disc, and where the disc is."""
    rows, columns = np.indices(shape)
    disc = (rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2 < (min(shape) / 4) ** 2
    return np.random.default_rng(1).normal(0.2 + 0.5 * disc, 0.03), disc


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 80), st.integers(1, 6), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_majority_vote_is_the_slow_one(pixels: int, superpixels: int, labels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    label, cluster = rng.integers(0, labels, pixels), rng.integers(0, superpixels, pixels)
    expected = label.copy()
    for number in np.unique(cluster):
        votes = [int(np.sum(label[cluster == number] == candidate)) for candidate in range(labels)]
        expected[cluster == number] = votes.index(max(votes))
    result = majority_labels(torch.from_numpy(label), torch.from_numpy(cluster), labels, superpixels)
    assert np.array_equal(result.numpy(), expected)


def test_no_cluster_of_the_guide_is_cut() -> None:
    clusters = uss_network(NOISE, TILES, steps=6, device="cpu")
    assert clusters.max() > 1
    for tile in np.unique(TILES):
        assert len(np.unique(clusters[tile == TILES])) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_only_the_grouping_of_a_guide_counts(dtype: type) -> None:
    halves = np.arange(24) // 12 + np.zeros((20, 1), int)
    expected = uss_network(NOISE, halves * 1000 - 7, steps=3, device="cpu")
    assert np.array_equal(uss_network(NOISE, halves.astype(dtype), steps=3, device="cpu"), expected)


def test_without_a_guide_continuity_smooths() -> None:
    image, _ = two_regions()
    rough = uss_network(image, steps=16, continuity_weight=0, device="cpu").max()
    assert uss_network(image, steps=16, continuity_weight=10, device="cpu").max() < rough


@pytest.mark.parametrize("guide", ["slic", "continuity"])
@pytest.mark.parametrize("channels", [0, 3])
def test_it_finds_a_disc(guide: str, channels: int) -> None:
    image, disc = two_regions()
    image = np.repeat(image[..., None], channels, axis=2) if channels else image
    params = NetworkParams(guide=guide, steps=32, min_labels=2, guide_n_segments=150, guide_compactness=5)
    clusters = list(network_segmenter(image, params, device="cpu"))[-1]
    share = ndimage.mean(disc, clusters, np.arange(1, clusters.max() + 1))
    found = share[clusters - 1] > 0.5
    assert (found == disc).mean() > 0.97


@pytest.mark.parametrize("guide", ["slic", "quickshift", "continuity"])
def test_it_reports_every_few_steps_and_at_last(guide: str) -> None:
    params = NetworkParams(guide=guide, steps=2 * REPORT_EVERY + 1, min_labels=2)
    reports = list(network_segmenter(NOISE, params, device="cpu"))
    assert len(reports) == 3
    for clusters in reports:
        assert clusters.shape == NOISE.shape
        assert clusters.dtype == np.int32
        assert clusters.min() == 1


def test_every_report_is_what_a_shorter_training_gives() -> None:
    reports = list(network_segmenter(NOISE, NetworkParams(steps=8), device="cpu"))
    shorter = list(network_segmenter(NOISE, NetworkParams(steps=4), device="cpu"))
    assert np.array_equal(reports[0], shorter[-1])
    assert not np.array_equal(reports[0], reports[1])


def test_it_stops_when_few_labels_are_left() -> None:
    two = NetworkParams(guide_n_segments=2, min_labels=4, steps=64)
    assert slic_segmenter(NOISE, SlicParams(n_segments=2, compactness=20)).max() < 4
    assert len(list(network_segmenter(NOISE, two, device="cpu"))) == 1

    long = NetworkParams(guide="continuity", continuity_weight=50, min_labels=20, steps=400)
    reports = list(network_segmenter(np.tile(np.linspace(0, 1, 16), (16, 1)), long, device="cpu"))
    assert len(reports) < 400 / REPORT_EVERY


def test_a_closed_generator_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self, *a: (steps.append(1), step(self, *a))[1])
    training = network_segmenter(NOISE, NetworkParams(steps=64), device="cpu")
    next(training)
    training.close()
    assert len(steps) == REPORT_EVERY


def test_same_seed_same_clusters() -> None:
    first, again = (uss_network(NOISE, TILES, steps=6, seed=5, device="cpu") for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, uss_network(NOISE, TILES, steps=6, seed=6, device="cpu"))


def test_it_neither_reads_nor_changes_global_state() -> None:
    torch.manual_seed(1)
    expected = uss_network(NOISE, TILES, steps=5, device="cpu")
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    random.seed(4)
    cudnn = torch.backends.cudnn
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    flags = cudnn.deterministic, cudnn.benchmark, torch.is_grad_enabled(), torch.get_num_threads()
    training = network_segmenter(NOISE, NetworkParams(steps=8), device="cpu")
    next(training)
    between = cudnn.deterministic, cudnn.benchmark, torch.is_grad_enabled(), torch.get_num_threads()
    list(training)
    result = uss_network(NOISE, TILES, steps=5, device="cpu")
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert between == flags
    assert flags == (cudnn.deterministic, cudnn.benchmark, torch.is_grad_enabled(), torch.get_num_threads())
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_trains_where_the_caller_has_gradients_off(mode) -> None:
    expected = uss_network(NOISE, TILES, steps=5, device="cpu")
    with mode():
        assert np.array_equal(uss_network(NOISE, TILES, steps=5, device="cpu"), expected)


def test_it_does_not_mind_another_default_dtype() -> None:
    expected = uss_network(NOISE, TILES, steps=5, device="cpu")
    torch.set_default_dtype(torch.float64)
    try:
        assert np.array_equal(uss_network(NOISE, TILES, steps=5, device="cpu"), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_intensity_range_does_not_matter() -> None:
    whole = np.random.default_rng(2).integers(0, 256, (16, 16)).astype(np.uint8)
    expected = uss_network(whole, steps=5, device="cpu")
    for image in (whole.astype(float), whole / 256, whole * np.float64(2.0**500), whole.astype(np.int32)):
        assert np.array_equal(uss_network(image, steps=5, device="cpu"), expected)


def test_more_labels_mean_more_channels() -> None:
    assert uss_network(NOISE, steps=1, max_labels=2, min_labels=2, device="cpu").max() < (
        uss_network(NOISE, steps=1, max_labels=64, device="cpu").max()
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"guide": np.zeros((3, 3), int)}, ValueError, r"guide of shape \(3, 3\) does not fit"),
        ({"guide": np.zeros((20, 24))}, TypeError, "guide must hold whole numbers"),
        ({"guide": "slic"}, TypeError, "guide must hold real numbers"),
        ({"max_labels": 1}, ValueError, "max_labels: .* got 1"),
        ({"min_labels": 0}, ValueError, "min_labels: .* got 0"),
        ({"steps": 0}, ValueError, "steps: .* got 0"),
        ({"learning_rate": np.nan}, ValueError, "learning_rate: .* got nan"),
        ({"continuity_weight": -1}, ValueError, "continuity_weight: .* got -1"),
        ({"device": "toaster"}, ValueError, "unknown device 'toaster'"),
        ({"device": "cuda:99"}, ValueError, "'cuda:99' cannot be used here"),
        ({"device": 3}, TypeError, "got 3"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        uss_network(NOISE, **arguments)
