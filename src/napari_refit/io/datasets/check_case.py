"""One case looked at closely: every file read, every value looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_refit.errors import ReadError, brief
from napari_refit.io.datasets import reading
from napari_refit.io.datasets.case import Case
from napari_refit.io.datasets.dataset import Dataset
from napari_refit.io.datasets.findings import Finding
from napari_refit.io.datasets.groups import thumbnail
from napari_refit.io.datasets.listing import counted, shortened
from napari_refit.io.volume import Volume, grid_difference

_AGAIN = "copy or download it again"


@dataclass
class CaseFacts:
    """What a look at a case found.

    Attributes
    ----------
    findings : list of Finding
    checksums : dict of str to str
        Modality to a checksum of its grey values and shape.
    thumbnail : array or None
        Of a picture.
    n_slices : int
    positives : array or None
        In how many slices each class is there; None without usable masks.
    """

    findings: list[Finding] = field(default_factory=list)
    checksums: dict[str, str] = field(default_factory=dict)
    thumbnail: np.ndarray | None = None
    n_slices: int = 0
    positives: np.ndarray | None = None


def check_case(dataset: Dataset, case: Case) -> CaseFacts:
    """Read all of a case's files and look at shapes, geometry and values."""
    facts = CaseFacts()
    grid = _check_images(case, facts)
    if grid is not None:
        _check_preparation(dataset, case, facts)
        if case.truth is not None and _check_masks(dataset, case, grid, facts):
            _check_classes(dataset, case, facts)
    return facts


def _check_images(case: Case, facts: CaseFacts) -> Volume | None:
    """Check every modality; return one for its grid."""
    volumes: list[tuple[str, Volume, tuple[Path, ...]]] = []
    for modality, volume, paths, error in _opened(case):
        if volume is None:
            facts.findings.append(Finding("error", "unreadable", error, _AGAIN, case.name, paths))
        else:
            volumes.append((modality, volume, paths))
    # What most modalities agree on is the grid; the others are off it.
    grid = max(
        (volume for _, volume, _ in volumes),
        key=lambda volume: sum(grid_difference(volume, other) is None for _, other, _ in volumes),
        default=None,
    )
    for modality, volume, paths in volumes:
        if grid is not None and (difference := grid_difference(grid, volume)):
            message = f"{modality}: {difference}"
            advice = "resample the modalities to one grid, or leave this one out"
            facts.findings.append(Finding("error", _kind(difference), message, advice, case.name, paths))
        try:
            _check_values(case, modality, volume, paths, facts)
        except (ReadError, MemoryError) as problem:
            facts.findings.append(_unreadable(case, problem, paths))
    alike: dict[str, list[str]] = {}
    for modality, checksum in facts.checksums.items():
        alike.setdefault(checksum, []).append(modality)
    for modalities in alike.values():
        if len(modalities) > 1:
            message = f"{', '.join(modalities)} hold the same values"
            advice = "leave the case out where you compare modalities"
            files = tuple(dict.fromkeys(case.images[modality].paths[0] for modality in modalities))
            facts.findings.append(Finding("warning", "copy", message, advice, case.name, files))
    return grid


def _opened(case: Case) -> Iterator[tuple[str, Volume | None, tuple[Path, ...], str]]:
    """Every modality with its volume, or why there is none; those that share files share what is read."""
    together: dict[tuple[Path, ...], list[str]] = {}
    for modality, files in case.images.items():
        together.setdefault(files.paths, []).append(modality)
    for paths, modalities in together.items():
        try:
            volumes = reading.open_images([case.images[modality] for modality in modalities])
        except (ReadError, ValueError) as error:
            yield modalities[0], None, paths[:1], _reason(error)
            continue
        for modality, volume in zip(modalities, volumes, strict=True):
            yield modality, volume, paths[:1], ""


def _check_values(
    case: Case, modality: str, volume: Volume, paths: tuple[Path, ...], facts: CaseFacts
) -> None:
    values = volume.data
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    n_bad = 0 if finite is None else int(values.size - np.count_nonzero(finite))
    if n_bad:
        message = f"{modality}: {n_bad} of {values.size} values are NaN or infinite"
        facts.findings.append(
            Finding("error", "not finite", message, "replace them, or leave the case out", case.name, paths)
        )
    usable = values if finite is None or not n_bad else values[finite]
    low, high = (usable.min(), usable.max()) if usable.size else (0, 0)
    if low == high:
        message = f"{modality}: every value is {low:g}"
        facts.findings.append(
            Finding(
                "error", "empty image", message, "leave the case out, or export it again", case.name, paths
            )
        )
    ordered = values if values.flags.c_contiguous else values.T
    digest = hashlib.sha256(f"{values.shape}{values.dtype}".encode())
    digest.update(np.ascontiguousarray(ordered).data)
    facts.checksums[modality] = digest.hexdigest()
    if len(volume.spatial_axes) == 2 and facts.thumbnail is None:
        facts.thumbnail = thumbnail(np.nan_to_num(values, posinf=0.0, neginf=0.0) if n_bad else values)


