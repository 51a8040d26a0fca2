"""Several partitions at once through the pipeline: each is a stage of its own, in the cache and in every mode."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_refit import Refit, RefitParams
from napari_refit.errors import Cancelled
from napari_refit.params import PartitionEnsembleParams
from napari_refit.registry import FITS, SEGMENTERS

SMALL = {
    "with_quickshift": True,
    "with_felzenszwalb": True,
    "quickshift.kernel_size": 1.5,
    "quickshift.max_dist": 4.0,
    "felzenszwalb.min_size": 5,
}


def ball(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, response and truth of one bright ball."""
    grid = np.indices(shape)
    far = np.sqrt(sum((axis - length / 2) ** 2 for axis, length in zip(grid, shape, strict=True)))
    truth = far < 0.3 * min(shape)
    noise = gaussian_filter(np.random.default_rng(0).normal(size=shape), 0.5) * 0.05
    response = np.exp(-((far / (0.3 * min(shape))) ** 2) / 2)
    return (np.where(truth, 0.7, 0.3) + noise).astype(np.float32), response.astype(np.float32), truth


def ensemble(**changes) -> RefitParams:
    base = {
        "slic.n_segments": 60,
        "slic_clusters": (30, 120),
        "with_watershed": True,
        "threshold": 0.65,
        "cam.gate": "off",
    }
    return RefitParams(fit="partition_ensemble", **{**base, **SMALL, **changes})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Which segmenter ran how often; of SLIC by its number of clusters."""
    found: Counter = Counter()
    for name in ("slic", "quickshift", "felzenszwalb", "watershed"):
        entry = SEGMENTERS[name]

        def counted(image, params, *, name=name, inner=entry.function, **options):
            found[name, getattr(params, "n_segments", None)] += 1
            return inner(image, params, **options)

        monkeypatch.setitem(SEGMENTERS._entries, name, replace(entry, target=counted))
    return found


ALL = {
    ("slic", 60): 1,
    ("slic", 30): 1,
    ("slic", 120): 1,
    ("quickshift", None): 1,
    ("felzenszwalb", None): 1,
    ("watershed", None): 1,
}


def test_moving_one_slider_redoes_one_partition(calls: Counter) -> None:
    image, response, _ = ball((48, 48))
    params = ensemble()
    refit = Refit(image, response=response, params=params)
    refit.slice()
    assert calls == ALL
    moves = [
        ({"slic.n_segments": 70}, {("slic", 70): 1}),
        ({"slic_clusters": (40, 120)}, {("slic", 40): 1}),
        ({"quickshift.max_dist": 5.0}, {("quickshift", None): 1}),
        ({"felzenszwalb.scale": 80.0}, {("felzenszwalb", None): 1}),
        ({"watershed.markers": 100}, {("watershed", None): 1}),
        ({"threshold": 0.3}, {}),
        ({"spread": 2.0}, {}),
        ({"with_watershed": False}, {}),
        ({"with_watershed": True}, {}),
        ({"segmenter": "quickshift"}, {}),
        ({"fit": "boundary"}, {}),
    ]
    for changes, expected in moves:
        calls.clear()
        params = params.replace(**changes)
        refit.params = params
        result = refit.slice()
        assert calls == expected, changes
        np.testing.assert_array_equal(
            result.mask, Refit(image, response=response, params=params).slice().mask
        )


def test_a_kept_partition_keeps_what_was_measured_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means and graphs too are made anew for one partition only."""
    from napari_refit.fit import partition_ensemble

    image, response, _ = ball((48, 48))
    graphs: list[int] = []
    inner = partition_ensemble.cluster_graph
    monkeypatch.setattr(
        partition_ensemble, "cluster_graph", lambda *given: graphs.append(given[2]) or inner(*given)
    )
    refit = Refit(image, response=response, params=ensemble())
    refit.slice()
    assert len(graphs) == 6
    refit.params = refit.params.replace(**{"quickshift.max_dist": 6.0})
    refit.slice()
    assert len(graphs) == 7
    refit.params = refit.params.replace(spread=3.0)
    refit.slice()
    assert len(graphs) == 7


def test_the_mean_is_that_of_every_partition_by_itself() -> None:
    image, response, _ = ball((40, 44))
    params = ensemble(spread=0)
    result = Refit(image, response=response, params=params).slice()
    soft = []
    for each in params.partitions():
        clusters = Refit(image, params=each.replace(fit="boundary")).slice().clusters
        sums = np.bincount(clusters.ravel(), response.ravel())
        soft.append((sums / np.maximum(np.bincount(clusters.ravel()), 1))[clusters])
    assert len(soft) == 6
    np.testing.assert_allclose(result.fitted[0], np.mean(soft, axis=0), atol=1e-5)
    np.testing.assert_array_equal(
        result.mask, (result.fitted[0] >= params.fit_params.threshold).astype(np.uint8)
    )


