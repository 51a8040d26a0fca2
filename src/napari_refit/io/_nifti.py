"""NIfTI-1 and NIfTI-2, plain and gzipped."""

from __future__ import annotations

import gzip
import io
import logging
import math
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from napari_refit.errors import ReadError, brief
from napari_refit.io import _guard
from napari_refit.io.volume import SPATIAL, LazyArray, Volume, spacing_of

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

AXES = ("x", "y", "z", "t", "c", "u", "v")
LABEL_INTENT = 1002
_RGB_INTENTS = (2003, 2004)
_TO_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_silent = logging.getLogger("napari_refit.io.nifti")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


def read(path: Path) -> Volume:
    """Read the header of a NIfTI file; the voxels follow when asked for."""
    size = _guard.require_file(path)
    zipped = path.name.lower().endswith(".gz")
    header = _read_header(path, zipped)
    shape = _shape(path, header)
    try:
        stored = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
        offset = int(header.get_data_offset())
    except Exception as error:  # nibabel raises its own, OverflowError, ValueError
        raise ReadError(path, f"its header is damaged: {brief(error)}") from None
    dtype = _dtype(path, stored, slope, intercept)
    promised = math.prod(shape) * stored.itemsize
    _guard.check_stored(path, offset + promised, size, _guard.DEFLATE_LIMIT if zipped else 1)
    _guard.check_memory(path, math.prod(shape) * max(stored.itemsize, dtype.itemsize))
    if zipped:
        _guard.check_gzip_complete(path, offset + promised)

    axes = AXES[: len(shape)]
    if len(shape) == 4 and int(header["intent_code"]) in _RGB_INTENTS:
        axes = ("x", "y", "z", "c")
    affine = _affine(path, header, min(len(shape), 3))
    full_shape = shape
    if stored.names:
        axes, full_shape = (*axes, "c" if "c" not in axes else "u"), (*shape, len(stored.names))
    return Volume(
        path=path,
        shape=full_shape,
        dtype=dtype,
        axes=axes,
        affine=affine,
        spacing=spacing_of(affine, min(len(shape), 3)),
        header=header,
        source=LazyArray(partial(_read_voxels, path, shape, stored, offset, slope, intercept, dtype)),
    )


def _read_header(path: Path, zipped: bool) -> Nifti1Header:
    import nibabel

    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if zipped and not is_gzip:
                raise ReadError(path, "is not gzip compressed though its name ends in .gz; rename it to .nii")
            if not zipped and is_gzip:
                raise ReadError(path, "is gzip compressed; rename it to .nii.gz")
            start = gzip.GzipFile(fileobj=file).read(540) if zipped else file.read(540)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(path, f"is damaged: {brief(error)}; copy or download it again") from None
    if len(start) < 348:
        raise ReadError(path, "is truncated: it ends inside the header; copy or download it again")
    kind: type[Nifti1Header]
    if start[344:347] == b"n+1":
        kind = nibabel.Nifti1Header
    elif start[4:7] == b"n+2" and len(start) >= 540:
        kind = nibabel.Nifti2Header
    elif start[344:347] == b"ni1" or start[4:7] == b"ni2":
        raise ReadError(path, "is the header of a .hdr/.img pair; convert it to a single .nii file")
    else:
        raise ReadError(path, "is not a NIfTI file (wrong magic number); check its format or its name")
    try:
        header = kind.from_fileobj(io.BytesIO(start), check=False)
        header.check_fix(logger=_silent, error_level=40)
    except Exception as error:  # nibabel raises its own, struct.error, ValueError, OverflowError
        raise ReadError(path, f"its header is damaged: {brief(error)}") from None
    return header


