"""What is said of a finished training: its report, and the checkpoint's description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_refit.cam.checkpoint import CheckpointMetadata, save_checkpoint
from napari_refit.cam.classifier import Classifier
from napari_refit.io.sidecar import plain
from napari_refit.learn import scores
from napari_refit.learn.margins import presence_margins
from napari_refit.learn.samples import Samples
from napari_refit.learn.splits import Split

if TYPE_CHECKING:
    from napari_refit.learn.epochs import EpochRun
    from napari_refit.learn.fsss.pixels import PixelSamples
    from napari_refit.learn.run import Run

NOTHING = ("background", "normal", "negative", "healthy", "none")
"""Names of classes that mean that nothing is there."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What comes out of a training of any kind.

    Attributes
    ----------
    classifier : Classifier
        With the weights of the best epoch, on the device it was trained on.
    metadata : CheckpointMetadata
        What its file will say; ``training`` holds the report.
    split : Split
    """

    classifier: Classifier
    metadata: CheckpointMetadata
    split: Split

    @property
    def report(self) -> dict[str, Any]:
        """Parameters, data, history of every epoch, scores, versions."""
        return self.metadata.training

    def save(self, path: str | Path) -> None:
        """Write the checkpoint, which `napari_refit.cam.classifier.load_classifier` reads.

        Raises
        ------
        ValueError, WriteError
            As `napari_refit.cam.checkpoint.save_checkpoint`.
        """
        save_checkpoint(path, self.classifier.module, self.metadata)


@dataclass(frozen=True, eq=False)
class TrainingResult(Trained):
    """What came out of a training.

    Attributes
    ----------
    classifier : Classifier
        With the weights of the best epoch, on the device it was trained on.
    metadata : CheckpointMetadata
        What its file will say; ``training`` holds the report.
    split : Split
    logits : ndarray of float32, shape (N, K)
        Answers to the validation and the test images; NaN for the others.
    """

    logits: NDArray[np.float32]


def background_of(samples: Samples, wanted: str) -> int | None:
    """The number of the class that means that nothing is there, if any (see `TrainingParams.background`).

    Raises
    ------
    ValueError
        If there is no class of the wanted name.
    """
    if wanted:
        if wanted not in samples.classes:
            raise ValueError(f"background = {wanted!r} is none of the classes: {', '.join(samples.classes)}")
        return samples.classes.index(wanted)
    if samples.labels.ndim == 2:
        return None
    return next((k for k, name in enumerate(samples.classes) if name.casefold() in NOTHING), None)


def make_result(run: Run) -> TrainingResult:
    """Take the best epoch's weights, answer the images that were not trained on, and report.

    Parameters
    ----------
    run : Run
        A finished one.
    """
    run.network.load_state_dict(run.best)
    split, params, samples = run.split, run.params, run.samples
    logits = np.full(run.shown.shape, np.nan, np.float32)
    for part in split.untrained.values():
        logits[part] = run.answers(part)
    temperature, margins = 1.0, (0.0,) * run.shown.shape[1]
    if len(split.validation):
        margins = presence_margins(
            logits[split.validation],
            run.shown[split.validation],
            [samples.patients[index] for index in split.validation],
            background=run.background,
            exclusive=run.exclusive,
            seed=params.seed,
        )
    if params.temperature_scaling and len(split.validation):
        chosen = split.validation
        temperature = scores.best_temperature(logits[chosen], run.shown[chosen], run.exclusive)
    measured = {
        "temperature": temperature,
        "margins": dict(zip(samples.classes, margins, strict=True)),
        **{name: _scores(run, part, logits, temperature) for name, part in split.untrained.items()},
    }
    classifier, metadata = described(
        run,
        samples,
        partial(part_summary, samples, run.shown),
        measured,
        classes=samples.classes,
        background=run.background,
        activation="softmax" if run.exclusive else "sigmoid",
        margins=margins,
    )
    return TrainingResult(classifier, metadata, split, logits)


def described(
    run: EpochRun,
    samples: Samples | PixelSamples,
    summary: Callable[[NDArray[np.int64]], dict[str, Any]],
    measured: Mapping[str, Any],
    *,
    classes: tuple[str, ...],
    background: int | None,
    activation: Literal["softmax", "sigmoid"],
    margins: tuple[float, ...] = (),
    data: Mapping[str, Any] | None = None,
    libraries: Sequence[str] = ("torch", "torchvision", "numpy"),
) -> tuple[Classifier, CheckpointMetadata]:
    """A finished training's network as a classifier, and its description with the report in it.

    Parameters
    ----------
    run : EpochRun
        Its network has the best epoch's weights.
    samples : Samples or PixelSamples
    summary : callable
        What is reported of the images of a part (see `part_summary`).
    measured : mapping
        Scores of the report.
    classes, background, activation, margins
        Of the classifier.
    data : mapping, optional
        More to say of the images.
    libraries : sequence of str
        Whose versions are reported.
    """
    params = run.params
    intensity = getattr(samples, "intensity", None)
    training = {
        "parameters": params.model_dump(),
        "start": run.start.source,
        "data": {
            "source": str(getattr(samples, "source", "")),
            "images": len(samples),
            "patients": len(set(samples.patients)),
            "checksums": run.data,
            "intensity": None if intensity is None else intensity.model_dump(),
            **{name: summary(part) for name, part in run.split.parts.items()},
            **(data or {}),
        },
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "history": run.history,
        **measured,
        "seconds": run.seconds,
        "machine": run.machine,
        "versions": {name: version(name) for name in ("napari-refit", *libraries)},
    }
    metadata = CheckpointMetadata(
        architecture=run.start.architecture,
        settings=plain(run.start.settings),
        classes=classes,
        background=background,
        activation=activation,
        input_size=params.input_size,
        in_channels=run.channels,
        mean=run.mean,
        std=run.std,
        margins=margins,
        training=plain(training),
        version=version("napari-refit"),
    )
    return described_classifier(run.network, metadata), metadata


def described_classifier(network: nn.Module, metadata: CheckpointMetadata) -> Classifier:
    """A trained network as the classifier that its checkpoint will be."""
    return Classifier(
        network.eval(),
        metadata.classes,
        background=metadata.background,
        input_size=metadata.input_size,
        in_channels=metadata.in_channels,
        mean=metadata.mean,
        std=metadata.std,
        margins=metadata.margins,
        activation=metadata.activation,
        architecture=metadata.architecture,
    )


def part_summary(
    samples: Samples | PixelSamples, shown: NDArray[Any], part: NDArray[np.int64]
) -> dict[str, Any]:
    """How many images of how many patients a part has, and how many show each class.

    Parameters
    ----------
    samples : Samples or PixelSamples
    shown : ndarray, shape (N, K)
        Whether an image shows a class.
    part : ndarray of int64
        Image numbers.
    """
    return {
        "images": len(part),
        "patients": len({samples.patients[index] for index in part}),
        "by_class": dict(zip(samples.classes, shown[part].sum(0).tolist(), strict=True)),
    }


def _scores(
    run: Run, part: NDArray[np.int64], logits: NDArray[np.float32], temperature: float
) -> dict[str, Any] | None:
    if not len(part):
        return None
    return scores.report(
        logits[part],
        run.shown[part],
        [run.samples.patients[index] for index in part],
        run.samples.classes,
        background=run.background,
        exclusive=run.exclusive,
        temperature=temperature,
        seed=run.params.seed,
    )
