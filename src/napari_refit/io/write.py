"""Write labels and images on the grid that they came from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from napari_refit.errors import WriteError
from napari_refit.io._atomic import atomic_path
from napari_refit.io.formats import NIFTI, NUMPY, PICTURES, TIFF, WRITABLE, split_name
from napari_refit.io.read import load
from napari_refit.io.volume import SPATIAL, Volume

_X_FIRST = ("x", "y", "z", "t", "c", "u", "v")


def save(
    path: str | os.PathLike[str],
    array: np.ndarray,
    like: Volume | str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = True,
    labels: bool = False,
) -> Path:
    """Write an array, whole or not at all.

    Parameters
    ----------
    path : path-like
        Ends in ``.nii .nii.gz .nrrd .mha .png .bmp .tif .tiff`` or ``.npy``.
    array : array
        In the axis order of ``like``. Its type is kept: bool becomes uint8, and what a format cannot hold (half
        precision in medical formats) becomes the next wider type.
    like : Volume or path-like, optional
        The image whose grid this is: the array has its shape, or only its spatial shape (labels of a colour
        image or of a time series), or its three spatial axes and one more. Position, orientation, units and
        voxel size are taken over; a NIfTI file's sform and qform with their codes bit for bit. For pictures
        and TIFF the axes are reordered to z, y, x, channel.
    overwrite : bool
        Whether an existing file may be replaced.
    labels : bool
        Mark the file as labels, where the format can say so (NIfTI).

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    ValueError
        If the array does not fit ``like`` or is empty.
    TypeError
        If the array does not hold real numbers.
    ReadError
        If ``like`` cannot be read.
    WriteError
        If the file cannot be written; an existing file is untouched then.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = save(f"{folder}/mask.nii.gz", np.eye(4, dtype=np.uint8))
    ...     load(written).data.tolist()[0]
    [1, 0, 0, 0]
    """
    path = Path(path)
    extension = split_name(path)[1]
    if extension not in WRITABLE:
        hint = "; JPEG changes values" if extension in (".jpg", ".jpeg") else ""
        raise WriteError(
            path, f"cannot write {extension or 'a file without extension'}{hint}; use {' '.join(WRITABLE)}"
        )
    volume = _placed(_real(array, extension), like, extension)
    with atomic_path(path, overwrite=overwrite) as temporary:
        if extension in NIFTI:
            from napari_refit.io import _nifti

            _nifti.write(temporary, volume, labels=labels)
        elif extension in PICTURES or extension in TIFF or extension in NUMPY:
            from napari_refit.io import _pictures

            if extension in NUMPY:
                _pictures.write_numpy(temporary, volume)
            elif extension in TIFF:
                _pictures.write_tiff(temporary, volume)
            else:
                _pictures.write_picture(temporary, volume)
        else:
            from napari_refit.io import _itk

            _itk.write(temporary, volume)
    return path


def smallest_dtype(max_value: int) -> np.dtype:
    """Return the smallest unsigned integer type that holds a label number.

    Parameters
    ----------
    max_value : int
        The highest label, at least 0.

    Returns
    -------
    numpy.dtype

    Raises
    ------
    ValueError
        If the number is negative or needs more than 64 bits.

    Examples
    --------
    >>> smallest_dtype(255), smallest_dtype(256)
    (dtype('uint8'), dtype('uint16'))
    """
    if max_value < 0:
        raise ValueError(f"labels are 0 or more, got {max_value}")
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        if max_value <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise ValueError(f"no integer type holds the label {max_value}")


def _real(array: np.ndarray, extension: str) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"only arrays of real numbers can be saved, got {array.dtype}")
    if array.size == 0 or array.ndim < 2:
        raise ValueError(
            f"only arrays of two or more axes that hold something can be saved, got shape {array.shape}"
        )
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and extension not in NUMPY:
        if array.dtype.itemsize < 4 and extension not in TIFF:
            return array.astype(np.float32)
        if array.dtype.itemsize > 8:
            return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _placed(array: np.ndarray, like: Volume | str | os.PathLike[str] | None, extension: str) -> Volume:
    """Return the array as a volume on the grid of ``like``."""
    if like is None:
        if extension in NUMPY or extension in TIFF or extension in PICTURES:
            from napari_refit.io._pictures import guess_axes

            return Volume.from_array(array, guess_axes(array.shape, array.dtype))
        if array.ndim > len(_X_FIRST):
            raise ValueError(f"{extension} holds at most {len(_X_FIRST)} axes, got shape {array.shape}")
        return Volume.from_array(array, _X_FIRST[: array.ndim])
    if not isinstance(like, Volume):
        like = load(like)
    spatial = tuple(name for name in like.axes if name in SPATIAL)
    if array.shape == like.shape:
        axes = like.axes
    elif array.shape == like.spatial_shape:
        axes = spatial
    elif len(spatial) == 3 and array.shape[:-1] == like.spatial_shape:
        axes = (*spatial, "t")
    else:
        wanted = f"{like.shape}" + (f" or {like.spatial_shape}" if like.spatial_shape != like.shape else "")
        raise ValueError(
            f"array of shape {array.shape} does not fit the grid of {like.path}, which needs {wanted}"
        )
    return Volume.from_array(array, axes, like.affine, like.spacing, header=like.header, path=like.path)
