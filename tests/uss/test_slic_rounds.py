"""SLIC's parts: k-means against a slow one, blocks of a greater volume, merging of pieces, seeds, devices."""

from __future__ import annotations

from collections import deque
from itertools import product
from typing import Any

import numpy as np
import pytest
from agreement import agreement
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import napari_refit as refit
from napari_refit import bands
from napari_refit.errors import Cancelled
from napari_refit.params import SlicParams
from napari_refit.uss import slic_centres_kernel, slic_pieces, slic_rounds, slic_torch
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.slic import nearest_seeds
from napari_refit.uss.slic_pieces import merge_stray
from napari_refit.uss.slic_rounds import cut_tiles, nearest_centres
from napari_refit.uss.slic_seeds import Seeds, grid_seeds, mask_seeds
from napari_refit.uss.superpixels import slic_segmenter


def smooth_channels(shape: tuple[int, ...], seed: int = 0, sigma: float = 3) -> np.ndarray:
    """Smooth random channels over [0, 100], float32 (C, D, H, W)."""
    random = np.random.default_rng(seed).random(shape)
    depth = 0 if shape[1] == 1 else sigma / 2
    image = ndimage.gaussian_filter(random, (0, depth, sigma, sigma))
    return (100 * (image - image.min()) / np.ptp(image)).astype(np.float32)


def slow_centres(
    channels: np.ndarray,
    seeds: Seeds,
    compactness: float,
    spacing: tuple[float, ...] = (1, 1, 1),
    rounds: int = 10,
    keep: np.ndarray | None = None,
    adaptive: bool = False,
) -> np.ndarray:
    """SLIC's k-means, centre by centre and in float64."""
    grid = np.indices(channels.shape[1:]).astype(float)
    everywhere = np.ones(channels.shape[1:], bool)
    places, tints = seeds.places.copy(), np.zeros((len(seeds.places), len(channels)))
    for by_place in [False] if keep is None else [True, False]:
        labels = np.full(everywhere.shape, -1)
        greatest = np.full(len(places), float(compactness) ** 2)
        for _ in range(rounds):
            best = np.full(everywhere.shape, np.inf)
            for k in np.flatnonzero(~np.isnan(places[:, 0])):
                low = [int(max(at - far, 0)) for at, far in zip(places[k], seeds.reach, strict=True)]
                high = [int(max(at + far + 1, 0)) for at, far in zip(places[k], seeds.reach, strict=True)]
                box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
                away = sum(
                    (s * (g[box] - at)) ** 2 for s, g, at in zip(spacing, grid, places[k], strict=True)
                )
                away = away / seeds.step**2
                if not by_place:
                    away = away + ((channels[(slice(None), *box)].T - tints[k]).T ** 2).sum(0) / greatest[k]
                closer = (away < best[box]) & (everywhere if keep is None else keep)[box]
                best[box][closer] = away[closer]
                labels[box][closer] = k
            for k in range(len(places)):
                inside = labels == k
                with np.errstate(invalid="ignore"):
                    places[k] = grid[:, inside].sum(1) / inside.sum()
                    tints[k] = channels[:, inside].sum(1, dtype=float) / inside.sum()
                if adaptive and inside.any():
                    widest = ((channels[:, inside].T - tints[k]) ** 2).sum(1).max()
                    greatest[k] = max(greatest[k], widest)
    return labels