def _check_preparation(dataset: Dataset, case: Case, facts: CaseFacts) -> None:
    lacking = [name for name in dataset.chosen_modalities if name not in case.images]
    if lacking:
        message = f"{', '.join(lacking)} is asked for and not there"
        advice = "leave the case out, or choose other modalities"
        facts.findings.append(Finding("error", "missing modality", message, advice, case.name))
    try:
        facts.n_slices = len(dataset.slices(case))
    except ReadError:
        pass
    except ValueError as error:
        advice = "leave the case out, or choose another preparation"
        facts.findings.append(Finding("error", "crop", _reason(error), advice, case.name))


def _check_masks(dataset: Dataset, case: Case, grid: Volume, facts: CaseFacts) -> bool:
    """Check mask files one by one; return whether they can be used."""
    n_before = len(facts.findings)
    assert case.truth is not None
    stack = case.truth.join == "stack"
    allowed = {0, *(value for rule in dataset.classes for value in rule.values)}
    any_value = any(not rule.values for rule in dataset.classes)
    strange: dict[int, list[Path]] = {}
    for path in case.truth.paths:
        try:
            mask = reading.mask_volume(path)
            difference = grid_difference(grid, mask)
            if stack:
                wanted = grid.spatial_shape[1:]
                difference = None if mask.shape == wanted else f"its shape is {mask.shape}, not {wanted}"
            if difference:
                advice = "resample the mask to the image's grid"
                message = f"the mask does not fit the image: {difference}"
                facts.findings.append(
                    Finding("error", _kind(difference), message, advice, case.name, (path,))
                )
            data = mask.data
            if data.dtype.kind == "f" and not np.isfinite(data).all():
                message, advice = "the mask holds NaN or infinite values", "export it again"
                facts.findings.append(Finding("error", "not finite", message, advice, case.name, (path,)))
                continue
            values = distinct(reading.whole_numbers(mask))
        except (ReadError, ValueError, MemoryError) as error:
            facts.findings.append(_unreadable(case, error, (path,)))
            continue
        if any_value and sum(value != 0 for value in values) > 1:
            message = f"the mask holds {len(values)} different values; all but 0 count as foreground"
            advice = "export it as 0 and one other value, without compression or interpolation"
            facts.findings.append(Finding("warning", "unexpected label", message, advice, case.name, (path,)))
        for value in values:
            if value not in allowed and not any_value:
                strange.setdefault(value, []).append(path)
    if strange:
        expected = ", ".join(map(str, sorted(allowed)))
        found = shortened(map(str, sorted(strange)))
        files = tuple(dict.fromkeys(path for paths in strange.values() for path in paths))
        message = f"the mask holds {found}; expected are {expected}"
        advice = "correct the mask, or say what the value means"
        facts.findings.append(Finding("error", "unexpected label", message, advice, case.name, files[:3]))
    return not any(item.severity == "error" for item in facts.findings[n_before:])


def _check_classes(dataset: Dataset, case: Case, facts: CaseFacts) -> None:
    assert case.truth is not None
    files = case.truth.paths[:1]
    try:
        there = dataset.present(case)
    except (ReadError, ValueError) as error:
        known = [str(path) for item in facts.findings if item.kind == "unreadable" for path in item.files]
        is_known = isinstance(error, ReadError) and error.path in known
        if not is_known and not any(item.kind == "crop" for item in facts.findings):
            advice = "correct the mask, or leave the case out"
            facts.findings.append(Finding("error", "contradiction", _reason(error), advice, case.name, files))
        return
    facts.positives = there.sum(axis=0)
    if there.any():
        return
    if case.label is not None and dataset.labelled_classes(case).any():
        message = f"is labelled {case.label!r} and its mask is empty"
        advice = "correct the mask, or leave the case out"
        facts.findings.append(Finding("error", "contradiction", message, advice, case.name, files))
    elif case.label is None:
        message = f"no {' or '.join(dataset.class_names)} in its {counted(len(there), 'slice')}"
        facts.findings.append(Finding("note", "empty mask", message, "", case.name, files))


def distinct(values: np.ndarray) -> list[int]:
    """The different values of an integer array, in order.

    Examples
    --------
    >>> distinct(np.array([[4, 0], [1, 4]], np.uint8))
    [0, 1, 4]
    """
    flat = values.ravel(order="K")
    if values.dtype.kind in "ui" and flat.size and flat.min() >= 0 and flat.max() < 65536:
        return [int(value) for value in np.flatnonzero(np.bincount(flat))]
    return [int(value) for value in np.unique(flat)]


def _kind(difference: str) -> str:
    return "shape" if difference.startswith("its shape") else "geometry"


def _unreadable(case: Case, error: Exception, paths: tuple[Path, ...]) -> Finding:
    if isinstance(error, ReadError) and "whole numbers" in error.reason:
        return Finding("error", "unexpected label", error.reason, "", case.name, paths)
    if isinstance(error, ReadError):
        paths = (Path(error.path),)
    return Finding("error", "unreadable", _reason(error), _AGAIN, case.name, paths)


def _reason(error: Exception) -> str:
    return brief(error.reason if isinstance(error, ReadError) else error)
