"""SLIC superpixels and supervoxels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop, check, run_bands
from napari_refit.devices import check_device, on_processor
from napari_refit.uss.checks import real_array
from napari_refit.uss.colour import lab_planes
from napari_refit.uss.edges import connected_clusters
from napari_refit.uss.slic_rounds import Tiles, cut_tiles, nearest_centres
from napari_refit.uss.slic_seeds import Seeds, grid_seeds, mask_seeds
from napari_refit.uss.smoothing import smooth

# Pixels from which on it pays to look for regions on all cores.
_LARGE = 1 << 19


def slic(
    image: Any,
    n_segments: int = 100,
    compactness: float = 10.0,
    max_num_iter: int = 10,
    sigma: float | Sequence[float] = 0,
    spacing: Sequence[float] | None = None,
    convert2lab: bool | None = None,
    enforce_connectivity: bool = True,
    min_size_factor: float = 0.5,
    max_size_factor: float = 3,
    slic_zero: bool = False,
    start_label: int = 1,
    mask: Any = None,
    *,
    channel_axis: int | None = -1,
    device: Any = None,
) -> NDArray[np.int64]:
    """Cut an image into clusters of near pixels of like colour (SLIC).

    The signature, the meaning of every argument and the result are those of `skimage.segmentation.slic`; all is
    computed in float32, so that a few pixels that are nearly as far from two centres may go to the other one.

    Parameters
    ----------
    image : array_like, (H, W[, C]) or (D, H, W[, C])
        Of any real dtype. It is rescaled to [0, 1] by its own range first.
    n_segments : int
        About how many clusters; at least 1.
    compactness : float
        Weight of nearness against likeness of colour; above 0.
    max_num_iter : int
        Rounds of k-means.
    sigma : float or sequence of float
        Standard deviation of the Gaussian smoothing beforehand: pixels, or the unit of ``spacing``.
    spacing : sequence of float, optional
        Distance between pixels along each spatial axis.
    convert2lab : bool, optional
        Whether to compare colours in Lab; by default done for three channels.
    enforce_connectivity : bool
        Whether to merge stray pieces into their neighbours.
    min_size_factor, max_size_factor : float
        Smallest and largest piece then, as a fraction of the mean cluster.
    slic_zero : bool
        Whether each cluster adapts its compactness (SLICO).
    start_label : {0, 1}
        Number of the first cluster.
    mask : array_like of bool, optional
        Only pixels where it is True are clustered; the others get 0 (-1 when ``start_label`` is 0).
    channel_axis : int or None
        Axis of the channels; None for a grey image.
    device : None, str or torch.device
        Where the k-means runs: None and ``"cpu"`` are the processor.

    Returns
    -------
    ndarray of int
        Cluster numbers, in the spatial shape of ``image``.

    Raises
    ------
    TypeError
        If ``image`` does not hold real numbers, ``spacing`` or ``sigma`` is no sequence or number, or ``device``
        is no device.
    ValueError
        If ``image`` is empty, holds NaN or infinities that are not masked out, or has another number of axes; a
        number is out of range; the mask is empty or of another shape; or the device is unknown or not there.

    References
    ----------
    R. Achanta et al., SLIC superpixels compared to state-of-the-art superpixel methods, TPAMI 34(11), 2012.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.repeat([0.0, 1.0], 8)[None].repeat(8, axis=0)
    >>> np.unique(slic(image, n_segments=2, channel_axis=None)[:, 8:])
    array([2])
    """
    check_device(device)
    values = real_array(image, "image")
    if not n_segments >= 1:
        raise ValueError(f"n_segments must be at least 1, got {n_segments!r}")
    if not compactness > 0:
        raise ValueError(f"compactness must be above 0, got {compactness!r}")
    if start_label not in (0, 1):
        raise ValueError(f"start_label must be 0 or 1, got {start_label!r}")
    planes, is_plane = _planes(values, channel_axis)
    keep = None if mask is None else _checked_mask(mask, planes.shape[1:], is_plane)
    distances = _spacing(spacing, is_plane)
    sigmas = _sigmas(sigma, distances, is_plane)
    channels = _rescaled(planes, keep)
    colour = channel_axis is not None and convert2lab is not False
    if colour and len(channels) == 3:
        channels = lab_planes(channels)
    elif colour and convert2lab:
        raise ValueError(f"Lab needs the three channels of RGB, got {len(channels)}")
    if max(sigmas) > 0:
        channels = smooth(channels, sigmas)
    if keep is None:
        seeds = grid_seeds(channels.shape[1:], n_segments)
    else:
        seeds = mask_seeds(keep, n_segments, multichannel=channel_axis is not None)
    numbers = nearest_seeds(
        channels,
        seeds,
        keep=keep,
        compactness=compactness,
        spacing=distances,
        rounds=max_num_iter,
        adaptive=slic_zero,
        device=device,
    )
    if enforce_connectivity:
        size = (numbers.size if keep is None else int(keep.sum())) / len(seeds.places)
        labels = merge_stray(numbers, int(min_size_factor * size), int(max_size_factor * size), start_label)
    else:
        labels = numbers.astype(np.int64) + start_label
    return labels[0] if is_plane else labels


def nearest_seeds(
    channels: NDArray[np.float32] | Tiles,
    seeds: Seeds,
    *,
    keep: NDArray[np.bool_] | None = None,
    compactness: float,
    spacing: Sequence[float] = (1, 1, 1),
    rounds: int = 10,
    adaptive: bool = False,
    device: Any = None,
    cancelled: Stop | None = None,
) -> NDArray[np.int32]:
    """The k-means of `slic` on prepared channels, on the processor or a device.

    Parameters
    ----------
    channels : ndarray of float32, (C, D, H, W), or Tiles
        Smoothed, and not scaled by the compactness. Tiles that `slic_rounds.cut_tiles` made of them earlier
        are for the processor only, and have their ``keep`` in them.
    seeds : Seeds
    keep : ndarray of bool, (D, H, W), optional
        Only pixels where it is True are clustered; the centres then move by place alone first.
    compactness, spacing, rounds, adaptive
        As in `slic_rounds.nearest_centres`.
    device : None, str or torch.device
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    ndarray of int32, (D, H, W)
        Numbers of the seeds; -1 where there is none.

    Raises
    ------
    TypeError
        If tiles are to go to another device.
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> channels = np.zeros((1, 1, 4, 8), np.float32)
    >>> nearest_seeds(channels, grid_seeds((1, 4, 8), 2), compactness=1)[0, 0]
    array([0, 0, 0, 0, 0, 1, 1, 1], dtype=int32)
    """
    if on_processor(device):
        tiles = channels if isinstance(channels, Tiles) else cut_tiles(channels, keep, cancelled=cancelled)
        return nearest_centres(
            tiles,
            seeds.places,
            step=seeds.step,
            reach=seeds.reach,
            compactness=compactness,
            spacing=spacing,
            rounds=rounds,
            by_place_first=tiles.masked,
            adaptive=adaptive,
            cancelled=cancelled,
        )
    if isinstance(channels, Tiles):
        raise TypeError(f"tiles are for the processor: {device} needs the channels themselves")
    from napari_refit.uss import slic_torch

    return slic_torch.nearest_centres(
        channels,
        seeds.places,
        keep=keep,
        step=seeds.step,
        reach=seeds.reach,
        compactness=compactness,
        spacing=spacing,
        rounds=rounds,
        adaptive=adaptive,
        device=device,
        cancelled=cancelled,
    )


def merge_stray(
    numbers: NDArray[np.int32],
    least: int,
    most: int,
    start: int,
    *,
    dtype: Any = np.int64,
    cancelled: Stop | None = None,
) -> NDArray[Any]:
    """Make every cluster one connected piece that is neither too small nor too large.

    Parameters
    ----------
    numbers : ndarray of int32, (D, H, W)
        Numbers of the centres; below 0 where there is none.
    least : int
        A piece of fewer pixels joins a neighbour.
    most : int
        A piece is cut off as soon as it has this many pixels.
    start : int
        Number of the first piece; pixels without a centre get the one before it.
    dtype : dtype
        int32 or int64.
    cancelled : callable, optional
        Asked before the start.

    Returns
    -------
    ndarray, (D, H, W)

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> merge_stray(np.array([[[5, 5, 5, 7, 5, 7, 7]]], np.int32), 2, 9, 1)
    array([[[1, 1, 1, 1, 1, 2, 2]]])
    """
    from napari_refit.uss import slic_connectivity_kernel as kernel

    check(cancelled)
    pieces = np.empty(numbers.shape, dtype)
    if numbers.size < _LARGE:
        kernel.flood(numbers, least, most, start, pieces)
        return pieces
    regions = connected_clusters(numbers).reshape(-1, numbers.shape[2])
    check(cancelled)
    measured = run_bands(
        kernel.measure_regions, len(regions), regions, int(regions.max()), cancelled=cancelled
    )
    firsts = np.minimum.reduce([first for first, _ in measured])
    sizes = np.sum([size for _, size in measured], axis=0)
    # There is no region 0.
    firsts[0] = 0
    names = np.where(numbers.ravel()[firsts] < 0, -1, 0).astype(np.int32)
    if (sizes[names == 0] >= most).any():
        kernel.flood(numbers, least, most, start, pieces)
        return pieces
    kernel.name_regions(regions, numbers.shape[1], firsts, sizes, least, start, names)
    lines = pieces.reshape(regions.shape)
    run_bands(_look_up, len(regions), names, regions, lines, cancelled=cancelled)
    return pieces


def _look_up(first: int, last: int, names: NDArray[Any], regions: NDArray[Any], lines: NDArray[Any]) -> None:
    lines[first:last] = names[regions[first:last]]


def _planes(values: NDArray[Any], channel_axis: int | None) -> tuple[NDArray[Any], bool]:
    """The image as (C, D, H, W), and whether it is a plane."""
    if channel_axis is not None and values.ndim == 2:
        raise ValueError(f"a plane without channels needs channel_axis=None, got {channel_axis!r}")
    values = values[np.newaxis] if channel_axis is None else np.moveaxis(values, channel_axis, 0)
    if values.ndim not in (3, 4):
        raise ValueError(f"image must have 2 or 3 axes beside its channels, got {values.ndim - 1}")
    return (values, False) if values.ndim == 4 else (values[:, np.newaxis], True)


def _checked_mask(mask: Any, shape: tuple[int, ...], is_plane: bool) -> NDArray[np.bool_]:
    keep = np.asarray(mask, dtype=bool)
    if not keep.any():
        raise ValueError("mask has no pixel that is True")
    wanted = shape[1:] if is_plane else shape
    if keep.shape != wanted:
        raise ValueError(f"mask of shape {keep.shape} does not fit an image of shape {wanted}")
    return keep.reshape(shape)


def _three(numbers: Any, name: str, is_plane: bool, depth: float) -> tuple[float, float, float]:
    """A number for each of z, y, x; a plane has none for z."""
    found = tuple(float(number) for number in numbers)
    if len(found) != (2 if is_plane else 3):
        raise ValueError(f"{name} needs {2 if is_plane else 3} numbers, one for each axis, got {numbers!r}")
    return cast(tuple[float, float, float], (depth, *found) if is_plane else found)


def _spacing(spacing: Any, is_plane: bool) -> tuple[float, float, float]:
    if spacing is None:
        return 1.0, 1.0, 1.0
    if not isinstance(spacing, Iterable):
        raise TypeError(f"spacing must be None or a sequence, got {spacing!r}")
    distances = _three(spacing, "spacing", is_plane, 1.0)
    if not all(0 < distance < np.inf for distance in distances):
        raise ValueError(f"spacing must be positive and finite, got {spacing!r}")
    return distances


def _sigmas(sigma: Any, spacing: tuple[float, ...], is_plane: bool) -> tuple[float, float, float]:
    if np.isscalar(sigma):
        # A plane of depth 1 would only be smoothed along z with itself.
        z, y, x = (max(float(cast(float, sigma)) / distance, 0.0) for distance in spacing)
        return (0.0, y, x) if is_plane else (z, y, x)
    if not isinstance(sigma, Iterable):
        raise TypeError(f"sigma must be a number or a sequence, got {sigma!r}")
    return _three(sigma, "sigma", is_plane, 0.0)


def _rescaled(planes: NDArray[Any], keep: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """The channels with their kept values stretched to [0, 1]."""
    seen = planes if keep is None else planes[:, keep]
    least, most = seen.min(), seen.max()
    if np.isnan(least) or np.isnan(most):
        raise ValueError("image holds NaN that is not masked out")
    if np.isinf(least) or np.isinf(most):
        raise ValueError("image holds infinities that are not masked out")
    exact: Any = np.float32 if planes.dtype.itemsize <= 2 or planes.dtype == np.float32 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        low = exact(least)
        raised = np.subtract(planes, low, dtype=exact)
        raised /= (exact(most) - low) or exact(1)
        return np.ascontiguousarray(raised, dtype=np.float32)
