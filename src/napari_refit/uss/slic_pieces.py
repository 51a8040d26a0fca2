"""SLIC's pieces: every cluster connected, and neither too small nor too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop, check, run_bands
from napari_refit.uss.edges import connected_clusters

if TYPE_CHECKING:
    import torch

# Pixels from which on it pays to look for regions on all cores.
_LARGE = 1 << 19


def merge_stray(
    numbers: NDArray[np.int32] | torch.Tensor,
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
    numbers : ndarray or tensor of int32, (D, H, W)
        Numbers of the centres; below 0 where there is none. A tensor is on a device where triton runs: its regions
        are found there.
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
    pieces = np.empty(tuple(numbers.shape), dtype)
    if isinstance(numbers, np.ndarray) and numbers.size < _LARGE:
        kernel.flood(numbers, least, most, start, pieces)
        return pieces
    measure = _measured if isinstance(numbers, np.ndarray) else _measured_on_device
    regions, firsts, sizes, owners = measure(numbers, cancelled)
    names = np.where(owners < 0, -1, 0).astype(np.int32)
    if (sizes[names == 0] >= most).any():
        host = numbers if isinstance(numbers, np.ndarray) else numbers.cpu().numpy()
        kernel.flood(host, least, most, start, pieces)
        return pieces
    kernel.name_regions(regions, numbers.shape[1], firsts, sizes, least, start, names)
    lines = pieces.reshape(regions.shape)
    run_bands(_look_up, len(regions), names, regions, lines, cancelled=cancelled)
    return pieces


_Measured = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[Any]]


def _measured(numbers: NDArray[np.int32], cancelled: Stop | None) -> _Measured:
    """The connected regions, (D * H, W); and of each its first pixel, its size, and the number of its centre.

    There is no region 0.
    """
    from napari_refit.uss import slic_connectivity_kernel as kernel

    regions = connected_clusters(numbers).reshape(-1, numbers.shape[2])
    check(cancelled)
    measured = run_bands(
        kernel.measure_regions, len(regions), regions, int(regions.max()), cancelled=cancelled
    )
    firsts = np.minimum.reduce([first for first, _ in measured])
    sizes = np.sum([size for _, size in measured], axis=0)
    firsts[0] = 0
    return regions, firsts, sizes, numbers.ravel()[firsts]


def _measured_on_device(numbers: torch.Tensor, cancelled: Stop | None) -> _Measured:
    import torch

    from napari_refit.uss.regions_triton import connected_regions

    regions, firsts = connected_regions(numbers)
    firsts = torch.cat([firsts.new_zeros(1), firsts])
    sizes = torch.bincount(regions.flatten(), minlength=len(firsts))
    found = torch.stack([firsts, sizes, numbers.flatten()[firsts].long()]).cpu().numpy()
    check(cancelled)
    return regions.view(-1, regions.shape[2]).cpu().numpy(), *found


def _look_up(first: int, last: int, names: NDArray[Any], regions: NDArray[Any], lines: NDArray[Any]) -> None:
    lines[first:last] = names[regions[first:last]]
