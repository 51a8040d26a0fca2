"""napari's door for medical images: what is opened lies where its file says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.io.formats import ITK, NIFTI, split_name

_LABEL_WORDS = ("seg", "label", "mask", "truth", "refined", "annotation")
_LABEL_FOLDERS = ("label", "mask", "seg")
# More than any atlas in use has, fewer than an 8-bit image of any content.
_MOST_LABELS = 128

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
    return layers_of(path if isinstance(path, (str, os.PathLike)) else path[0])


def layers_of(path: str | os.PathLike[str], labels: bool | None = None) -> list[LayerData]:
    """Open a file of any format that `napari_refit.load` knows as napari layer data.

    Parameters
    ----------
    path : path-like
    labels : bool, optional
        Whether it becomes a Labels layer; decided by its name and values when left out.

    Returns
    -------
    list of tuple
        See `layer_of`.

    Raises
    ------
    ReadError
        If the file cannot be read, or is to be labels and does not hold whole numbers.
    """
    from napari_refit.io.read import load

    return [layer_of(load(path), labels=labels)]


def layer_of(volume: Any, name: str | None = None, labels: bool | None = None) -> LayerData:
    """Return a volume as napari layer data.

    Parameters
    ----------
    volume : Volume
    name : str, optional
        Of the layer; the file's stem when left out.
    labels : bool, optional
        Whether it becomes a Labels layer; decided by its name and values when left out. A mask that was
        saved as a colour picture is labels wherever any colour is.

    Returns
    -------
    tuple
        Array in display order, keywords and layer type. ``metadata["refit"]`` holds the volume (without its
        voxels), its path and axes and the order in which they are shown; `napari_refit._writer` saves by it.
    """
    from napari_refit.io.display import display_order, is_rgb, napari_geometry

    order = display_order(volume)
    rgb = is_rgb(volume)
    plain = tuple(i for i in order if volume.axes[i] != "c")
    if "c" in volume.axes and not rgb:
        order = (order[-1], *plain)
    path = volume.path
    name = name or ("volume" if path is None else split_name(path)[0] or Path(path).name)
    metadata = {
        "refit": {
            "path": None if path is None else str(path),
            "axes": volume.axes,
            "permutation": order,
            "affine": None if volume.affine is None else volume.affine.tolist(),
            "volume": volume.unloaded() if path is not None else volume,
        }
    }
    if labels is None:
        labels = not rgb and _looks_like_labels(volume, name)
    if labels:
        data = _whole_numbers(volume)
        if "c" in volume.axes:
            channel = volume.axes.index("c")
            data = data[..., :3].max(axis=channel)
            order = tuple(i - (i > channel) for i in plain)
        keywords = {**napari_geometry(volume, plain), "name": name, "metadata": metadata}
        return data.transpose(order), keywords, "labels"
    keywords = {
        **napari_geometry(volume, plain if rgb else order),
        "name": name,
        "metadata": metadata,
        "rgb": rgb,
    }
    limits = None if rgb else _finite_limits(volume.data)
    if limits is not None:
        keywords["contrast_limits"] = limits
    return volume.data.transpose(order), keywords, "image"


def _looks_like_labels(volume: Any, name: str) -> bool:
    if _says_labels(volume.header):
        return _holds_whole_numbers(volume.data)
    folder = "" if volume.path is None else volume.path.absolute().parent.name.lower()
    hinted = any(word in name.lower() for word in _LABEL_WORDS) or folder.startswith(_LABEL_FOLDERS)
    return hinted and _holds_whole_numbers(volume.data) and _distinct(volume.data) <= _MOST_LABELS


def _holds_whole_numbers(data: np.ndarray) -> bool:
    if data.dtype.kind != "f":
        return True
    return bool(
        np.isfinite(data).all() and (data == np.rint(data)).all() and data.min() >= 0 and data.max() < 2**31
    )


def _whole_numbers(volume: Any) -> np.ndarray:
    """Return a writable copy of the voxels as integers."""
    from napari_refit.errors import ReadError
    from napari_refit.io.write import smallest_dtype

    data = volume.data
    if not _holds_whole_numbers(data):
        raise ReadError(volume.path or "labels", "does not hold whole numbers, so it cannot be labels")
    if data.dtype.kind == "f":
        return data.astype(smallest_dtype(int(data.max())), order="K")
    return data.copy(order="K") if data.dtype.kind != "b" else data.astype(np.uint8, order="K")


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
