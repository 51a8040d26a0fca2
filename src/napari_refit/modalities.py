"""What a classifier of several modalities is fed, where an image's modalities are slices of one of its axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_refit.planes import PlaneIndex, Planes

# A grey plane stands for each colour of a network that was taught photographs.
COLOUR = (3, 4)
_ADVICE = (
    "put the modalities into one image with an axis of their own before the slices (in napari: select the "
    "layers, Merge to Stack), in the order that the classifier was taught"
)


def parse_modalities(text: str) -> tuple[int, ...]:
    """Positions from a text such as ``"0, 1"``.

    Raises
    ------
    ValueError
        If a part is not a whole number from 0.

    Examples
    --------
    >>> parse_modalities("2, 0"), parse_modalities(" ")
    ((2, 0), ())
    """
    parts = [part.strip() for part in text.replace(",", " ").split()]
    wrong = next((part for part in parts if not (part.isascii() and part.isdigit())), None)
    if wrong is not None:
        raise ValueError(f"modalities are positions from 0, such as 0,1; got {wrong!r}")
    return tuple(int(part) for part in parts)


def fed_planes(
    planes: Planes,
    index: PlaneIndex,
    wanted: int | None,
    chosen: Sequence[int] = (),
    named: int | None = None,
) -> tuple[PlaneIndex, ...]:
    """The planes that become a classifier's channels when it is asked about one plane.

    Parameters
    ----------
    planes : Planes
    index : PlaneIndex
        The plane asked about.
    wanted : int or None
        Channels of the classifier; None where the response does not come from one.
    chosen : sequence of int
        Positions on the modalities' axis, in the order that the classifier was taught; empty: all of them.
    named : int, optional
        The modalities' axis, where it is known. Otherwise it is an axis before the last three that has the right
        length, or the first of three axes if it has exactly that.

    Returns
    -------
    tuple of PlaneIndex
        The plane itself, or one plane per channel.

    Raises
    ------
    ValueError
        If a classifier of several modalities cannot be fed from this image.

    Examples
    --------
    >>> fed_planes(Planes(np.zeros((2, 9, 8, 8))), ((0, 1), (1, 5)), wanted=2)
    (((0, 0), (1, 5)), ((0, 1), (1, 5)))
    """
    if wanted is None or planes.rgb:
        return (index,)
    if chosen and len(chosen) not in (1, wanted):
        raise ValueError(
            f"{len(chosen)} modalities are chosen ({_listed(chosen)}), but the classifier wants {wanted}"
        )
    axis = _modality_axis(planes, index, wanted, chosen, named)
    if axis is None:
        if not chosen and wanted in (1, *COLOUR):
            return (index,)
        raise ValueError(_why_not(planes, index, wanted, chosen, named))
    return tuple(
        tuple((other, at if other == axis else now) for other, now in index)
        for at in (chosen or range(wanted))
    )


def picked_channels(
    image: NDArray[np.float32], wanted: int | None, chosen: Sequence[int]
) -> NDArray[np.float32]:
    """The chosen channels of a plane (H, W, C), for a classifier of ``wanted`` channels.

    Raises
    ------
    ValueError
        If the plane lacks one of them.
    """
    if wanted is None or not chosen or image.ndim == 2:
        return image
    if max(chosen) >= image.shape[-1] or len(chosen) not in (1, wanted):
        raise ValueError(
            f"modalities {_listed(chosen)} are chosen; the image has {image.shape[-1]} channels, "
            f"and the classifier wants {wanted}"
        )
    return image[..., list(chosen)]


def _modality_axis(
    planes: Planes, index: PlaneIndex, wanted: int, chosen: Sequence[int], named: int | None
) -> int | None:
    cut, shape = dict(index), planes.shape
    if not chosen and (wanted == 1 or (wanted in COLOUR and named is None)):
        return None
    if named is not None:
        candidates = [named]
    else:
        candidates = [*range(max(0, planes.n_axes - 3))] or ([0] if planes.n_axes == 3 else [])
    for axis in candidates:
        # The only axis of slices holds modalities if it is as long as the classifier wants, else slices.
        exact = not chosen or (named is None and planes.n_axes == 3)
        long_enough = not chosen or max(chosen) < shape[axis]
        if axis in cut and long_enough and (shape[axis] == wanted or not exact):
            return axis
    return None


def _why_not(planes: Planes, index: PlaneIndex, wanted: int, chosen: Sequence[int], named: int | None) -> str:
    shape = " × ".join(str(length) for length in planes.shape)
    if named is not None and named not in dict(index):
        return f"axis {named} of the image ({shape}) holds its modalities and is displayed; display two other axes"
    leading = 0 if named is None and planes.n_axes > 3 else named
    if leading is not None and not chosen:
        return (
            f"the classifier wants {wanted} modalities, the image has {planes.shape[leading]} (axis {leading} of "
            f"{shape}); say which, such as {_listed(range(wanted))}"
        )
    asked = (
        f"modalities {_listed(chosen)} are chosen" if chosen else f"the classifier wants {wanted} modalities"
    )
    return f"{asked}, but the image ({shape}) has none there: {_ADVICE}"


def _listed(positions: Sequence[int]) -> str:
    return ", ".join(str(position) for position in positions)
