"""FSSS on pseudo-labels, in rounds: label, train, fit the network's own response, train again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.cam.classifier import load_classifier
from napari_refit.devices import torch_device
from napari_refit.io.datasets import TrainingSet
from napari_refit.learn.datasets import DatasetSamples
from napari_refit.learn.files import Callbacks, check_target, finished_report
from napari_refit.learn.fsss.files import train_fsss_to_file
from napari_refit.learn.fsss.making import Labelling
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.pixels import shown_classes
from napari_refit.learn.fsss.pseudo import PseudoLabels, pseudo_labels
from napari_refit.learn.places import round_paths, state_path
from napari_refit.learn.splits import Split, split_patients
from napari_refit.params import CamParams, IntensityParams
from napari_refit.recipe import RefitParams, digest

_OF_THE_FILE = ("left_out", "predictions", "round", "agreements", "rounds")


def train_on_pseudo_labels(
    training: TrainingSet,
    model: Any,
    out: Path,
    pipeline: RefitParams | None = None,
    params: FsssParams | None = None,
    labels: Labelling = "refit",
    *,
    split: Split | None = None,
    intensity: IntensityParams | None = None,
    source: str = "",
    cache: Path | None = None,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Callbacks | None = None,
    tell: Callable[[int, PseudoLabels], None] | None = None,
) -> dict[str, Any]:
    """Train a segmentation network on pseudo-labels, once or in several rounds, and write the checkpoints.

    The labels of the first round are the fit of the classifier's response maps, those of a later one the same fit of
    the response that the network of the round before gives (see `params_of_round`). Each round starts from the same
    weights. What an image shows is known in every round, and no reference mask is seen in any.

    Parameters
    ----------
    training : TrainingSet
    model
        What `napari_refit.cam.classifier.load_classifier` takes.
    out : Path
        ``.safetensors``: the network of the last round. Those of the rounds before lie beside it and are called
        ``-round1`` and so on; each has its report, ``.refit.json``.
    pipeline : RefitParams, optional
        How labels are made.
    params : FsssParams, optional
        With the number of ``rounds``.
    labels : {"refit", "cam"}
        Of the first round; later ones are refit.
    split : Split, optional
        Of the images of ``training``, the same in every round; by default patients are split as ``params`` say. Images
        that are left out in a round are in no part of it.
    intensity, source, device
        As of `napari_refit.learn.fsss.pseudo.pseudo_labels`.
    cache : Path, optional
        A folder for pseudo-labels: those of a round in a folder of its own; they stay there.
    resume, overwrite, callbacks
        As of `napari_refit.learn.files.train_to_file`. What comes out after resuming is what an unbroken training
        gives, wherever it was stopped.
    tell : callable, optional
        Given the number of a round and its `PseudoLabels` before it is trained.

    Returns
    -------
    dict
        The report of the last round, and ``rounds``: of each its ``checkpoint``, how its labels were made, how many
        images were used and left out, and the Dice of the validation images against its labels.

    Raises
    ------
    ValueError, ReadError, Cancelled
        As `pseudo_labels` and `napari_refit.learn.fsss.training.train_fsss`.
    WriteError
        If a file cannot be written, is there already, or belongs to an unfinished training; before any work.
    """
    pipeline, params = pipeline or RefitParams(), params or FsssParams()
    callbacks = callbacks or Callbacks()
    check_target(out, 1, rounds=params.rounds, resume=resume, overwrite=overwrite)
    paths = round_paths(out, params.rounds)
    if not resume:
        for path in paths:
            # Nothing of an earlier training may be taken for a round of this one.
            state_path(path).unlink(missing_ok=True)
    known = _Known(training)
    whole = split or split_patients(known, params.validation_share, params.test_share, params.seed)
    classifier = load_classifier(model, device=torch_device(device))
    rows: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for number, path in enumerate(paths, start=1):
        how, made_from = (
            params_of_round(pipeline, params, number, intensity),
            labels if number == 1 else "refit",
        )
        settings = params if number == 1 else params.model_copy(update={"contradicted": "background"})
        facts = (number, params, how.used(), made_from, classifier.checksum, known.facts(whole), intensity)
        key = digest(*facts)
        done = _done(path, key) if resume else None
        if done is None:
            found = pseudo_labels(
                training,
                classifier,
                how,
                made_from,
                settings=settings,
                intensity=intensity,
                source=source,
                device=device,
                cache=None if cache is None else cache / f"round{number}",
                progress=callbacks.progress,
                cancelled=callbacks.cancelled,
            )
            if tell is not None:
                tell(number, found)
            done = train_fsss_to_file(
                found.samples,
                params,
                path,
                split=_of_kept(whole, found.kept),
                device=device,
                resume=resume and state_path(path).exists(),
                overwrite=True,
                callbacks=callbacks,
                names={
                    "round": {"number": number, "of": params.rounds, "key": key},
                    "agreements": found.agreements,
                    "rounds": rows,
                },
            )
        # What names images, or the key, stays in the file.
        report = {name: value for name, value in done.items() if name not in _OF_THE_FILE}
        rows = [*rows, _summary(number, path, report)]
        if number < params.rounds:
            classifier = load_classifier(path, device=torch_device(device))
    return {**report, "rounds": rows}


def _summary(number: int, path: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    labels = {name: value for name, value in report["data"]["labels"].items() if name != "parameters"}
    validation = report["validation"] or {}
    return {
        "round": number,
        "checkpoint": path.name,
        "checksum": report["checksum"],
        "labels": labels,
        "images": report["data"]["images"],
        "best_epoch": report["best_epoch"],
        "validation_dice": validation.get("dice"),
        "seconds": report["seconds"],
    }


def params_of_round(
    pipeline: RefitParams, params: FsssParams, number: int, intensity: IntensityParams | None = None
) -> RefitParams:
    """How the labels of a round are made.

    Parameters
    ----------
    pipeline : RefitParams
        Of the first round.
    params : FsssParams
        ``network_threshold`` takes the place of the fit's threshold and start level in later rounds: a network's own
        response is a probability, and not scaled to the full range as a CAM is.
    number : int
        From 1.
    intensity : IntensityParams, optional
        How the network's images are scaled, by default as the default preset says.

    Returns
    -------
    RefitParams
        In later rounds the network sees the image as it was trained on, and mirrored, at one scale.
    """
    if number == 1:
        return pipeline
    cam = CamParams(smoothing="mirror", batch_size=pipeline.cam.batch_size)
    names = [name for name in ("threshold", "start") if name in type(pipeline.fit_params).model_fields]
    return pipeline.replace(
        cam=cam,
        intensity=intensity or IntensityParams(),
        **{f"{pipeline.fit}.{name}": params.network_threshold for name in names},
    )


class _Known:
    """What is known of the images before any is read: enough to split them by patient."""

    def __init__(self, training: TrainingSet) -> None:
        images = DatasetSamples(training)
        self.patients, self.names = images.patients, images.names
        self.classes, numbers = shown_classes(training.labels)
        self.labels: NDArray[np.int64] = training.labels.matrix[:, numbers[1:] > 0].astype(np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> NDArray[np.float32]:
        """Nobody asks."""
        raise NotImplementedError(self.names[index])

    def facts(self, split: Split) -> tuple[Any, ...]:
        """All of it, and the split."""
        parts = {name: part.tolist() for name, part in split.parts.items()}
        return self.classes, list(self.patients), list(self.names), self.labels.tolist(), parts


def _of_kept(split: Split, kept: NDArray[np.int64]) -> Split:
    """The parts among the images that are not left out, by their place there."""
    places = {int(number): place for place, number in enumerate(kept)}
    parts = [
        np.array([places[number] for number in part.tolist() if number in places], np.int64)
        for part in split.parts.values()
    ]
    if not len(parts[0]):
        raise ValueError("every image of the training part was left out: there is nothing to train on")
    return Split(*parts)


def _done(path: Path, key: str) -> dict[str, Any] | None:
    """The report of a round that is finished, if it is of this training."""
    report = finished_report(path)
    if report is None or (report.get("round") or {}).get("key") != key or state_path(path).exists():
        return None
    return report