def _shape(path: Path, header: Nifti1Header) -> tuple[int, ...]:
    dim = [int(length) for length in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise ReadError(path, f"its header is damaged: it claims {dim[0]} axes")
    shape = tuple(dim[1 : dim[0] + 1])
    if shape[0] == -1:
        shape = tuple(int(length) for length in header.get_data_shape())
    _guard.check_shape(path, shape)
    return shape


def _dtype(path: Path, stored: np.dtype, slope: float | None, intercept: float | None) -> np.dtype:
    if stored.names:
        return np.dtype(np.uint8)
    if stored.kind not in "iuf":
        raise ReadError(path, f"holds {stored} values; save the magnitude as real numbers first")
    if stored.kind == "f" and stored.itemsize > 8:
        return np.dtype(np.float64)
    if _is_scaled(slope, intercept) and stored.kind != "f":
        return np.dtype(np.float32)
    return stored.newbyteorder("=")


def _is_scaled(slope: float | None, intercept: float | None) -> bool:
    return slope is not None and (slope, intercept or 0.0) != (1.0, 0.0)


def _read_voxels(
    path: Path,
    shape: tuple[int, ...],
    stored: np.dtype,
    offset: int,
    slope: float | None,
    intercept: float | None,
    dtype: np.dtype,
) -> np.ndarray:
    _guard.require_file(path)
    raw = np.empty(shape, stored, order="F")
    try:
        # Not memory mapped: saving over the file must neither change nor block what was read.
        with path.open("rb") as file:
            zipped = path.name.lower().endswith(".gz")
            found = _fill(raw, gzip.GzipFile(fileobj=file) if zipped else file, offset)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ReadError(path, f"is damaged: {brief(error)}; copy or download it again") from None
    if found < raw.nbytes:
        raise ReadError(
            path, f"is truncated: {raw.nbytes - found} bytes of voxels are missing; copy it again"
        )
    if stored.names:
        return np.stack([raw[name] for name in stored.names], axis=-1)
    if not _is_scaled(slope, intercept):
        return raw.astype(dtype, copy=False)
    scaled = np.empty(shape, dtype, order="F")
    for k in range(shape[-1]):
        scaled[..., k] = raw[..., k].astype(np.float64) * float(slope or 1.0) + float(intercept or 0.0)
    return scaled


def _fill(raw: np.ndarray, stream: io.BufferedReader | gzip.GzipFile, offset: int) -> int:
    """Fill an array from a stream and return how many bytes there were; a gzip stream's checksum is checked."""
    stream.seek(offset)
    target = raw.reshape(-1, order="F").view(np.uint8).data
    found = 0
    while found < len(target) and (count := stream.readinto(target[found : found + (1 << 24)])):
        found += count
    if isinstance(stream, gzip.GzipFile):
        try:
            while stream.read(1 << 20):
                pass
        except gzip.BadGzipFile as error:
            # Bytes after the end of the stream do no harm.
            if "Not a gzipped file" not in str(error):
                raise
    return found


def _affine(path: Path, header: Nifti1Header, n_spatial: int) -> np.ndarray:
    """Return the sform, else the qform, else what the voxel sizes say, whichever is the first usable one."""
    refused = []
    factor = _TO_MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    for name in ("sform", "qform"):
        try:
            affine, code = getattr(header, f"get_{name}")(coded=True)
        except Exception:  # an impossible quaternion
            affine, code = None, 1
        if not code:
            continue
        if affine is not None and _usable(affine, n_spatial):
            break
        refused.append(name)
    else:
        affine = header.get_base_affine()
        if not _usable(affine, n_spatial):
            refused.append("voxel size")
            affine = np.eye(4)
    if refused:
        _guard.warn(
            f"{path}: its {' and '.join(refused)} cannot be used (singular or not finite); "
            "the position in space is a guess",
        )
    affine = np.array(affine, np.float64)
    affine[:3] *= factor
    return affine


def _usable(affine: np.ndarray, n_spatial: int) -> bool:
    columns = np.asarray(affine)[:3, :n_spatial]
    lengths = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(affine).all() and (lengths > 0).all()):
        return False
    return float(np.linalg.svd(columns / lengths, compute_uv=False).min()) > 1e-4


