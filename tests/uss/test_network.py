"""The per-image USS network, trained by compiled loops and by torch."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data, transform

from napari_refit import bands
from napari_refit.errors import Cancelled
from napari_refit.params import NetworkParams, SlicParams
from napari_refit.uss import network, network_labels_kernel, network_product_kernel, network_torch
from napari_refit.uss.network import REPORT_EVERY, network_segmenter, uss_network
from napari_refit.uss.network_processor import ProcessorTraining
from napari_refit.uss.network_torch import TorchTraining, majority_labels
from napari_refit.uss.network_weights import initial_weights
from napari_refit.uss.superpixels import slic_segmenter

NOISE = np.random.default_rng(0).random((20, 24))
TILES = np.arange(20)[:, None] // 5 * 6 + np.arange(24) // 4


@pytest.fixture(autouse=True, params=["processor", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to train; the processor stands in for torch's accelerator."""
    if request.param == "torch":
        chosen = network._accelerator
        monkeypatch.setattr(network, "_accelerator", lambda device: chosen(device) or torch.device("cpu"))
    return str(request.param)


def only(wanted: str) -> pytest.MarkDecorator:
    """For tests of one way, or of both side by side."""
    return pytest.mark.parametrize("way", [wanted], indirect=True)


def two_regions(shape: tuple[int, ...] = (32, 32)) -> tuple[np.ndarray, np.ndarray]:
    """A noisy plane with a bright disc, and where the disc is."""
    rows, columns = np.indices(shape)
    disc = (rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2 < (min(shape) / 4) ** 2
    return np.random.default_rng(1).normal(0.2 + 0.5 * disc, 0.03), disc


@only("processor")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
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
    flat = label.astype(np.int32)[None]
    votes = np.empty((superpixels, labels), np.int32)
    assert network_labels_kernel.vote(flat, cluster[None], votes) == len(np.unique(expected))
    assert np.array_equal(flat[0], expected)


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
    steps: list[None] = []
    for kind in (ProcessorTraining, TorchTraining):
        learn = kind.learn
        monkeypatch.setattr(kind, "learn", lambda self, learn=learn: (steps.append(None), learn(self))[1])
    training = network_segmenter(NOISE, NetworkParams(steps=64), device="cpu")
    next(training)
    training.close()
    assert len(steps) == REPORT_EVERY - 1


def test_it_stops_within_a_step_when_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[None] = []
    for kind in (ProcessorTraining, TorchTraining):
        learn = kind.learn
        monkeypatch.setattr(kind, "learn", lambda self, learn=learn: (steps.append(None), learn(self))[1])
    training = network_segmenter(NOISE, NetworkParams(), device="cpu", cancelled=lambda: len(steps) > 1)
    with pytest.raises(Cancelled):
        list(training)
    assert len(steps) == 2


def test_the_guide_is_kept() -> None:
    kept: dict[object, np.ndarray] = {}

    def memo(key: object, compute: Callable[[], np.ndarray]) -> np.ndarray:
        if key not in kept:
            kept[key] = compute()
        return kept[key]

    few = NetworkParams(steps=1, guide_n_segments=20)
    for params in (
        few,
        few.model_copy(update={"learning_rate": 0.1}),
        NetworkParams(guide="continuity", steps=1),
    ):
        list(network_segmenter(NOISE, params, device="cpu", memo=memo))
    assert len(kept) == 1
    list(network_segmenter(NOISE, few.model_copy(update={"guide_n_segments": 30}), device="cpu", memo=memo))
    assert len(kept) == 2


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


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (7, 1)])
def test_images_of_few_pixels(shape: tuple[int, int]) -> None:
    clusters = uss_network(np.random.default_rng(6).random(shape), steps=3, device="cpu")
    assert clusters.shape == shape
    assert clusters.min() == 1


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


def both_ways(
    pixels: np.ndarray, superpixels: np.ndarray | None, params: NetworkParams
) -> tuple[ProcessorTraining, TorchTraining]:
    compiled = ProcessorTraining(pixels, superpixels, params)
    return compiled, TorchTraining(pixels, superpixels, params, torch.device("cpu"))


@only("processor")
@pytest.mark.parametrize("seed", [0, 43, 2**31 - 1])
def test_the_weights_start_as_those_of_torch(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in initial_weights(3, 20, seed):
        bound = (weight[0].size) ** -0.5
        expected = torch.empty(weight.shape).uniform_(-bound, bound, generator=generator)
        np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-7)


