"""Saving labels and parameters, and the command line that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from napari_refit.errors import ReadError, WriteError
from napari_refit.recipe import RefitParams
from napari_refit.widgets.doubts import PROPAGATED
from napari_refit.widgets.live import Task
from napari_refit.widgets.session import Session
from napari_refit.widgets.workbench import Order, describe

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".tiff", ".npy")
FILTERS = ";;".join(
    (
        "NIfTI (*.nii.gz *.nii)",
        "NRRD (*.nrrd)",
        "MetaImage (*.mha)",
        "PNG, a single slice (*.png)",
        "TIFF (*.tif *.tiff)",
        "NumPy (*.npy)",
    )
)
PLACEHOLDER = "IMAGE"


def source_path(layer: Any) -> Path | None:
    """The file that a layer came from, or None."""
    known = layer.metadata.get("refit")
    path = known.get("path") if isinstance(known, dict) else None
    path = path or getattr(layer.source, "path", None)
    return Path(path) if path else None


def suggested_path(image: Any) -> Path:
    """Where the refined labels of an image would go."""
    from napari_refit.refining import output_path

    source = source_path(image)
    if source is not None:
        return output_path(source, source.parent)
    stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in image.name).strip() or "labels"
    return Path.home() / f"{stem}_refined{'.png' if image.ndim == 2 else '.nii.gz'}"


def with_suffix(path: Path, default: Path) -> Path:
    """The path with the suffix of ``default`` where it has none that can be written."""
    if path.name.lower().endswith(SUFFIXES):
        return path
    suffix = next(suffix for suffix in SUFFIXES if default.name.endswith(suffix))
    return path.with_name(path.name + suffix)


def ask_labels_path(parent: QWidget, image: Any) -> Path | None:
    """Ask where the labels go, and whether a file that is there may be replaced; None: not at all."""
    default = suggested_path(image)
    name, _ = QFileDialog.getSaveFileName(
        parent, "Save labels", str(default), FILTERS, options=QFileDialog.Option.DontConfirmOverwrite
    )
    if not name:
        return None
    path = with_suffix(Path(name), default)
    return path if not path.exists() or may_replace(parent, path) else None


def may_replace(parent: QWidget, path: Path) -> bool:
    """Ask whether a file may be replaced."""
    answer = QMessageBox.question(
        parent,
        "Replace the file?",
        f"{path.name} is already in {path.parent}.\nReplace it?",
        QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
        QMessageBox.StandardButton.No,
    )
    return answer == QMessageBox.StandardButton.Yes


def labels_job(session: Session, path: Path, scores: dict[str, Any]) -> Callable[[Task], Path]:
    """A job that writes the open image's labels as they are now, with their sidecar.

    Parameters
    ----------
    session : Session
    path : Path
        Replaced if it is there: ask first.
    scores : dict
        Metrics to report, by "slice" and "volume".

    Raises
    ------
    ValueError
        If there are no refined labels.
    """
    outputs = session.outputs
    layer = None if outputs is None else outputs["labels"]
    if layer is None:
        raise ValueError("There are no refined labels to save yet.")
    labels = np.array(layer.data)
    _, keywords, _ = layer.as_layer_data_tuple()
    image = source_path(session.image)
    order = session.order()
    report = {
        "image": None if image is None else str(image),
        "labels": str(path),
        "hand_edited_slices": len(outputs.locks),
        "whole_volume_refined": outputs.book.whole or labels.ndim == 2,
        "metrics": scores,
        "effort": session.hand.hints.effort.summary(),
        **_slices(session),
    }
    hints = session.hand.hints.array
    # A copy: the user may paint on.
    hints = np.array(hints) if hints is not None and hints.any() else None

    def job(task: Task) -> Path:
        task.stage(f"Saving {path.name}…")
        if hints is not None:
            report.update(_written_hints(path, hints, keywords))
        _write(path, labels, keywords, report, order, image)
        return path

    return job


def _slices(session: Session) -> dict[str, Any]:
    """What a sidecar says of the slices of the open volume: which are accepted, which propagated, how uncertain."""
    plane = session.plane
    if plane is None or plane.slice_axis is None:
        return {}
    rows = session.doubts.rows
    further = {
        str(_file_axis(session, axis)): position for axis, position in plane.index if axis != plane.slice_axis
    }
    return {
        "slice_axis": _file_axis(session, plane.slice_axis),
        **({"within": further} if further else {}),
        "accepted_slices": session.outputs.locks.along(plane),
        "propagated_slices": sorted(row.position for row in rows if row.state == PROPAGATED),
        "uncertainty": {
            str(row.position): round(row.uncertainty, 4)
            for row in sorted(rows, key=lambda row: row.position)
            if row.uncertainty is not None
        },
    }


def _written_hints(path: Path, hints: np.ndarray, keywords: dict[str, Any]) -> dict[str, str]:
    """Write the hints beside the labels that they led to; what the sidecar says of them."""
    from napari_refit._writer import write_labels
    from napari_refit.io.formats import split_name
    from napari_refit.io.sidecar import file_checksum

    stem, suffix = split_name(path)
    beside = path.with_name(f"{stem}_hints{suffix}")
    write_labels(str(beside), hints, keywords)
    return {"hints": beside.name, "hints_checksum": file_checksum(beside)}


def _write(
    path: Path,
    labels: np.ndarray,
    keywords: dict[str, Any],
    report: dict[str, Any],
    order: Order,
    image: Path | None,
) -> None:
    from napari_refit._writer import write_labels
    from napari_refit.io.sidecar import file_checksum, write_sidecar
    from napari_refit.io.write import smallest_dtype

    labels = labels.astype(smallest_dtype(int(labels.max(initial=0))), copy=False)
    write_labels(str(path), labels, keywords)
    report = {**describe(order), **report, "labels_checksum": file_checksum(path)}
    if image is not None and image.exists():
        report["image_checksum"] = file_checksum(image)
    write_sidecar(path, report)


def save_parameters(path: Path, params: RefitParams) -> None:
    """Write parameters as JSON.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    try:
        path.write_text(params.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from None


def load_parameters(path: Path) -> RefitParams:
    """Read parameters from JSON.

    Raises
    ------
    ReadError
        If the file cannot be read or does not hold parameters.
    """
    try:
        return RefitParams.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReadError(path, error.strerror or str(error)) from None
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "it is no text file"
        raise ReadError(path, first.removeprefix("Value error, ")) from None
    except ValueError as error:
        raise ReadError(path, str(error)) from None


def command_line(session: Session) -> str:
    """The command that refines the open image with the same parameters, ready for a shell."""
    image = None if session.image is None else source_path(session.image)
    words = ["napari-refit", "refine", PLACEHOLDER if image is None else str(image)]
    words += ["--out", "refined" if image is None else str(image.parent / "refined")]
    source = session.source
    if source.layer is not None:
        response = source_path(source.layer)
        words += ["--response", "RESPONSE" if response is None else str(response)]
    else:
        words += ["--model", "CHECKPOINT" if source.model is None else str(source.model)]
    if source.modalities:
        words += ["--modalities", ",".join(str(position) for position in source.modalities)]
    truth = session.scores.truth
    if truth is not None and source_path(truth) is not None:
        words += ["--truth", str(source_path(truth))]
    if session.device:
        words += ["--device", session.device]
    changed = {**session.params.changed(), **_axis(session)}
    for key, value in changed.items():
        words += ["--set", f"{key}={','.join(value) if isinstance(value, tuple) else value}"]
    return shlex.join(words)


def copy_command_line(session: Session) -> str:
    """Put the command on the clipboard, and return it."""
    text = command_line(session)
    QApplication.clipboard().setText(text)
    return text


def _axis(session: Session) -> dict[str, str]:
    """The slice axis that the dock would use, in the file's own order."""
    plane = session.plane
    if plane is None or plane.slice_axis is None or session.image.ndim != 3:
        return {}
    return {"axis": str(_file_axis(session, plane.slice_axis))}


def _file_axis(session: Session, axis: int) -> int:
    """An axis of the image layer, in the file's own order."""
    known = session.image.metadata.get("refit")
    order = known.get("permutation") if isinstance(known, dict) else None
    return int(axis if order is None else order[axis])
