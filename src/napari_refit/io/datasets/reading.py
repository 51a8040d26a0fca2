"""From a case's files to volumes and planes: modalities, stacks of slices, crops, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from napari_refit.errors import ReadError
from napari_refit.image_grid import ImageGrid
from napari_refit.intensity import measure_range, normalise
from napari_refit.io.datasets.case import ImageFiles, MaskFiles
from napari_refit.io.datasets.preparation import Preparation, crop_ranges
from napari_refit.io.read import load
from napari_refit.io.volume import LazyArray, Volume, grid_difference
from napari_refit.params import IntensityParams

_MIN_MAX = IntensityParams(low_percentile=0.0, high_percentile=100.0)


def open_images(files: Sequence[ImageFiles]) -> list[Volume]:
    """Open modalities; those that share a file share its voxels. No voxel is read.

    Returns
    -------
    list of Volume
        Spatial axes in the order of the files; the last axis is ``"c"`` for a picture in colours. Opacity is
        left out.

    Raises
    ------
    ReadError
        If a file cannot be read or lacks the channel.
    """
    opened: dict[tuple[Path, ...], Volume] = {}
    volumes = []
    for item in files:
        if item.paths not in opened:
            opened[item.paths] = _open(item.paths)
        volumes.append(_selected(opened[item.paths], item.channel))
    return volumes


def _open(paths: tuple[Path, ...]) -> Volume:
    first = load(paths[0])
    return first if len(paths) == 1 else stacked(first, paths)


def stacked(first: Volume, paths: tuple[Path, ...]) -> Volume:
    """A volume made of pictures, slice axis first; only the first one's header has been read."""
    return Volume(
        path=paths[0].parent,
        shape=(len(paths), *first.shape),
        dtype=first.dtype,
        axes=("z", *first.axes),
        affine=None,
        spacing=None,
        source=LazyArray(partial(_read_stack, paths, first.shape, first.dtype)),
    )


