"""What makes the pipeline live: what is kept, what is prepared, the coarse answer, and looking ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_refit import Cancelled, RefitParams
from napari_refit.cache import StageCache
from napari_refit.coarse import coarser, enlarged, halved
from napari_refit.declare import declarations
from napari_refit.pace import Pace
from napari_refit.pipeline import Refit
from napari_refit.registry import FITS, SEGMENTERS, register_fit, register_segmenter
from napari_refit.responses import PlaneResponse
from napari_refit.stages import Run
from napari_refit.watch import Watch

SHAPE = (6, 90, 101)


class Source:
    """Response maps from the plane's own grey values; counts the planes it is asked for."""

    def __init__(self, cheaper_when_smaller: bool = True) -> None:
        self.sees_plane, self.cheaper_when_smaller = True, cheaper_when_smaller
        self.channels, self.modalities = None, ()
        self.shapes: list[list[tuple[int, ...]]] = []

    def describe(self) -> dict:
        return {}

    def respond(self, indices, inputs, params, watch):
        self.shapes.append([plane.shape[:2] for plane in inputs])
        return [PlaneResponse(plane[None], plane[None], (True,), ("bright",), (1,)) for plane in inputs]


@pytest.fixture
def volume() -> np.ndarray:
    volume = np.random.default_rng(5).normal(0.2, 0.02, SHAPE)
    volume[1:5, 20:60, 30:80] += 0.6
    return volume


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def refit(volume: np.ndarray, source: Source) -> Refit:
    found = Refit(volume, params=RefitParams(**{"slic.n_segments": 80, "slic.sigma": 0.0, "tolerance": 0.0}))
    found.stages.use(source)
    return found


@pytest.fixture
def counting_fit():
    calls = []

    def fit(inputs, params, *, memo, cancelled):
        from napari_refit.fit.boundary import boundary_fit_stage

        calls.append(memo("kept", lambda: len(calls)))
        return boundary_fit_stage(inputs, params)

    from napari_refit.params import BoundaryParams

    register_fit("counting", fit, BoundaryParams)
    yield calls
    FITS.unregister("counting")


def test_a_seen_slice_costs_no_compute(refit: Refit, source: Source) -> None:
    first = [refit.slice(k) for k in range(6)]
    again = [refit.slice(k) for k in range(6)]
    assert all(not any(result.seconds.values()) for result in again)
    assert all(one.mask is two.mask for one, two in zip(first, again, strict=True))
    assert len(source.shapes) == 6


def test_only_the_latest_fit_of_a_slice_is_kept(refit: Refit) -> None:
    refit.slice(2)
    before = refit.stages.cache.n_bytes
    for threshold in np.linspace(0.1, 0.9, 60):
        refit.params = refit.params.replace(threshold=float(threshold))
        refit.slice(2)
    assert refit.stages.cache.n_bytes < before + 8 * SHAPE[1] * SHAPE[2] * 8


def test_what_a_fit_prepares_lasts_while_its_inputs_do(refit: Refit, counting_fit: list) -> None:
    refit.params = refit.params.replace(fit="counting")
    for change in ({}, {"counting.threshold": 0.3}, {"counting.coverage": 0.7}):
        refit.params = refit.params.replace(**change)
        refit.slice(2)
    assert counting_fit == [0, 0, 0]
    refit.params = refit.params.replace(compactness=3.0)
    refit.slice(2)
    refit.slice(3)
    assert counting_fit == [0, 0, 0, 3, 4]


def test_looking_ahead_leaves_the_preparations_of_the_open_slice(refit: Refit, counting_fit: list) -> None:
    refit.params = refit.params.replace(fit="counting")
    refit.slice(2)
    refit.prefetch([{0: 3}, {0: 1}])
    refit.params = refit.params.replace(**{"counting.threshold": 0.3})
    refit.slice(2)
    assert counting_fit == [0, 1, 2, 0]


def test_a_memo_keeps_few_things_and_one_scope() -> None:
    cache = StageCache(10_000)
    for key in range(20):
        cache.memo("place", "scope")(key, lambda: np.zeros(100, np.uint8))
    assert cache.n_bytes == 800
    assert cache.memo("place", "scope")(19, lambda: None) is not None
    memo = cache.memo("place", "scope")
    memo(13, lambda: None)
    memo(20, lambda: memo(21, lambda: np.zeros(10, np.uint8)))
    assert memo(13, lambda: None) is not None, "the one used last was dropped"
    assert memo(21, lambda: None) is not None, "what was kept meanwhile was lost"
    assert cache.memo("place", "other")(19, lambda: "new") == "new"
    assert cache.n_bytes == 0