@only("processor")
@pytest.mark.parametrize("weight", [0.0, 1.5])
@pytest.mark.parametrize("shape", [(20, 24, 3), (37, 250, 1), (3, 5, 2), (1, 40, 1), (9, 1, 5)])
@pytest.mark.parametrize("max_labels", [2, 20, 32])
def test_gradients_are_those_of_automatic_differentiation(
    shape: tuple[int, int, int], max_labels: int, weight: float
) -> None:
    pixels = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    params = NetworkParams(max_labels=max_labels, min_labels=2, continuity_weight=weight)
    compiled, expected = both_ways(pixels, None, params)
    for _ in range(2):
        labels, left = compiled.label()
        assert np.array_equal(labels, expected.label()[0])
        assert left == len(np.unique(labels))
        compiled.differentiate()
        expected.differentiate()
        parameters = list(expected.network.parameters())
        for index, layer in enumerate(compiled._layers):
            outputs, channels = parameters[3 * index].shape[:2]
            windows = layer.weight_slope.reshape(layer.span, layer.span, -1, layer.outputs)
            found = (
                windows[:, :, :channels, :outputs].transpose(3, 2, 0, 1),
                layer._scale_slope[:outputs],
                layer._shift_slope[:outputs],
            )
            for slope, parameter in zip(found, parameters[3 * index :], strict=False):
                assert parameter.grad is not None
                largest = float(parameter.grad.abs().max())
                np.testing.assert_allclose(slope, parameter.grad, rtol=0, atol=1e-4 * largest + 1e-7)
            assert not windows[:, :, channels:].any()
            assert not windows[..., outputs:].any()
        compiled.learn()
        expected._optimiser.step()


@only("processor")
@pytest.mark.parametrize("guide", ["slic", "continuity"])
def test_both_ways_label_pictures_alike(guide: str) -> None:
    picture = transform.resize(data.astronaut(), (96, 110), anti_aliasing=True)
    superpixels = None
    if guide == "slic":
        superpixels = slic_segmenter(picture, SlicParams(n_segments=150)).astype(np.int64) - 1
    pixels = network._standardised(picture)
    compiled, expected = both_ways(pixels, superpixels, NetworkParams())
    for _ in range(6):
        labels, left = compiled.label()
        slow, slow_left = expected.label()
        assert np.mean(labels == slow.numpy()) > 0.995
        assert abs(left - int(slow_left)) <= 1
        compiled.learn()
        expected.learn()


@only("processor")
def test_the_number_of_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(5).random((70, 61))
    expected = uss_network(image, steps=6, device="cpu")
    for count in (1, 3):
        monkeypatch.setattr(bands, "n_threads", lambda count=count: count)
        assert np.array_equal(uss_network(image, steps=6, device="cpu"), expected)


@only("processor")
def test_responses_of_any_size_have_a_gradient() -> None:
    values = np.zeros((1, 3, network_product_kernel.PANEL), np.float32)
    values[..., :4] = [[-4e4, 5e4, 4.9999e4, 0], [0, 0, 0, 0], [1, -90, -200, 2]]
    one, zero = np.ones(4, np.float32), np.float32(0)
    slope, sums = np.ones_like(values), np.empty((1, 2, values.shape[2]))
    target = np.array([[1, 0, 3]], np.int32)
    network_labels_kernel.pull(0, 1, values, one, 0 * one, target, zero, zero, slope, sums)
    expected = np.zeros(values.shape)
    expected[..., :4] = torch.softmax(torch.from_numpy(values[..., :4]).double(), -1).numpy()
    expected[0, np.arange(3), target[0]] -= 1
    assert not slope[..., 4:].any()
    np.testing.assert_allclose(slope, expected, atol=2e-7)
    np.testing.assert_allclose(sums[0, 0], expected.sum((0, 1)), atol=1e-6)


class Scripted:
    """Stands in for a training; step by step it has so many labels left."""

    def __init__(self, left: list[int]) -> None:
        self.left, self.step = left, 0

    def label(self) -> tuple[int, int]:
        self.step += 1
        return self.step, self.left[self.step - 1]

    def learn(self) -> None:
        pass


@only("processor")
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(2, 9), min_size=1, max_size=20), st.integers(2, 9))
def test_looking_less_often_ends_at_the_same_step(left: list[int], least: int) -> None:
    params = NetworkParams(steps=len(left), min_labels=least)
    reports = [list(network._steps(Scripted(left), params, every)) for every in (1, REPORT_EVERY)]
    end = next((step for step, count in enumerate(left, 1) if count < least), len(left))
    assert reports[0] == reports[1] == [*range(REPORT_EVERY, end, REPORT_EVERY), end]


@only("torch")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "has not enough memory for"),
        (NotImplementedError("no such operator"), "cannot do"),
    ],
)
def test_a_device_that_gives_up_hands_over_to_the_processor(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(self: TorchTraining) -> None:
        raise error

    monkeypatch.setattr(network_torch.TorchTraining, "differentiate", fail)
    with pytest.warns(RuntimeWarning, match=f"{message} this training: going on with the CPU"):
        found = uss_network(NOISE, TILES, steps=5)
    monkeypatch.setattr(network, "_accelerator", lambda device: None)
    assert np.array_equal(found, uss_network(NOISE, TILES, steps=5))


@only("torch")
def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TorchTraining) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(network_torch.TorchTraining, "differentiate", fail)
    with pytest.raises(RuntimeError, match="broken"):
        uss_network(NOISE, TILES, steps=5)


@only("processor")
def test_the_processor_does_without_torch() -> None:
    program = (
        "import sys, numpy as np, napari_refit\n"
        "napari_refit.uss_network(np.random.rand(8, 8), steps=2, device='cpu')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
