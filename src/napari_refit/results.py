"""What the pipeline returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_refit.fit.uncertainty import Belief

MaskArray = NDArray[Any]


@dataclass(frozen=True)
class SliceResult:
    """One slice, stage by stage; n target classes, H and W in the order of the image's axes.

    Attributes
    ----------
    image : ndarray of float32, (H, W) or (H, W, C)
        Grey values in [0, 1].
    clusters : ndarray of int32, (H, W)
        Numbered 1..n, each one connected region.
    edges : ndarray of bool, (H, W)
        Edge map of the clusters.
    simplified : ndarray of float32
        Mean colour per cluster, like ``image``.
    response : ndarray of float32, (n, H, W), or None
        Response maps in [0, 1]; None without a classifier or a response map.
    fitted : ndarray of float32, (n, H, W), or None
        Response maps after the fit; all 0 for a class that the gate keeps out.
    mask : ndarray of unsigned int, (H, W)
        Class numbers, 0 is background.
    cam_mask : ndarray of unsigned int, (H, W)
        The response maps themselves at the fit's threshold, gated alike.
    seconds : dict
        Stage to seconds; 0.0 where the result came from the cache.
    classes : tuple of str
        Names of the target classes.
    class_numbers : tuple of int
        Their values in ``mask``.
    logits, probabilities : ndarray of float32 or None
        What the classifier believes, over all its classes (``all_classes``).
    all_classes : tuple of str
        Names that go with ``logits``.
    predicted : tuple of bool
        For each target class whether the classifier predicts it on this slice.
    evidence : ndarray of float32, (n, H, W), or None
        The response maps before they were scaled to [0, 1].
    message : str
        What a user should know, e.g. why the mask is empty.
    coarse : bool
        Whether it was computed at half the resolution, as a first answer that a sharp one follows.
    belief : Belief or None
        How far the fit believes in its mask (see `napari_refit.fit.uncertainty`); None without a response.
    """

    image: NDArray[np.float32]
    clusters: NDArray[np.int32]
    edges: NDArray[np.bool_]
    simplified: NDArray[np.float32]
    response: NDArray[np.float32] | None
    fitted: NDArray[np.float32] | None
    mask: MaskArray
    cam_mask: MaskArray
    seconds: dict[str, float]
    classes: tuple[str, ...] = ()
    class_numbers: tuple[int, ...] = ()
    logits: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None
    all_classes: tuple[str, ...] = ()
    predicted: tuple[bool, ...] = ()
    evidence: NDArray[np.float32] | None = None
    message: str = ""
    coarse: bool = False
    belief: Belief | None = None

    def transposed(self) -> SliceResult:
        """The same with H and W exchanged."""
        swapped: dict[str, Any] = {
            name: _swapped(getattr(self, name), first)
            for name, first in (
                ("image", 0),
                ("clusters", 0),
                ("edges", 0),
                ("simplified", 0),
                ("response", 1),
                ("fitted", 1),
                ("mask", 0),
                ("cam_mask", 0),
                ("evidence", 1),
            )
        }
        return replace(self, **swapped)


@dataclass(frozen=True)
class VolumeResult:
    """A whole volume, refined. ``numpy.asarray(result)`` is the mask.

    Attributes
    ----------
    mask : ndarray of unsigned int
        Class numbers on the volume's own grid, 0 is background.
    cam_mask : ndarray of unsigned int
        The response maps themselves at the fit's threshold, gated alike.
    response : ndarray of float16, (n, ...), or None
        Gated response maps, where asked for.
    classes, class_numbers : tuple
        Names of the target classes and their values in the mask.
    messages : dict
        Slice to message, for slices that have one.
    uncertainty : dict
        Slice to how much it is in need of a look, from 0 to 1 (see `napari_refit.fit.uncertainty`).
    beliefs : dict
        Slice to what that is made of, beside the masks.
    seconds : dict
        Stage to seconds, summed over the slices, and ``"total"`` of the wall clock.
    n_slices, n_empty, n_negative : int
        Slices in all, slices with an empty mask, slices that the gate kept out.
    """

    mask: MaskArray
    cam_mask: MaskArray
    response: NDArray[np.float16] | None
    classes: tuple[str, ...]
    class_numbers: tuple[int, ...]
    messages: dict[str, str] = field(default_factory=dict)
    uncertainty: dict[str, float] = field(default_factory=dict)
    beliefs: dict[str, Belief] = field(default_factory=dict, repr=False)
    seconds: dict[str, float] = field(default_factory=dict)
    n_slices: int = 0
    n_empty: int = 0
    n_negative: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the mask."""
        return self.mask.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.mask, dtype=dtype, copy=copy)


def slice_name(positions: Mapping[int, int]) -> str:
    """What a slice is called in reports: its position on each axis that is cut.

    Examples
    --------
    >>> slice_name({0: 2, 1: 17})
    '0:2 1:17'
    """
    return " ".join(f"{axis}:{position}" for axis, position in positions.items())


def _swapped(array: NDArray[Any] | None, first: int) -> NDArray[Any] | None:
    return None if array is None else np.swapaxes(array, first, first + 1)
