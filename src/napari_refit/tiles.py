"""What there is to see of one image, as tiles side by side: outlines of masks, response maps over the image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
TRUTH: Colour = (255, 212, 0)
CAM: Colour = (255, 94, 168)
REFINED: Colour = (25, 211, 255)
_GAP = 4
# Pixels: the compression would blur a line of one.
_LINE = 2


def tiles(
    image: NDArray[Any],
    *,
    truth: NDArray[Any] | None = None,
    response: NDArray[Any] | None = None,
    cam_mask: NDArray[Any] | None = None,
    refined: NDArray[Any] | None = None,
    side: int,
    spacing: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """Image; truth; response map with the CAM's mask; refined mask. The truth's outline is on all but the first.

    Parameters
    ----------
    image : ndarray of float, (H, W) or (H, W, C)
        In [0, 1], as displayed.
    truth, cam_mask, refined : ndarray of whole numbers, (H, W), optional
        Class numbers, 0 is background. Without a truth there is no second tile.
    response : ndarray of float, (H, W) or (n, H, W), optional
        In [0, 1].
    side : int
        Pixels of a tile's longer side.
    spacing : sequence of float, optional
        Size of a pixel down and across; squares when left out.

    Returns
    -------
    ndarray of uint8, (h, w, 3)

    Raises
    ------
    ValueError
        If the image is no picture, or something else is not of its size.

    Examples
    --------
    >>> tiles(np.zeros((10, 20)), side=40).shape, tiles(np.zeros((10, 20)), side=40, spacing=(2, 1)).shape
    ((20, 128, 3), (40, 128, 3))
    """
    picture = _picture(image)
    shape = picture.shape[:2]
    size = _size(shape, side, spacing)
    base = _resized(picture, size)
    if base.ndim == 2:
        base = np.repeat(base[:, :, None], 3, axis=2)
    outlines: list[tuple[NDArray[np.bool_], Colour]] = []
    found = [_drawn(base, [])]
    if truth is not None:
        outlines = [(_outlines(_labels(truth, shape, "truth"), size), TRUTH)]
        found.append(_drawn(base, outlines))
    heated = base
    if response is not None:
        strength = np.asarray(response, np.float32)
        strength = strength.max(axis=0) if strength.ndim == 3 else strength
        if strength.shape != shape:
            raise ValueError(f"the response map is {strength.shape}, the image {shape}")
        heated = _heated(base, _resized(np.nan_to_num(strength), size))
    for background, mask, name, colour in (
        (heated, cam_mask, "mask of the CAM", CAM),
        (base, refined, "refined mask", REFINED),
    ):
        mine = [] if mask is None else [(_outlines(_labels(mask, shape, name), size), colour)]
        found.append(_drawn(background, [*outlines, *mine]))
    gap = np.full((size[0], _GAP, 3), 128, np.uint8)
    return np.concatenate([part for tile in found for part in (tile, gap)][:-1], axis=1)


def compressed(picture: NDArray[np.uint8], quality: int = 86, effort: int = 4) -> tuple[str, bytes]:
    """A picture as a WebP file, or a JPEG where this Pillow knows no WebP.

    Parameters
    ----------
    picture : ndarray of uint8, (H, W, 3)
    quality : int
        From 0 to 100.
    effort : int
        From 0 to 6: with more it takes longer and is smaller.

    Returns
    -------
    (kind, content) : str and bytes
        ``"webp"`` or ``"jpeg"``.
    """
    from PIL import Image, features

    buffer = io.BytesIO()
    if features.check("webp"):
        Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=effort)
        return "webp", buffer.getvalue()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return "jpeg", buffer.getvalue()


def _picture(image: NDArray[Any]) -> NDArray[np.float32]:
    """Grey, (H, W), or in colour, (H, W, 3)."""
    picture = np.nan_to_num(np.asarray(image, np.float32)).clip(0, 1)
    if picture.ndim == 3 and picture.shape[2] in (1, 2):
        picture = picture[:, :, 0]
    if picture.ndim not in (2, 3) or not picture.size:
        raise ValueError(f"an image must be (H, W) or (H, W, C), got {np.shape(image)}")
    return picture if picture.ndim == 2 else picture[:, :, :3]


def _labels(mask: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[np.int64]:
    labels = np.asarray(mask)
    if labels.shape != shape:
        raise ValueError(f"the {name} is {labels.shape}, the image {shape}")
    return labels.astype(np.int64)


def _size(shape: tuple[int, ...], side: int, spacing: Sequence[float] | None) -> tuple[int, int]:
    height, width = (length * step for length, step in zip(shape, spacing or (1.0, 1.0), strict=True))
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Averaged where it shrinks, interpolated where it grows."""
    from PIL import Image

    def one(channel: NDArray[np.float32]) -> NDArray[np.float32]:
        picture = Image.fromarray(np.ascontiguousarray(channel))
        return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR), np.float32)

    if values.ndim == 2:
        return one(values)
    return np.stack([one(values[:, :, k]) for k in range(values.shape[2])], axis=2)


def _outlines(labels: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Inner borders of the labels at the size of the tile; labels are taken from the nearest pixel."""
    height, width = size
    rows = ((np.arange(height) + 0.5) / height * labels.shape[0]).astype(int)
    columns = ((np.arange(width) + 0.5) / width * labels.shape[1]).astype(int)
    large = labels[rows][:, columns]
    reach = _LINE
    padded = np.pad(large, reach)
    inside = np.ones_like(large, bool)
    for down, right in ((-reach, 0), (reach, 0), (0, -reach), (0, reach)):
        rows_of, columns_of = (
            slice(reach + down, reach + down + height),
            slice(reach + right, reach + right + width),
        )
        inside &= padded[rows_of, columns_of] == large
    return (large > 0) & ~inside


def _drawn(
    base: NDArray[np.float32], layers: Sequence[tuple[NDArray[np.bool_], Colour]]
) -> NDArray[np.uint8]:
    tile = (base.clip(0, 1) * 255).round().astype(np.uint8)
    for outline, colour in layers:
        tile[outline] = colour
    return tile


def _heated(base: NDArray[np.float32], strength: NDArray[np.float32]) -> NDArray[np.float32]:
    from matplotlib import colormaps

    strength = strength.clip(0, 1)
    colour = colormaps["inferno"](strength)[:, :, :3].astype(np.float32)
    alpha = (0.65 * strength)[:, :, None]
    return base * (1 - alpha) + colour * alpha
