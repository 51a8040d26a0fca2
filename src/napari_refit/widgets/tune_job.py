"""The worker thread's side of the Tune dock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams
from napari_refit.tune.settings import TuneParams
from napari_refit.tune.space import Range
from napari_refit.widgets.graphics import keep_triton_out
from napari_refit.widgets.live import Task
from napari_refit.widgets.workbench import Order, pipeline_of

PAUSE = 0.1
"""Seconds between two words on progress."""
IMPORTANCE_SHARE = 0.02
"""At most this part of the time goes into the parameters' importance."""


@dataclass(frozen=True)
class OpenImage:
    """An image of the viewer to tune on.

    Attributes
    ----------
    name : str
    order : Order
        What the pipeline needs.
    truth : array-like of int or None
        On the image's grid.
    planes : tuple of PlaneIndex or None
        The slices to draw from; None: all along the axis of whole-volume runs.
    path : Path or None
        The image's file.
    """

    name: str
    order: Order
    truth: Any = None
    planes: tuple[PlaneIndex, ...] | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Folder:
    """A folder of images to tune on.

    Attributes
    ----------
    path : Path
    masks : Path or None
        Folder of the reference masks.
    model : object
    modalities : tuple of int
    device : str or None
    """

    path: Path
    masks: Path | None
    model: Any
    modalities: tuple[int, ...] = ()
    device: str | None = None


@dataclass(frozen=True)
class TuneOrder:
    """Everything that a search needs, read off the window when it is started.

    Attributes
    ----------
    images : sequence of OpenImage, or Folder
    base : RefitParams
    space : list of Range
    params : TuneParams
    study : Path or None
    """

    images: Sequence[OpenImage] | Folder
    base: RefitParams
    space: list[Range]
    params: TuneParams
    study: Path | None = None


@dataclass(frozen=True)
class Begun:
    """The images are drawn; ``trials`` are those that the study holds already."""

    images: list[str]
    patients: int
    objective: str
    trials: list[Any]


@dataclass(frozen=True)
class About:
    """What the study is about, as its file says it."""

    content: dict[str, Any]


@dataclass(frozen=True)
class Importances:
    """Key of a parameter to its share."""

    shares: dict[str, float]


@dataclass(frozen=True)
class StudyRead:
    """What a study file holds.

    Attributes
    ----------
    path : Path
    trials : list of Trial
    about : dict
    shares : dict
    """

    path: Path
    trials: list[Any]
    about: dict[str, Any]
    shares: dict[str, float]


def searching(order: TuneOrder) -> Callable[[Task], Any]:
    """A job that searches; it delivers `Begun`, each trial and `Importances` on its way."""

    def job(task: Task) -> Any:
        keep_triton_out()
        task.stage("Getting ready…")
        from napari_refit.tune.objective import chosen_objective
        from napari_refit.tune.run import read_trials, tune
        from napari_refit.tune.study_file import load_optuna
        from napari_refit.warming import prepare

        load_optuna()
        for segmenter in _segmenters(order):
            prepare(segmenter, task.stage, task.cancelled)
        images = _images(order, task)
        known = read_trials(order.study) if order.study is not None and order.study.exists() else []
        objective = chosen_objective(order.params.objective, images).name
        names = [image.name for image in images]
        task.part(Begun(names, len({image.patient for image in images}), objective, known))
        watch = _Watch(task, order.study)
        return tune(
            images,
            order.base,
            order.space,
            order.params,
            study=order.study,
            progress=watch.progress,
            cancelled=task.cancelled,
            on_trial=watch.trial,
        )

    return job


def reading(path: Path) -> Callable[[Task], StudyRead]:
    """A job that reads a study."""

    def job(task: Task) -> StudyRead:
        from napari_refit.tune.run import importances, read_trials
        from napari_refit.tune.study_file import read_about

        task.stage(f"Reading {path.name}…")
        return StudyRead(path, read_trials(path), read_about(path), importances(path))

    return job


class _Watch:
    """Passes on what a search says, and now and then how much each parameter matters."""

    def __init__(self, task: Task, study: Path | None) -> None:
        self._task, self._study = task, study
        self._said = 0.0
        self._first = True
        self._next = time.monotonic() + 1.0

    def progress(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - self._said >= PAUSE or done == total:
            self._said = now
            self._task.progress(done, total, f"{done} of {total} {text}")

    def trial(self, trial: Any) -> None:
        from napari_refit.tune.run import importances
        from napari_refit.tune.study_file import read_about

        if self._first and self._study is not None:
            self._task.part(About(read_about(self._study)))
        self._first = False
        self._task.part(trial)
        start = time.monotonic()
        if self._study is not None and start > self._next:
            self._task.part(Importances(importances(self._study)))
            now = time.monotonic()
            self._next = now + max(1.0, (now - start) / IMPORTANCE_SHARE)


def _segmenters(order: TuneOrder) -> list[str]:
    tried = [name for each in order.space if each.key == "segmenter" for name in each.choices]
    return list(dict.fromkeys([*order.base.segmenters(), *tried]))


def _images(order: TuneOrder, task: Task) -> list[Any]:
    from napari_refit.tune.images import drawn, images_of_folder, images_of_volume

    if isinstance(order.images, Folder):
        folder = order.images
        return images_of_folder(
            folder.path,
            folder.masks,
            order.params,
            model=folder.model,
            base=order.base,
            device=folder.device,
            modalities=folder.modalities,
            progress=lambda done, total, text: task.progress(done, total, f"{text}, {done} of {total}"),
            cancelled=task.cancelled,
        )
    task.stage("Drawing slices…")
    # Those of one image all come from it; of several, as evenly as can be.
    found, loaded = [], _Loaded()
    for image in order.images:
        # A copy: the user may paint in it while the search runs.
        truth = None if image.truth is None else np.array(image.truth)
        found += images_of_volume(
            pipeline_of(loaded.into(image.order)),
            truth,
            order.params,
            name=image.name,
            positions=None if image.planes is None else [dict(index) for index in image.planes],
            path=image.path,
        )
    return list(drawn(found, [image.patient for image in found], order.params.images, order.params.seed))


class _Loaded:
    """Classifiers, each loaded once however many images it is for."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def into(self, order: Order) -> Order:
        """The order with its classifier loaded."""
        if order.model is None or order.response is not None:
            return order
        key = (str(order.model), order.device)
        if key not in self._known:
            from napari_refit.cam.classifier import load_classifier
            from napari_refit.devices import torch_device

            self._known[key] = load_classifier(order.model, device=torch_device(order.device))
        return replace(order, model=self._known[key])
