"""NRRD and MetaImage, through SimpleITK."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import ReadError, WriteError, brief
from napari_refit.io import _guard
from napari_refit.io._textheader import check_header, check_zlib_stream
from napari_refit.io.volume import LazyArray, Volume, spacing_of

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXES = ("x", "y", "z", "t", "u")
_DTYPES = {
    "8-bit signed integer": np.int8,
    "8-bit unsigned integer": np.uint8,
    "16-bit signed integer": np.int16,
    "16-bit unsigned integer": np.uint16,
    "32-bit signed integer": np.int32,
    "32-bit unsigned integer": np.uint32,
    "64-bit signed integer": np.int64,
    "64-bit unsigned integer": np.uint64,
    "32-bit float": np.float32,
    "64-bit float": np.float64,
}


@dataclass(frozen=True)
class ItkGeometry:
    """Geometry as ITK keeps it (LPS), so that saving restores every digit."""

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]


@dataclass(frozen=True)
class Information:
    """What SimpleITK says of a file before its voxels are read."""

    size: tuple[int, ...]
    components: int
    dtype: np.dtype
    geometry: ItkGeometry


def information(path: Path) -> Information:
    """Read what the header says; `ReadError` if SimpleITK cannot."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    try:
        with quiet():
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
    except (RuntimeError, TypeError, UnicodeEncodeError) as error:
        raise ReadError(path, f"cannot be read: {itk_reason(error)}") from None
    kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID()).removeprefix("vector of ")
    if kind not in _DTYPES:
        raise ReadError(path, f"holds values of the kind '{kind}'; save real numbers instead")
    geometry = ItkGeometry(reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection())
    size = tuple(int(length) for length in reader.GetSize())
    return Information(size, reader.GetNumberOfComponents(), np.dtype(_DTYPES[kind]), geometry)


def read(path: Path) -> Volume:
    """Read the header of an NRRD or MetaImage file; the voxels follow when asked for."""
    _guard.require_file(path)
    text = check_header(path)
    known = information(path)
    shape, axes = known.size, AXES[: len(known.size)]
    if known.components > 1:
        shape, axes = (*shape, known.components), (*axes, "t" if text.has_list and "t" not in axes else "c")
    _guard.check_shape(path, known.size)
    _guard.check_memory(path, math.prod(shape) * known.dtype.itemsize)
    affine: np.ndarray | None = None
    n_spatial = min(len(known.size), 3)
    spacing: tuple[float, ...] | None = None
    if text.has_space:
        affine = affine_of(known.geometry)
        spacing = spacing_of(affine, n_spatial)
        if not np.isfinite(affine).all() or min(spacing) <= 0:
            _guard.warn(
                f"{path}: its space directions are not finite or zero; the position in space is not known",
            )
            affine = spacing = None
    elif text.has_spacing:
        spacing = known.geometry.spacing[:n_spatial]
    return Volume(
        path=path,
        shape=shape,
        dtype=known.dtype,
        axes=axes,
        affine=affine,
        spacing=spacing,
        header=known.geometry if affine is not None else None,
        source=LazyArray(partial(_read_voxels, path, len(known.size))),
    )


def affine_of(geometry: ItkGeometry) -> np.ndarray:
    """Return the affine (voxel to RAS+ millimetres) of an ITK geometry of 2 to 5 dimensions."""
    n = len(geometry.spacing)
    n_spatial = min(n, 3)
    direction = np.array(geometry.direction).reshape(n, n)[:n_spatial, :n_spatial]
    affine = np.eye(4)
    affine[:n_spatial, :n_spatial] = direction * np.array(geometry.spacing[:n_spatial])
    affine[:n_spatial, 3] = geometry.origin[:n_spatial]
    return np.asarray(LPS @ affine)


def to_numpy(image: Any, n_dimensions: int) -> np.ndarray:
    """Return an ITK image's values, x first, components last."""
    import SimpleITK

    array: np.ndarray = SimpleITK.GetArrayFromImage(image)
    spatial = tuple(range(n_dimensions))
    return array.transpose((*reversed(spatial), *range(n_dimensions, array.ndim)))


def _read_voxels(path: Path, n_dimensions: int) -> np.ndarray:
    import SimpleITK

    _guard.require_file(path)
    stream = check_header(path).zlib_stream
    if stream is not None:
        check_zlib_stream(*stream)
    try:
        with quiet():
            image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise ReadError(path, f"cannot be read: {itk_reason(error)}; copy or download it again") from None
    return to_numpy(image, n_dimensions)


def write(temporary: Path, volume: Volume) -> None:
    """Write a volume as NRRD or MetaImage, and read it back to be sure: ITK does not report a full disk."""
    import SimpleITK

    geometry = volume.header if isinstance(volume.header, ItkGeometry) else None
    volume = volume.ordered("xyztuc")
    vector_axis = next((name for name in volume.axes if name == "c"), None)
    n = volume.ndim - (vector_axis is not None)
    if n > len(AXES):
        raise WriteError(temporary, f"cannot hold {volume.ndim} axes; save as .nii.gz")
    array = volume.data.transpose((*reversed(range(n)), *range(n, volume.ndim)))
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array), isVector=vector_axis is not None)
    n_spatial = len(volume.spatial_axes)
    if geometry is None or len(geometry.spacing) < n_spatial:
        geometry = _geometry_of(temporary, volume, n_spatial)
    known = len(geometry.spacing)
    direction, spacing, origin = np.eye(n), np.ones(n), np.zeros(n)
    keep = min(known, n)
    direction[:keep, :keep] = np.array(geometry.direction).reshape(known, known)[:keep, :keep]
    spacing[:keep], origin[:keep] = geometry.spacing[:keep], geometry.origin[:keep]
    try:
        with quiet():
            image.SetDirection(direction.ravel().tolist())
            image.SetSpacing(spacing.tolist())
            image.SetOrigin(origin.tolist())
            SimpleITK.WriteImage(image, str(temporary), useCompression=array.dtype.kind in "iu")
            written = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(temporary)))
    except RuntimeError as error:
        raise WriteError(temporary, f"could not be written: {itk_reason(error)}") from None
    if not np.array_equal(written, array, equal_nan=array.dtype.kind == "f"):
        raise WriteError(temporary, "was not written whole; is the disk full?")


def _geometry_of(path: Path, volume: Volume, n_spatial: int) -> ItkGeometry:
    if volume.affine is None:
        steps = volume.spacing or (1.0,) * n_spatial
        return ItkGeometry((0.0,) * n_spatial, steps, tuple(np.eye(n_spatial).ravel()))
    affine = LPS @ volume.affine
    if n_spatial == 2 and np.abs(affine[2, :2]).max() > 1e-6 * np.abs(affine[:2, :2]).max():
        raise WriteError(path, "cannot hold a plane that is tilted in space; save as .nii.gz")
    spacing = np.linalg.norm(affine[:3, :n_spatial], axis=0)
    direction = affine[:n_spatial, :n_spatial] / spacing
    return ItkGeometry(
        tuple(affine[:n_spatial, 3].tolist()), tuple(spacing.tolist()), tuple(direction.ravel().tolist())
    )


def itk_reason(error: BaseException) -> str:
    """Return the last telling line of an ITK exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return brief(lines[-1].removeprefix("sitk::ERROR: ") if lines else error)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's own warnings off the terminal: what matters is raised or warned about here."""
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
