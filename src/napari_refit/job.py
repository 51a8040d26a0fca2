"""What one image's refinement reads and writes: paths, and checksums of everything that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_refit.recipe import RefitParams

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff", ".npy")
LOSSLESS = {".nhdr": ".nrrd", ".mhd": ".mha"}


@dataclass(frozen=True)
class Job:
    """One image to refine.

    Attributes
    ----------
    image, output : pathlib.Path
        What to read, and where the refined labels go.
    model : str or path or None
        The classifier; see `napari_refit.cam.classifier.load_classifier`.
    response, truth : path or None
        A response map instead of a classifier; a reference mask to score against.
    panels : path or None
        Where a picture of a few slices goes.
    modalities : tuple of int
        What the classifier is fed (see `napari_refit.pipeline.Refit`).
    hints : path or None
        Labels of what the user insists on (see `napari_refit.pipeline.Refit.use_hints`).
    accepted : path or None
        Labels of which some slices are right; they are kept, and carried on (see `Refit.propagate`).
    accepted_slices : tuple of int
        Their positions on the slice axis; empty: those that the sidecar of ``accepted`` names.
    """

    image: Path
    output: Path
    model: Any = None
    response: Path | None = None
    truth: Path | None = None
    panels: Path | None = None
    modalities: tuple[int, ...] = ()
    hints: Path | None = None
    accepted: Path | None = None
    accepted_slices: tuple[int, ...] = ()


def output_path(image: Path, folder: Path) -> Path:
    """Where the refined labels of an image go: ``<name>_refined`` with the image's own type where that is lossless.

    Examples
    --------
    >>> output_path(Path("scans/a.nii.gz"), Path("out")).as_posix()
    'out/a_refined.nii.gz'
    >>> output_path(Path("photo.jpg"), Path("out")).as_posix()
    'out/photo_refined.png'
    """
    lower = image.name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix):
            stem = image.name[: -len(suffix)]
            return folder / f"{stem}_refined{LOSSLESS.get(suffix, suffix)}"
    if image.is_dir():
        return folder / f"{image.resolve().name}_refined.nii.gz"
    return folder / f"{image.stem}_refined.png"


def panels_path(output: Path) -> Path:
    """Where the picture of refined labels goes.

    Examples
    --------
    >>> panels_path(Path("out/a_refined.nii.gz")).name
    'a_panels.png'
    """
    from napari_refit.io.formats import split_name

    return output.with_name(split_name(output)[0].removesuffix("_refined") + "_panels.png")


def unique_outputs(jobs: Iterable[Job]) -> None:
    """Refuse a run in which two images would write the same file.

    Raises
    ------
    ValueError
        That names both images.
    """
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.output in seen:
            raise ValueError(
                f"{seen[job.output]} and {job.image} would both write {job.output}; use two folders"
            )
        seen[job.output] = job.image


def input_checksums(job: Job) -> dict[str, str]:
    """SHA-256 of every file that a job reads, by what a sidecar calls them.

    Raises
    ------
    ReadError
        If one cannot be read.
    """
    from napari_refit.io.sidecar import file_checksum

    files = {
        "image": job.image,
        "truth": job.truth,
        "response": job.response,
        "hints": job.hints,
        "accepted": job.accepted,
    }
    return {f"{name}_checksum": file_checksum(path) for name, path in files.items() if path is not None}


def parameters_checksum(params: RefitParams) -> str:
    """SHA-256 of the parameters that a run over a volume reads.

    Examples
    --------
    >>> first = RefitParams()
    >>> parameters_checksum(first) == parameters_checksum(first.replace(**{"quickshift.ratio": 0.3}))
    True
    >>> parameters_checksum(first) == parameters_checksum(first.replace(threshold=0.3))
    False
    """
    from napari_refit.io.sidecar import plain

    text = json.dumps(plain(params.used()), sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
