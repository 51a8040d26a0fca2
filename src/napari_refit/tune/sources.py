"""Images to tune on, from whatever a user names: a dataset, folders, images, volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_refit.errors import ReadError
from napari_refit.recipe import RefitParams
from napari_refit.tune.images import (
    Cancel,
    Progress,
    TuneImage,
    image_files,
    images_of_files,
    matching_masks,
)
from napari_refit.tune.settings import TuneParams


@dataclass(frozen=True)
class Sources:
    """What a user names.

    Attributes
    ----------
    paths : tuple of Path
        One dataset, or folders, images, volumes.
    model : object
        What `napari_refit.cam.classifier.load_classifier` takes; or ``response`` instead.
    arch : str or None
        Its architecture, where the file does not say it.
    response, truth : Path or None
        Response map and reference mask of one image.
    masks : Path or None
        Folder of reference masks that have the images' names.
    layout, image_pattern, mask_pattern : str or None
        As of `napari_refit.io.datasets.find_dataset`.
    preparation : str
        Of a dataset.
    split : Path or None
        Of a dataset; that of ``napari-refit evaluate`` when left out.
    fold : int
        Whose training and validation cases, from 1.
    modalities : tuple of int
        As of `napari_refit.pipeline.Refit`.
    device : str or None
    """

    paths: tuple[Path, ...]
    model: Any = None
    arch: str | None = None
    response: Path | None = None
    truth: Path | None = None
    masks: Path | None = None
    layout: str | None = None
    image_pattern: str | None = None
    mask_pattern: str | None = None
    preparation: str = "default"
    split: Path | None = None
    fold: int = 1
    modalities: tuple[int, ...] = ()
    device: str | None = None


def find_images(
    sources: Sources,
    settings: TuneParams,
    base: RefitParams,
    progress: Progress | None = None,
    cancelled: Cancel | None = None,
) -> list[TuneImage]:
    """Images to tune on.

    Raises
    ------
    ReadError
        If something cannot be read.
    ValueError
        If what is named does not fit together, or there is nothing to tune on.
    Cancelled
        If ``cancelled()`` answered True.
    """
    if (sources.model is None) == (sources.response is None):
        raise ValueError("give either --model or --response")
    if sources.truth is not None and sources.masks is not None:
        raise ValueError("give either --truth, the mask of one image, or --masks, a folder")
    if sources.response is None and sources.truth is None and sources.masks is None:
        dataset = _dataset(sources)
        if dataset is not None:
            return _of_dataset(dataset, sources, settings, progress, cancelled)
    if sources.split is not None or sources.layout is not None or sources.image_pattern is not None:
        raise ValueError("--split, --layout and patterns are for a dataset, whose own masks are used")
    paths = [path for source in sources.paths for path in _files_of(source)]
    if len(paths) > 1 and (sources.truth is not None or sources.response is not None):
        raise ValueError(
            "--truth and --response belong to one image; for several masks give --masks, a folder"
        )
    truths = {}
    if sources.truth is not None:
        truths = {paths[0]: sources.truth}
    elif sources.masks is not None:
        truths = matching_masks(paths, sources.masks)
        paths = [path for path in paths if path not in truths.values()]
    return images_of_files(
        paths,
        truths,
        settings,
        model=_classifier(sources),
        base=base,
        responses={} if sources.response is None else {paths[0]: sources.response},
        device=sources.device,
        modalities=sources.modalities,
        progress=progress,
        cancelled=cancelled,
    )


def _classifier(sources: Sources) -> Any:
    if sources.model is None:
        return None
    from napari_refit.cam.classifier import load_classifier

    return load_classifier(sources.model, arch=sources.arch, device=sources.device)


def _of_dataset(
    dataset: Any,
    sources: Sources,
    settings: TuneParams,
    progress: Progress | None,
    cancelled: Cancel | None,
) -> list[TuneImage]:
    from napari_refit.io.datasets import Split
    from napari_refit.tune.dataset_images import images_of_dataset

    has_truth = any(case.truth is not None for case in dataset.cases)
    return images_of_dataset(
        dataset,
        sources.model,
        settings,
        split=None if sources.split is None else Split.load(sources.split),
        fold=sources.fold,
        arch=sources.arch,
        device=sources.device,
        with_truth=has_truth and settings.objective != "label-free",
        progress=progress,
        cancelled=cancelled,
    )


def _files_of(source: Path) -> Sequence[Path]:
    """The images of a folder; a folder without any is taken for a DICOM series, as elsewhere."""
    if not source.is_dir():
        return [source]
    try:
        return image_files(source)
    except ReadError:
        return [source]


def _dataset(sources: Sources) -> Any:
    """The dataset that a single source is; None where it is none and nothing says that it is one."""
    from napari_refit.io.datasets.registry import find_dataset

    named = (
        sources.layout is not None
        or sources.image_pattern is not None
        or sources.mask_pattern is not None
        or sources.preparation != "default"
    )
    source = sources.paths[0]
    if len(sources.paths) > 1 or not (source.is_dir() or source.suffix.lower() == ".csv"):
        if named:
            raise ValueError("--layout, --preparation and patterns are for one dataset")
        return None
    try:
        found = find_dataset(source, sources.layout, images=sources.image_pattern, masks=sources.mask_pattern)
    except ReadError:
        if named or not source.is_dir():
            raise
        return None
    return found.prepared(sources.preparation)
