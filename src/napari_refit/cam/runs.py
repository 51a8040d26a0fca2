"""How often a classifier runs for the response maps of a slice, and what that costs; known before torch is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from napari_refit.params import CamParams

COPIES = {"none": 1, "mirror": 2, "flips": 4, "eigen": 1}
"""Runs that each smoothing takes at each scale."""


def in_order(scales: Sequence[float]) -> tuple[float, ...]:
    """Scales in the order in which they are run: the nearest to 1, which decides what is explained, goes first.

    Examples
    --------
    >>> in_order((0.5, 1.0, 2.0)), in_order((0.5, 1.5))
    ((1.0, 0.5, 2.0), (0.5, 1.5))
    """
    first = min(scales, key=lambda scale: (abs(scale - 1), scale))
    return (first, *(scale for scale in scales if scale != first))


def runs(cam: CamParams) -> int:
    """Runs for a slice; a method that runs the classifier several times takes so many times that.

    Examples
    --------
    >>> runs(CamParams(scales=(0.5, 1, 2), smoothing="mirror"))
    6
    """
    return len(cam.scales) * COPIES[cam.smoothing]


def cost(cam: CamParams) -> float:
    """What those runs cost, in runs at scale 1: the square of each scale.

    Examples
    --------
    >>> cost(CamParams(scales=(0.5, 1, 2), smoothing="mirror"))
    10.5
    """
    return sum(scale * scale for scale in cam.scales) * COPIES[cam.smoothing]


def quickest(cam: CamParams) -> CamParams:
    """The same parameters with one run a slice: at scale 1, and without mirrored copies."""
    smoothing = cam.smoothing if COPIES[cam.smoothing] == 1 else "none"
    return cam.model_copy(update={"scales": (1.0,), "smoothing": smoothing})
