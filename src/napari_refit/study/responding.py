"""Response maps of a study's cases: worked out once per case and kept, whichever methods want them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.fitting import threshold_maps
from napari_refit.io.datasets import Preparation
from napari_refit.params import CamParams
from napari_refit.pipeline import Refit
from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams, digest
from napari_refit.responses import PlaneResponse
from napari_refit.stages import Run
from napari_refit.study.cases import Stack, fitting_params
from napari_refit.study.store import Kept, make_key
from napari_refit.watch import Watch

Cancel = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class CaseResponse:
    """Response maps of all planes of a case.

    Attributes
    ----------
    maps : ndarray of float32, (D, n, H, W)
        In [0, 1]; D is 1 for a picture.
    open : ndarray of bool, (D, n)
        Which maps the gate lets through.
    numbers : ndarray of int64, (D, n)
        The dataset's class number that each map stands for; 0: none of them.
    logits : ndarray of float32, (D, K)
        Of all the classifier's classes.
    seconds : float
    """

    maps: NDArray[np.float32]
    open: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    logits: NDArray[np.float32]
    seconds: float

    def plane(self, number: int) -> PlaneResponse:
        """One plane as the pipeline takes it, with the dataset's class numbers."""
        numbers = self.numbers[number]
        return PlaneResponse(
            maps=self.maps[number],
            evidence=self.maps[number],
            predicted=tuple(bool(value) for value in self.open[number]),
            classes=tuple(f"class {value}" for value in numbers),
            class_numbers=tuple(int(value) for value in numbers),
            logits=self.logits[number],
        )


class KeptResponse:
    """Response maps that are there already, as a source for the pipeline."""

    sees_plane = cheaper_when_smaller = False
    channels = None
    modalities: tuple[int, ...] = ()

    def __init__(self, response: CaseResponse) -> None:
        self._response = response

    def describe(self) -> dict[str, Any]:
        """Nothing: the study says it."""
        return {}

    def respond(
        self,
        indices: Sequence[PlaneIndex],
        inputs: Sequence[NDArray[np.float32]],
        params: CamParams,
        watch: Watch,
    ) -> list[PlaneResponse]:
        """The planes asked for; what they look like does not matter any more."""
        del inputs, params, watch
        return [self._response.plane(dict(index).get(0, 0)) for index in indices]


