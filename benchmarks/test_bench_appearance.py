"""The graph cut over clusters beside ways to cut the pixels themselves, and its flow beside scipy's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, partial
from itertools import count, product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import photograph, response_maps
from benchmarks.race import Unavailable

import napari_refit as refit

STAGE = "Graph cut"
KEPT, FRESH = "napari-refit, clusters measured before", "napari-refit, clusters measured anew"
GRABCUT, WALKER = "OpenCV: GrabCut on pixels", "scikit-image: random walker on pixels"
OURS, SCIPY = "napari-refit", "scipy: maximum_flow"
SIDE, N_CLUSTERS, ROUNDS, START = 512, 700, 3, 0.6
PICTURE = "Graph cut, 512 x 512, 700 clusters, 1 class"
CLASSES = "Graph cut, 512 x 512, 700 clusters, 4 classes"
FLOW = "One cut of 700 clusters"


class Kept(dict[Hashable, Any]):
    """A memo that keeps everything, as the live view has it."""

    def __call__(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        if key not in self:
            self[key] = compute()
        return self[key]


@cache
def inputs(n_classes: int) -> Any:
    from napari_refit.fit.types import FitInput
    from napari_refit.uss.edges import connected_clusters

    image = photograph(SIDE, False)
    labels = refit.slic(image, n_segments=N_CLUSTERS, compactness=0.1, channel_axis=None)
    return FitInput(response_maps(SIDE, n_classes), connected_clusters(labels), image=image)


def fit(n_classes: int, memo: Kept | None, moves: Any) -> np.ndarray:
    """One slider's move: the smoothness is another one every time."""
    from napari_refit.fit.appearance import appearance_fit
    from napari_refit.params import AppearanceParams

    params = AppearanceParams(start=START, rounds=ROUNDS, smoothness=2 + next(moves) % 20 / 20)
    options = {} if memo is None else {"memo": memo}
    return appearance_fit(inputs(n_classes), params, **options).mask


def grabcut(cv2: Any, picture: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """As many rounds from the same start; both of its mixtures have five parts."""
    mask = np.where(seeds, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    mask = cv2.grabCut(picture, mask, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)[0]
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))


def random_walk(image: np.ndarray, response: np.ndarray) -> np.ndarray:
    from skimage.segmentation import random_walker

    seeds = np.where(response >= 0.9, 1, np.where(response <= 0.1, 2, 0))
    return random_walker(image, seeds, beta=130, mode="cg_j") == 1


def ways(n_classes: int) -> dict[str, Callable[[], Any] | Unavailable]:
    given = inputs(n_classes)
    found: dict[str, Callable[[], Any] | Unavailable] = {
        KEPT: partial(fit, n_classes, Kept(), count()),
        FRESH: partial(fit, n_classes, None, count()),
    }
    if n_classes > 1:
        return found
    try:
        import cv2

        picture = np.repeat(np.round(given.image * 255).astype(np.uint8)[..., None], 3, axis=2)
        found[GRABCUT] = partial(grabcut, cv2, picture, given.response[0] >= START)
    except ImportError as error:
        found[GRABCUT] = Unavailable(f"OpenCV: {error}")
    found[WALKER] = partial(random_walk, given.image, given.response[0])
    return found


@pytest.mark.parametrize(("what", "way"), product([PICTURE], [KEPT, FRESH, GRABCUT, WALKER]))
def test_one_class(benchmark: Any, races: Any, what: str, way: str) -> None:
    reach = {KEPT: {"milliseconds": 60}}
    lap = races.measure(benchmark, what, way, lambda: ways(1), stage=STAGE, reach=reach)
    mask = np.asarray(lap.result)
    assert mask.any()
    assert not mask.all()


@pytest.mark.parametrize(("what", "way"), product([CLASSES], [KEPT, FRESH]))
def test_several_classes(benchmark: Any, races: Any, what: str, way: str) -> None:
    reach = {KEPT: {"milliseconds": 60}}
    lap = races.measure(benchmark, what, way, lambda: ways(4), stage=STAGE, reach=reach)
    assert len(np.unique(lap.result)) > 2


def scipy_cut(pairs: np.ndarray, gains: np.ndarray, weights: np.ndarray) -> int:
    """With the network made anew, as it must be when weights change; whole numbers only."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    n_nodes = len(gains)
    giving, taking = np.flatnonzero(gains > 0), np.flatnonzero(gains < 0)
    rows = np.concatenate([*pairs, np.full(len(giving), n_nodes), taking])
    columns = np.concatenate([*pairs[::-1], giving, np.full(len(taking), n_nodes + 1)])
    room = np.concatenate([weights, weights, gains[giving], -gains[taking]]).astype(np.int32)
    network = csr_array((room, (rows, columns)), (n_nodes + 2, n_nodes + 2))
    return int(maximum_flow(network, n_nodes, n_nodes + 1).flow_value)


@pytest.mark.parametrize(("what", "way"), product([FLOW], [OURS, SCIPY]))
def test_flow(benchmark: Any, races: Any, what: str, way: str) -> None:
    from napari_refit.fit.cut import Network
    from napari_refit.fit.flood import cluster_graph

    given = inputs(1)
    n_clusters = int(given.clusters.max())
    pairs = cluster_graph(given.image, given.clusters, n_clusters).pairs
    rng = np.random.default_rng(0)
    gains, weights = rng.integers(-2000, 2001, n_clusters), rng.integers(0, 3000, pairs.shape[1])
    network = Network(pairs, n_clusters)
    ways = {
        OURS: lambda: network.cut(gains.astype(float), weights.astype(float)),
        SCIPY: partial(scipy_cut, pairs, gains, weights),
    }
    lap = races.measure(benchmark, what, way, lambda: ways, stage=STAGE)
    chosen = ways[OURS]() if way == SCIPY else lap.result
    apart = chosen[pairs[0]] != chosen[pairs[1]]
    cost = weights[apart].sum() + gains[(gains > 0) & ~chosen].sum() - gains[(gains < 0) & chosen].sum()
    assert cost == scipy_cut(pairs, gains, weights)