CASES: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((1, 1, 60, 70), 30, {}),
    ((3, 1, 60, 70), 30, {"adaptive": True}),
    ((2, 1, 33, 90), 25, {"spacing": (1, 2, 0.5)}),
    ((4, 1, 64, 64), 300, {"adaptive": True, "rounds": 4}),
    ((1, 14, 30, 36), 20, {"spacing": (3, 1, 1)}),
    ((3, 14, 30, 36), 60, {"adaptive": True}),
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("shape", "n_segments", "options"), CASES)
def test_k_means_is_that_of_slow_loops(
    shape: tuple[int, ...], n_segments: int, options: dict[str, Any], masked: bool
) -> None:
    channels = smooth_channels(shape)
    keep = None
    seeds = grid_seeds(shape[1:], n_segments)
    if masked:
        keep = smooth_channels((1, *shape[1:]), 5)[0] > 45
        seeds = mask_seeds(keep, n_segments, multichannel=False)
    expected = slow_centres(channels, seeds, 15, keep=keep, **options)
    found = nearest_seeds(channels, seeds, keep=keep, compactness=15, **options)
    assert agreement(found, expected) >= 0.99
    assert np.array_equal(found < 0, expected < 0)
    on_torch = torch_seeds(channels, seeds, keep=keep, compactness=15, **options)
    assert agreement(found, on_torch) >= 0.99
    assert np.array_equal(on_torch < 0, expected < 0)


def torch_seeds(channels: np.ndarray, seeds: Seeds, **options: Any) -> np.ndarray:
    return slic_torch.nearest_centres(
        channels, seeds.places, step=seeds.step, reach=seeds.reach, device="cpu", **options
    )


def test_ties_go_to_the_lower_number() -> None:
    seeds = grid_seeds((1, 40, 60), 24)
    flat = np.zeros((1, 1, 40, 60), np.float32)
    expected = slow_centres(flat, seeds, 10, rounds=1)
    for compute in (nearest_seeds, torch_seeds):
        assert np.array_equal(compute(flat, seeds, compactness=10, rounds=1), expected)


@pytest.mark.parametrize("compute", [nearest_seeds, torch_seeds])
def test_a_centre_without_pixels_is_given_up(compute: Any) -> None:
    seeds = Seeds(np.array([[0, 2.0, 2], [0, 2, 2], [0, 2, 9]]), 4.0, (2.0, 8.0, 8.0))
    labels = compute(np.zeros((1, 1, 5, 12), np.float32), seeds, compactness=1)
    assert np.unique(labels).tolist() == [0, 2]


@pytest.mark.parametrize("compute", [nearest_seeds, torch_seeds])
def test_what_no_window_ever_holds_has_no_label(compute: Any) -> None:
    seeds = Seeds(np.array([[0, 2.0, 2]]), 2.0, (2.0, 3.0, 3.0))
    labels = compute(np.zeros((1, 1, 4, 12), np.float32), seeds, compactness=1, rounds=1)
    assert (labels[0, :, :6] == 0).all()
    assert (labels[0, :, 6:] == -1).all()


def test_a_pixel_that_windows_leave_keeps_its_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    lost = slic_centres_kernel.add_lost
    monkeypatch.setattr(slic_centres_kernel, "add_lost", lambda *arrays: found.append(lost(*arrays)))
    for seed in range(12):
        random = np.random.default_rng(seed)
        stripes = (random.random((1, 1, 6, 10)) > 0.5).repeat(4, axis=3).astype(np.float32) * 50
        count = random.integers(2, 5)
        places = np.stack([np.zeros(count), np.full(count, 3.0), random.uniform(0, 40, count)], axis=1)
        seeds = Seeds(places, 6.0, (2.0, 12.0, 12.0))
        labels = nearest_seeds(stripes, seeds, compactness=10, rounds=8)
        assert np.array_equal(labels, slow_centres(stripes, seeds, 10, rounds=8))
    assert len(found) > 10