def test_partitions_are_none_twice_and_the_chosen_one_is_first() -> None:
    params = ensemble(slic_clusters=(60, 30, 30.2), segmenter="watershed")
    keys = [(each.segmenter, getattr(each.segmenter_params, "n_segments", 0)) for each in params.partitions()]
    assert keys == [("watershed", 0), ("slic", 60), ("slic", 30), ("quickshift", 0), ("felzenszwalb", 0)]
    alone = ensemble(slic_clusters=(), with_quickshift=False, with_felzenszwalb=False, with_watershed=False)
    assert alone.partitions() == ()
    assert RefitParams().partitions() == ()


def test_every_parameter_that_counts_is_in_use() -> None:
    params = ensemble()
    for key in ("quickshift.ratio", "felzenszwalb.scale", "watershed.markers", "slic.compactness"):
        assert key in params.used()
    assert "quickshift.ratio" not in ensemble(with_quickshift=False).used()
    assert params.used() != params.replace(**{"quickshift.ratio": 0.1}).used()


def test_others_are_names_from_the_registry() -> None:
    with pytest.raises(ValueError, match="unknown segmenter 'nothing'"):
        PartitionEnsembleParams(others=("nothing",))
    halves = SEGMENTERS.register(
        "halves", lambda image, params: np.arange(image.shape[1]) // 24 + np.zeros_like(image, int)
    )
    try:
        params = ensemble(others=("halves",))
        assert params.partitions()[-1].segmenter == halves.name
        image, response, _ = ball((48, 48))
        assert Refit(image, response=response, params=params).slice().mask.any()
    finally:
        SEGMENTERS.unregister("halves")


@pytest.mark.parametrize("supervoxels", [False, True])
def test_volumes(supervoxels: bool, calls: Counter) -> None:
    image, response, truth = ball((10, 40, 40))
    params = ensemble(**{"slic.supervoxels": supervoxels, "slic_clusters": (20, 80)})
    refit = Refit(image, response=response, params=params)
    mask = refit.volume(axis=0).mask > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.75
    assert calls["quickshift", None] == 10
    before = Counter(calls)
    refit.params = params.replace(**{"quickshift.max_dist": 6.0})
    refit.volume(axis=0)
    assert calls - before == {("quickshift", None): 10}


def test_supervoxels_of_every_size_follow_the_chosen_switch() -> None:
    params = ensemble(**{"slic.supervoxels": True})
    assert [each.slic.supervoxels for each in params.partitions() if each.segmenter == "slic"] == [True] * 3
    planar = params.replace(segmenter="quickshift")
    assert not any(each.slic.supervoxels for each in planar.partitions() if each.segmenter == "slic")


def test_it_stops_between_partitions(calls: Counter) -> None:
    image, response, _ = ball((48, 48))
    refit = Refit(image, response=response, params=ensemble())
    with pytest.raises(Cancelled):
        refit.plane({}, cancelled=lambda: calls["quickshift", None] > 0)
    assert calls["watershed", None] == 0
    refit.slice()
    assert calls["slic", 60] == calls["slic", 30] == 1, "what was done by then is kept"


def test_hints_are_followed() -> None:
    image, response, _ = ball((48, 48))
    params = ensemble()
    plain = Refit(image, response=response, params=params).slice()
    hints = np.zeros(image.shape, np.uint8)
    hints[1, 1], hints[24, 24] = 1, 255
    mask = Refit(image, response=response, params=params, hints=hints).slice().mask
    assert not plain.mask[1, 1]
    assert plain.mask[24, 24]
    assert mask[1, 1]
    assert not mask[24, 24]


def test_the_first_look_is_coarse_and_takes_what_is_there() -> None:
    image, response, _ = ball((96, 96))
    refit = Refit(image, response=response, params=ensemble())
    seen: list = []
    sharp = refit.plane({}, on_coarse=seen.append)
    assert len(seen) == 1
    assert seen[0].coarse
    assert seen[0].mask.shape == sharp.mask.shape
    assert (seen[0].mask != sharp.mask).mean() < 0.1


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"threshold": 1.0}, "Nothing passes: the best place"), ({"threshold": 0.0}, "fills the frame")],
)
def test_it_says_when_the_mask_is_empty_or_full(changes: dict, text: str) -> None:
    image, response, _ = ball((48, 48))
    assert text in Refit(image, response=response, params=ensemble(**changes)).slice().message
    dark = Refit(image, response=response * 0, params=ensemble()).slice()
    assert "0 everywhere" in dark.message


def test_a_fit_from_outside_may_ask_for_partitions() -> None:
    from napari_refit import register_fit
    from napari_refit.fit.types import FitResult

    def most(inputs, params):
        counts = [int(each.clusters.max()) for each in inputs.partitions]
        return FitResult(np.full(inputs.response.shape, max(counts) / 1000, np.float32), inputs.clusters * 0)

    register_fit("finest", most, partitions=lambda params: [("slic", {"n_segments": 300})])
    try:
        image, response, _ = ball((48, 48))
        params = RefitParams(fit="finest", **{"cam.gate": "off"})
        assert Refit(image, response=response, params=params).slice().fitted.max() > 0.22
    finally:
        FITS.unregister("finest")
