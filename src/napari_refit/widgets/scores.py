"""Scores of the open slice and of the volume, computed beside the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_refit.planes import PlaneIndex
from napari_refit.widgets.live import LiveLoop, Task
from napari_refit.widgets.planes import OpenPlane, finest, other_grid, spacing_of, stack_expression, take
from napari_refit.widgets.watching import Connections, single_shot

SLICE_DELAY = 120
VOLUME_DELAY = 700
NO_MASK = "Scores follow once there is a mask: choose a classifier or a response map."
NO_TRUTH = "Choose a ground truth to see scores."

Scores = dict[str, float]


@dataclass
class ScoreBook:
    """What was measured so far of one image.

    Attributes
    ----------
    dice : dict
        Plane to Dice of the CAM and of the refined labels, for the plot.
    due : set
        Planes that were computed or painted since they were measured.
    mapped : set
        Planes that were refined, so that their CAM is known; a propagated plane that was never open is not among them.
    whole : bool
        Whether every slice was refined, so that scores of the volume mean something.
    """

    dice: dict[PlaneIndex, tuple[float, float]] = field(default_factory=dict)
    due: set[PlaneIndex] = field(default_factory=set)
    mapped: set[PlaneIndex] = field(default_factory=set)
    whole: bool = False

    def forget(self) -> None:
        """There is another ground truth: measure everything again."""
        self.due |= set(self.dice)
        self.dice.clear()

    def along(self, plane: OpenPlane, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Dice of CAM and refined for every position of the slice axis, NaN where not known."""
        rows = [self.dice.get(plane.at(position), (np.nan, np.nan)) for position in range(length)]
        values = np.array(rows, dtype=float).reshape(length, 2)
        return values[:, 0], values[:, 1]


@dataclass(frozen=True)
class Measured:
    """What is compared: arrays of one shape, and the open plane.

    Attributes
    ----------
    refined, cam, truth : array-like of int
    class_numbers : tuple of int
        Of the mask; with a single class any foreground of the truth counts as it.
    spacing : tuple of float or None
        mm per step of each axis.
    plane : OpenPlane
    book : ScoreBook
    """

    refined: Any
    cam: Any
    truth: Any
    class_numbers: tuple[int, ...]
    spacing: tuple[float, ...] | None
    plane: OpenPlane
    book: ScoreBook

    def of_slice(self) -> tuple[Scores, Scores]:
        """Metrics of the CAM alone and of the refined labels on the open plane."""
        cut = dict(self.plane.index)
        shown = [axis for axis in range(self.refined.ndim) if axis not in cut]
        return self._scores(lambda array: take(array, self.plane.index, self.refined.ndim), shown)

    def of_volume(self) -> tuple[Scores, Scores]:
        """The same on the volume that the open plane belongs to."""
        where = stack_expression(self.plane, self.refined.ndim)
        axes = [axis for axis, part in enumerate(where) if isinstance(part, slice)]
        return self._scores(lambda array: np.asarray(array[where]), axes)

    def measure_due(self, task: Task) -> None:
        """Bring the Dice of every plane that is due up to date."""
        from napari_refit.metrics import dice
        from napari_refit.scoring import matching_classes

        def mean_dice(mask: NDArray[Any], truth: NDArray[Any]) -> float:
            values = np.array([dice(mask, truth, number) for number in self.class_numbers])
            known = values[~np.isnan(values)]
            return float(known.mean()) if len(known) else float("nan")

        ndim = self.refined.ndim
        while self.book.due and not task.cancelled():
            index = self.book.due.pop()
            truth = matching_classes(take(self.truth, index, ndim), self.class_numbers)
            cam, refined = take(self.cam, index, ndim), take(self.refined, index, ndim)
            has_cam = self.book.whole or index in self.book.mapped
            found = (mean_dice(cam, truth) if has_cam else float("nan"), mean_dice(refined, truth))
            if task.cancelled():
                self.book.due.add(index)
                return
            self.book.dice[index] = found

    def _scores(self, part: Callable[[Any], NDArray[Any]], axes: list[int]) -> tuple[Scores, Scores]:
        from napari_refit.metrics import evaluate
        from napari_refit.scoring import matching_classes

        truth = matching_classes(part(self.truth), self.class_numbers)
        spacing = None if self.spacing is None else tuple(self.spacing[axis] for axis in axes)

        def scores(mask: Any) -> Scores:
            return evaluate(part(mask), truth, spacing=spacing, classes=self.class_numbers)

        return scores(self.cam), scores(self.refined)