@pytest.mark.parametrize(
    ("shape", "n_segments", "rounds", "cuts"),
    [
        ((1, 1, 48, 300), 900, 2, (slice(0, 1), slice(0, 48), slice(101, 215))),
        ((1, 1, 160, 64), 160, 1, (slice(0, 1), slice(45, 131), slice(0, 64))),
        ((2, 12, 20, 150), 600, 2, (slice(0, 12), slice(0, 20), slice(30, 121))),
    ],
)
def test_a_block_within_its_halo_is_as_in_the_whole(
    shape: tuple[int, ...], n_segments: int, rounds: int, cuts: tuple[slice, ...]
) -> None:
    channels = smooth_channels(shape)
    seeds = grid_seeds(shape[1:], n_segments)
    options = {"step": seeds.step, "reach": seeds.reach, "compactness": 10, "rounds": rounds}
    whole = nearest_centres(cut_tiles(channels), seeds.places, **options)
    starts = np.array([cut.start for cut in cuts])
    stops = np.array([cut.stop for cut in cuts])
    reach = np.array(seeds.reach)
    near = ((seeds.places >= starts - reach - 1) & (seeds.places <= stops + reach + 1)).all(axis=1)
    assert 0 < near.sum() < len(near)
    block = nearest_centres(cut_tiles(channels[(slice(None), *cuts)]), seeds.places[near] - starts, **options)
    halo = ((2 * rounds - 1) * reach + rounds).astype(int)
    core = tuple(
        slice(0 if cut.start == 0 else far, cut.stop - cut.start - (0 if cut.stop == length else far))
        for cut, far, length in zip(cuts, halo, shape[1:], strict=True)
    )
    inside = np.nonzero(near)[0][block[core]]
    assert min(inside.shape) > 0
    assert np.array_equal(inside, whole[cuts][core])


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = smooth_channels((3, 1, 130, 140))
    seeds = grid_seeds((1, 130, 140), 200)
    results = []
    for count in (1, 2, 7):
        monkeypatch.setattr(slic_rounds, "n_threads", lambda count=count: count)
        monkeypatch.setattr(bands, "n_threads", lambda count=count: count)
        results.append(nearest_seeds(channels, seeds, compactness=8, adaptive=True))
    for result in results[1:]:
        assert np.array_equal(result, results[0])


@pytest.mark.parametrize("calls", [0, 3, 8])
def test_it_stops_when_asked(calls: int) -> None:
    answers = iter([False] * calls)

    def cancelled() -> bool:
        return next(answers, True)

    image = np.random.default_rng(0).random((40, 40, 3), dtype=np.float32)
    with pytest.raises(Cancelled):
        slic_segmenter(image, SlicParams(), cancelled=cancelled)
    with pytest.raises(Cancelled):
        slic_torch.nearest_centres(
            np.zeros((1, 1, 9, 9), np.float32), np.zeros((1, 3)), step=9, reach=(2, 9, 9), compactness=1,
            device="cpu", cancelled=lambda: True,
        )  # fmt: skip
    with pytest.raises(Cancelled):
        merge_stray(np.zeros((1, 2, 2), np.int32), 1, 9, 1, cancelled=lambda: True)


def test_tiles_stay_on_the_processor() -> None:
    tiles = cut_tiles(np.zeros((1, 1, 8, 8), np.float32))
    with pytest.raises(TypeError, match="tiles are for the processor"):
        nearest_seeds(tiles, grid_seeds((1, 8, 8), 2), compactness=1, device="meta")


