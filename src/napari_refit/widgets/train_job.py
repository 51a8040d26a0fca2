"""The worker thread's side of the Train dock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_refit.learn.places import fold_path, state_path
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.telling import Curves, TimeLeft, duration, so_far
from napari_refit.widgets.graphics import keep_triton_out
from napari_refit.widgets.live import Task

PAUSE = 0.1
"""Seconds between two words on progress."""


@dataclass(frozen=True)
class TrainOrder:
    """Everything that a training needs, read off the window when it is started.

    Attributes
    ----------
    samples : callable
        ``samples(task)``: what to train on; called on the worker thread.
    params : TrainingParams
        Not used where a training is resumed: it goes on with its own.
    out : Path
    device : str or None
    resume, overwrite : bool
    """

    samples: Callable[[Task], Any]
    params: TrainingParams
    out: Path
    device: str | None = None
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Begun:
    """A training begins, or goes on after what the curves show."""

    params: TrainingParams
    curves: Curves


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over; ``fold`` is 0 where there are none."""

    fold: int
    row: dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A training is done.

    Attributes
    ----------
    checkpoints : tuple of Path
        One, or one per fold.
    report : dict
    """

    checkpoints: tuple[Path, ...]
    report: dict[str, Any]


def training(order: TrainOrder) -> Callable[[Task], Trained]:
    """A job that trains; it delivers `Begun` and `EpochDone` on its way."""

    def job(task: Task) -> Trained:
        keep_triton_out()
        task.stage("Getting ready…")
        from napari_refit.learn.files import Callbacks, resumed_params, train_to_file

        params, curves = order.params, Curves()
        if order.resume:
            params, curves = resumed_params(order.out, params, ()), so_far(order.out)
        task.part(Begun(params, curves))
        samples = order.samples(task)
        report = train_to_file(
            samples,
            params,
            order.out,
            device=order.device,
            resume=order.resume,
            overwrite=order.overwrite,
            callbacks=Callbacks(
                _Teller(task, order.out, params),
                task.cancelled,
                lambda fold, row: task.part(EpochDone(fold, row)),
            ),
        )
        folds = [Path(fold["checkpoint"]) for fold in report.get("folds", ())]
        return Trained(tuple(folds or [order.out]), report)

    return job


class _Teller:
    """Turns a training's progress into how far it is and how long it will take."""

    def __init__(self, task: Task, out: Path, params: TrainingParams) -> None:
        self._task, self._params = task, params
        self._left = TimeLeft(params.folds)
        self._said = 0.0
        self._is_reading = False
        paths = [fold_path(out, fold) for fold in range(1, params.folds + 1)] if params.folds > 1 else []
        # Folds that are done already are passed over.
        self._fold = sum(path.exists() and not state_path(path).exists() for path in paths)

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        is_reading = text.startswith("reading")
        if is_reading and not self._is_reading:
            self._fold += 1
            self._left.begin(self._fold)
        if not is_reading:
            self._left.note(done, total, now)
        changed, self._is_reading = is_reading != self._is_reading, is_reading
        if not changed and now - self._said < PAUSE:
            return
        self._said = now
        folds = self._params.folds
        where = f"Fold {self._fold} of {folds}: " if folds > 1 else ""
        if is_reading:
            self._task.progress(done, total, f"{where}{text}, {done + 1} of {total}")
            return
        left = self._left.seconds
        text = f"{where}{text}" + ("" if left is None else f", {duration(left)} left at most")
        self._task.progress((self._fold - 1) * total + done, folds * total, text)
