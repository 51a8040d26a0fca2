"""Trying a set of parameters on the images of a search: every stage is kept as long as its parameters stay."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from napari_refit.bands import n_threads
from napari_refit.cache import StageCache
from napari_refit.recipe import RefitParams
from napari_refit.stages import Run, Stages
from napari_refit.tune.images import TuneImage
from napari_refit.tune.objective import Made, Objective, judged
from napari_refit.tune.settings import TuneParams
from napari_refit.watch import Watch

STAGES = ("clusters", "response", "fit")
LEAST_CACHE = 64
"""Bytes per pixel: image, response maps, clusters and fit of one set of parameters."""

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]


@dataclass
class Tally:
    """How often each stage was asked for, and how often it had to run."""

    asked: Counter[str] = field(default_factory=Counter)
    run: Counter[str] = field(default_factory=Counter)

    def by_stage(self) -> dict[str, tuple[int, int]]:
        """Stage to how often it ran, and how often that was saved."""
        return {stage: (self.run[stage], self.asked[stage] - self.run[stage]) for stage in STAGES}


class Evaluator:
    """The pipelines on the images, and what they have made so far.

    Parameters
    ----------
    images : sequence of TuneImage
        Their order is the order in which they are looked at.
    objective : Objective
    settings : TuneParams

    Notes
    -----
    Each image has stages and a cache of its own, so that nothing that is looked at elsewhere is disturbed. The image
    and its response maps are asked for in every trial, so that of a cache that is full the oldest clusters go first.
    """

    def __init__(self, images: Sequence[TuneImage], objective: Objective, settings: TuneParams) -> None:
        self.images, self.objective = list(images), objective
        self.tally = Tally()
        self.threads = min(settings.threads or n_threads(), len(self.images))
        self._budget = settings.cache << 20
        self._stages: dict[int, Stages] = {}
        self._counting = Lock()
        # A classifier answers one at a time.
        self._responding = Lock()

    def share(self) -> int:
        """Bytes that the stages of one image may hold."""
        return self._budget // len(self.images)

    def prepare(
        self, params: RefitParams, progress: Progress | None = None, cancelled: Cancel | None = None
    ) -> None:
        """Compute what all trials share: every image and its response maps.

        Raises
        ------
        ValueError
            If an image has neither classifier nor response map, or the gate keeps all of them empty.
        Cancelled
            If ``cancelled()`` answered True.
        """
        any_open = False
        for place, image in enumerate(self.images):
            if image.refit.stages.source is None:
                raise ValueError(f"{image.name}: there is no classifier and no response map")
            if progress is not None:
                progress(place, len(self.images), "response maps")
            watch = Watch(cancelled=cancelled)
            watch.check()
            response = self._respond(place, self.suited(place, params), watch)
            any_open |= params.cam.gate != "positive" or any(response.predicted)
        if not any_open:
            raise ValueError(
                "the classifier predicts every image negative, so the gate keeps all masks empty; tune with "
                "--set gate=off, or on images that show the object"
            )

    def scores(
        self, params: RefitParams, stops: Sequence[int], cancelled: Cancel | None = None
    ) -> Iterator[tuple[int, float]]:
        """Judge parameters on ever more images.

        Parameters
        ----------
        params : RefitParams
        stops : sequence of int
            After how many images the score so far is wanted; that of all comes last anyway.
        cancelled : callable, optional

        Yields
        ------
        int, float
            How many images, and the score over them; NaN where none has a figure.

        Raises
        ------
        Cancelled
            If ``cancelled()`` answered True.
        """
        found: list[Any] = []
        ends = [*(stop for stop in stops if stop < len(self.images)), len(self.images)]
        with ThreadPoolExecutor(self.threads, thread_name_prefix="refit-tune") as pool:
            for end in ends:
                places = range(len(found), end)
                found += pool.map(lambda place: self._judge(place, params, cancelled), places)
                yield end, self.over(found)

    def over(self, found: Sequence[Any]) -> float:
        """The figure over images."""
        return float(self.objective.over_images(found))

    def made(self, place: int, params: RefitParams, cancelled: Cancel | None = None) -> Made:
        """Take one image through the stages."""
        params = self.suited(place, params)
        stages, index = self._of(place, params)
        watch = Watch(cancelled=cancelled, on_stage=self._count)
        watch.check()
        run = Run(watch)
        image = stages.image(index, params, run)
        segments = stages.segments(index, image, params, run)
        response = self._respond(place, params, watch)
        outcome = stages.outcome(index, image, segments, response, params, run)
        with self._counting:
            self.tally.asked["clusters"] += max(1, len(params.partitions()))
            self.tally.asked["fit"] += 1
        return Made(
            mask=outcome.mask,
            image=image,
            response=response.maps,
            class_numbers=response.class_numbers,
            open=params.cam.gate != "positive" or any(response.predicted),
            spacing=stages.grid.plane_spacing(index),
        )

    def suited(self, place: int, params: RefitParams) -> RefitParams:
        """Parameters as an image wants them."""
        adapt = self.images[place].adapt
        return params if adapt is None else adapt(params)

    def _judge(self, place: int, params: RefitParams, cancelled: Cancel | None) -> Any:
        return judged(self.objective, self.made(place, params, cancelled), self.images[place])

    def _respond(self, place: int, params: RefitParams, watch: Watch) -> Any:
        stages, index = self._of(place, params)
        with self._responding:
            self.tally.asked["response"] += 1
            counted = Watch(cancelled=watch.cancelled, on_stage=self._count)
            return stages.responses([index], params, Run(counted))[0]

    def _of(self, place: int, params: RefitParams) -> tuple[Stages, Any]:
        image = self.images[place]
        index = image.refit.grid.index(image.positions)
        if place not in self._stages:
            cut = dict(index)
            shape = image.refit.grid.planes.shape
            pixels = math.prod(length for axis, length in enumerate(shape) if axis not in cut)
            cache = StageCache(max(self.share(), LEAST_CACHE * pixels))
            self._stages[place] = image.refit.stages.beside(cache, params)
        return self._stages[place], index

    def _count(self, stage: str) -> None:
        with self._counting:
            self.tally.run[stage] += 1


def stops_of(settings: TuneParams, count: int) -> tuple[int, ...]:
    """After how many of the images a trial is looked at.

    Examples
    --------
    >>> stops_of(TuneParams(prune_after=10), 100)
    (10, 20, 40, 80)
    """
    if not settings.pruning:
        return ()
    found = []
    stop = settings.prune_after
    while stop < count:
        found.append(stop)
        stop *= 2
    return tuple(found)


def is_figure(score: float | None) -> bool:
    """Whether a score is a number that can be compared."""
    return score is not None and not math.isnan(score)


def described(images: Sequence[TuneImage]) -> list[dict[str, Any]]:
    """What a file says of the images."""
    return [
        {
            "name": image.name,
            "case": image.case,
            "patient": image.patient,
            "dataset": image.dataset,
            "checksums": list(image.checksums),
        }
        for image in images
    ]