class Kept:
    """A memo that keeps everything, and counts what was prepared."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self.prepared: list[str] = []

    def __call__(self, key: Any, compute: Any) -> Any:
        if key not in self.values:
            self.values[key] = compute()
            self.prepared.append(key[0])
        return self.values[key]


@pytest.mark.parametrize("channels", [0, 3])
def test_sliders_repeat_only_what_they_change(channels: int) -> None:
    image = np.random.default_rng(0).random((50, 60, channels) if channels else (50, 60))
    memo = Kept()
    for params, prepared in [
        (SlicParams(n_segments=20), ["channels", "tiles"]),
        (SlicParams(n_segments=30, compactness=5), []),
        (SlicParams(n_segments=30, slic_zero=True, max_num_iter=3), []),
        (SlicParams(sigma=0), ["tiles"]),
        (SlicParams(sigma=1, n_segments=20), []),
    ]:
        memo.prepared.clear()
        found = slic_segmenter(image, params, memo=memo)
        assert sorted(memo.prepared) == prepared
        assert np.array_equal(found, slic_segmenter(image, params))


def slow_pieces(numbers: np.ndarray, least: int, most: int, start: int) -> np.ndarray:
    """The flood that merges pieces, pixel by pixel."""
    pieces = np.full(numbers.shape, start - 1)
    steps = [(0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0)]
    number = start
    for seed in np.ndindex(numbers.shape):
        if numbers[seed] < 0 or pieces[seed] >= start:
            continue
        pieces[seed] = number
        piece, waiting, neighbour = [seed], deque([seed]), number
        while waiting and len(piece) < most:
            at = waiting.popleft()
            for step in steps:
                to = tuple(i + j for i, j in zip(at, step, strict=True))
                if not all(0 <= i < length for i, length in zip(to, numbers.shape, strict=True)):
                    continue
                if numbers[to] == numbers[seed] and pieces[to] < start:
                    pieces[to] = number
                    piece.append(to)
                    waiting.append(to)
                    if len(piece) >= most:
                        break
                elif start <= pieces[to] != number:
                    neighbour = int(pieces[to])
        if len(piece) < least:
            for at in piece:
                pieces[at] = neighbour
        else:
            number += 1
    return pieces


@pytest.mark.parametrize("way", ["one flood", "by regions"])
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_pieces_are_those_of_a_slow_flood(way: str, draw: st.DataObject) -> None:
    shape = draw.draw(st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14)))
    random = np.random.default_rng(draw.draw(st.integers(0, 999)))
    lowest = draw.draw(st.integers(-1, 0))
    numbers = random.integers(lowest, draw.draw(st.integers(1, 5)), shape)
    if draw.draw(st.booleans()):
        numbers = numbers.repeat(3, axis=1).repeat(2, axis=2)
    least, start = draw.draw(st.integers(0, 9)), draw.draw(st.integers(0, 1))
    most = draw.draw(st.sampled_from([1, 8, 30, 100, 9999]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slic_pieces, "_LARGE", 0 if way == "by regions" else 10**9)
        found = merge_stray(numbers.astype(np.int32), least, most, start)
    assert np.array_equal(found, slow_pieces(numbers, least, most, start))
    if lowest == 0 and start == 1:
        assert np.array_equal(found, connected_clusters(found))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_clusters_cover_the_image_and_nothing_else(draw: st.DataObject) -> None:
    shape = draw.draw(st.sampled_from([(13, 17), (13, 17, 3), (9, 30, 2), (4, 9, 11)]))
    random = np.random.default_rng(draw.draw(st.integers(0, 99)))
    image = ndimage.gaussian_filter(random.random(shape), draw.draw(st.sampled_from([0, 1])))
    channel_axis = -1 if shape[-1] < 4 else None
    spatial = shape[:-1] if channel_axis == -1 else shape
    start = draw.draw(st.integers(0, 1))
    mask = random.random(spatial) < 0.7 if draw.draw(st.booleans()) else None
    arguments: dict[str, Any] = {
        "n_segments": draw.draw(st.integers(1, 80)),
        "compactness": draw.draw(st.sampled_from([0.01, 1.0, 100.0])),
        "sigma": draw.draw(st.sampled_from([0, 0.7])),
        "slic_zero": draw.draw(st.booleans()),
        "enforce_connectivity": draw.draw(st.booleans()),
    }
    labels = refit.slic(image, start_label=start, mask=mask, channel_axis=channel_axis, **arguments)
    assert labels.shape == spatial
    assert labels.dtype == np.int64
    if mask is None:
        assert labels.min() == start
    else:
        assert np.array_equal(labels == start - 1, ~mask)
    if arguments["enforce_connectivity"]:
        present = np.unique(labels[labels >= start])
        assert np.array_equal(present, np.arange(start, start + len(present)))


def test_grid_seeds_of_a_volume() -> None:
    seeds = grid_seeds((8, 20, 20), 8)
    assert seeds.places.shape[1] == 3
    assert set(product(*(np.unique(axis) for axis in seeds.places.T))) == {tuple(p) for p in seeds.places}


def test_many_seeds_in_a_mask_are_measured_in_parts() -> None:
    mask = np.ones((1, 60, 60), bool)
    seeds = mask_seeds(mask, 1500, multichannel=True)
    assert len(seeds.places) == 1500
    assert 0.5 < seeds.step < 2