def _read_stack(paths: tuple[Path, ...], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    stack = np.empty((len(paths), *shape), dtype)
    for place, path in enumerate(paths):
        volume = load(path)
        if volume.shape != shape or volume.dtype != dtype:
            raise ReadError(
                path,
                f"is {volume.shape} {volume.dtype}, not {shape} {dtype} as {paths[0].name}; export it again",
            )
        stack[place] = volume.data
    return stack


def _selected(volume: Volume, channel: int | None) -> Volume:
    """One channel of a volume, or all of it without what are no grey values."""
    extra = [axis for axis in range(volume.ndim) if axis not in volume.spatial_axes]
    if channel is None:
        single = [axis for axis in extra if volume.shape[axis] == 1]
        if single:
            return _selected(_picked(volume, single[-1], 0), None)
        if extra and volume.axes[extra[-1]] == "c" and volume.shape[extra[-1]] == 4:
            return _picked(volume, extra[-1], slice(0, 3))
        if extra and (len(extra) > 1 or volume.axes[extra[0]] != "c"):
            path = volume.path or "image"
            raise ReadError(
                path, f"has axes {volume.axes}, shape {volume.shape}: a volume of one image is expected"
            )
        return volume
    if len(extra) != 1:
        reason = f"has axes {volume.axes}, shape {volume.shape}: one axis of channels is expected"
        raise ReadError(volume.path or "image", reason)
    if channel >= volume.shape[extra[0]]:
        reason = f"has {volume.shape[extra[0]]} channels (shape {volume.shape}); channel {channel + 1} is not there"
        raise ReadError(volume.path or "image", reason)
    return _picked(volume, extra[0], channel)


def _picked(volume: Volume, axis: int, pick: int | slice) -> Volume:
    index = (*(slice(None),) * axis, pick)
    shape, axes = list(volume.shape), list(volume.axes)
    if isinstance(pick, slice):
        shape[axis] = len(range(*pick.indices(shape[axis])))
    else:
        del shape[axis], axes[axis]
    return replace(
        volume,
        shape=tuple(shape),
        axes=tuple(axes),
        header=None,
        source=LazyArray(partial(_index, volume, index)),
    )


def _index(volume: Volume, index: tuple[int | slice, ...]) -> np.ndarray:
    return volume.data[index]


def together(volumes: Sequence[Volume]) -> Volume:
    """Modalities as the channels of one volume (last axis, ``"c"``); a single one as it is.

    Raises
    ------
    ReadError
        If their grids differ.
    """
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for other in volumes[1:]:
        difference = grid_difference(first, other)
        if difference is not None:
            raise ReadError(other.path or "image", f"does not lie on the grid of {first.path}: {difference}")
    if "c" in first.axes:
        raise ReadError(
            first.path or "image", "is a picture in colours and cannot be one of several modalities"
        )
    return replace(
        first,
        shape=(*first.shape, len(volumes)),
        dtype=np.result_type(*(volume.dtype for volume in volumes)),
        axes=(*first.axes, "c"),
        header=None,
        source=LazyArray(partial(_stack_channels, tuple(volumes))),
    )


def _stack_channels(volumes: tuple[Volume, ...]) -> np.ndarray:
    return np.stack([volume.data for volume in volumes], axis=-1)


def cropped(volume: Volume, crop: str, name: str = "") -> Volume:
    """Keep a part of a volume; its affine goes with it.

    Raises
    ------
    ValueError
        If the crop has another number of axes or reaches beyond the volume.
    """
    ranges = crop_ranges(crop)
    if not ranges:
        return volume
    lengths = volume.spatial_shape
    stops = [
        length if part.stop is None else part.stop for part, length in zip(ranges, lengths, strict=False)
    ]
    if len(ranges) != len(lengths) or any(
        stop > length or (part.start or 0) >= stop
        for part, stop, length in zip(ranges, stops, lengths, strict=True)
    ):
        raise ValueError(f"{name or volume.path}: crop {crop!r} does not fit the shape {lengths}")
    starts = [part.start or 0 for part in ranges]
    index: list[slice] = [slice(None)] * volume.ndim
    shape = list(volume.shape)
    for axis, start, stop in zip(volume.spatial_axes, starts, stops, strict=True):
        index[axis], shape[axis] = slice(start, stop), stop - start
    affine = volume.affine
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += affine[:3, : len(starts)] @ starts
    return replace(
        volume,
        shape=tuple(shape),
        affine=affine,
        header=None,
        source=LazyArray(partial(_index, volume, tuple(index))),
    )


def offset(preparation: Preparation, axis: int) -> int:
    """How many slices of an axis the crop takes off at the start."""
    ranges = crop_ranges(preparation.crop)
    return (ranges[axis].start or 0) if ranges else 0


def prepared_volume(files: Sequence[ImageFiles], preparation: Preparation, name: str = "") -> Volume:
    """Open modalities as one volume, cropped; grey values and geometry are the file's."""
    return cropped(together(open_images(files)), preparation.crop, name)


def slice_axis(volume: Volume, preparation: Preparation) -> int | None:
    """Which spatial axis (in the order of the file) is cut; None for a picture."""
    if len(volume.spatial_axes) < 3:
        return None
    return ImageGrid(volume).coarsest_axis() if preparation.axis == "auto" else int(preparation.axis)


def scaled_image(volume: Volume, preparation: Preparation, n_modalities: int) -> Volume:
    """A volume with its grey values scaled as a whole, where the preparation says so; several modalities one by one."""
    if preparation.scaling != "image":
        return volume
    source = LazyArray(partial(_scaled_volume, volume, n_modalities))
    return replace(volume, dtype=np.dtype(np.float32), header=None, source=source)


def _scaled_volume(volume: Volume, n_modalities: int) -> np.ndarray:
    return _min_max(volume.data, n_modalities)


def _min_max(values: np.ndarray, n_modalities: int) -> np.ndarray:
    if n_modalities == 1:
        return normalise(values, measure_range(values, _MIN_MAX), _MIN_MAX)
    return np.stack([_min_max(values[..., k], 1) for k in range(n_modalities)], axis=-1)


def plane_of(
    volume: Volume, axis: int | None, position: int | None, preparation: Preparation, n_modalities: int
) -> np.ndarray:
    """A plane as it is displayed, ``(H, W)`` or ``(H, W, C)``, scaled by itself and resized as asked.

    Parameters
    ----------
    volume : Volume
        From `prepared_volume` and `scaled_image`.
    axis, position : int or None
        Position within the volume.
    preparation : Preparation
    n_modalities : int
        Of several, each is scaled by itself; the colours of one are scaled together.
    """
    plane = raw_plane(volume, axis, position)
    if preparation.scaling == "slice":
        plane = _min_max(plane, n_modalities)
    return resized(plane, preparation.size)


def raw_plane(volume: Volume, axis: int | None, position: int | None) -> np.ndarray:
    """A plane as it is displayed, with the file's values.

    Raises
    ------
    ValueError, IndexError
        If a volume is not cut, a picture is, or the slice does not exist.
    """
    if (axis is None) != (len(volume.spatial_axes) < 3) or (axis is None) != (position is None):
        given = "no slice" if axis is None else f"slice {position} of axis {axis}"
        raise ValueError(f"{volume.path}: shape {volume.spatial_shape} does not go with {given}")
    grid = ImageGrid(volume, rgb="c" in volume.axes)
    positions = {} if axis is None or position is None else {axis: position}
    if any(at < 0 for at in positions.values()):
        raise IndexError(f"{volume.path}: slice {position} of axis {axis} is before the first")
    return grid.planes.read(grid.index(positions))


def resized(plane: np.ndarray, size: int, *, labels: bool = False) -> np.ndarray:
    """A plane of ``size`` pixels each way (0: as it is); labels keep their values."""
    if not size or plane.shape[:2] == (size, size):
        return plane
    from skimage.transform import resize

    shape = (size, size, *plane.shape[2:])
    if labels:
        return resize(plane, shape, order=0, preserve_range=True, anti_aliasing=False).astype(plane.dtype)
    values = plane.astype(np.float32, copy=False)
    shrinks = plane.shape[0] > size or plane.shape[1] > size
    scaled = resize(values, shape, order=1, preserve_range=True, anti_aliasing=shrinks)
    return np.rint(scaled).astype(plane.dtype) if plane.dtype.kind in "iu" else scaled.astype(np.float32)


def read_mask(files: MaskFiles) -> Volume:
    """Masks of a case as one volume of whole numbers, colour channels merged, as the files have them.

    Raises
    ------
    ReadError
        If a file cannot be read, holds values that are no whole numbers, or lies on another grid than the first.
    """
    volumes = [mask_volume(path) for path in files.paths]
    first = volumes[0]
    if files.join == "stack":
        for path, other in zip(files.paths[1:], volumes[1:], strict=True):
            if other.shape != first.shape:
                raise ReadError(
                    path, f"is {other.shape}, not {first.shape} as {files.paths[0].name}; export it again"
                )
        values = np.stack([whole_numbers(volume) for volume in volumes])
        return Volume.from_array(values, ("z", *first.axes), path=files.paths[0].parent)
    values = whole_numbers(first)
    for path, other in zip(files.paths[1:], volumes[1:], strict=True):
        difference = grid_difference(first, other)
        if difference is not None:
            raise ReadError(path, f"does not lie on the grid of {files.paths[0].name}: {difference}")
        values = np.maximum(values, whole_numbers(other))
    return Volume.from_array(values, first.axes, first.affine, first.spacing, path=first.path)


def mask_volume(path: Path) -> Volume:
    """Open a mask; of a picture in colours the brightest channel counts, opacity does not."""
    volume = _selected(load(path), None)
    if "c" not in volume.axes:
        return volume
    return replace(
        volume,
        shape=volume.shape[:-1],
        axes=volume.axes[:-1],
        source=LazyArray(partial(_brightest, volume)),
    )


def _brightest(volume: Volume) -> np.ndarray:
    values: np.ndarray = volume.data.max(axis=-1)
    return values


def whole_numbers(volume: Volume) -> np.ndarray:
    """A mask's values as integers.

    Raises
    ------
    ReadError
        If they are none.
    """
    values = volume.data
    if values.dtype.kind != "f":
        return values
    path = volume.path or "mask"
    if not np.isfinite(values).all():
        raise ReadError(path, "holds values that are not finite; a mask needs whole numbers: export it again")
    whole = np.rint(values)
    if np.abs(values - whole).max(initial=0) > 1e-3:
        example = float(values[np.abs(values - whole) > 1e-3][0])
        raise ReadError(
            path, f"holds {example:.4g}; a mask needs whole numbers: export it without interpolation"
        )
    return whole.astype(np.int64 if np.abs(whole).max(initial=0) > 2**31 - 1 else np.int32)
