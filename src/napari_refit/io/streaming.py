"""Volumes that are never read as a whole: which can be, and how their labels are written."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from napari_refit.errors import ReadError, WriteError, brief
from napari_refit.io._atomic import atomic_path
from napari_refit.io.formats import NIFTI, NUMPY, TIFF, split_name
from napari_refit.io.pieces import FileArray
from napari_refit.io.volume import LazyArray, Volume

STREAMABLE = (*NIFTI, *NUMPY, *TIFF)
"""Formats of which a plane can be read and written by itself."""
_COPY_BYTES = 4 << 20


class OpenedArray(LazyArray):
    """In place of voxels that are read as a whole."""

    def __init__(self, array: FileArray) -> None:
        self.array = array

    def __call__(self) -> Any:
        return self.array

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a volume that is read piece by piece stays in its process")

    @property
    def loaded(self) -> bool:
        """Nothing is ever kept."""
        return False

    def fresh(self) -> LazyArray:
        """The same: there is nothing to let go of."""
        return self


def streamed(volume: Volume, scratch: Path) -> Volume | None:
    """The same volume with voxels that stay in their file.

    Parameters
    ----------
    volume : Volume
        As `napari_refit.io.read.load` returns it, not read yet.
    scratch : Path
        Where an uncompressed copy goes if one is needed (``.nii.gz``); it need not be there.

    Returns
    -------
    Volume or None
        Its ``.data`` is a `FileArray`. None if the file cannot be read piece by piece.

    Raises
    ------
    ReadError
        If the file is damaged.
    WriteError
        If there is no room for the copy.
    """
    path = volume.path
    if path is None:
        return None
    extension = split_name(path)[1]
    array: FileArray | None = None
    if extension in NIFTI:
        array = _nifti(volume, path, scratch)
    elif extension in NUMPY:
        array = _numpy(volume, path)
    elif extension in TIFF:
        array = _tiff(volume, path)
    return None if array is None else replace(volume, source=OpenedArray(array))


def can_stream(volume: Volume) -> bool:
    """Whether `streamed` and `write_labels` can serve a volume, going by its header.

    Examples
    --------
    >>> can_stream(Volume.from_array(np.zeros((4, 4, 4)), "xyz", path=Path("scan.nrrd")))
    False
    """
    path = volume.path
    if path is None or split_name(path)[1] not in STREAMABLE or volume.ndim < 3:
        return False
    if "c" in volume.axes or not path.is_file():
        return False
    extension = split_name(path)[1]
    if extension in TIFF:
        return _tiff(volume, path) is not None
    return extension in NIFTI or _numpy(volume, path) is not None


def _nifti(volume: Volume, path: Path, scratch: Path) -> FileArray | None:
    header = volume.header
    stored = header.get_data_dtype()
    if stored.names:
        return None
    slope, intercept = header.get_slope_inter()
    scaled = slope is not None and (slope, intercept or 0.0) != (1.0, 0.0)
    if path.name.lower().endswith(".gz"):
        _unpack(path, scratch)
        path = scratch
    return FileArray(
        path,
        volume.shape,
        stored,
        offset=int(header.get_data_offset()),
        order=tuple(reversed(range(volume.ndim))),
        scale=(float(slope), float(intercept or 0.0)) if scaled else None,
        dtype=volume.dtype,
    )


def _unpack(path: Path, scratch: Path) -> None:
    with path.open("rb") as file, gzip.GzipFile(fileobj=file) as stream, scratch.open("wb") as target:
        while True:
            try:
                block = stream.read(_COPY_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                # Bytes after the end of the stream do no harm.
                if isinstance(error, gzip.BadGzipFile) and "Not a gzipped file" in str(error):
                    return
                raise ReadError(path, f"is damaged: {brief(error)}; copy or download it again") from None
            if not block:
                return
            try:
                target.write(block)
            except OSError as error:
                reason = f"no room for an uncompressed copy: {brief(error.strerror or str(error))}"
                raise WriteError(path, reason, error.errno) from None


def _numpy(volume: Volume, path: Path) -> FileArray | None:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, stored = read(file)
        offset = file.tell()
    order = tuple(reversed(range(len(shape)))) if fortran else None
    return FileArray(path, shape, stored, offset=offset, order=order, dtype=volume.dtype)


def _tiff(volume: Volume, path: Path) -> FileArray | None:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        page = series.keyframe
        # Only where pixels lie one after the other: tiles, strips of compressed pages and bits do not.
        offset = series.dataoffset
        plain = (
            page.compression == 1 and page.predictor == 1 and page.bitspersample == series.dtype.itemsize * 8
        )
        order = tiff.byteorder
    if offset is None or not plain or tuple(series.shape) != volume.shape:
        return None
    return FileArray(path, volume.shape, series.dtype.newbyteorder(order), offset=offset, dtype=volume.dtype)


def write_labels(path: Path, labels: FileArray, like: Volume) -> None:
    """Write labels on the grid of a volume as `napari_refit.io.write.save` does, byte for byte, plane by plane.

    Parameters
    ----------
    path : Path
        Of one of the formats `STREAMABLE`; an existing file is replaced.
    labels : FileArray
        Of the volume's shape, in its order.
    like : Volume

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    extension = split_name(path)[1]
    with atomic_path(path) as temporary:
        if extension in NIFTI:
            _write_nifti(temporary, labels, like)
        elif extension in NUMPY:
            with temporary.open("wb") as file:
                entry = {"descr": labels.dtype.str, "fortran_order": False, "shape": labels.shape}
                np.lib.format.write_array_header_1_0(file, entry)
                _write_values(file, _planes(labels))
        else:
            _write_tiff(temporary, labels, like)


def _write_nifti(temporary: Path, labels: FileArray, like: Volume) -> None:
    from napari_refit.io import _nifti

    start = _Start()
    image = _nifti.image_of(_blank(labels, like), labels=True)
    start.length = int(image.header.get_data_offset()) or start.length
    with suppress(_Reached):
        image.to_stream(start)
    turned = labels.transpose(tuple(reversed(range(labels.ndim))))
    with temporary.open("wb") as file:
        if temporary.name.lower().endswith(".gz"):
            with _nifti.gzip_stream(file) as stream:
                stream.write(start.getvalue())
                _write_values(stream, _planes(turned))
        else:
            file.write(start.getvalue())
            _write_values(file, _planes(turned))


def _write_tiff(temporary: Path, labels: FileArray, like: Volume) -> None:
    from napari_refit.io import _pictures

    offset = _pictures.write_tiff_header(temporary, _blank(labels, like))
    with temporary.open("r+b") as file:
        file.seek(offset)
        _write_values(file, _planes(labels))


def _blank(labels: FileArray, like: Volume) -> Volume:
    """A volume of zeros that takes no memory."""
    zeros = np.broadcast_to(labels.dtype.type(0), labels.shape)
    return Volume.from_array(zeros, like.axes, like.affine, like.spacing, header=like.header, path=like.path)


def _planes(labels: FileArray) -> Iterator[np.ndarray]:
    for at in np.ndindex(labels.shape[:-2]):
        yield labels[at]


def _write_values(file: IO[bytes] | gzip.GzipFile, planes: Iterator[np.ndarray]) -> None:
    for plane in planes:
        file.write(np.ascontiguousarray(plane).tobytes())


class _Reached(Exception):
    """All that comes before the voxels is there."""


class _Start(io.BytesIO):
    """Takes what a writer writes before the voxels."""

    length = 352

    def write(self, data: Any) -> int:
        if self.tell() >= self.length:
            raise _Reached
        return super().write(data)
