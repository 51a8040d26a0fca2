"""The worker thread's side of a dock: one pipeline, kept while the image stays, and the jobs that use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_refit.cam.runs import runs
from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams
from napari_refit.widgets.graphics import keep_triton_out
from napari_refit.widgets.live import Task
from napari_refit.widgets.planes import OpenPlane
from napari_refit.widgets.propagated import NOTHING

STAGES = {"clusters": "Clustering…", "response": "CAM…", "fit": "Fit…"}
LOADING = "Loading the classifier…"


@dataclass(frozen=True)
class Order:
    """Everything that a job needs, read off the window when it is asked for.

    Attributes
    ----------
    array : array-like
        The image; ``version`` counts how often its content was replaced.
    rgb : bool
    spacing : tuple of float or None
        mm per step of each axis.
    modality_axis : int or None
        The axis whose slices are modalities, where that is known.
    params : RefitParams
    model : object or None
        A checkpoint's path or a model's name.
    modalities : tuple of int
        What it is fed (see `napari_refit.pipeline.Refit`).
    response : array-like or None
        A response map from outside, with its own version and name.
    device : str or None
    hints : array-like or None
        The user's hints, which may change while they are read; ``hints_version`` counts how often they did.
    carried : mapping
        What a propagation told which planes (see `napari_refit.stages.Stages.carried`).
    """

    array: Any
    rgb: bool
    spacing: tuple[float, ...] | None
    params: RefitParams
    version: int = 0
    modality_axis: int | None = None
    model: Any = None
    modalities: tuple[int, ...] = ()
    response: Any = None
    response_version: int = 0
    response_name: str = ""
    device: str | None = None
    hints: Any = None
    hints_version: int = 0
    carried: Mapping[PlaneIndex, Any] = field(default_factory=lambda: NOTHING, repr=False)

    def same_image(self, other: Order | None) -> bool:
        """Whether a pipeline made for the other order serves this one."""
        return other is not None and (
            self.array is other.array
            and (self.rgb, self.spacing, self.modality_axis, self.version, self.device)
            == (other.rgb, other.spacing, other.modality_axis, other.version, other.device)
        )

    def same_source(self, other: Order | None) -> bool:
        """Whether the response comes from the same place."""
        return other is not None and (
            self.response is other.response
            and (self.model, self.modalities, self.response_version)
            == (other.model, other.modalities, other.response_version)
        )

    def same(self, other: Order | None) -> bool:
        """Whether both lead to the same result."""
        return (
            other is not None
            and self.same_image(other)
            and self.same_source(other)
            and self.params == other.params
            and self.hints is other.hints
            and self.hints_version == other.hints_version
            and self.carried is other.carried
        )


@dataclass(frozen=True)
class PlaneDone:
    """A finished plane, and for whom."""

    order: Order
    index: PlaneIndex
    result: Any
    force: bool = False
    of_volume: bool = False


@dataclass(frozen=True)
class VolumeDone:
    """A finished volume. ``index`` names the axes that were cut."""

    order: Order
    axes: tuple[int, ...]
    n_slices: int
    n_empty: int
    n_negative: int
    seconds: float


@dataclass(frozen=True)
class PropagationDone:
    """A finished propagation: by plane the new masks, what they were told, and how far the fit believes in them."""

    order: Order
    masks: dict[PlaneIndex, Any]
    carried: Mapping[PlaneIndex, Any]
    beliefs: dict[PlaneIndex, Any]
    class_numbers: tuple[int, ...]
    n_slices: int
    ends: dict[int, str]
    seconds: float


@dataclass(frozen=True)
class ClassesKnown:
    """The classifier was loaded."""

    names: tuple[str, ...]
    targets: tuple[str, ...]
    layers: tuple[str, ...]
    channels: int


class Workbench:
    """Holds the pipeline; only ever used on the worker thread."""

    def __init__(self) -> None:
        self._refit: Any = None
        self._image: Order | None = None
        self._source: Order | None = None

    def plane(
        self, order: Order, index: PlaneIndex, force: bool = False, coarse: bool = False
    ) -> Callable[[Task], PlaneDone]:
        """A job that refines one plane; ``coarse``: with a first answer at half resolution where it takes long."""

        def job(task: Task) -> PlaneDone:
            refit = self._pipeline(order, task)
            result = refit.plane(
                dict(index),
                cancelled=task.cancelled,
                on_stage=lambda name: task.stage(stage_text(name, order)),
                on_state=lambda labels: task.state((index, _edges(labels))),
                on_coarse=(lambda found: task.part(PlaneDone(order, index, found))) if coarse else None,
                on_notice=task.notice,
            )
            return PlaneDone(order, index, result, force)

        return job

    def look_ahead(self, order: Order, indices: list[PlaneIndex]) -> Callable[[Task], None]:
        """A job that computes planes that the user may scroll to next."""

        def job(task: Task) -> None:
            if order.same_image(self._image) and order.same_source(self._source):
                self._pipeline(order, task).prefetch([dict(index) for index in indices], task.cancelled)

        return job

    def volume(self, order: Order, axis: int) -> Callable[[Task], VolumeDone]:
        """A job that refines every plane along an axis."""

        def job(task: Task) -> VolumeDone:
            refit = self._pipeline(order, task)
            cut: list[int] = []

            def on_slice(positions: dict[int, int], result: Any) -> None:
                index = tuple(sorted(positions.items()))
                cut[:] = sorted(positions)
                task.part(PlaneDone(order, index, result, of_volume=True))

            task.stage("Refining the volume…")
            found = refit.volume(task.progress, task.cancelled, axis=axis, on_slice=on_slice)
            return VolumeDone(
                order, tuple(cut), found.n_slices, found.n_empty, found.n_negative, found.seconds["total"]
            )

        return job

    def propagate(
        self, order: Order, labels: Any, accepted: Iterable[int], plane: OpenPlane
    ) -> Callable[[Task], PropagationDone]:
        """A job that carries accepted slices and hints on, in the volume that the open plane belongs to."""
        positions = list(accepted)

        def job(task: Task) -> PropagationDone:
            start = time.perf_counter()
            refit = self._pipeline(order, task)
            axis, within = plane.slice_axis, dict(plane.index)
            here = {index: told for index, told in order.carried.items() if _beside(index, plane)}
            masks: dict[PlaneIndex, Any] = {}
            numbers: tuple[int, ...] = ()
            beliefs: dict[PlaneIndex, Any] = {}

            def take(at: dict[int, int], result: Any) -> None:
                nonlocal numbers
                index = tuple(sorted(at.items()))
                masks[index], numbers = result.mask, result.class_numbers
                beliefs[index] = result.belief

            task.stage("Propagating…")
            found = refit.propagate(
                labels,
                positions,
                axis=axis,
                within=within,
                progress=task.progress,
                cancelled=task.cancelled,
                on_slice=take,
            )
            n_slices = len(masks)
            elsewhere = {
                index: told
                for index, told in order.carried.items()
                if index not in here and dict(index).keys() == within.keys()
            }
            refit.use_carried({})
            for index in here:
                # What an earlier propagation reached, and this one does not, is as it was without any.
                if index not in masks and dict(index)[axis] not in positions:
                    take(dict(index), refit.plane(dict(index), cancelled=task.cancelled))
            carried = {**elsewhere, **found.carried}
            spent = time.perf_counter() - start
            return PropagationDone(order, masks, carried, beliefs, numbers, n_slices, found.ends, spent)

        return job

    def _pipeline(self, order: Order, task: Task) -> Any:
        keep_triton_out()
        from napari_refit.warming import prepare

        for segmenter in order.params.segmenters():
            prepare(segmenter, task.stage, task.cancelled)
        if not order.same_image(self._image):
            self._image = self._source = self._refit = None
            self._refit = _refit_of(order)
            self._image = order
        refit = self._refit
        refit.params = order.params
        refit.use_hints(order.hints)
        refit.use_carried(order.carried)
        if not order.same_source(self._source):
            self._source = None
            self._use_source(refit, order, task)
            self._source = order
        return refit

    @staticmethod
    def _use_source(refit: Any, order: Order, task: Task) -> None:
        if order.response is not None:
            refit.use_response(order.response, order.response_name)
        elif order.model is not None:
            from napari_refit.cam.layers import layer_names

            task.stage(LOADING)
            refit.use_model(order.model, order.modalities)
            classifier = refit.classifier
            targets = tuple(classifier.classes[k] for k in classifier.foreground)
            layers = tuple(layer_names(classifier.module))
            task.part(ClassesKnown(tuple(classifier.classes), targets, layers, classifier.in_channels))
        else:
            refit.use_nothing()


def stage_text(name: str, order: Order) -> str:
    """What is being computed, for the status line; with the classifier's runs where there are several."""
    text = STAGES.get(name, f"{name}…")
    several = name == "response" and order.model is not None and runs(order.params.cam) > 1
    return f"{text[:-1]}: {runs(order.params.cam)} runs of the classifier…" if several else text


