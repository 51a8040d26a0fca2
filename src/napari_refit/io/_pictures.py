"""PNG, JPEG, BMP, TIFF and NumPy files."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.errors import ReadError, WriteError, brief
from napari_refit.io import _guard
from napari_refit.io.formats import split_name
from napari_refit.io.volume import SPATIAL, LazyArray, Volume

_MILLIMETRES = {
    "nm": 1e-6,
    "um": 1e-3,
    "µm": 1e-3,
    "μm": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "micrometer": 1e-3,
    "mm": 1.0,
    "millimeter": 1.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "m": 1000.0,
    "inch": 25.4,
}
_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
_TIFF_NAMES = {"S": "c", "C": "c", "X": "x", "Y": "y", "Z": "z", "T": "t"}


def read_picture(path: Path) -> Volume:
    """Read the header of a PNG, JPEG or BMP; the pixels follow when asked for."""
    import imageio.v3 as iio

    size = _guard.require_file(path)
    try:
        known = iio.improps(path, plugin="pillow", index=0)
    except Exception as error:  # Pillow's own kinds, OSError, SyntaxError for a broken PNG
        if "decompression bomb" in str(error):
            raise ReadError(path, "its header claims too many pixels; the file is damaged") from None
        raise ReadError(path, "is not a picture that can be read; check its format or its name") from None
    shape, dtype = tuple(known.shape), np.dtype(known.dtype)
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    promised = math.prod(shape) * dtype.itemsize
    extension = split_name(path)[1]
    if extension == ".png":
        _guard.check_stored(path, promised // 8, size, _guard.DEFLATE_LIMIT)
    _guard.check_memory(path, promised)
    if len(shape) == 3 and shape[2] == 2:
        shape = shape[:2]
    volume = Volume(
        path=path,
        shape=shape,
        dtype=dtype,
        axes=("y", "x", "c")[: len(shape)],
        affine=None,
        spacing=None,
        source=LazyArray(partial(_read_pixels, path)),
    )
    with path.open("rb") as file:
        start = file.read(6)
        if start.startswith(b"BM") and int.from_bytes(start[2:], "little") > size:
            raise ReadError(path, "is truncated: pixels are missing; copy or download it again")
        file.seek(max(0, size - 1024))
        if _ENDS.get(extension, b"") not in file.read():
            _ = volume.data
    return volume


def _read_pixels(path: Path) -> np.ndarray:
    import imageio.v3 as iio

    _guard.require_file(path)
    try:
        array = iio.imread(path, plugin="pillow", index=0)
    except Exception as error:  # Pillow's own kinds, OSError, SyntaxError for a broken PNG
        raise ReadError(path, f"is damaged: {brief(error)}; copy or download it again") from None
    if array.ndim == 3 and array.shape[2] == 2:
        array = array[..., 0]
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def write_picture(temporary: Path, volume: Volume) -> None:
    """Write a plane as PNG or BMP."""
    import imageio.v3 as iio

    extension = split_name(temporary)[1]
    array = _plane(temporary, volume)
    highest = 255 if extension == ".bmp" or array.ndim == 3 else 65535
    if array.dtype.kind not in "iu":
        raise WriteError(temporary, f"{extension} cannot hold {array.dtype} values; save as .tif or .npy")
    if array.size and (array.min() < 0 or array.max() > highest):
        raise WriteError(temporary, f"{extension} holds values 0 to {highest} only; save as .tif or .npy")
    array = array.astype(np.uint8 if highest == 255 or array.max() <= 255 else np.uint16)
    with temporary.open("wb") as file:
        iio.imwrite(file, array, plugin="pillow", extension=extension)


def _plane(path: Path, volume: Volume) -> np.ndarray:
    single = tuple(
        i for i, name in enumerate(volume.axes) if volume.shape[i] == 1 and name not in ("y", "x", "c")
    )
    names = tuple(name for i, name in enumerate(volume.axes) if i not in single)
    if sum(name in SPATIAL for name in names) != 2 or len(names) > 3:
        raise WriteError(
            path, f"a picture holds one plane, not shape {volume.shape}; save as .tif or .nii.gz"
        )
    return volume.ordered("tuvzyxc").data.reshape(
        [volume.shape[volume.axes.index(name)] for name in "zyxc" if name in names]
    )


def read_tiff(path: Path) -> Volume:
    """Read the header of a TIFF; the pixels follow when asked for."""
    import tifffile

    size = _guard.require_file(path)
    try:
        with _strict_tiff(), tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            shape, dtype, names = tuple(series.shape), series.dtype, series.axes
            ends = [
                offset + count
                for page in series.pages
                if page is not None
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
            ]
            if series.dataoffset is not None:
                ends.append(series.dataoffset + series.nbytes)
            is_compressed = any(page is not None and page.compression != 1 for page in series.pages)
            axes = _tiff_axes(names)
            spacing = _tiff_spacing(tiff, axes)
            if "c" in axes:  # channels come last, as in every other format
                channel = axes.index("c")
                shape = (*shape[:channel], *shape[channel + 1 :], shape[channel])
                axes = (*axes[:channel], *axes[channel + 1 :], "c")
    except ReadError:
        raise
    except Exception as error:  # a damaged TIFF raises nearly anything
        reason = (
            "is not a TIFF file, or damaged" if isinstance(error, tifffile.TiffFileError) else "is damaged"
        )
        raise ReadError(path, f"{reason}: {brief(error)}; copy or export it again") from None
    if dtype is None or dtype.kind not in "iufb":
        raise ReadError(path, f"holds {dtype} values; save real numbers instead")
    _guard.check_shape(path, shape)
    if not ends or max(ends) > size:
        raise ReadError(path, "is truncated: pixels are missing; copy or download it again")
    promised = math.prod(shape) * dtype.itemsize
    _guard.check_stored(path, promised // 8, size, _guard.LZW_LIMIT if is_compressed else 1)
    _guard.check_memory(path, promised)
    return Volume(
        path=path,
        shape=shape,
        dtype=np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("="),
        axes=axes,
        affine=None,
        spacing=spacing,
        source=LazyArray(partial(_read_tiff_pixels, path)),
    )


def _read_tiff_pixels(path: Path) -> np.ndarray:
    import tifffile

    _guard.require_file(path)
    try:
        with _strict_tiff(), tifffile.TiffFile(path) as tiff:
            array = np.asarray(tiff.series[0].asarray())
            axes = _tiff_axes(tiff.series[0].axes)
            if "c" in axes:
                array = np.moveaxis(array, axes.index("c"), -1)
    except Exception as error:  # a damaged TIFF raises nearly anything
        raise ReadError(path, f"is damaged: {brief(error)}; copy or download it again") from None
    return array.astype(np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("="), copy=False)


def _tiff_axes(names: str) -> tuple[str, ...]:
    """Name TIFF axes in our words; a single unknown one of a stack is taken for z."""
    axes: list[str] = []
    for name in names:
        known = _TIFF_NAMES.get(name, "")
        axes.append(known if known not in axes else "")
    for i, name in enumerate(axes):
        if not name:
            axes[i] = next(other for other in ("z", "t", "u", "v", "w", "q") if other not in axes)
    return tuple(axes)


def _tiff_spacing(tiff: Any, axes: tuple[str, ...]) -> tuple[float, ...] | None:
    steps: dict[str, float] = {}
    shaped = tiff.shaped_metadata
    imagej = tiff.imagej_metadata
    if tiff.ome_metadata:
        import tifffile

        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
        for name in SPATIAL:
            if f"PhysicalSize{name.upper()}" in pixels:
                unit = str(pixels.get(f"PhysicalSize{name.upper()}Unit", "um"))
                steps[name] = float(pixels[f"PhysicalSize{name.upper()}"]) * _MILLIMETRES.get(unit, math.nan)
    elif imagej:
        unit = str(imagej.get("unit", "")).encode().decode("unicode_escape", "ignore").strip().lower()
        factor = _MILLIMETRES.get(unit, _MILLIMETRES.get(str(imagej.get("unit", "")), math.nan))
        tags = tiff.pages[0].tags
        for name, tag in (("x", "XResolution"), ("y", "YResolution")):
            if tag in tags:
                pixels_per_unit, denominator = tags[tag].value
                steps[name] = factor * denominator / pixels_per_unit
        steps["z"] = factor * float(imagej.get("spacing", math.nan))
    elif shaped and isinstance(shaped[0].get("spacing"), (list, tuple)):
        given = shaped[0]["spacing"]
        spatial = [name for name in axes if name in SPATIAL]
        steps = dict(zip(spatial, map(float, given), strict=False))
    spacing = tuple(steps.get(name, math.nan) for name in axes if name in SPATIAL)
    return spacing if spacing and all(math.isfinite(step) and step > 0 for step in spacing) else None


def write_tiff(temporary: Path, volume: Volume) -> None:
    """Write a TIFF that names its axes and spacing."""
    import tifffile

    volume, keywords = _tiff_layout(volume)
    tifffile.imwrite(temporary, np.ascontiguousarray(volume.data), **keywords)


def write_tiff_header(temporary: Path, volume: Volume) -> int:
    """Write the same with pixels of 0, without ever holding them; where the pixels begin is returned."""
    import tifffile

    volume, keywords = _tiff_layout(volume)
    tifffile.imwrite(temporary, shape=volume.shape, dtype=volume.dtype, **keywords)
    with tifffile.TiffFile(temporary) as tiff:
        offset = tiff.series[0].dataoffset
    assert offset is not None
    return offset


def _tiff_layout(volume: Volume) -> tuple[Volume, dict[str, Any]]:
    volume = volume.ordered("vutzyxc" if volume.shape[-1] in (3, 4) else "vutzcyx")
    is_rgb = volume.axes[-1] == "c" and volume.dtype.kind == "u"
    names = {"c": "S" if is_rgb else "C", "u": "Q", "v": "P"}
    metadata: dict[str, Any] = {"axes": "".join(names.get(name, name.upper()) for name in volume.axes)}
    if volume.spacing is not None:
        metadata["spacing"] = list(volume.spacing)
    return volume, {"photometric": "rgb" if is_rgb else "minisblack", "metadata": metadata}


@contextmanager
def _strict_tiff() -> Iterator[None]:
    """Raise what tifffile only logs: it drops the pages it cannot find and goes on."""
    logger = logging.getLogger("tifffile")
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
    for text in heard:
        if "invalid page offset" in text or "corrupt" in text.lower():
            raise ValueError("pages are missing (is it truncated?)")


def read_numpy(path: Path) -> Volume:
    """Read the header of a ``.npy`` file; the values stay on disk until used."""
    _guard.require_file(path)
    with path.open("rb") as file:
        if file.read(6) != np.lib.format.MAGIC_PREFIX:
            raise ReadError(path, "is not a NumPy .npy file; save the array with numpy.save")
    array = _map(path)
    if array.dtype.kind not in "iufb":
        raise ReadError(path, f"holds {array.dtype} values; save real numbers instead")
    _guard.check_shape(path, array.shape)
    return Volume(
        path=path,
        shape=array.shape,
        dtype=array.dtype.newbyteorder("="),
        axes=guess_axes(array.shape, array.dtype),
        affine=None,
        spacing=None,
        source=LazyArray(partial(_read_values, path)),
    )


def _map(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (
        Exception
    ) as error:  # numpy evaluates the header as a Python literal: a damaged one raises anything
        if "Python objects" in str(error) or "pickle" in str(error).lower():
            reason = "holds pickled Python objects, which are never loaded; save a plain array of numbers"
            raise ReadError(path, reason) from None
        raise ReadError(path, f"is truncated or damaged: {brief(error)}") from None
    return array


def _read_values(path: Path) -> np.ndarray:
    _guard.require_file(path)
    array = _map(path)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def write_numpy(temporary: Path, volume: Volume) -> None:
    """Write the values as they are."""
    with temporary.open("wb") as file:
        np.save(file, volume.data, allow_pickle=False)


def guess_axes(shape: tuple[int, ...], dtype: np.dtype) -> tuple[str, ...]:
    """Name the axes of an array that comes without names.

    Examples
    --------
    >>> guess_axes((64, 48, 32), np.dtype(np.float32))
    ('z', 'y', 'x')
    >>> guess_axes((48, 32, 3), np.dtype(np.uint8))
    ('y', 'x', 'c')
    """
    is_rgb = len(shape) > 2 and shape[-1] in (3, 4) and dtype == np.uint8 and min(shape[-3:-1]) > 4
    n = len(shape) - is_rgb
    names = ("w", "v", "u", "t", "z", "y", "x")
    if n > len(names):
        raise ValueError(f"arrays of {len(shape)} axes are not supported, got shape {shape}")
    return (*names[len(names) - n :], *(("c",) if is_rgb else ()))


READERS: dict[str, Callable[[Path], Volume]] = {
    ".png": read_picture,
    ".jpg": read_picture,
    ".jpeg": read_picture,
    ".bmp": read_picture,
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".npy": read_numpy,
}
