"""The text headers of NRRD and MetaImage, read for what must be known before ITK allocates anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from napari_refit.errors import ReadError
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
    """

    has_space: bool
    has_spacing: bool
    has_list: bool


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
    item = "".join(fields.get("type", "").removeprefix("signed ").split()).removesuffix("_t")
    item = item.replace("unsigned", "u").replace("longlongint", "longlong").replace("shortint", "short")
    promised = math.prod(shape) * _NRRD_BYTES.get(item, 1)
    encoding = fields.get("encoding", "raw").lower()
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
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            break
    if "ndims" not in fields and "dimsize" not in fields:
        raise ReadError(path, "is not a MetaImage file (no NDims); check its format or its name")
    if "elementdatafile" not in fields:
        raise ReadError(path, "is truncated: it ends inside the header; copy or download it again")
    shape = _integers(path, fields.get("dimsize", ""), "DimSize")
    item = fields.get("elementtype", "").removeprefix("MET_").removesuffix("_ARRAY")
    channels = _integers(path, fields.get("elementnumberofchannels", "1"), "ElementNumberOfChannels")[0]
    promised = math.prod(shape) * channels * _META_BYTES.get(item.removeprefix("U"), 1)
    zipped = fields.get("compresseddata", "False").lower() == "true"
    if fields.get("binarydata", "True").lower() == "false":
        promised = math.prod(shape)
    data = fields["elementdatafile"]
    local = data.upper() == "LOCAL"
    _check_data(path, None if local else data, length, promised, zipped=zipped, gzip_stream=False)
    stored = fields.get("compresseddatasize", "")
    if zipped and local and stored.isdigit() and int(stored) > path.stat().st_size - length:
        raise ReadError(path, "is truncated: compressed voxels are missing; copy or download it again")
    return TextHeader(has_space=True, has_spacing=True, has_list=False)


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
    if data is not None and ("%" in data or data.upper().startswith("LIST")):
        return
    file = path if data is None else path.parent / data
    size = _guard.require_file(file)
    start = length if data is None else 0
    _guard.check_stored(file, promised, size - start, compressed=zipped)
    _guard.check_memory(file, promised)
    if gzip_stream:
        _guard.check_gzip_complete(file, promised, start)