def write(temporary: Path, volume: Volume, *, labels: bool) -> None:
    """Write a volume; the header of the NIfTI file that it came from is kept where there is one."""
    image = image_of(volume, labels=labels)
    with temporary.open("wb") as file:
        if temporary.name.lower().endswith(".gz"):
            with gzip_stream(file) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)


def gzip_stream(file: BinaryIO) -> gzip.GzipFile:
    """What compresses into a file: without name and date, the same voxels give the same bytes."""
    return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)


def image_of(volume: Volume, *, labels: bool) -> Any:
    """A volume as nibabel writes it."""
    import nibabel

    volume, header = _prepared(volume)
    array = np.asarray(volume.data)
    if volume.axes[-1] == "c" and array.dtype == np.uint8 and array.shape[-1] in (3, 4):
        fields = [(name, np.uint8) for name in "RGBA"[: array.shape[-1]]]
        array = np.ascontiguousarray(array).view(np.dtype(fields))[..., 0]
    header.set_data_dtype(array.dtype)
    voxel_sizes = header["pixdim"].copy()
    header.set_data_shape(array.shape)
    header["pixdim"] = voxel_sizes  # nibabel resets those of axes that labels lack
    header.set_slope_inter(1.0, 0.0)
    header.set_intent(LABEL_INTENT if labels else 0, allow_unknown=True)
    for key, value in {"cal_min": 0, "cal_max": 0, "descrip": b"napari-refit", "aux_file": b""}.items():
        header[key] = value
    header.extensions.clear()
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    # Without an affine nibabel leaves sform and qform of the header as they are.
    return kind(array, None, header, dtype=array.dtype)


def _prepared(volume: Volume) -> tuple[Volume, Nifti1Header]:
    import nibabel

    if isinstance(volume.header, nibabel.Nifti1Header):
        header = volume.header.as_byteswapped("<" if sys.byteorder == "little" else ">")
        return volume, header
    volume = volume.ordered("xyztcuv")
    names = [name for name in AXES if name in volume.axes]
    n_spatial = sum(name in SPATIAL for name in names)
    shape = list(volume.shape)
    is_rgb = names[-1] == "c" and volume.dtype == np.uint8 and shape[-1] in (3, 4)
    if len(names) > n_spatial and not is_rgb:
        last = AXES.index(names[-1])
        lengths = dict(zip(names, shape, strict=True))
        shape = [lengths.get(name, 1) for name in AXES[: last + 1]]
        names = list(AXES[: last + 1])
        volume = Volume.from_array(
            volume.data.reshape(shape), names, _three_columns(volume), _three_steps(volume), path=volume.path
        )
    big = max(shape) > np.iinfo(np.int16).max
    header = nibabel.Nifti2Header() if big else nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    affine = _three_columns(volume)
    if affine is None:
        affine = np.diag([*(_three_steps(volume) or (1.0, 1.0, 1.0)), 1.0])
    lengths_mm = np.linalg.norm(affine[:3, :3], axis=0)
    header["pixdim"][1:4] = lengths_mm
    header.set_sform(affine, code="aligned" if volume.affine is None else "scanner")
    rotation = affine[:3, :3] / np.where(lengths_mm > 0, lengths_mm, 1.0)
    if np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-5):
        header.set_qform(affine, code="aligned" if volume.affine is None else "scanner")
    return volume, header


def _three_columns(volume: Volume) -> np.ndarray | None:
    """Return the affine with a third column, which a plane's may lack."""
    if volume.affine is None or np.linalg.norm(volume.affine[:3, 2]) > 0:
        return volume.affine
    affine = volume.affine.copy()
    affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] /= np.linalg.norm(affine[:3, 2])
    return affine


def _three_steps(volume: Volume) -> tuple[float, ...] | None:
    if volume.spacing is None:
        return None
    return (*volume.spacing, 1.0, 1.0)[:3]
