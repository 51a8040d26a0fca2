"""Pseudo-labels: what ReFit, or the response map alone, makes of training images whose classes are known.

Nothing here can see a mask: it is given a `TrainingSet`, which leads to none.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from napari_refit.cam.classifier import load_classifier
from napari_refit.devices import torch_device
from napari_refit.errors import Cancelled
from napari_refit.io.datasets import LabelRow, TrainingSet
from napari_refit.learn.datasets import DatasetSamples
from napari_refit.learn.fsss.certainty import agreement, most_doubtful, suited_sharpness
from napari_refit.learn.fsss.making import Labelling, Made, Maker
from napari_refit.learn.fsss.params import LabellingParams
from napari_refit.learn.fsss.pixels import shown_classes
from napari_refit.params import IntensityParams
from napari_refit.recipe import RefitParams
from napari_refit.watch import Watch

Progress = Callable[[int, int, str], None]

EMPTY = "the pseudo-label is empty, the image shows a class"
DENIED = "the pseudo-label holds a class that the image does not show"
LACKING = "the pseudo-label lacks a class that the image shows"
DOUBTFUL = "the pseudo-label is in doubt"
REASONS = (EMPTY, DENIED, LACKING, DOUBTFUL)


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
    agreements : dict of str to float
        Of each image whose pseudo-label is not empty, whether left out or not: see
        `napari_refit.learn.fsss.certainty.agreement`.
    """

    samples: PseudoSamples
    kept: NDArray[np.int64]
    left_out: dict[str, str]
    agreements: dict[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many images are left out, for each reason."""
        found = Counter(self.left_out.values())
        return {reason: found[reason] for reason in REASONS}


@dataclass(frozen=True, eq=False)
class PackedLabel:
    """A pseudo-label, shrunk so far that those of a whole set fit into memory, with what it is judged by.

    Attributes
    ----------
    label_map, soft : tuple
        Shape and content.
    agreement : float
    is_marked : bool
        Whether any pixel is of a class.
    reason : str or None
        See `judge`.
    """

    label_map: tuple[tuple[int, ...], bytes]
    soft: tuple[tuple[int, ...], bytes]
    agreement: float
    is_marked: bool
    reason: str | None

    @classmethod
    def of(cls, made: Made, shown: Sequence[int]) -> PackedLabel:
        """Pack a pseudo-label of an image that is known to show some classes."""
        return cls(
            _packed(made.label_map),
            _packed(made.soft),
            agreement(made.soft, made.label_map),
            bool(made.label_map.any()),
            judge(made.label_map, shown),
        )


class PseudoSamples:
    """Images with their pseudo-labels (see `napari_refit.learn.fsss.pixels.SoftPixelSamples`).

    Parameters
    ----------
    images : DatasetSamples
    numbers : sequence of int
        Which of the images.
    made : sequence of PackedLabel
        The pseudo-label of each of the numbers.
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
        made: Sequence[PackedLabel],
        classes: tuple[str, ...],
        labelling: Mapping[str, Any],
        left_out: Mapping[str, str],
    ) -> None:
        self._images, self._numbers = images, list(numbers)
        self._made = list(made)
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
        return _unpacked(*self._made[index].label_map)

    def soft_label(self, index: int) -> NDArray[np.uint8]:
        """How certain it is: probabilities of the classes in 255ths, (K, H, W)."""
        return _unpacked(*self._made[index].soft)


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
    settings: LabellingParams | None = None,
    intensity: IntensityParams | None = None,
    source: str = "",
    device: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> PseudoLabels:
    """Make pseudo-labels for training images, whose classes are known.

    An image that shows classes gets a label map of exactly those, whatever the classifier predicts; one that shows none
    is background everywhere, with certainty. Images in doubt are left out.

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
    settings : LabellingParams, optional
        ``sharpness`` of the soft labels; which images are in doubt: ``doubtful_share`` and ``contradicted``.
    intensity : IntensityParams, optional
        How grey values become [0, 1] for the network that is trained, by default as the default preset says; for the
        pipeline ``params`` say it.
    source : str
        Where the images came from, for reports.
    device : str, optional
    cache : Path, optional
        A folder where pseudo-labels are kept, case by case, under a name made of parameters, checkpoint and images.
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
    params, settings = params or RefitParams(), settings or LabellingParams()
    if labels not in get_args(Labelling):
        raise ValueError(f"labels {labels!r} are none of: {', '.join(get_args(Labelling))}")
    classes, numbers = shown_classes(training.labels)
    classifier = load_classifier(model, device=torch_device(device))
    watch = Watch(cancelled=cancelled)
    sharpness = suited_sharpness(params.fit if labels == "refit" else labels, settings.sharpness)
    maker = Maker(classifier, classes, params, labels, sharpness, device, watch)
    seen = DatasetSamples(training, params.intensity, source)
    shown = training.labels.matrix[:, numbers[1:] > 0]
    found: dict[int, PackedLabel] = {}
    for done, rows in enumerate(groups := _by_case(training.labels.rows)):
        if cancelled is not None and cancelled():
            raise Cancelled("stopped while making pseudo-labels")
        if progress is not None:
            progress(done, len(groups), f"pseudo-labels of {training.labels.rows[rows[0]].case}")
        asked = rows
        if settings.contradicted == "background":
            asked = [row for row in rows if shown[row].any()]
            found |= {row: _nothing(seen, row, shown[row]) for row in rows if not shown[row].any()}
        if asked:
            made = maker.pseudo_labels(training, seen, asked, shown, cache)
            found |= {row: PackedLabel.of(one, shown[row].tolist()) for row, one in made.items()}
    packed = [found[number] for number in range(len(training))]
    reasons = _reasons(packed, settings)
    kept = [number for number, reason in enumerate(reasons) if reason is None]
    left_out = {seen.names[number]: reason for number, reason in enumerate(reasons) if reason is not None}
    if not any(shown[number].any() for number in kept):
        raise ValueError(
            f"none of {len(training)} images with a class has a pseudo-label to train on{_why(left_out)}; "
            "look at a few in the dock, lower the threshold, or train the classifier for longer"
        )
    agreements = {seen.names[number]: one.agreement for number, one in enumerate(packed) if one.is_marked}
    labelling = {
        "labels": labels,
        "targets": settings.targets,
        "parameters": params.model_dump(mode="json"),
        "model": classifier.name,
        "model_checksum": classifier.checksum,
        "left_out": dict(Counter(left_out.values())),
        "sharpness": sharpness,
        "agreement": float(np.mean(list(agreements.values()))),
    }
    # By default as the network will be used: with the intensity of the default preset.
    wanted = intensity or IntensityParams()
    images = seen if wanted == seen.intensity else DatasetSamples(training, wanted, source)
    samples = PseudoSamples(images, kept, [packed[number] for number in kept], classes, labelling, left_out)
    return PseudoLabels(samples, np.array(kept, np.int64), left_out, agreements)


def _nothing(images: DatasetSamples, row: int, shown: NDArray[np.uint8]) -> PackedLabel:
    """The pseudo-label of an image that is known to show nothing."""
    shape = images.image(row).shape[:2]
    made = Made(np.zeros(shape, np.uint8), np.zeros((len(shown), *shape), np.uint8))
    return PackedLabel.of(made, shown.tolist())


def _reasons(packed: Sequence[PackedLabel], settings: LabellingParams) -> list[str | None]:
    """Why each image is left out, None for one that is not."""
    found = [one.reason for one in packed]
    masked = [number for number, one in enumerate(packed) if one.reason is None and one.is_marked]
    agreements = np.array([packed[number].agreement for number in masked])
    for place in most_doubtful(agreements, settings.doubtful_share).tolist():
        found[masked[place]] = DOUBTFUL
    return found


def _why(left_out: Mapping[str, str]) -> str:
    counts = Counter(left_out.values())
    return f" ({', '.join(f'{reason}: {count}' for reason, count in counts.items())})" if counts else ""


def _by_case(rows: Sequence[LabelRow]) -> list[list[int]]:
    """Row numbers of each case and slice axis, in the order of the slices."""
    found: dict[tuple[str, int | None], list[int]] = {}
    for number, row in enumerate(rows):
        found.setdefault((row.case, row.axis), []).append(number)
    return [sorted(numbers, key=lambda number: rows[number].index or 0) for numbers in found.values()]


def _packed(labels: NDArray[np.uint8]) -> tuple[tuple[int, ...], bytes]:
    return labels.shape, zlib.compress(np.ascontiguousarray(labels, np.uint8).tobytes(), 1)


def _unpacked(shape: tuple[int, ...], content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape)
