"""SLIC superpixels and supervoxels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop
from napari_refit.devices import check_device, on_processor
from napari_refit.uss.checks import real_array
from napari_refit.uss.colour import lab_planes
from napari_refit.uss.slic_pieces import merge_stray
from napari_refit.uss.slic_rounds import Tiles, cut_tiles, nearest_centres
from napari_refit.uss.slic_seeds import Seeds, grid_seeds, mask_seeds
from napari_refit.uss.smoothing import smooth

if TYPE_CHECKING:
    import torch

_ON_DEVICE = {"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"}


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
        Where to run: None and ``"cpu"`` are the processor.

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
    lab = channel_axis is not None and convert2lab is not False and len(planes) == 3
    if channel_axis is not None and convert2lab and not lab:
        raise ValueError(f"Lab needs the three channels of RGB, got {len(planes)}")
    prepare = _channels if on_processor(device) else partial(_channels_on_device, device=device)
    channels = prepare(planes, keep, lab, sigmas)
    if keep is None:
        seeds = grid_seeds(planes.shape[1:], n_segments)
    else:
        seeds = mask_seeds(keep, n_segments, multichannel=channel_axis is not None)
    options: dict[str, Any] = {
        "keep": keep,
        "compactness": compactness,
        "spacing": distances,
        "rounds": max_num_iter,
        "adaptive": slic_zero,
        "device": device,
    }
    numbers: NDArray[np.int32] | torch.Tensor
    if on_processor(device):
        numbers = nearest_seeds(channels, seeds, **options)
    else:
        numbers = _nearest_on_device(channels, seeds, **options)
    if enforce_connectivity:
        size = (planes[0].size if keep is None else int(keep.sum())) / len(seeds.places)
        labels = merge_stray(numbers, int(min_size_factor * size), int(max_size_factor * size), start_label)
    else:
        labels = np.add(_on_host(numbers), start_label, dtype=np.int64)
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
    return _on_host(
        _nearest_on_device(
            channels,
            seeds,
            keep=keep,
            compactness=compactness,
            spacing=spacing,
            rounds=rounds,
            adaptive=adaptive,
            device=device,
            cancelled=cancelled,
        )
    )


def _nearest_on_device(
    channels: NDArray[np.float32] | torch.Tensor, seeds: Seeds, *, keep: Any, device: Any, **options: Any
) -> NDArray[np.int32] | torch.Tensor:
    """The k-means; where triton runs, the numbers stay on the device."""
    from napari_refit.devices import torch_device, uploaded
    from napari_refit.uss.llvm import triton_runs

    where = torch_device(device)
    options |= {"step": seeds.step, "reach": seeds.reach}
    # Triton's kernels count in 32 bits.
    if math.prod(channels.shape) < 2**31 and triton_runs(where):
        from napari_refit.uss import slic_triton

        planes = uploaded(channels, where)
        mask = None if keep is None else uploaded(keep, where)
        return slic_triton.nearest_centres(planes, seeds.places, keep=mask, **options)
    from napari_refit.uss import slic_torch

    return slic_torch.nearest_centres(channels, seeds.places, keep=keep, device=where, **options)


def _on_host(numbers: NDArray[np.int32] | torch.Tensor) -> NDArray[np.int32]:
    return numbers if isinstance(numbers, np.ndarray) else numbers.cpu().numpy()


def _channels(
    planes: NDArray[Any], keep: NDArray[np.bool_] | None, lab: bool, sigmas: tuple[float, float, float]
) -> NDArray[np.float32]:
    """The image as its colours are compared."""
    channels = _rescaled(planes, keep)
    if lab:
        channels = lab_planes(channels)
    return smooth(channels, sigmas) if max(sigmas) > 0 else channels


def _channels_on_device(
    planes: NDArray[Any],
    keep: NDArray[np.bool_] | None,
    lab: bool,
    sigmas: tuple[float, float, float],
    device: Any,
) -> torch.Tensor:
    from napari_refit.devices import torch_device, uploaded
    from napari_refit.uss import channels_torch

    where = torch_device(device)
    # What torch has no arithmetic for, and what a device may not hold, is rescaled here.
    if planes.dtype.name not in _ON_DEVICE or (where.type == "mps" and planes.dtype.itemsize > 4):
        channels = uploaded(_rescaled(planes, keep), where)
    else:
        mask = None if keep is None else uploaded(keep, where)
        channels = channels_torch.rescaled(uploaded(planes, where), mask)
    if lab:
        channels = channels_torch.lab_planes(channels)
    return channels_torch.smooth(channels, sigmas) if max(sigmas) > 0 else channels


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
