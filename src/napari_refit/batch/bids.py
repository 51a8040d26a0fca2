"""Images of a BIDS dataset, and results as a BIDS derivative (https://bids-specification.readthedocs.io)."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from napari_refit.batch.cases import Case, Found, Problem
from napari_refit.io.formats import READABLE, split_name

DESCRIPTION = "dataset_description.json"
VERSION = "1.10.0"
IMAGE_TYPES = ("anat", "ct", "micr", "pet")
"""Folders of images; the others hold time series, field maps and signals."""
NO_IMAGE = ("mask", "defacemask", "dseg", "probseg")
ENDING = "desc-refit_dseg"
_ENTITY = re.compile(r"[a-zA-Z0-9]+-[a-zA-Z0-9+]+")
_OURS = ("*.refit.json", "records.jsonl", "summary.json", "report.html", "review.csv", "thumbnails/")


def is_dataset(path: Path) -> bool:
    """Whether a folder is a BIDS dataset."""
    return (path / DESCRIPTION).is_file() and any(path.glob("sub-*"))


def read_cases(path: Path) -> list[Found | Problem]:
    """The images of a dataset, of a subject's or session's folder in it, or a single one.

    Derivatives, source data, masks and whatever is no image (functional and diffusion series, field maps) are left
    out. Results are named after the image without its suffix; ``mod-SUFFIX`` is added where two images of a folder
    differ in nothing else.
    """
    root = next(
        (folder for folder in (path, *path.absolute().parents) if (folder / DESCRIPTION).is_file()), None
    )
    if root is None:
        return [Problem(path.name, path, f"lies in no BIDS dataset: there is no {DESCRIPTION} above it")]
    inside = path.absolute().relative_to(root.absolute()).parts
    images = [
        image
        for image in _images(root)
        if image.absolute().relative_to(root.absolute()).parts[: len(inside)] == inside
    ]
    stems = Counter((image.parent, _entities(image)) for image in _images(root))
    found: list[Found | Problem] = []
    for image in images:
        entities = _entities(image)
        if stems[image.parent, entities] > 1:
            entities = (*entities, f"mod-{_suffix(image)}")
        extension = split_name(image)[1]
        name = "_".join((*entities, ENDING)) + (".nii.gz" if extension == ".nii" else extension)
        folder = image.absolute().parent.relative_to(root.absolute())
        found.append(Found(image, root, below=PurePosixPath(folder.as_posix()) / name))
    where = ", ".join(f"{kind}/" for kind in IMAGE_TYPES)
    return found or [Problem(path.name, path, f"holds no images in sub-*/[ses-*/]: {where}")]


def describe_derivative(out: Path, cases: Iterable[Case], version: str) -> None:
    """Make the output folder a BIDS derivative, if the results are named so; what is there already stays.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    from napari_refit.io._atomic import atomic_path

    cases = [case for case in cases if split_name(case.output)[0].endswith(ENDING)]
    if not cases:
        return
    url = _from(out.absolute(), _root_of(cases[0]))
    content = {
        "Name": "Refined segmentations",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "napari-refit", "Version": version}],
        "SourceDatasets": [{"URL": url}],
    }
    for name, text in (
        (DESCRIPTION, json.dumps(content, indent=2, ensure_ascii=False) + "\n"),
        (".bidsignore", "\n".join(_OURS) + "\n"),
    ):
        if not (out / name).exists():
            with atomic_path(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _root_of(case: Case) -> Path:
    return next(
        (folder for folder in case.image.absolute().parents if (folder / DESCRIPTION).is_file()),
        case.image.absolute().parent,
    )


def _from(folder: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(root, folder)).as_posix()
    except ValueError:  # another drive
        return root.as_uri()


def _images(root: Path) -> Iterator[Path]:
    for subject in sorted(root.glob("sub-*")):
        for folder in (subject, *sorted(subject.glob("ses-*"))):
            for kind in IMAGE_TYPES:
                if (folder / kind).is_dir():
                    yield from (image for image in sorted((folder / kind).iterdir()) if _is_image(image))


def _is_image(path: Path) -> bool:
    stem, extension = split_name(path)
    if path.name.startswith(".") or extension not in READABLE:
        return False
    *entities, suffix = stem.removesuffix(".ome").split("_")
    return bool(entities) and suffix not in NO_IMAGE and all(map(_ENTITY.fullmatch, entities))


def _entities(path: Path) -> tuple[str, ...]:
    return tuple(split_name(path)[0].removesuffix(".ome").split("_")[:-1])


def _suffix(path: Path) -> str:
    return split_name(path)[0].removesuffix(".ome").split("_")[-1]