def summary(done: VolumeDone) -> str:
    """What happened, for the status line."""
    text = f"Refined {done.n_slices} slices in {done.seconds:.1f} s"
    if done.n_negative:
        text += f"; {done.n_negative} predicted negative"
    n_nothing = done.n_empty - done.n_negative
    if n_nothing > 0:
        text += f"; {n_nothing} {'more ' if done.n_negative else ''}came out empty"
    return text + "."


def propagation_summary(done: PropagationDone) -> str:
    """What happened, for the status line."""
    if not done.n_slices:
        return "Nothing to carry on."
    plural = "slice" if done.n_slices == 1 else "slices"
    return f"Carried on to {done.n_slices} {plural} in {done.seconds:.1f} s. Ctrl+Z takes it back."


def ends_text(done: PropagationDone) -> str:
    """Where and why it stopped, for the message line.

    Examples
    --------
    >>> order = Order(None, False, None, RefitParams())
    >>> ends_text(PropagationDone(order, {}, {}, {}, (), 0, {4: "the object ends", 9: "the object ends"}, 0.0))
    'Stopped at slice 4: the object ends; slice 9: the object ends.'
    """
    parts = [f"slice {position}: {why}" for position, why in sorted(done.ends.items())]
    return f"Stopped at {'; '.join(parts)}." if parts else ""


def _beside(index: PlaneIndex, plane: OpenPlane) -> bool:
    """Whether a plane belongs to the same stack as the open one."""
    at = dict(index)
    return at.keys() == dict(plane.index).keys() and plane.at(at[plane.slice_axis]) == index


def describe(order: Order) -> dict[str, Any]:
    """What the sidecar says of an order; reads a checkpoint's checksum, so call it beside the window."""
    return pipeline_of(order).describe()  # type: ignore[no-any-return]


def pipeline_of(order: Order) -> Any:
    """A pipeline of one's own for an order; a classifier is loaded at first use, hints are left out."""
    refit = _refit_of(order)
    if order.response is not None:
        refit.use_response(order.response, order.response_name)
    elif order.model is not None:
        refit.use_model(order.model, order.modalities)
    return refit


def _refit_of(order: Order) -> Any:
    from napari_refit.pipeline import Refit

    return Refit(
        order.array,
        params=order.params,
        spacing=order.spacing,
        device=order.device,
        rgb=order.rgb,
        modality_axis=order.modality_axis,
    )


def _edges(labels: Any) -> Any:
    from napari_refit.uss.edges import edge_map

    return edge_map(labels)
