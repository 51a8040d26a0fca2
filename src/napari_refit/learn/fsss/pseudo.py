"""Pseudo-labels: what ReFit, or the response map alone, makes of training images whose classes are known.

Nothing here can see a mask: it is given a `TrainingSet`, which leads to none.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_refit.cam.classifier import Classifier, load_classifier
from napari_refit.devices import torch_device
from napari_refit.errors import Cancelled, WriteError
from napari_refit.io._atomic import atomic_path
from napari_refit.io.datasets import LabelRow, TrainingSet
from napari_refit.learn.datasets import DatasetSamples
from napari_refit.learn.fsss.pixels import shown_classes
from napari_refit.learn.fsss.planes import plane_stack
from napari_refit.params import IntensityParams
from napari_refit.pipeline import Refit
from napari_refit.plane import refine_plane
from napari_refit.recipe import RefitParams
from napari_refit.stages import Run
from napari_refit.watch import Watch

Labelling = Literal["refit", "cam"]
Progress = Callable[[int, int, str], None]

EMPTY = "the pseudo-label is empty, the image shows a class"
DENIED = "the pseudo-label holds a class that the image does not show"
LACKING = "the pseudo-label lacks a class that the image shows"


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Pseudo-labels of the images that can be trained on.

    Attributes
    ----------
    samples : PseudoSamples
    kept : ndarray of int64
        Their numbers in the training set.
    left_out : dict of str to str
        Name of each image that is left out, and why.
    """

    samples: PseudoSamples
    kept: NDArray[np.int64]
    left_out: dict[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """How many images are left out, for each reason."""
        found = Counter(self.left_out.values())
        return {reason: found[reason] for reason in (EMPTY, DENIED, LACKING)}


class PseudoSamples:
    """Images with their pseudo-labels (see `napari_refit.learn.fsss.pixels.PixelSamples`).

    Parameters
    ----------
    images : DatasetSamples
    numbers : sequence of int
        Which of the images.
    label_maps : sequence of ndarray of uint8
        One for each of the numbers.
    classes : tuple of str
        Without the background.
    labelling : mapping
        How the labels were made, for reports.
    left_out : mapping of str to str
        Names of images that are not there, and why; they go into the report alone, as a checkpoint may be shared.
    """

    def __init__(
        self,
        images: DatasetSamples,
        numbers: Sequence[int],
        label_maps: Iterator[NDArray[np.uint8]] | Sequence[NDArray[np.uint8]],
        classes: tuple[str, ...],
        labelling: Mapping[str, Any],
        left_out: Mapping[str, str],
    ) -> None:
        self._images, self._numbers = images, list(numbers)
        # Label maps shrink a hundredfold: those of a whole set fit into memory.
        self._maps = [(labels.shape, _packed(labels)) for labels in label_maps]
        self.classes, self.labelling, self.left_out = classes, dict(labelling), dict(left_out)
        self.patients: Sequence[str] = [images.patients[number] for number in self._numbers]
        self.names: Sequence[str] = [images.names[number] for number in self._numbers]
        self.cases: Sequence[str] = [images.cases[number] for number in self._numbers]
        self.source, self.intensity = images.source, images.intensity

    def __len__(self) -> int:
        return len(self._numbers)

    def image(self, index: int) -> NDArray[np.float32]:
        """One image as displayed, (H, W) or (H, W, C), in [0, 1]."""
        return self._images.image(self._numbers[index])

    def label_map(self, index: int) -> NDArray[np.uint8]:
        """Its pseudo-label."""
        shape, content = self._maps[index]
        return np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape)


def judge(label_map: NDArray[np.uint8], shown: Sequence[int]) -> str | None:
    """Why an image cannot be trained on with this pseudo-label, None if it can.

    Parameters
    ----------
    label_map : ndarray of uint8
        0 background, k + 1 the k-th class.
    shown : sequence of int
        1 for each class that the image is known to show, else 0.

    Examples
    --------
    >>> judge(np.array([[0, 1]], np.uint8), (1, 0)) is None
    True
    >>> judge(np.array([[0, 1]], np.uint8), (0, 0)) == DENIED, judge(np.array([[0, 1]], np.uint8), (1, 1)) == LACKING
    (True, True)
    """
    there = np.bincount(label_map.ravel(), minlength=len(shown) + 1)[1:] > 0
    known = np.asarray(shown, bool)
    if (there & ~known).any():
        return DENIED
    if known.any() and not there.any():
        return EMPTY
    return LACKING if (known & ~there).any() else None