def test_prefetch_batches_responses_and_makes_scrolling_free(refit: Refit, source: Source) -> None:
    refit.params = refit.params.replace(batch_size=4)
    assert refit.prefetch([{0: k} for k in (3, 1, 4, 0, 5)]) == 5
    assert [len(shapes) for shapes in source.shapes] == [1, 4]
    for k in (3, 1, 4, 0, 5):
        assert not any(refit.slice(k).seconds.values())


def test_prefetch_keeps_to_half_of_the_cache(volume: np.ndarray, source: Source) -> None:
    refit = Refit(volume, params=RefitParams(batch_size=1), cache_bytes=900_000)
    refit.stages.use(source)
    refit.slice(0)
    assert refit.prefetch([{0: k} for k in range(1, 6)]) < 5
    assert refit.stages.cache.n_bytes <= 900_000
    assert not any(refit.slice(0).seconds.values()), "the open slice was pushed out"


def test_prefetch_stops_when_told_and_needs_no_source(
    volume: np.ndarray, refit: Refit, source: Source
) -> None:
    with pytest.raises(Cancelled):
        refit.prefetch([{0: 1}, {0: 2}], cancelled=lambda: bool(source.shapes))
    bare = Refit(volume)
    assert bare.prefetch([{0: 1}]) == 1
    assert bare.slice(1).seconds["clusters"] == 0.0


@pytest.fixture
def slow_segmenter():
    shapes = []

    def slow(image, params):
        shapes.append(image.shape)
        rows, columns = np.indices(image.shape[:2])
        return rows // 8 * 1000 + columns // 8

    register_segmenter("slow", slow)
    yield shapes
    SEGMENTERS.unregister("slow")


@pytest.mark.parametrize("cheaper", [True, False])
def test_a_coarse_answer_comes_first_where_the_sharp_one_takes_long(
    refit: Refit, slow_segmenter: list, cheaper: bool
) -> None:
    refit.stages.use(Source(cheaper))
    refit.params = refit.params.replace(segmenter="slow")
    coarse: list = []
    sharp = refit.slice(2, on_coarse=coarse.append)
    assert slow_segmenter == [(45, 51), SHAPE[1:]]
    (found,) = coarse
    assert found.coarse
    assert not sharp.coarse
    for name in ("image", "clusters", "edges", "simplified", "mask", "cam_mask", "response", "fitted"):
        assert getattr(found, name).shape == getattr(sharp, name).shape, name
        assert getattr(found, name).dtype == getattr(sharp, name).dtype, name
    assert (found.mask != sharp.mask).mean() < 0.05
    assert refit.stages.source.shapes == ([[(45, 51)], [SHAPE[1:]]] if cheaper else [[SHAPE[1:]]])


def test_no_coarse_answer_where_the_sharp_one_is_quick_or_there(refit: Refit) -> None:
    coarse: list = []
    refit.slice(2)
    refit.slice(2, on_coarse=coarse.append)
    assert not coarse, "it was cached"
    refit.stages.pace.record("clusters", "slic compactness", 1, 1e-9)
    refit.params = refit.params.replace(compactness=3.0)
    refit.slice(2, on_coarse=coarse.append)
    assert not coarse, "it was expected to be quick"
    refit.stages.pace.record("clusters", "slic n_segments", 1, 1.0)
    refit.params = refit.params.replace(**{"slic.n_segments": 90})
    refit.slice(2, on_coarse=coarse.append)
    assert len(coarse) == 1


@pytest.mark.parametrize("rgb", [False, True])
def test_the_pace_counts_the_pixels_of_a_plane(rgb: bool) -> None:
    shape = (70, 80, 3) if rgb else (70, 80)
    picture = Refit(np.random.default_rng(0).random(shape), rgb=rgb)
    picture.slice(0)
    seconds = picture.slice(0).seconds["clusters"]
    assert seconds == 0.0, "it was cached"
    picture.params = picture.params.replace(compactness=3.0)
    seconds = picture.slice(0).seconds["clusters"]
    expected = picture.stages.pace.predict("clusters", "slic compactness", 70 * 80)
    assert expected is not None
    assert 0 < expected <= seconds


