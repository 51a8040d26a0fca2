"""Clusters across slices: slabs, their overlaps, and what does not depend on how a volume is cut into them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_refit import Cancelled, RefitParams
from napari_refit.declare import Parameters, option
from napari_refit.pipeline import Refit
from napari_refit.registry import SEGMENTERS, register_segmenter
from napari_refit.responses import PlaneResponse
from napari_refit.slabs import cut_into_slabs
from napari_refit.uss.edges import connected_clusters

SHAPE = (20, 24, 30)


class CubesParams(Parameters):
    """Cubes."""

    supervoxels: bool = option(True, title="Supervoxels", help="Cubes instead of squares.")


def squares(image, params):
    rows, columns = np.indices(image.shape[:2])
    return rows // 4 * 100 + columns // 4


def cubes(image, params, *, spacing, block):
    depth, rows, columns = np.indices(image.shape[:3])
    assert block.shape[1:] == image.shape[1:3]
    return (depth + block.start) // 4 * 10_000 + rows // 4 * 100 + columns // 4


@pytest.fixture(autouse=True)
def segmenter():
    register_segmenter("cubes", squares, CubesParams, volume=cubes)
    yield
    SEGMENTERS.unregister("cubes")


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).random(SHAPE).astype(np.float32)


@pytest.fixture
def response(volume: np.ndarray) -> np.ndarray:
    depth, rows, columns = np.indices(SHAPE)
    return np.exp(-((depth - 9) ** 2 + (rows - 12) ** 2 + (columns - 16) ** 2) / 60).astype(np.float32)


def cubes_refit(volume, response, most_voxels=10**9, **params) -> Refit:
    refit = Refit(
        volume,
        response=response,
        spacing=(2.0, 1.0, 1.0),
        params=RefitParams(
            segmenter="cubes", tolerance=0.0, spread=0.0, coverage=1.0, threshold=0.3, **params
        ),
    )
    refit.stages.slabs.most_voxels = most_voxels
    return refit


@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 30))
def test_slabs_cover_a_volume_once(length: int, thickness: int, overlap: int) -> None:
    slabs = cut_into_slabs(length, thickness, overlap)
    assert [at for _, _, first, last in slabs for at in range(first, last)] == list(range(length))
    for begin, end, first, last in slabs:
        assert last - first <= thickness
        assert begin == max(0, first - overlap)
        assert end == min(length, last + overlap)


def test_a_cluster_reaches_across_slices(volume, response) -> None:
    result = cubes_refit(volume, response).volume(axis=0)
    depth, rows, columns = np.indices(SHAPE)
    labels = depth // 4 * 10_000 + rows // 4 * 100 + columns // 4
    _, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(SHAPE)
    lowest = np.full(numbers.max() + 1, np.inf)
    np.minimum.at(lowest, numbers.ravel(), response.ravel())
    expected = (lowest >= np.float32(0.3))[numbers]
    assert expected.any()
    assert np.array_equal(result.mask > 0, expected)


@pytest.mark.parametrize("most_voxels", [720 * 4, 720 * 9, 720 * 13])
def test_how_a_volume_is_cut_into_slabs_changes_nothing(volume, response, most_voxels: int) -> None:
    whole = cubes_refit(volume, response).volume(axis=0, keep_response=True)
    tiled = cubes_refit(volume, response, most_voxels)
    tiled.stages.slabs.overlap = lambda index, params: 4
    found = tiled.volume(axis=0, keep_response=True)
    assert np.array_equal(found.mask, whole.mask)
    assert np.array_equal(found.cam_mask, whole.cam_mask)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_the_volumes(volume, response, axis: int) -> None:
    refit = cubes_refit(volume, response, 720 * 9)
    whole = refit.volume(axis=axis)
    one = refit.slice(7, axis=axis)
    assert np.array_equal(one.mask, whole.mask.take(7, axis))
    assert one.clusters.shape == one.edges.shape == one.mask.shape == one.fitted.shape[1:]
    assert not any(refit.slice(7, axis=axis).seconds.values())


def test_the_switch_reruns_the_clusters_and_nothing_else(volume, response) -> None:
    refit = cubes_refit(volume, response)
    across = refit.slice(8)
    refit.params = refit.params.replace(**{"cubes.supervoxels": False})
    within = refit.slice(8)
    assert within.seconds["clusters"] > 0
    assert within.seconds["response"] == 0
    assert (across.fitted <= within.fitted).all()
    assert (across.fitted < within.fitted).any()


def test_the_gate_holds_slice_by_slice(volume, response) -> None:
    class Source:
        sees_plane = cheaper_when_smaller = False
        channels, modalities = None, ()

        def describe(self):
            return {}

        def respond(self, indices, inputs, params, cancelled):
            found = []
            for index in indices:
                at = dict(index)[0]
                maps = np.stack([response[at], 1 - response[at]])
                found.append(PlaneResponse(maps, maps, (at != 9, False), ("one", "other"), (1, 2)))
            return found

    refit = cubes_refit(volume, None, 720 * 9, **{"cam.gate": "positive"})
    refit.params = refit.params.replace(coverage=0.3)
    refit.stages.use(Source())
    result = refit.volume(axis=0)
    assert not result.mask[9].any()
    assert result.mask[8].any()
    assert result.mask[10].any()
    assert result.mask.max() == 1
    assert "negative" in result.messages["0:9"]


def test_time_is_not_a_slice_axis(volume, response) -> None:
    movie = np.stack([volume, volume[::-1]])
    maps = np.stack([response, response[::-1]])
    refit = Refit(movie, response=maps, params=RefitParams(segmenter="cubes", tolerance=0.0, threshold=0.3))
    result = refit.volume()
    alone = Refit(volume, response=response, params=refit.params).volume()
    assert np.array_equal(result.mask[0], alone.mask)
    assert np.array_equal(refit.slice((1, 5), axis=(0, 1)).mask, result.mask[1, 5])


def test_a_plane_of_its_own_has_no_supervoxels(volume, response) -> None:
    flat = Refit(volume[3], response=response[3], params=RefitParams(segmenter="cubes"))
    assert np.array_equal(flat.slice(0).clusters, connected_clusters(squares(volume[3], None)))


def test_a_segmenter_that_cannot_says_who_can(volume, response) -> None:
    register_segmenter("flat", squares, CubesParams)
    try:
        refit = cubes_refit(volume, response)
        refit.params = RefitParams(segmenter="flat")
        with pytest.raises(ValueError, match=r"'flat' makes no supervoxels; these do: slic, cubes"):
            refit.slice(1)
    finally:
        SEGMENTERS.unregister("flat")


def test_cancelling_stops_between_batches(volume, response) -> None:
    refit = cubes_refit(volume, response)
    with pytest.raises(Cancelled):
        refit.slice(3, cancelled=lambda: True)


def test_progress_and_parts_come_slice_by_slice(volume, response) -> None:
    seen, parts = [], []
    refit = cubes_refit(volume, response, 720 * 9)
    refit.volume(
        progress=lambda done, total, text: seen.append((done, total)),
        axis=0,
        on_slice=lambda positions, result: parts.append(positions[0]),
    )
    assert seen == [(k, 20) for k in range(1, 21)]
    assert parts == list(range(20))


def slic_blocks(rounds: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Supervoxels of the middle of a volume: of the whole, and of a block with an overlap on each side."""
    from napari_refit.params import SlicParams
    from napari_refit.uss.block import Block
    from napari_refit.uss.supervoxels import slic_supervoxels

    depth, rows, columns = np.indices((48, 40, 44))
    image = (np.sin(depth / 5) + np.cos(rows / 7) + np.sin(columns / 6)) / 6 + 0.5
    image = (image + np.random.default_rng(0).normal(0, 0.02, image.shape)).clip(0, 1).astype(np.float32)
    params = SlicParams(n_segments=40, max_num_iter=rounds, sigma=0.0)

    def cut(begin: int, end: int) -> np.ndarray:
        return slic_supervoxels(
            image[begin:end], params, spacing=(2.0, 1.0, 1.0), block=Block(begin, image.shape)
        )

    first, last = 20, 28
    block = cut(first - overlap, last + overlap)
    return cut(0, 48)[first:last], block[overlap:-overlap]