class Responder:
    """A classifier that answers for a dataset with these classes.

    Parameters
    ----------
    source : object
        What `napari_refit.cam.classifier.load_classifier` takes; it is loaded at first use.
    class_names : sequence of str
        The dataset's.
    device : str, optional
    arch : str, optional
        The architecture, for a file that does not say it.
    """

    def __init__(
        self, source: Any, class_names: Sequence[str], device: str | None = None, arch: str | None = None
    ) -> None:
        self._source = source
        self._arch = arch
        self._class_names = tuple(class_names)
        self._device = device

    @cached_property
    def classifier(self) -> Any:
        """The loaded classifier.

        Raises
        ------
        ReadError
            If it cannot be read or its weights cannot be had.
        ValueError
            If its classes are not the dataset's.
        """
        from napari_refit.cam.classifier import load_classifier
        from napari_refit.devices import torch_device

        found = load_classifier(self._source, arch=self._arch, device=torch_device(self._device))
        names = {found.classes[index].casefold() for index in found.foreground}
        if len(self._class_names) > 1 and not names & {name.casefold() for name in self._class_names}:
            shown = ", ".join(found.classes[:5])
            raise ValueError(
                f"{found.name} knows {shown}, the dataset {', '.join(self._class_names)}: classes need the same names"
            )
        return found

    def key(self, params: RefitParams, images_key: str, preparation: object) -> str:
        """What the response maps of a case are made from."""
        cam = params.cam.model_copy(update={"gate": "off", "batch_size": 1})
        parts: tuple[object, ...] = (params.intensity, cam)
        if cam.cam_input == "simplified":
            parts = (*parts, params.segmenter, params.segmenter_params)
        return make_key(
            "response",
            self.classifier.checksum,
            self._class_names,
            digest(*parts),
            images_key,
            digest(preparation),
        )

    def compute(self, refit: Refit, params: RefitParams, cancelled: Cancel | None = None) -> dict[str, Any]:
        """Response maps of all planes, in batches: arrays as `Store.save` keeps them, and the seconds.

        Parameters
        ----------
        refit : Refit
            From `pipeline_of`.
        params : RefitParams
        cancelled : callable, optional
        """
        start = time.perf_counter()
        refit.params = params
        refit.use_model(self.classifier)
        indices = list(refit.grid.planes.stack(0))
        found: list[PlaneResponse] = []
        batch, watch = params.cam.batch_size, Watch(cancelled=cancelled)
        for first in range(0, len(indices), batch):
            watch.check()
            group = indices[first : first + batch]
            found += refit.stages.responses(group, params, Run(watch, prepares=False))
        return {
            "maps": np.stack([each.maps for each in found]),
            "predicted": np.array([each.predicted for each in found], bool),
            "logits": np.stack([each.logits for each in found if each.logits is not None]),
            "numbers": np.stack([self._numbers(each) for each in found]),
            "seconds": np.float64(time.perf_counter() - start),
        }

    def beliefs(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """How much each of the dataset's classes is believed in: (D, classes), NaN for one that is not known.

        The logit, against the background's where there is one; the highest of all that stand for the class.
        """
        classifier, count = self.classifier, len(self._class_names)
        found = np.full((len(logits), count), np.nan)
        base = 0.0 if classifier.background is None else logits[:, classifier.background].astype(np.float64)
        wanted = {name.casefold(): number for number, name in enumerate(self._class_names)}
        for index in classifier.foreground:
            column = 0 if count == 1 else wanted.get(classifier.classes[index].casefold())
            if column is not None:
                found[:, column] = np.fmax(found[:, column], logits[:, index] - base)
        return found

    def _numbers(self, response: PlaneResponse) -> NDArray[np.int64]:
        """The dataset's class number of each map."""
        classifier = self.classifier
        wanted = {name.casefold(): number for number, name in enumerate(self._class_names, start=1)}
        numbers = []
        for name in response.classes:
            if name == "predicted class" and response.logits is not None:
                foreground = list(classifier.foreground)
                name = classifier.classes[foreground[int(np.argmax(response.logits[foreground]))]]
            # Whatever a classifier calls it, it is the only thing that the masks mark.
            numbers.append(1 if len(self._class_names) == 1 else wanted.get(name.casefold(), 0))
        return np.array(numbers, np.int64)


def as_response(kept: Kept, gate: str, shown: NDArray[np.bool_] | None = None) -> CaseResponse:
    """Kept arrays, with the gate.

    Parameters
    ----------
    kept : Kept
        From `Responder.compute`.
    gate : {"off", "positive"}
        Whether only what the classifier predicts is let through.
    shown : ndarray of bool, (D, classes), optional
        Image-level labels, to go by instead of what the classifier predicts.
    """
    arrays = kept.arrays
    numbers = arrays["numbers"]
    let_through = np.ones(numbers.shape, bool)
    if shown is not None:
        # Class 0 is none of the dataset's.
        there = np.concatenate([np.zeros((len(shown), 1), bool), shown], axis=1)
        let_through = np.take_along_axis(there, numbers, axis=1)
    elif gate == "positive":
        let_through = arrays["predicted"]
    return CaseResponse(
        arrays["maps"], let_through & (numbers > 0), numbers, arrays["logits"], float(arrays["seconds"])
    )


def gated_params(params: RefitParams) -> RefitParams:
    """Parameters that make the pipeline go by `CaseResponse.open`, in which the gate is already."""
    cam = params.cam.model_copy(update={"gate": "positive", "cam_input": "image"})
    return params.replace(cam=cam) if params.cam != cam else params


def pipeline_of(stack: Stack, device: str | None = None) -> Refit:
    """The pipeline on a case; clusters are made once, whichever methods want the same."""
    return Refit(stack.values, None, spacing=stack.spacing, rgb=stack.rgb, device=device)


def with_response(refit: Refit, response: CaseResponse, params: RefitParams) -> Refit:
    """The same pipeline, set to response maps that are there already."""
    refit.params = gated_params(params)
    refit.stages.use(KeptResponse(response))
    return refit


def refit_of(stack: Stack, response: CaseResponse, params: RefitParams, device: str | None = None) -> Refit:
    """A pipeline on a case, with response maps that are there already."""
    return with_response(pipeline_of(stack, device), response, params)


def with_threshold(params: RefitParams, threshold: float) -> RefitParams:
    """The same parameters with another threshold.

    Raises
    ------
    ValueError
        If the chosen fit has none.
    """
    if "threshold" not in type(params.fit_params).model_fields:
        raise ValueError(f"fit {params.fit!r} has no threshold to choose")
    return params.replace(**{f"{params.fit}.threshold": threshold})


def thresholded(response: CaseResponse, threshold: float) -> NDArray[Any]:
    """Each plane's highest response map of those that the gate lets through, from the threshold on: (D, H, W)."""
    planes = []
    for maps, opened, numbers in zip(response.maps, response.open, response.numbers, strict=True):
        chosen = np.flatnonzero(opened)
        if len(chosen):
            found = threshold_maps(maps[chosen], tuple(int(value) for value in numbers[chosen]), threshold)
        else:
            found = np.zeros(maps.shape[1:], np.uint8)
        planes.append(found)
    return np.stack(planes)


def segmented(
    network: Any, stack: Stack, class_names: Sequence[str], preparation: Preparation
) -> NDArray[np.uint8]:
    """What a segmentation network makes of a case, with the dataset's class numbers."""
    from napari_refit.learn.fsss.segmenting import segment

    params = fitting_params(RefitParams(), preparation)
    stages = Refit(stack.values, None, params, spacing=stack.spacing, rgb=stack.rgb).stages
    planes = [stages.plain_image(index, params) for index in stages.grid.planes.stack(0)]
    wanted = {name.casefold(): number for number, name in enumerate(class_names, start=1)}
    numbers = np.zeros(len(network.foreground) + 1, np.uint8)
    for index in network.foreground:
        numbers[network.class_number(index)] = wanted[network.classes[index].casefold()]
    labels = numbers[np.stack(segment(network, planes))]
    return labels if stack.axis is not None else labels[0]