def test_a_small_image_or_one_without_response_is_answered_all_the_same(source: Source) -> None:
    coarse: list = []
    small = Refit(np.random.default_rng(0).random((20, 30)))
    small.stages.use(source)
    small.slice(0, on_coarse=coarse.append)
    assert not coarse
    bare = Refit(np.random.default_rng(0).random((70, 80, 3)), rgb=True)
    assert not bare.slice(0, on_coarse=coarse.append).mask.any()
    assert coarse[0].simplified.shape == (70, 80, 3)


def test_clusters_are_shown_before_a_response_that_is_not_there_yet(refit: Refit) -> None:
    states: list = []
    result = refit.slice(2, on_state=states.append)
    assert len(states) == 1
    assert np.array_equal(states[0], result.clusters)
    refit.params = refit.params.replace(compactness=4.0)
    refit.slice(2, on_state=states.append)
    assert len(states) == 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_halving_keeps_the_mean_and_enlarging_the_grid(rows: int, columns: int, seed: int) -> None:
    plane = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    small = halved(plane)
    assert small.shape == (-(-rows // 2), -(-columns // 2))
    assert plane.min() - 1e-6 <= small.min() <= small.max() <= plane.max() + 1e-6
    if rows % 2 == columns % 2 == 0:
        assert small.mean() == pytest.approx(plane.mean(), abs=1e-5)


def test_halved_results_come_back_on_the_whole_plane() -> None:
    image = np.random.default_rng(0).random((67, 70, 3)).astype(np.float32)
    small = Refit(halved(image), rgb=True).slice(0)
    large = enlarged(small, image)
    assert large.image is image
    assert np.array_equal(large.clusters[::2, ::2], small.clusters)
    assert large.simplified.shape == image.shape
    assert large.response is None


@pytest.mark.parametrize("name", SEGMENTERS.names)
def test_parameters_in_pixels_shrink_with_the_resolution(name: str) -> None:
    group = RefitParams().of(name)
    half = coarser(group)
    for declared in declarations(type(group)):
        before, after = getattr(group, declared.name), getattr(half, declared.name)
        assert type(before) is type(after)
        assert (declared.low or after) <= after if declared.low is not None else True
        assert (declared.unit == "px") <= (declared.pixel_power > 0), declared.name
        if not declared.pixel_power:
            assert before == after


def test_the_pace_is_that_of_the_quickest_of_the_latest_runs() -> None:
    pace = Pace()
    pace.record("clusters", "slic slice", 100, 9.0)
    pace.record("clusters", "slic slice", 100, 1.0)
    assert pace.predict("clusters", "slic slice", 200) == pytest.approx(2.0)
    for _ in range(4):
        pace.record("clusters", "slic slice", 100, 3.0)
    assert pace.predict("clusters", "slic slice", 200) == pytest.approx(6.0)
    assert pace.predict("clusters", "slic sigma", 200) is None


def test_what_the_classifiers_device_lacks_is_said(
    volume: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torch import nn

    from napari_refit.cam import response

    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    true_batch = response._batch

    def small_memory(classifier: Any, planes: np.ndarray, *rest: Any) -> Any:
        if len(planes) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return true_batch(classifier, planes, *rest)

    monkeypatch.setattr(response, "_batch", small_memory)
    notices: list[str] = []
    refit = Refit(volume, network, RefitParams(**{"cam.batch_size": 4}), device="cpu")
    index = [refit.grid.index({0: position}) for position in range(4)]
    refit.stages.responses(index, refit.params, Run(Watch(on_notice=notices.append)))
    assert notices == [
        f"cpu ran out of memory: going on with {n} at a time" for n in ("2 slices", "one slice")
    ]
    with pytest.warns(RuntimeWarning, match="one slice at a time"):
        Refit(volume, network, refit.params, device="cpu").prefetch([{0: k} for k in range(4)])


def test_a_device_without_memory_hands_over_to_the_processor(volume: np.ndarray) -> None:
    devices: list = []

    def greedy(image, params, *, device):
        devices.append(device)
        if device != "cpu":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return np.zeros(image.shape[:2], int)

    register_segmenter("greedy", greedy)
    try:
        notices: list = []
        refit = Refit(volume, params=RefitParams(segmenter="greedy"), device="cuda")
        refit.slice(1, on_notice=notices.append)
        assert devices == ["cuda", "cpu"]
        assert notices == ["cuda ran out of memory: the processor clusters this slice."]
    finally:
        SEGMENTERS.unregister("greedy")