def test_slic_supervoxels_of_a_block_are_those_of_the_volume_within_reach() -> None:
    whole, block = slic_blocks(rounds=1, overlap=16)
    pairs = np.unique(np.stack([whole.ravel(), block.ravel()]), axis=1)
    assert len(np.unique(whole)) > 20
    assert pairs.shape[1] == len(np.unique(whole)) == len(np.unique(block)), "the same up to renumbering"


def test_slic_supervoxels_differ_little_past_that_reach() -> None:
    whole, block = slic_blocks(rounds=10, overlap=16)
    pairs, counts = np.unique(np.stack([whole.ravel(), block.ravel()]), axis=1, return_counts=True)
    best = dict(sorted(zip(pairs[0], counts, strict=True)))
    assert sum(best.values()) > 0.95 * whole.size


def test_supervoxels_are_in_the_dock_and_follow_the_spacing() -> None:
    volume = np.random.default_rng(1).random((16, 40, 40)).astype(np.float32)
    params = RefitParams(**{"slic.supervoxels": True, "slic.n_segments": 16, "tolerance": 0.0})
    thin = Refit(volume, response=volume, params=params, spacing=(1.0, 1.0, 1.0)).slice(5)
    thick = Refit(volume, response=volume, params=params, spacing=(5.0, 1.0, 1.0)).slice(5)
    assert thin.clusters.shape == (40, 40)
    assert not np.array_equal(thin.clusters, thick.clusters)
