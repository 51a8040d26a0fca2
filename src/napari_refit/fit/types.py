"""What a fit gets and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_refit.memo import Memo, forgetful

BACKGROUND_HINT = 255
"""The hint that says: this belongs to none of the classes."""


@dataclass(frozen=True, eq=False)
class Partition:
    """One of several ways in which an image is cut into clusters.

    Attributes
    ----------
    clusters : ndarray of int32, shape (H, W) or (D, H, W)
        Clusters numbered 1..n without gaps.
    memo : Memo
        Keeps what depends on this partition and the rest of the input, and on no other partition.
    """

    clusters: np.ndarray
    memo: Memo = forgetful


@dataclass(frozen=True, eq=False)
class FitInput:
    """Everything a fit may look at, on one slice or one volume.

    Attributes
    ----------
    response : ndarray of float32, shape (n, H, W) or (n, D, H, W)
        One response map per class, in [0, 1].
    clusters : ndarray of int32, shape (H, W) or (D, H, W)
        Clusters numbered 1..n without gaps, each one connected region.
    simplified : ndarray of float32 or None
        Mean colour per cluster, shaped like ``clusters`` with an optional channel axis at the end.
    image : ndarray of float32 or None
        The image itself, in [0, 1].
    spacing : tuple of float or None
        Size of a pixel along each axis of ``clusters``, in mm.
    hints : ndarray or None
        What the user insists on: whole numbers, shaped like ``clusters``; 0 for nothing, a class number for that class,
        `BACKGROUND_HINT` for none of them. None where there is no hint.
    class_numbers : tuple of int
        Mask value of each response map; 1..n when empty.
    partitions : tuple of Partition
        Of a fit that asks for several (see `napari_refit.registry.Entry`): ``clusters`` first, then the others in
        the order that it asks for them, none twice.
    """

    response: np.ndarray
    clusters: np.ndarray
    simplified: np.ndarray | None = None
    image: np.ndarray | None = None
    spacing: tuple[float, ...] | None = None
    hints: np.ndarray | None = None
    class_numbers: tuple[int, ...] = ()
    partitions: tuple[Partition, ...] = ()


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit yields.

    Attributes
    ----------
    fitted : ndarray of float32
        The response after the fit, shaped like the response that went in.
    mask : ndarray of unsigned int, shape (H, W) or (D, H, W)
        Class numbers; 0 is background.
    message : str
        What the user should know, for example why the mask is empty; "" when there is nothing to say.
    """

    fitted: np.ndarray
    mask: np.ndarray
    message: str = ""
