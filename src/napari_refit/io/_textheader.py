"""The text headers of NRRD and MetaImage, read for what must be known before ITK allocates anything."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_refit.errors import ReadError, brief
from napari_refit.io import _guard

_LONGEST = 1 << 20
_NRRD_BYTES = {
    "char": 1,
    "int8": 1,
    "uchar": 1,
    "uint8": 1,
    "short": 2,
    "int16": 2,
    "ushort": 2,
    "uint16": 2,
    "int": 4,
    "int32": 4,
    "uint": 4,
    "uint32": 4,
    "float": 4,
    "longlong": 8,
    "int64": 8,
    "ulonglong": 8,
    "uint64": 8,
    "double": 8,
}
_META_BYTES = {
    "CHAR": 1,
    "SHORT": 2,
    "INT": 4,
    "FLOAT": 4,
    "LONG": 4,
    "LONG_LONG": 8,
    "DOUBLE": 8,
}
# Numbers that each field must hold, as a power of the number of axes.
_META_VECTORS = {
    "DimSize": 1,
    "Offset": 1,
    "Position": 1,
    "Origin": 1,
    "CenterOfRotation": 1,
    "ElementSpacing": 1,
    "ElementSize": 1,
    "TransformMatrix": 2,
    "Rotation": 2,
    "Orientation": 2,
}
_MOST_AXES = 5
_NRRD_ENCODINGS = ("raw", "gzip", "gz", "text", "txt", "ascii", "hex", "bzip2", "bz2")


@dataclass(frozen=True)
class TextHeader:
    """What the readers need of it.

    Attributes
    ----------
    has_space : bool
        Whether the file says where it lies in space.
    has_spacing : bool
        Whether it gives voxel sizes.
    has_list : bool
        Whether the components of a voxel are a sequence rather than channels.
    zlib_stream : tuple or None
        File, first byte and promised bytes of voxels that nothing else will check.
    """

    has_space: bool
    has_spacing: bool
    has_list: bool
    zlib_stream: tuple[Path, int, int] | None = None


def check_header(path: Path) -> TextHeader:
    """Check an NRRD or MetaImage header against the bytes that are there.

    Parameters
    ----------
    path : Path

    Returns
    -------
    TextHeader

    Raises
    ------
    ReadError
        For a wrong format, a damaged header, an empty axis, or voxels that are not all there.
    """
    _guard.require_file(path)
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    if path.name.lower().endswith((".nrrd", ".nhdr")):
        return _check_nrrd(path, start)
    return _check_meta(path, start)


def _check_nrrd(path: Path, start: bytes) -> TextHeader:
    if not start.startswith(b"NRRD"):
        raise ReadError(path, "is not an NRRD file (wrong magic number); check its format or its name")
    length = min(
        (end for end in (start.find(b"\n\n") + 2, start.find(b"\r\n\r\n") + 4) if end > 3), default=0
    )
    detached = path.name.lower().endswith(".nhdr")
    if not length and not detached:
        raise ReadError(path, "is truncated: it ends inside the header; copy or download it again")
    fields: dict[str, str] = {}
    for line in start[: length or None].decode("utf-8", "replace").splitlines()[1:]:
        key, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            fields[key.strip().lower().replace(" ", "")] = value.strip()
    shape = _integers(path, fields.get("sizes", ""), "sizes")
    if fields.get("dimension", "") != str(len(shape)) or len(shape) > _MOST_AXES + 1:
        raise ReadError(
            path, f"its header is damaged: dimension {fields.get('dimension', '')!r}, sizes {shape}"
        )
    item = "".join(fields.get("type", "").removeprefix("signed ").split()).removesuffix("_t")
    item = item.replace("unsigned", "u").replace("longlongint", "longlong").replace("shortint", "short")
    promised = math.prod(shape) * _NRRD_BYTES.get(item, 1)
    encoding = fields.get("encoding", "").lower()
    if encoding not in _NRRD_ENCODINGS:
        raise ReadError(path, f"its header is damaged: encoding is {encoding[:40]!r}")
    data = fields.get("datafile")
    zipped = encoding in ("gzip", "gz")
    if encoding in ("text", "txt", "ascii", "hex"):
        promised = math.prod(shape)
    if encoding not in ("bzip2", "bz2"):
        _check_data(path, data, length, promised, zipped=zipped, gzip_stream=zipped)
    return TextHeader(
        has_space="spacedirections" in fields or "space" in fields,
        has_spacing="spacings" in fields,
        has_list="list" in fields.get("kinds", "").lower().split(),
    )


def _check_meta(path: Path, start: bytes) -> TextHeader:
    fields: dict[str, str] = {}
    length = 0
    for line in start.splitlines(keepends=True):
        length += len(line)
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    if "NDims" not in fields and "DimSize" not in fields:
        raise ReadError(path, "is not a MetaImage file (no NDims); check its format or its name")
    if "ElementDataFile" not in fields:
        raise ReadError(path, "is truncated: it ends inside the header; copy or download it again")
    _check_meta_numbers(path, fields)
    shape = _integers(path, fields["DimSize"], "DimSize")
    item = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    if item.removeprefix("U") not in _META_BYTES:
        raise ReadError(path, f"holds values of the kind {item[:40]!r}; save real numbers instead")
    channels = _integers(path, fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels")[0]
    promised = math.prod(shape) * channels * _META_BYTES[item.removeprefix("U")]
    for name in ("BinaryData", "CompressedData"):
        if fields.get(name, "T")[:1] not in tuple("TtFf01"):
            raise ReadError(path, f"its header is damaged: {name} is {fields[name][:40]!r}")
    zipped = fields.get("CompressedData", "")[:1] in ("T", "t", "1")
    if fields.get("BinaryData", "True")[:1] not in ("T", "t", "1"):
        promised = math.prod(shape)
    data = None if fields["ElementDataFile"].upper() == "LOCAL" else fields["ElementDataFile"]
    _check_data(path, data, length, promised, zipped=zipped, gzip_stream=False)
    stored = fields.get("CompressedDataSize", "0")
    if not stored.isdigit() or (zipped and data is None and int(stored) < 1):
        raise ReadError(path, f"its header is damaged: CompressedDataSize is {stored[:40]!r}")
    if zipped and data is None and int(stored) > path.stat().st_size - length:
        raise ReadError(path, "is truncated: compressed voxels are missing; copy or download it again")
    stream = (path if data is None else path.parent / data, length if data is None else 0, promised)
    return TextHeader(
        has_space=True, has_spacing=True, has_list=False, zlib_stream=stream if zipped else None
    )


def _check_meta_numbers(path: Path, fields: Mapping[str, str]) -> None:
    """Check how many numbers the fields hold: MetaIO writes beyond its buffers where they are too many."""
    n_axes = fields.get("NDims", "")
    if not n_axes.isdigit() or not 1 <= int(n_axes) <= _MOST_AXES:
        raise ReadError(path, f"its header is damaged: NDims is {n_axes[:40]!r}")
    if "DimSize" not in fields:
        raise ReadError(path, "its header is damaged: it has no DimSize")
    names = list(fields)
    for name, power in _META_VECTORS.items():
        if name not in fields:
            continue
        try:
            numbers = [float(number) for number in fields[name].split()]
        except ValueError:
            numbers = []
        if len(numbers) != int(n_axes) ** power or names.index(name) < names.index("NDims"):
            raise ReadError(path, f"its header is damaged: {name} is {fields[name][:40]!r}")


def check_zlib_stream(path: Path, start: int, promised: int) -> None:
    """Raise `ReadError` unless a zlib stream is whole: MetaIO takes what it can get of a damaged one."""
    inflate = zlib.decompressobj()
    found = 0
    try:
        with path.open("rb") as file:
            file.seek(start)
            while not inflate.eof and (block := inflate.unconsumed_tail or file.read(1 << 20)):
                found += len(inflate.decompress(block, 1 << 24))
    except (OSError, zlib.error) as error:
        raise ReadError(path, f"is damaged: {brief(error)}; copy or download it again") from None
    if found < promised or not inflate.eof:
        raise ReadError(path, "is truncated: compressed voxels are missing; copy or download it again")


def _integers(path: Path, text: str, name: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(number) for number in text.split())
    except ValueError:
        numbers = ()
    if not numbers:
        raise ReadError(path, f"its header is damaged: {name} is {text[:40]!r}")
    if min(numbers) < 1:
        raise ReadError(path, f"an axis has no voxels ({name} {numbers}); export it again")
    return numbers


def _check_data(
    path: Path, data: str | None, length: int, promised: int, *, zipped: bool, gzip_stream: bool
) -> None:
    if data is not None and not data.isprintable():
        raise ReadError(path, f"its header is damaged: the voxels' file is {data[:40]!r}")
    if data is not None and ("%" in data or data.upper().startswith("LIST")):
        return
    file = path if data is None else path.parent / data
    size = _guard.require_file(file)
    start = length if data is None else 0
    _guard.check_stored(file, promised, size - start, _guard.DEFLATE_LIMIT if zipped else 1)
    _guard.check_memory(file, promised)
    if gzip_stream:
        _guard.check_gzip_complete(file, promised, start)
