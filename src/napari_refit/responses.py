"""Where the pipeline's response maps come from: a classifier, or a map from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_refit.intensity import extremes
from napari_refit.params import CamParams
from napari_refit.planes import PlaneIndex, Planes
from napari_refit.watch import Watch

MOST_DEFAULT_CLASSES = 16


@dataclass(frozen=True)
class PlaneResponse:
    """Response maps of one plane, with what the classifier believes about it.

    Attributes
    ----------
    maps : ndarray of float32, (n, H, W)
        In [0, 1].
    evidence : ndarray of float32, (n, H, W)
        The same before scaling to [0, 1].
    predicted : tuple of bool
        One per target class.
    classes, class_numbers, all_classes : tuple
        Names and mask values of the targets, names of all classes.
    logits, probabilities : ndarray of float32 or None
        Over all classes.
    """

    maps: NDArray[np.float32]
    evidence: NDArray[np.float32]
    predicted: tuple[bool, ...]
    classes: tuple[str, ...]
    class_numbers: tuple[int, ...]
    all_classes: tuple[str, ...] = ()
    logits: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None


class ResponseSource(Protocol):
    """Yields response maps for planes.

    Attributes
    ----------
    sees_plane : bool
        Whether the maps are computed from the planes that `respond` is given, in their resolution.
    cheaper_when_smaller : bool
        Whether a plane of half the resolution takes less time.
    channels : int or None
        How many channels it wants to be fed; None if it sees no plane.
    modalities : tuple of int
        Which of an image's modalities they are, in their order; empty: all.
    """

    @property
    def sees_plane(self) -> bool: ...

    @property
    def cheaper_when_smaller(self) -> bool: ...

    @property
    def channels(self) -> int | None: ...

    @property
    def modalities(self) -> tuple[int, ...]: ...

    def describe(self) -> dict[str, Any]:
        """What a result's sidecar says of the source."""

    def respond(
        self,
        indices: Sequence[PlaneIndex],
        inputs: Sequence[NDArray[np.float32]],
        params: CamParams,
        watch: Watch,
    ) -> list[PlaneResponse]:
        """Response maps for planes of one shape; ``watch`` is told what the user should know of the device."""


class OutsideResponse:
    """Response maps that another program made, on the image's grid.

    Parameters
    ----------
    values : array-like
        ``shape`` or ``(n,) + shape``. Unsigned integers are divided by their type's largest value, other
        values outside [0, 1] are scaled by the smallest and largest value; NaN counts as 0.
    shape : tuple of int
        The image's shape without channels.
    name : str
        Where the maps come from, for the sidecar.

    Raises
    ------
    ValueError
        If the grid differs from the image's.
    """

    sees_plane = cheaper_when_smaller = False
    channels = None
    modalities: tuple[int, ...] = ()

    def __init__(self, values: Any, shape: tuple[int, ...], name: str = "array") -> None:
        found = tuple(int(length) for length in values.shape)
        if found == shape:
            self._maps = [Planes(values)]
        elif found[1:] == shape and found[0] > 0:
            # Of maps that stay in their file, nothing is read yet.
            one = getattr(values, "part", values.__getitem__)
            self._maps = [Planes(one(k)) for k in range(found[0])]
        else:
            raise ValueError(
                f"the response map has shape {found}, the image {shape}; give a map on the image's own grid"
            )
        self._name = name
        self._values = values
        self._limits: tuple[float, float] | None = None

    def describe(self) -> dict[str, Any]:
        return {"response": self._name}

    def respond(
        self,
        indices: Sequence[PlaneIndex],
        inputs: Sequence[NDArray[np.float32]],
        params: CamParams,
        watch: Watch,
    ) -> list[PlaneResponse]:
        del inputs, params, watch
        return [self._one(index) for index in indices]

    def _one(self, index: PlaneIndex) -> PlaneResponse:
        evidence = np.stack([planes.read(index) for planes in self._maps]).astype(np.float32)
        low, high = self._range()
        maps = np.nan_to_num((evidence - low) / max(high - low, 1e-30), nan=0.0).clip(0, 1)
        n = len(self._maps)
        names = ("response",) if n == 1 else tuple(f"response {k + 1}" for k in range(n))
        return PlaneResponse(
            maps.astype(np.float32), evidence, (True,) * n, names, tuple(range(1, n + 1)), all_classes=names
        )

    def _range(self) -> tuple[float, float]:
        if self._limits is None:
            dtype = np.dtype(self._values.dtype)
            if dtype.kind == "u":
                self._limits = (0.0, float(np.iinfo(dtype).max))
            else:
                low, high = extremes(self._values)
                inside = low >= 0 and high <= 1
                self._limits = (0.0, 1.0) if inside or not high > low else (low, high)
        return self._limits


