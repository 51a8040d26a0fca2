"""napari's door for medical images: what is opened lies where its file says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.io.formats import ITK, NIFTI, split_name

_LABEL_WORDS = ("seg", "label", "mask", "truth", "refined", "annotation")
_MOST_LABELS = 256

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return `read_layers` if the path is a medical image or a folder that holds DICOM, else None."""
    if not isinstance(path, (str, os.PathLike)):
        if len(path) != 1:
            return None
        path = path[0]
    if os.path.isdir(path):
        from napari_refit.io._dicom import holds_dicom

        return read_layers if holds_dicom(path) else None
    return read_layers if split_name(path)[1] in (*NIFTI, *ITK) else None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Open one file or DICOM folder as an Image or a Labels layer."""
    from napari_refit.io.read import load

    if not isinstance(path, (str, os.PathLike)):
        path = path[0]
    return [layer_of(load(path))]


def layer_of(volume: Any, name: str | None = None) -> LayerData:
    """Return a volume as napari layer data.

    Parameters
    ----------
    volume : Volume
    name : str, optional
        Of the layer; the file's stem when left out.

    Returns
    -------
    tuple
        Array in display order, keywords and layer type. ``metadata["refit"]`` holds the volume (without its
        voxels), its path and axes and the order in which they are shown; `napari_refit._writer` saves by it.
    """
    from napari_refit.io.display import display_order, is_rgb, napari_geometry

    order = display_order(volume)
    rgb = is_rgb(volume)
    if "c" in volume.axes and not rgb:
        order = (order[-1], *order[:-1])
    shown = tuple(i for i in order if volume.axes[i] != "c") if rgb else order
    keywords = napari_geometry(volume, shown)
    path = volume.path
    keywords["name"] = name or ("volume" if path is None else split_name(path)[0] or Path(path).name)
    keywords["metadata"] = {
        "refit": {
            "path": None if path is None else str(path),
            "axes": volume.axes,
            "permutation": order,
            "affine": None if volume.affine is None else volume.affine.tolist(),
            "volume": volume.unloaded() if path is not None else volume,
        }
    }
    labels = None if rgb else _as_labels(volume, keywords["name"])
    if labels is not None:
        return labels.transpose(order), keywords, "labels"
    keywords["rgb"] = rgb
    limits = None if rgb else _finite_limits(volume.data)
    if limits is not None:
        keywords["contrast_limits"] = limits
    return volume.data.transpose(order), keywords, "image"


def _as_labels(volume: Any, name: str) -> np.ndarray | None:
    """Return a writable copy of the voxels as integers if they are labels, else None."""
    from napari_refit.io.write import smallest_dtype

    said = _says_labels(volume.header)
    if not said and not any(word in name.lower() for word in _LABEL_WORDS):
        return None
    data = volume.data
    if data.dtype.kind == "f":
        if (
            not np.isfinite(data).all()
            or (data != np.rint(data)).any()
            or data.min() < 0
            or data.max() > 2**31
        ):
            return None
        data = data.astype(smallest_dtype(int(data.max())))
    if not said and _distinct(data) > _MOST_LABELS:
        return None
    return data.copy(order="K")


def _says_labels(header: Any) -> bool:
    from napari_refit.io._nifti import LABEL_INTENT

    try:
        return int(header["intent_code"]) == LABEL_INTENT
    except (TypeError, KeyError, ValueError):
        return False


def _distinct(data: np.ndarray) -> int:
    low, high = int(data.min()), int(data.max())
    if high - low < 1 << 16:
        seen = np.zeros(high - low + 1, bool)
        for slab in np.moveaxis(data, -1, 0):
            seen[slab.astype(np.int64) - low] = True
        return int(seen.sum())
    return len(np.unique(data))


def _finite_limits(data: np.ndarray) -> tuple[float, float] | None:
    """Return contrast limits where napari's own would not be finite."""
    from napari_refit.errors import ReadError
    from napari_refit.io.read import check_usable

    if data.dtype.kind != "f" or np.isfinite(data).all():
        return None
    try:
        check_usable(data)
    except ReadError:
        return 0.0, 1.0
    finite = data[np.isfinite(data)]
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low, low + 1.0)
