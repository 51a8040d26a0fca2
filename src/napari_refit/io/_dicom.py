"""DICOM series in a folder, through SimpleITK's GDCM."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path

import numpy as np

from napari_refit.errors import ReadError
from napari_refit.io import _guard, _itk
from napari_refit.io.volume import LazyArray, Volume, spacing_of


def split_series(path: Path) -> tuple[Path, str]:
    """Split ``folder#seriesUID`` into the folder and the UID (empty when none is named)."""
    folder, hash_sign, uid = str(path).rpartition("#")
    if hash_sign and not path.exists() and Path(folder).is_dir():
        return Path(folder), uid
    return path, ""


def holds_dicom(folder: str | os.PathLike[str], look_at: int = 20) -> bool:
    """Return whether any of the first files of a folder is DICOM; cheap, reads 132 bytes of each."""
    seen = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_file():
                    continue
                with open(entry.path, "rb") as file:
                    if file.read(132)[128:] == b"DICM":
                        return True
                seen += 1
                if seen >= look_at:
                    break
    except OSError:
        return False
    return False


def read(path: Path) -> Volume:
    """Read the headers of a DICOM series; the voxels follow when asked for.

    Parameters
    ----------
    path : Path
        A folder, ``folder#seriesUID``, or one ``.dcm`` file.
    """
    if path.is_file():
        _guard.require_file(path)
        return _volume(path, [path])
    folder, wanted = split_series(path)
    return _volume(path, _series_files(folder, wanted))


def _series_files(folder: Path, wanted: str) -> list[Path]:
    import SimpleITK

    if not folder.is_dir():
        raise ReadError(folder, "there is no such file or folder; check the path")
    try:
        with _itk.quiet():
            found = SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
            series = {
                uid: [
                    Path(file)
                    for file in SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
                ]
                for uid in sorted(found)
            }
    except (RuntimeError, TypeError, UnicodeEncodeError) as error:
        raise ReadError(folder, f"cannot be searched for DICOM: {_itk.itk_reason(error)}") from None
    if not series:
        raise ReadError(folder, "is a folder without DICOM images; give the folder that holds the slices")
    if wanted:
        if wanted not in series:
            raise ReadError(folder, f"holds no series {wanted}; there are: {', '.join(series)}")
        return series[wanted]
    largest = max(series, key=lambda uid: len(series[uid]))
    if len(series) > 1:
        _guard.warn(
            f"{folder}: holds {len(series)} series; the largest was read ({len(series[largest])} slices). "
            f"Name one with {folder.name}#UID: {', '.join(series)}",
        )
    return series[largest]


def _volume(path: Path, files: list[Path]) -> Volume:
    first = _itk.information(files[0])
    _guard.check_shape(path, first.size)
    affine = _itk.affine_of(first.geometry)
    size = first.size
    if len(files) > 1:
        size = (*size[:2], len(files))
        positions = []
        for file in files:
            slice_ = _itk.information(file)
            if (slice_.size, slice_.components) != (first.size, first.components):
                raise ReadError(
                    path,
                    f"its slices differ in size ({file.name} is {slice_.size}, {files[0].name} {first.size})",
                )
            positions.append(_itk.affine_of(slice_.geometry)[:3, 3])
        affine[:3, 2] = _step(path, np.array(positions), affine[:3, 2])
    shape = (*size, first.components) if first.components > 1 else size
    axes = (*"xyzt"[: len(size)], "c") if first.components > 1 else tuple("xyzt"[: len(size)])
    _guard.check_memory(path, math.prod(shape) * first.dtype.itemsize)
    return Volume(
        path=path,
        shape=shape,
        dtype=first.dtype,
        axes=axes,
        affine=affine,
        spacing=spacing_of(affine, min(len(size), 3)),
        source=LazyArray(partial(_read_voxels, path, files, len(size), first.dtype)),
    )


def _step(path: Path, positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the step from slice to slice; it may be tilted against the slices' normal (gantry tilt)."""
    steps = np.diff(positions, axis=0)
    mean = (positions[-1] - positions[0]) / (len(positions) - 1)
    length = float(np.linalg.norm(mean))
    if length == 0:
        _guard.warn(
            f"{path}: all slices claim the same position; their distance is a guess",
        )
        return normal
    if np.linalg.norm(steps - mean, axis=1).max() > 0.1 * length:
        _guard.warn(
            f"{path}: slices are not evenly spaced ({np.linalg.norm(steps, axis=1).min():.3g} to "
            f"{np.linalg.norm(steps, axis=1).max():.3g} mm); one may be missing",
        )
    return np.asarray(mean)


def _read_voxels(path: Path, files: list[Path], n_dimensions: int, dtype: np.dtype) -> np.ndarray:
    import SimpleITK

    try:
        with _itk.quiet():
            names = [str(file) for file in files]
            image = SimpleITK.ReadImage(names if len(names) > 1 else names[0])
    except RuntimeError as error:
        raise ReadError(path, f"cannot be read: {_itk.itk_reason(error)}") from None
    return _itk.to_numpy(image, n_dimensions).astype(dtype, copy=False)