class ScoreKeeper(QObject):
    """Measures the open plane soon after it changed, and the volume a little later.

    Parameters
    ----------
    layers : Delivery
        Knows the open image, its plane and its labels.

    Attributes
    ----------
    truth : napari.layers.Labels or None

    Signals
    -------
    slice_scored(object, object), volume_scored(object, object)
        Metrics of the CAM alone and of the refined labels.
    plot_changed()
        More of the score book is known, or less.
    note(str)
        Why there are no scores; empty when there are.
    """

    slice_scored = Signal(object, object)
    volume_scored = Signal(object, object)
    plot_changed = Signal()
    note = Signal(str)

    def __init__(self, layers: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.truth: Any = None
        self._layers = layers
        self._of_truth = Connections(self)
        self._loop = LiveLoop(self)
        self._loop.part.connect(self._on_part)
        self._loop.failed.connect(self._say)
        self._slice_timer = single_shot(self, SLICE_DELAY, self._measure)
        self._volume_timer = single_shot(self, VOLUME_DELAY, self._measure_all)
        self._volume_due = False
        self._said: str | None = None

    def set_truth(self, layer: Any) -> None:
        """Compare with another labels layer, or with none."""
        if layer is self.truth:
            return
        self._of_truth.release()
        self.truth = layer
        if layer is not None:
            self._of_truth.listen(layer, ("set_data", "paint", "data"), self._on_truth_edited)
        for book in self._layers.books():
            book.forget()
        self.plot_changed.emit()
        self.changed()

    @property
    def busy(self) -> bool:
        """Whether something is measured or about to be."""
        return self._slice_timer.isActive() or self._volume_timer.isActive() or self._loop.busy

    def changed(self) -> None:
        """The open plane, its labels or the ground truth changed."""
        if not self._slice_timer.isActive():
            self._slice_timer.start()
        self._volume_timer.start()

    def close(self) -> None:
        """Stop for good."""
        self._of_truth.release()
        self._slice_timer.stop()
        self._volume_timer.stop()
        self._loop.close()

    def _measure_all(self) -> None:
        self._volume_due = True
        self._measure()

    def _on_truth_edited(self) -> None:
        outputs, plane = self._layers.outputs, self._layers.plane
        if outputs is not None and plane is not None and plane.index in outputs.book.dice:
            outputs.book.due.add(plane.index)
        self.changed()

    def _measured(self) -> Measured | None:
        """What is to be compared right now, or None where there is nothing."""
        outputs, plane = self._layers.outputs, self._layers.plane
        labels = None if outputs is None else outputs["labels"]
        if self.truth is None:
            self._say(NO_TRUTH)
            return None
        problem = "" if self._layers.image is None else other_grid(self.truth, self._layers.image)
        if not problem and labels is not None and not outputs.class_numbers:
            problem = NO_MASK
        self._say(problem)
        if problem or labels is None or plane is None:
            return None
        return Measured(
            refined=labels.data,
            cam=outputs.cam_mask,
            truth=finest(self.truth),
            class_numbers=outputs.class_numbers,
            spacing=spacing_of(outputs.image),
            plane=plane,
            book=outputs.book,
        )

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self.note.emit(text)

    def _measure(self) -> None:
        measured = self._measured()
        if measured is None:
            return
        whole = self._volume_due and measured.book.whole
        self._volume_due = False

        def job(task: Task) -> None:
            task.part(("slice", measured.of_slice()))
            measured.measure_due(task)
            # What the plot draws with is slow to import, which must not happen in the window's thread.
            import_module("matplotlib.backends.backend_qtagg")
            task.part(("plot", ()))
            if whole and not task.cancelled():
                task.part(("volume", measured.of_volume()))

        self._loop.request(job)

    def _on_part(self, found: Any) -> None:
        kind, values = found
        if kind == "plot":
            self.plot_changed.emit()
        else:
            (self.slice_scored if kind == "slice" else self.volume_scored).emit(*values)