class ClassifierResponse:
    """Response maps of a classifier by a CAM method; the classifier is loaded at first use.

    Parameters
    ----------
    source : object
        Anything that `napari_refit.cam.classifier.load_classifier` takes.
    device : str, optional
        "cpu", "cuda", "mps"; the fastest there is when left out.
    modalities : sequence of int
        See `ResponseSource`.
    """

    sees_plane = True

    def __init__(self, source: Any, device: str | None = None, modalities: Sequence[int] = ()) -> None:
        self._source = source
        self.modalities = tuple(int(position) for position in modalities)
        if min(self.modalities, default=0) < 0:
            raise ValueError(f"modalities are positions from 0, got {self.modalities}")
        self._device: Any = device
        self._classifier: Any = None

    @property
    def classifier(self) -> Any:
        """The loaded classifier."""
        if self._classifier is None:
            from napari_refit.cam.classifier import load_classifier
            from napari_refit.devices import torch_device

            self._classifier = load_classifier(self._source, device=torch_device(self._device))
            self._device = self._classifier.device
        return self._classifier

    @property
    def cheaper_when_smaller(self) -> bool:
        """Whether the classifier takes planes as they are, instead of bringing them all to one size."""
        return self.classifier.input_size is None

    @property
    def channels(self) -> int:
        """What the classifier takes."""
        return int(self.classifier.in_channels)

    def describe(self) -> dict[str, Any]:
        found = {
            "model": self.classifier.name,
            "architecture": self.classifier.architecture,
            "model_checksum": self.classifier.checksum,
        }
        return {**found, "modalities": list(self.modalities)} if self.modalities else found

    def respond(
        self,
        indices: Sequence[PlaneIndex],
        inputs: Sequence[NDArray[np.float32]],
        params: CamParams,
        watch: Watch,
    ) -> list[PlaneResponse]:
        del indices
        from napari_refit.cam.response import compute_responses

        classifier = self.classifier
        targets = self._targets(params)
        found = compute_responses(
            classifier,
            np.stack(inputs),
            targets,
            params,
            device=self._device,
            cancelled=watch.cancelled,
            notice=watch.notice,
        )
        names = tuple("predicted class" if k < 0 else classifier.classes[k] for k in targets)
        return [
            PlaneResponse(
                maps=found.maps[k],
                evidence=found.raw[k],
                predicted=tuple(bool(value) for value in found.predicted[k]),
                classes=names,
                class_numbers=tuple(classifier.class_number(index) for index in targets),
                all_classes=tuple(classifier.classes),
                logits=found.logits[k],
                probabilities=found.probabilities[k],
            )
            for k in range(len(inputs))
        ]

    def _targets(self, params: CamParams) -> tuple[int, ...]:
        """Indices of the target classes; a classifier of very many is asked for whichever a plane shows most of."""
        classifier = self.classifier
        if not params.classes and len(classifier.foreground) > MOST_DEFAULT_CLASSES:
            return tuple(classifier.class_indices("predicted"))
        return tuple(classifier.class_indices(params.classes))
