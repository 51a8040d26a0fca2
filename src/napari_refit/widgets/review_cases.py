"""What a review opens and writes: a case's files as layers, and painted labels over a result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.batch.record import Record
from napari_refit.errors import ReadError, brief
from napari_refit.planes import PlaneIndex
from napari_refit.widgets.live import Task

IMAGE, TRUTH, LABELS = "image", "truth", "refined"


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of a case lie.

    Attributes
    ----------
    name : str
    image, labels : Path
    """

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class Opened:
    """A case, read.

    Attributes
    ----------
    files : CaseFiles
    layers : dict
        Role (`IMAGE`, `TRUTH`, `LABELS`) to layer data as napari's readers return it.
    place : tuple of (axis, position)
        Of the refined labels: the slice that shows most of them, else of the truth.
    note : str
        What could not be shown, and why.
    seen : str
        Checksum of the labels' file: what is decided holds for these.
    """

    files: CaseFiles
    layers: Mapping[str, tuple[Any, dict[str, Any], str]]
    place: PlaneIndex = ()
    note: str = ""
    seen: str = ""


def files_of(out: Path, record: Record) -> CaseFiles:
    """Where the files of a record lie; what is not absolute counts from the output folder."""
    return CaseFiles(record.name, out / record.image, out / record.output)


def opening(files: CaseFiles) -> Callable[[Task], Opened]:
    """A job that reads a case."""
    return lambda task: open_case(files)


def open_case(files: CaseFiles) -> Opened:
    """Read the image, the refined labels, and the truth that the sidecar names.

    Raises
    ------
    ReadError
        If the image or the labels cannot be read. A truth that cannot is left out, with a note.
    """
    from napari_refit._reader import layers_of
    from napari_refit.io.sidecar import file_checksum

    layers = {IMAGE: layers_of(files.image, labels=False)[0]}
    note = ""
    truth = truth_of(files)
    if truth is not None:
        try:
            layers[TRUTH] = layers_of(truth, labels=True)[0]
        except ReadError as error:
            note = f"Without its ground truth: {error}"
    # Before the labels are read: where they change in between, the decision is refused, not taken for theirs.
    seen = file_checksum(files.labels)
    layers[LABELS] = layers_of(files.labels, labels=True)[0]
    arrays = [layers[role][0] for role in (LABELS, TRUTH) if role in layers]
    place = next((found for array in arrays if (found := most_to_see(array)) is not None), None)
    return Opened(files, layers, middle(arrays[0]) if place is None else place, note, seen)


def truth_of(files: CaseFiles) -> Path | None:
    """The truth that a result's sidecar names; relative paths count from the result, else as they are."""
    named = read_sidecar(files.labels).get("truth")
    if not isinstance(named, str) or not named:
        return None
    beside = files.labels.parent / named
    return beside if beside.exists() else Path(named)


def read_sidecar(labels: Path) -> dict[str, Any]:
    """What lies beside labels; nothing where it is missing or damaged."""
    from napari_refit.io.sidecar import sidecar_path

    try:
        found = json.loads(sidecar_path(labels).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def most_to_see(labels: NDArray[Any]) -> PlaneIndex | None:
    """The plane of the last two axes with most in it; None if there is nothing.

    Examples
    --------
    >>> labels = np.zeros((3, 2, 2), int); labels[1, 0] = 1
    >>> most_to_see(labels)
    ((0, 1),)
    """
    areas = np.count_nonzero(labels, axis=(-2, -1))
    if not np.any(areas):
        return None
    place = np.unravel_index(int(np.argmax(areas)), np.shape(areas))
    return tuple((axis, int(at)) for axis, at in enumerate(place)) if labels.ndim > 2 else ()


def middle(labels: NDArray[Any]) -> PlaneIndex:
    """The plane in the middle.

    Examples
    --------
    >>> middle(np.zeros((5, 2, 2)))
    ((0, 2),)
    """
    return tuple((axis, length // 2) for axis, length in enumerate(labels.shape[:-2]))


def write_fix(path: Path, labels: NDArray[Any], keywords: dict[str, Any]) -> str:
    """Write painted labels over a result, with what is known of them in its sidecar.

    Parameters
    ----------
    path : Path
        The result. Its sidecar keeps what made it; ``fixed`` says what was painted.
    labels : ndarray of int
        As the layer holds them.
    keywords : dict
        Of the layer, whose metadata know the file's grid.

    Returns
    -------
    str
        Checksum of the file.

    Raises
    ------
    WriteError
        If it cannot be written; the result that was there stays then.
    """
    from napari_refit._reader import layers_of
    from napari_refit._writer import write_labels
    from napari_refit.io.sidecar import file_checksum, write_sidecar
    from napari_refit.io.write import smallest_dtype

    report = read_sidecar(path)
    before: dict[str, Any] = report.get("fixed") or {"checksum_before": file_checksum(path)}
    changed = int(np.count_nonzero(layers_of(path, labels=True)[0][0] != labels))
    write_labels(str(path), labels.astype(smallest_dtype(int(labels.max(initial=0))), copy=False), keywords)
    report["fixed"] = {
        "checksum_before": before.get("checksum_before"),
        "changed_voxels": int(before.get("changed_voxels", 0)) + changed,
        "labels_checksum": file_checksum(path),
        **_scores(path, labels, report),
    }
    write_sidecar(path, report)
    return str(report["fixed"]["labels_checksum"])


def _scores(path: Path, labels: NDArray[Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of the painted labels, where there is a truth on their grid."""
    from napari_refit._reader import layers_of
    from napari_refit.metrics import evaluate
    from napari_refit.scoring import matching_classes
    from napari_refit.widgets.planes import spacing_of

    truth = truth_of(CaseFiles("", path, path))
    if truth is None:
        return {}
    try:
        data, keywords, kind = layers_of(truth, labels=True)[0]
    except ReadError as error:
        return {"metrics_error": brief(error)}
    if data.shape != labels.shape:
        return {"metrics_error": f"the ground truth has shape {data.shape}, the labels {labels.shape}"}
    from napari.layers import Layer

    spacing = spacing_of(Layer.create(data, keywords, kind))
    classes = tuple(report["classes"].values()) if isinstance(report.get("classes"), dict) else None
    reference = matching_classes(data, classes or (1,)) if classes else data
    return {"metrics": evaluate(labels, reference, spacing=spacing, classes=classes)}
