"""Label maps and soft labels of one case: the pipeline, with the gate that image-level labels open."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_refit.cam.classifier import Classifier
from napari_refit.errors import WriteError
from napari_refit.io._atomic import atomic_path
from napari_refit.io.datasets import TrainingSet
from napari_refit.learn.datasets import DatasetSamples
from napari_refit.learn.fsss.certainty import soft_labels
from napari_refit.learn.fsss.planes import plane_stack
from napari_refit.params import IntensityParams
from napari_refit.pipeline import Refit
from napari_refit.plane import refine_plane
from napari_refit.recipe import RefitParams
from napari_refit.stages import Run
from napari_refit.watch import Watch

Labelling = Literal["refit", "cam"]


@dataclass(frozen=True, eq=False)
class Made:
    """The pseudo-label of one image.

    Attributes
    ----------
    label_map : ndarray of uint8, shape (H, W)
        0 background, k + 1 the k-th class.
    soft : ndarray of uint8, shape (K, H, W)
        See `napari_refit.learn.fsss.certainty.soft_labels`.
    """

    label_map: NDArray[np.uint8]
    soft: NDArray[np.uint8]


class Maker:
    """Makes pseudo-labels case by case.

    Parameters
    ----------
    classifier : Classifier
    classes : tuple of str
        Of the label maps, without the background.
    params : RefitParams
        Its gate and target classes are not used.
    labels : {"refit", "cam"}
        The refined mask, or the response map at the fit's threshold.
    sharpness : float
        Of the soft labels.
    device : str or None
    watch : Watch
    """

    def __init__(
        self,
        classifier: Classifier,
        classes: tuple[str, ...],
        params: RefitParams,
        labels: Labelling,
        sharpness: float,
        device: str | None,
        watch: Watch,
    ) -> None:
        self._classifier, self._params, self._labels = classifier, params, labels
        self._sharpness, self._device, self._watch = sharpness, device, watch
        self._targets = _targets(classifier, classes)
        self._numbers = np.zeros(len(classifier.foreground) + 1, np.uint8)
        for number, index in enumerate(self._targets, start=1):
            self._numbers[classifier.class_number(index)] = number
        self._classes = classes

    def pseudo_labels(
        self,
        training: TrainingSet,
        images: DatasetSamples,
        rows: Sequence[int],
        shown: NDArray[np.uint8],
        cache: Path | None,
    ) -> dict[int, Made]:
        """Pseudo-labels of some planes of one case, by row."""
        stack = plane_stack(training, images, rows, self._params)
        path = None
        if cache is not None:
            case = training.labels.rows[rows[0]].case
            path = cache / f"{re.sub(r'[^A-Za-z0-9]+', '-', case)[:60]}-{self._key(stack, rows, shown)}.npz"
            kept = _kept(path, len(rows), len(self._classes), stack.shape)
            if kept is not None:
                return dict(zip(rows, kept, strict=True))
        refit = Refit(stack.values, rgb=stack.rgb, spacing=stack.spacing, device=self._device)
        refit.use_model(self._classifier)
        found: dict[int, Made] = {}
        for labels in sorted({tuple(shown[row].tolist()) for row in rows}):
            alike = [row for row in rows if tuple(shown[row].tolist()) == labels]
            params = self.params_for(labels)
            for first in range(0, len(alike), params.cam.batch_size):
                part = alike[first : first + params.cam.batch_size]
                found |= dict(
                    zip(part, self._part(refit, params, [stack.index(row) for row in part]), strict=True)
                )
        if path is not None:
            _keep(path, [found[row] for row in rows])
        return found

    def _part(self, refit: Refit, params: RefitParams, indices: list[Any]) -> list[Made]:
        run = Run(self._watch, prepares=False)
        responses = refit.stages.responses(indices, params, run)
        return [
            self._made(
                refine_plane(refit.stages, index, params, Run(self._watch, prepares=False), response), params
            )
            for index, response in zip(indices, responses, strict=True)
        ]

    def _made(self, result: Any, params: RefitParams) -> Made:
        is_refit = self._labels == "refit"
        label_map = self._numbers[result.mask if is_refit else result.cam_mask]
        fitted = np.zeros((len(self._classes), *label_map.shape), np.float32)
        threshold = params.mask_threshold
        # Empty where the gate, which is there only for images that are known to show nothing, kept it so.
        if label_map.any() or params.cam.gate == "off":
            maps = result.fitted if is_refit else result.response
            for number, values in zip(result.class_numbers, maps, strict=True):
                fitted[self._numbers[number] - 1] = values
        return Made(label_map, soft_labels(fitted, label_map, threshold, self._sharpness))

    def params_for(self, shown: tuple[int, ...]) -> RefitParams:
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
            self._sharpness,
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


def _kept(path: Path, count: int, classes: int, shape: tuple[int, int]) -> list[Made] | None:
    """What the cache holds; a damaged file counts as none."""
    try:
        with np.load(path, allow_pickle=False) as content:
            maps: NDArray[np.uint8] = content["label_maps"]
            soft: NDArray[np.uint8] = content["soft"]
    except Exception:
        # NumPy raises OSError, ValueError, KeyError, EOFError and zipfile's own.
        return None
    if maps.shape != (count, *shape) or soft.shape != (count, classes, *shape):
        return None
    if maps.dtype != np.uint8 or soft.dtype != np.uint8:
        return None
    return [Made(*pair) for pair in zip(maps, soft, strict=True)]


def _keep(path: Path, made: Sequence[Made]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(path.parent, f"cannot make the folder ({error.strerror})") from error
    maps, soft = np.stack([one.label_map for one in made]), np.stack([one.soft for one in made])
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, label_maps=maps, soft=soft)