def pseudo_labels(
    training: TrainingSet,
    model: Any,
    params: RefitParams | None = None,
    labels: Labelling = "refit",
    *,
    intensity: IntensityParams | None = None,
    source: str = "",
    device: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> PseudoLabels:
    """Make pseudo-labels for training images, whose classes are known.

    An image that shows classes gets a label map of exactly those, whatever the classifier predicts; one that shows none
    is background everywhere, unless the classifier predicts a class and a mask comes of it.

    Parameters
    ----------
    training : TrainingSet
        Images and image-level labels.
    model
        What `napari_refit.cam.classifier.load_classifier` takes. Its classes must be those of the training set, or
        each side must have one.
    params : RefitParams, optional
        Of the pipeline; its gate and target classes are not used.
    labels : {"refit", "cam"}
        The refined mask, or the response map at the fit's threshold.
    intensity : IntensityParams, optional
        How grey values become [0, 1] for the network that is trained, by default as the default preset says; for the
        pipeline ``params`` say it.
    source : str
        Where the images came from, for reports.
    device : str, optional
    cache : Path, optional
        A folder where label maps are kept, case by case, under a name made of parameters, checkpoint and images.
    progress, cancelled : callable, optional

    Returns
    -------
    PseudoLabels

    Raises
    ------
    ValueError
        If the classifier does not know a class, or every image is left out.
    ReadError, WriteError
        If an image or the classifier cannot be read, or the cache cannot be written.
    Cancelled
        If ``cancelled()`` answered True; what is in the cache stays.
    """
    params = params or RefitParams()
    if labels not in get_args(Labelling):
        raise ValueError(f"labels {labels!r} are none of: {', '.join(get_args(Labelling))}")
    classes, numbers = shown_classes(training.labels)
    classifier = load_classifier(model, device=torch_device(device))
    maker = _Maker(classifier, classes, params, labels, device, Watch(cancelled=cancelled))
    seen = DatasetSamples(training, params.intensity, source)
    shown = training.labels.matrix[:, numbers[1:] > 0]
    found: dict[int, NDArray[np.uint8]] = {}
    for done, rows in enumerate(groups := _by_case(training.labels.rows)):
        if cancelled is not None and cancelled():
            raise Cancelled("stopped while making pseudo-labels")
        if progress is not None:
            progress(done, len(groups), f"pseudo-labels of {training.labels.rows[rows[0]].case}")
        found |= maker.label_maps(training, seen, rows, shown, cache)
    reasons = {number: judge(found[number], shown[number].tolist()) for number in range(len(training))}
    kept = [number for number, reason in reasons.items() if reason is None]
    left_out = {seen.names[number]: reason for number, reason in reasons.items() if reason is not None}
    if not any(shown[number].any() for number in kept):
        raise ValueError(
            f"none of {len(training)} images with a class has a pseudo-label to train on; "
            "look at a few in the dock, lower the threshold, or train the classifier for longer"
        )
    labelling = {
        "labels": labels,
        "parameters": params.model_dump(mode="json"),
        "model": classifier.name,
        "model_checksum": classifier.checksum,
        "left_out": dict(Counter(left_out.values())),
    }
    # By default as the network will be used: with the intensity of the default preset.
    wanted = intensity or IntensityParams()
    images = seen if wanted == seen.intensity else DatasetSamples(training, wanted, source)
    samples = PseudoSamples(
        images, kept, (found.pop(number) for number in kept), classes, labelling, left_out
    )
    return PseudoLabels(samples, np.array(kept, np.int64), left_out)


class _Maker:
    """Runs the pipeline with the gate that image-level labels open."""

    def __init__(
        self,
        classifier: Classifier,
        classes: tuple[str, ...],
        params: RefitParams,
        labels: Labelling,
        device: str | None,
        watch: Watch,
    ) -> None:
        self._classifier, self._params, self._labels = classifier, params, labels
        self._device, self._watch = device, watch
        self._targets = _targets(classifier, classes)
        self._numbers = np.zeros(len(classifier.foreground) + 1, np.uint8)
        for number, index in enumerate(self._targets, start=1):
            self._numbers[classifier.class_number(index)] = number
        self._classes = classes

    def label_maps(
        self,
        training: TrainingSet,
        images: DatasetSamples,
        rows: Sequence[int],
        shown: NDArray[np.uint8],
        cache: Path | None,
    ) -> dict[int, NDArray[np.uint8]]:
        """Label maps of the planes of one case, by row."""
        stack = plane_stack(training, images, rows, self._params)
        path = None
        if cache is not None:
            case = training.labels.rows[rows[0]].case
            path = cache / f"{re.sub(r'[^A-Za-z0-9]+', '-', case)[:60]}-{self._key(stack, rows, shown)}.npz"
            kept = _kept(path, len(rows), stack.shape)
            if kept is not None:
                return dict(zip(rows, kept, strict=True))
        refit = Refit(stack.values, rgb=stack.rgb, spacing=stack.spacing, device=self._device)
        refit.use_model(self._classifier)
        found: dict[int, NDArray[np.uint8]] = {}
        for labels in sorted({tuple(shown[row].tolist()) for row in rows}):
            alike = [row for row in rows if tuple(shown[row].tolist()) == labels]
            params = self._params_for(labels)
            for first in range(0, len(alike), params.cam.batch_size):
                part = alike[first : first + params.cam.batch_size]
                found |= dict(
                    zip(part, self._part(refit, params, [stack.index(row) for row in part]), strict=True)
                )
        if path is not None:
            _keep(path, np.stack([found[row] for row in rows]))
        return found

    def _part(self, refit: Refit, params: RefitParams, indices: list[Any]) -> list[NDArray[np.uint8]]:
        run = Run(self._watch, prepares=False)
        responses = refit.stages.responses(indices, params, run)
        results = [
            refine_plane(refit.stages, index, params, Run(self._watch, prepares=False), response)
            for index, response in zip(indices, responses, strict=True)
        ]
        return [
            self._numbers[result.mask if self._labels == "refit" else result.cam_mask] for result in results
        ]

    def _params_for(self, shown: tuple[int, ...]) -> RefitParams:
        """The image-level label is the gate; where nothing is shown, the classifier may contradict."""
        targets = [self._targets[k] for k, there in enumerate(shown) if there]
        names = tuple(self._classifier.classes[index] for index in targets or self._targets)
        # Images come scaled: they are taken as they are.
        scaled = {
            "mode": "window",
            "window_level": 0.5,
            "window_width": 1.0,
            "floor": self._params.intensity.floor,
        }
        cam = {"classes": names, "gate": "off" if targets else "positive"}
        return self._params.replace(
            intensity=IntensityParams.model_validate(scaled), cam=self._params.cam.model_copy(update=cam)
        )

    def _key(self, stack: Any, rows: Sequence[int], shown: NDArray[np.uint8]) -> str:
        digest = hashlib.sha256(repr(self._params.used()).encode())
        facts = (
            version("napari-refit"),
            self._labels,
            self._classifier.checksum,
            self._classes,
            stack.spacing,
            stack.offsets,
        )
        digest.update(repr((*facts, [shown[row].tolist() for row in rows], stack.values.shape)).encode())
        digest.update(np.ascontiguousarray(stack.values).tobytes())
        return digest.hexdigest()[:24]


def _targets(classifier: Classifier, classes: tuple[str, ...]) -> list[int]:
    """The classifier's index of each class: of the same name, or the only one."""
    names = [name.casefold() for name in classifier.classes]
    if all(name.casefold() in names for name in classes):
        return [names.index(name.casefold()) for name in classes]
    if len(classes) == len(classifier.foreground) == 1:
        return list(classifier.foreground)
    known = ", ".join(classifier.classes[index] for index in classifier.foreground)
    raise ValueError(
        f"{classifier.name} tells apart {known}; the images show {', '.join(classes)}: "
        "give a classifier that was trained on these"
    )


def _by_case(rows: Sequence[LabelRow]) -> list[list[int]]:
    """Row numbers of each case and slice axis, in the order of the slices."""
    found: dict[tuple[str, int | None], list[int]] = {}
    for number, row in enumerate(rows):
        found.setdefault((row.case, row.axis), []).append(number)
    return [sorted(numbers, key=lambda number: rows[number].index or 0) for numbers in found.values()]


def _packed(labels: NDArray[np.uint8]) -> bytes:
    return zlib.compress(np.ascontiguousarray(labels, np.uint8).tobytes(), 1)


def _kept(path: Path, count: int, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """What the cache holds; a damaged file counts as none."""
    try:
        with np.load(path, allow_pickle=False) as content:
            maps: NDArray[np.uint8] = content["label_maps"]
    except Exception:
        # NumPy raises OSError, ValueError, KeyError, EOFError and zipfile's own.
        return None
    return maps if maps.shape == (count, *shape) and maps.dtype == np.uint8 else None


def _keep(path: Path, label_maps: NDArray[np.uint8]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(path.parent, f"cannot make the folder ({error.strerror})") from error
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, label_maps=label_maps)
