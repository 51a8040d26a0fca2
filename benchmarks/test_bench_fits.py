"""Best regions of a tree, mean of several partitions, and strokes: as a slider moves or one is drawn, and anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, partial
from itertools import count, product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import photograph, response_maps

import napari_refit as refit

STAGE = "Other fits"
TREE = "Best regions of a tree, 512 x 512, 700 clusters, 1 class"
MEAN = "Mean of several partitions, 512 x 512, default ones"
STROKE = "A pair of strokes, 512 x 512, 700 clusters, 1 class"
KEPT, FRESH = "napari-refit, clusters measured before", "napari-refit, clusters measured anew"
THRESHOLD, ONE, ALL = "the threshold moves", "one partition's slider moves", "nothing is there yet"
SIDE, N_CLUSTERS = 512, 700


class Kept(dict[Hashable, Any]):
    """A memo that keeps everything, as the live view has it."""

    def __call__(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        if key not in self:
            self[key] = compute()
        return self[key]


@cache
def inputs() -> Any:
    from napari_refit.fit.types import FitInput
    from napari_refit.uss.edges import connected_clusters

    image = photograph(SIDE, False)
    labels = refit.slic(image, n_segments=N_CLUSTERS, compactness=0.1, channel_axis=None)
    return FitInput(response_maps(SIDE, 1), connected_clusters(labels), image=image)


def tree_fit(memo: Kept | None, moves: Any) -> np.ndarray:
    """One slider's move: the smoothness is another one every time."""
    from napari_refit.fit.hierarchy import hierarchy_fit
    from napari_refit.params import HierarchyParams

    params = HierarchyParams(threshold=0.5, smoothness=0.1 + next(moves) % 20 / 100)
    return hierarchy_fit(inputs(), params, **({} if memo is None else {"memo": memo})).mask


@pytest.mark.parametrize(("what", "way"), product([TREE], [KEPT, FRESH]))
def test_hierarchy(benchmark: Any, races: Any, what: str, way: str) -> None:
    ways = {KEPT: partial(tree_fit, Kept(), count()), FRESH: partial(tree_fit, None, count())}
    lap = races.measure(benchmark, what, way, lambda: ways, stage=STAGE, reach={KEPT: {"milliseconds": 50}})
    mask = np.asarray(lap.result)
    assert mask.any()
    assert not mask.all()


def ensemble(way: str) -> Callable[[], np.ndarray]:
    """The pipeline on one slice, its response map given."""
    given, moves = inputs(), count()
    params = refit.RefitParams(fit="partition_ensemble", threshold=0.4, **{"cam.gate": "off"})
    pipeline = refit.Refit(given.image, response=given.response[0], params=params)

    def move() -> np.ndarray:
        number = next(moves)
        if way == ALL:
            pipeline.stages.cache.clear()
        elif way == ONE:
            pipeline.params = params.replace(**{"slic.n_segments": 200 + number % 50})
        else:
            pipeline.params = params.replace(threshold=0.3 + number % 50 / 200)
        return pipeline.slice().mask

    move()
    return move


@pytest.mark.parametrize(("what", "way"), product([MEAN], [THRESHOLD, ONE, ALL]))
def test_partition_ensemble(benchmark: Any, races: Any, what: str, way: str) -> None:
    lap = races.measure(
        benchmark, what, way, lambda: {each: ensemble(each) for each in (THRESHOLD, ONE, ALL)}, stage=STAGE
    )
    assert np.asarray(lap.result).any()


def stroke(memo: Kept | None, moves: Any) -> np.ndarray:
    """Another pair of strokes every time, on the same result of a fit."""
    from dataclasses import replace

    from napari_refit.fit.boundary import boundary_fit_stage
    from napari_refit.fit.strokes import BACKGROUND_HINT, follow_strokes
    from napari_refit.params import BoundaryParams, HintParams

    keep = memo or (lambda key, compute: compute())
    result = keep("result", lambda: boundary_fit_stage(inputs(), BoundaryParams(threshold=0.5)))
    hints = np.zeros((SIDE, SIDE), np.uint8)
    row = 100 + 10 * (next(moves) % 30)
    hints[row : row + 3, 100:220], hints[row : row + 3, 300:420] = 1, BACKGROUND_HINT
    given = replace(inputs(), hints=hints)
    return follow_strokes(result, given, HintParams(), **({} if memo is None else {"memo": memo})).mask


@pytest.mark.parametrize(("what", "way"), product([STROKE], [KEPT, FRESH]))
def test_strokes(benchmark: Any, races: Any, what: str, way: str) -> None:
    ways = {KEPT: partial(stroke, Kept(), count()), FRESH: partial(stroke, None, count())}
    lap = races.measure(benchmark, what, way, lambda: ways, stage=STAGE, reach={KEPT: {"milliseconds": 100}})
    assert np.asarray(lap.result).any()
