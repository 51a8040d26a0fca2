"""Images of a dataset to tune on: of its training and validation cases, never of those that are tested."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.io.datasets import Case, Dataset, Split
from napari_refit.io.sidecar import file_checksum
from napari_refit.pipeline import Refit
from napari_refit.study.cases import Stack, fitting_params, only, read_stack, read_truth_stack
from napari_refit.study.checking import look_at
from napari_refit.study.responding import pipeline_of
from napari_refit.study.run import usable_split
from napari_refit.study.settings import Listener
from napari_refit.study.store import Store
from napari_refit.study.training import learner_dataset
from napari_refit.tune.images import NO_IMAGE, Cancel, Progress, TuneImage, drawn, drawn_images, step
from napari_refit.tune.settings import TuneParams


def images_of_dataset(
    dataset: Dataset,
    model: Any,
    params: TuneParams | None = None,
    *,
    split: Split | None = None,
    fold: int = 1,
    arch: str | None = None,
    device: str | None = None,
    with_truth: bool = True,
    progress: Progress | None = None,
    cancelled: Cancel | None = None,
) -> list[TuneImage]:
    """Images or slices of a dataset's training and validation cases.

    Parameters
    ----------
    dataset : Dataset
        Prepared.
    model : object
        What `napari_refit.cam.classifier.load_classifier` takes. The classes that have the names of the dataset's are
        compared with these.
    params : TuneParams, optional
        How many are drawn, and with which seed.
    split : Split, optional
        That of ``napari-refit evaluate`` when left out: the dataset's default, near duplicates tied.
    fold : int
        From 1: whose training and validation cases.
    arch, device : str, optional
        As of `load_classifier`.
    with_truth : bool
        Whether reference masks are read; else no mask is opened.
    progress, cancelled : callable, optional

    Raises
    ------
    ReadError
        If a file cannot be read.
    ValueError
        If the split does not suit the dataset, there is no such fold, the classifier has none of the classes, or there
        is nothing to tune on.
    Cancelled
        If ``cancelled()`` answered True.
    """
    from napari_refit.cam.classifier import load_classifier
    from napari_refit.devices import torch_device

    params = params or TuneParams()
    classifier = load_classifier(model, arch=arch, device=torch_device(device))
    numbers = class_table(classifier, dataset.class_names)
    seen = tunable(dataset, split, fold, with_truth, progress, cancelled)
    found: list[list[TuneImage]] = []
    order = drawn(seen.cases, [case.patient for case in seen.cases], len(seen.cases), params.seed)
    for done, case in enumerate(order):
        step(progress, cancelled, done, len(order), "reading images")
        if len(found) >= params.images:
            break
        stack = read_stack(seen, case)
        truth = read_truth_stack(seen, case) if with_truth else None
        refit = pipeline_of(stack, device)
        refit.use_model(classifier)
        slices = slices_of(seen, case, stack, truth, refit, numbers, params.with_object)
        if slices:
            found.append(slices)
    return drawn_images(found, params, f"{NO_IMAGE}: no training or validation case of fold {fold} has any")


def tunable(
    dataset: Dataset,
    split: Split | None,
    fold: int,
    with_truth: bool = True,
    progress: Progress | None = None,
    cancelled: Cancel | None = None,
) -> Dataset:
    """The dataset as if it had no other cases than a fold's training and validation cases that can be used.

    Raises
    ------
    ValueError
        If the split does not suit the dataset, or has no such fold.
    """
    with tempfile.TemporaryDirectory() as folder:
        look = look_at(dataset, split, Store(Path(folder)), Listener(progress, cancelled))
    if split is None:
        # As a study ties them, so that the split is the same.
        dataset = dataset.with_groups({name: f"alike {group}" for name, group in look.groups.items()})
    left_out = dict(look.unusable)
    if with_truth:
        left_out |= dict.fromkeys(look.without_mask, "it has no mask")
    kept = only(dataset, [case.name for case in dataset.cases if case.name not in left_out])
    if not kept.cases:
        raise ValueError(
            f"{dataset.root}: no case can be tuned on: {'; '.join(look.errors[:1]) or 'none has a mask'}"
        )
    chosen = usable_split(kept, split, left_out)
    if not 1 <= fold <= len(chosen.folds):
        raise ValueError(f"there is no fold {fold}, the split has {len(chosen.folds)}")
    sides = chosen.folds[fold - 1]
    return learner_dataset(only(kept, [*sides.train, *sides.validation]), "classifier")


def slices_of(
    dataset: Dataset,
    case: Case,
    stack: Stack,
    truth: Any,
    refit: Refit,
    numbers: Mapping[int, int],
    with_object: bool,
) -> list[TuneImage]:
    """Every slice of a case that may be drawn."""
    truths = (
        [None] * stack.n_planes if truth is None else list(truth if stack.axis is not None else truth[None])
    )
    paths = sorted({path for item in case.images.values() for path in item.paths})
    checksums = tuple(file_checksum(path) for path in paths)
    # In folders of whatever layout the same names are of different images.
    known = "" if dataset.declaration.is_general else dataset.declaration.name
    adapt = partial(fitting_params, preparation=dataset.preparation)
    return [
        TuneImage(
            name=case.name if stack.axis is None else f"{case.name}, slice {stack.start + number}",
            patient=case.patient,
            refit=refit,
            positions={} if stack.axis is None else {0: number},
            truth=None if mask is None else np.asarray(mask),
            case=case.name,
            dataset=known,
            checksums=checksums,
            numbers=numbers,
            adapt=adapt,
        )
        for number, mask in enumerate(truths)
        if mask is None or not with_object or mask.any()
    ]


def class_table(classifier: Any, class_names: tuple[str, ...]) -> dict[int, int]:
    """The classifier's class numbers in masks, and the dataset's class that each stands for.

    Raises
    ------
    ValueError
        If none has the name of one of the dataset's; where the dataset has but one class, all stand for it.
    """
    foreground = classifier.foreground
    if len(class_names) == 1:
        return {classifier.class_number(index): 1 for index in foreground}
    wanted = {name.casefold(): number for number, name in enumerate(class_names, start=1)}
    found = {
        classifier.class_number(index): wanted[classifier.classes[index].casefold()]
        for index in foreground
        if classifier.classes[index].casefold() in wanted
    }
    if not found:
        shown = ", ".join(classifier.classes[:5])
        raise ValueError(
            f"{classifier.name} knows {shown}, the dataset {', '.join(class_names)}: classes need the same names"
        )
    return found
