"""Read images and volumes of any supported format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import ReadError, brief
from napari_refit.io._guard import ReadWarning
from napari_refit.io.formats import DICOM, ITK, NIFTI, READABLE, split_name
from napari_refit.io.volume import Volume

__all__ = ["ReadWarning", "check_usable", "load"]


def load(path: str | os.PathLike[str]) -> Volume:
    """Open an image or volume.

    The header is read and checked at once; the voxels are read when ``.data`` is first used.

    Parameters
    ----------
    path : path-like
        A ``.nii .nii.gz .nrrd .nhdr .mha .mhd .png .jpg .bmp .tif .tiff .npy .dcm`` file or a folder of DICOM
        slices. Of several series in a folder the largest is read, with a warning; ``folder#seriesUID``
        names one.

    Returns
    -------
    Volume
        Medical formats are x first (``("x", "y", "z")``, then ``"t"``), pictures and ``.npy`` end in y, x (then
        ``"c"`` for colour). The affine maps voxels to RAS+ millimetres; pictures have none. Integers keep their
        type unless the file scales them, then they are float32.

    Raises
    ------
    ReadError
        If the file is missing, damaged, truncated, of another format, empty, or larger than the memory. Damage
        that shows only in the voxels is raised by ``.data``.

    Warns
    -----
    ReadWarning
        If something about the geometry had to be guessed.
    """
    path = Path(path)
    extension = split_name(path)[1]
    try:
        is_folder = path.is_dir()
    except (ValueError, OSError) as error:
        raise ReadError(ascii(str(path))[1:-1], f"is no usable path: {brief(error)}") from None
    if is_folder or extension in DICOM or ("#" in path.name and not path.exists()):
        from napari_refit.io import _dicom

        if path.is_file() or is_folder or _dicom.split_series(path)[1]:
            return _dicom.read(path)
    if extension in NIFTI:
        from napari_refit.io import _nifti

        return _nifti.read(path)
    if extension in ITK:
        from napari_refit.io import _itk

        return _itk.read(path)

    from napari_refit.io._pictures import READERS

    if extension in READERS:
        return READERS[extension](path)
    if not path.exists():
        raise ReadError(path, "there is no such file; check the path")
    known = " ".join(READABLE)
    raise ReadError(
        path, f"cannot read {extension or 'files without extension'}; supported: {known}, DICOM folders"
    )


def check_usable(image: Volume | np.ndarray, path: str | os.PathLike[str] | None = None) -> str:
    """Check that an image holds anything to work on.

    Parameters
    ----------
    image : Volume or array
        Its values are read.
    path : path-like, optional
        Named in messages; a volume's own path when left out.

    Returns
    -------
    str
        A one-line warning, empty when there is nothing to warn about.

    Raises
    ------
    ReadError
        If there is no finite value.

    Examples
    --------
    >>> check_usable(np.zeros((4, 4)), "scan.nii")
    'scan.nii: every value is 0: there is nothing to segment'
    >>> check_usable(np.eye(4))
    ''
    """
    data = image.data if isinstance(image, Volume) else np.asarray(image)
    if path is None:
        path = image.path if isinstance(image, Volume) else None
    name = "image" if path is None else os.fspath(path)
    if data.size == 0:
        raise ReadError(name, f"is empty (shape {data.shape}); export it again")
    if data.dtype.kind == "f" or not isinstance(data, np.ndarray):
        low, high, finite = _finite_range(data)
        if not finite:
            raise ReadError(name, "holds no finite value; check the file that it was made from")
    else:
        low, high, finite = data.min(), data.max(), data.size
    if low == high:
        return f"{name}: every {'finite ' if finite < data.size else ''}value is {low:g}: there is nothing to segment"
    if finite < data.size:
        return f"{name}: {data.size - finite} of {data.size} values are not finite"
    return ""


def _finite_range(data: Any) -> tuple[Any, Any, int]:
    """Return lowest and highest finite value and how many there are, slab by slab to spare memory."""
    if isinstance(data, np.ndarray):
        slabs = iter(data if data.flags.c_contiguous else np.moveaxis(data, -1, 0))
    else:
        slabs = data.slabs()
    low, high, count = np.inf, -np.inf, 0
    for slab in slabs:
        if slab.dtype.kind != "f":
            low, high, count = min(low, slab.min()), max(high, slab.max()), count + slab.size
            continue
        finite = np.isfinite(slab)
        count += int(finite.sum())
        low = min(low, float(np.min(slab, where=finite, initial=np.inf)))
        high = max(high, float(np.max(slab, where=finite, initial=-np.inf)))
    return low, high, count
