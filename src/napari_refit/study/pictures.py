"""Which images a report shows, and how they are drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.study.arranging import Measured, Place
from napari_refit.study.comparing import paired_dice
from napari_refit.study.figures import image_dice
from napari_refit.study.results import BEST_THRESHOLD, BLANK, Panel
from napari_refit.study.statistics import Statistics

PER_KIND = 4
TILE = 230
# Pixels: the compression would blur a line of one.
_LINE = 2
TRUTH, CAM, REFINED = (255, 212, 0), (255, 94, 168), (25, 211, 255)


@dataclass(frozen=True)
class Pick:
    """Images of one kind.

    Attributes
    ----------
    title, about : str
    places : tuple of (case, axis, index)
    """

    title: str
    about: str
    places: tuple[Place, ...]


def method_shown(statistics: Statistics, baseline: str) -> str | None:
    """The refined method whose cases are shown: ReFit with default settings where it was run."""
    others = [key for key in statistics.arranged.methods if key not in (BLANK, baseline, BEST_THRESHOLD)]
    return next((key for key in ("refit", "refit-paper") if key in others), others[0] if others else None)


def picks(statistics: Statistics, method: str, baseline: str) -> list[Pick]:
    """Worst, best, most gained, most lost, and false alarms; of each patient one, while there are others.

    Parameters
    ----------
    statistics : Statistics
    method, baseline : str
        What is looked at, and what it is compared with.

    Returns
    -------
    list of Pick
        Kinds of which there is none are left out.
    """
    arranged = statistics.arranged
    measured = arranged.methods[method]
    columns = range(len(arranged.classes))
    dice = image_dice(measured, columns)
    held = np.flatnonzero((measured.in_truth > 0).any(axis=1) & ~np.isnan(dice))
    ranked = held[np.argsort(dice[held], kind="stable")]
    found = [
        Pick("Worst", "lowest DSC among the images with foreground", _spread(measured, ranked)),
        Pick("Best", "highest DSC", _spread(measured, ranked[::-1])),
    ]
    other = arranged.methods.get(baseline)
    if other is not None:
        mine, theirs, numbers, _ = paired_dice(measured, other, columns)
        gain = mine - theirs
        order = np.argsort(gain, kind="stable")
        up = [k for k in order[::-1] if gain[k] > 0]
        down = [k for k in order if gain[k] < 0]
        found += [
            Pick("Largest gain", "DSC above that of the CAM", _spread(measured, numbers[up])),
            Pick("Largest loss", "DSC below that of the CAM", _spread(measured, numbers[down])),
        ]
    alarms = np.flatnonzero((measured.in_truth == 0).all(axis=1) & (measured.in_mask > 0).any(axis=1))
    share = measured.in_mask[alarms].sum(axis=1) / measured.pixels[alarms]
    alarms = alarms[np.argsort(-share, kind="stable")]
    found.append(Pick("False alarms", "largest marks where the truth is empty", _spread(measured, alarms)))
    return [pick for pick in found if pick.places]


def _spread(measured: Measured, ranked: Iterable[Any]) -> tuple[Place, ...]:
    """The first few of a ranking, patients that are not yet there going first."""
    chosen: list[int] = []
    spare: list[int] = []
    seen: set[int] = set()
    for k in map(int, ranked):
        patient = int(measured.patients[k])
        (spare if patient in seen else chosen).append(k)
        seen.add(patient)
        if len(chosen) == PER_KIND:
            break
    return tuple(measured.places[k] for k in (chosen + spare)[:PER_KIND])


def draw_case(panel: Panel, method: str, baseline: str) -> str:
    """Four tiles side by side: image, truth, response map and CAM mask, refined mask.

    Returns
    -------
    str
        A ``data:`` address.

    Raises
    ------
    ValueError
        If the image is no picture, or a mask is of another size.
    """
    rgb = _rgb(panel.image)
    shape = rgb.shape[:2]
    truth = _labels(panel.truth, shape, "truth")
    scale = TILE / max(shape)
    base = _resized(rgb, scale)
    outline = _outlines(truth, scale)
    tiles = [_drawn(base, []), _drawn(base, [(outline, TRUTH)])]
    response = panel.responses.get(baseline, next(iter(panel.responses.values()), None))
    cam = base
    if response is not None:
        strength = np.asarray(response, np.float32)
        strength = strength.max(axis=0) if strength.ndim == 3 else strength
        if strength.shape != shape:
            raise ValueError(f"the response map is {strength.shape}, the image {shape}")
        cam = _heated(base, _resized(np.nan_to_num(strength), scale))
    cam_mask = panel.masks.get(baseline)
    layers = [(outline, TRUTH)]
    if cam_mask is not None:
        layers.append((_outlines(_labels(cam_mask, shape, f"mask of {baseline}"), scale), CAM))
    tiles.append(_drawn(cam, layers))
    layers = [(outline, TRUTH)]
    if method in panel.masks:
        layers.append((_outlines(_labels(panel.masks[method], shape, f"mask of {method}"), scale), REFINED))
    tiles.append(_drawn(base, layers))
    gap = np.full((base.shape[0], 4, 3), 128, np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)][:-1]
    return _address(np.concatenate(parts, axis=1))


def _rgb(image: NDArray[Any]) -> NDArray[np.float32]:
    picture = np.nan_to_num(np.asarray(image, np.float32)).clip(0, 1)
    if picture.ndim == 3 and picture.shape[2] in (1, 2):
        picture = picture[:, :, 0]
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] < 3 or not picture.size:
        raise ValueError(f"an image must be (H, W) or (H, W, C), got {np.shape(image)}")
    return picture[:, :, :3]


def _labels(mask: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[np.int64]:
    labels = np.asarray(mask)
    if labels.shape != shape:
        raise ValueError(f"the {name} is {labels.shape}, the image {shape}")
    return labels.astype(np.int64)


def _size(shape: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _resized(values: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    from skimage.transform import resize

    size = (*_size(values.shape, scale), *values.shape[2:])
    return resize(values, size, order=1, mode="edge", anti_aliasing=scale < 1).astype(np.float32)


def _outlines(labels: NDArray[np.int64], scale: float) -> NDArray[np.bool_]:
    """Inner borders of the labels at the size of the tile; labels are taken from the nearest pixel."""
    height, width = _size(labels.shape, scale)
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
    base: NDArray[np.float32], layers: Sequence[tuple[NDArray[np.bool_], tuple[int, int, int]]]
) -> NDArray[np.uint8]:
    tile = (base * 255).round().astype(np.uint8)
    for outline, colour in layers:
        tile[outline] = colour
    return tile


def _heated(base: NDArray[np.float32], strength: NDArray[np.float32]) -> NDArray[np.float32]:
    from matplotlib import colormaps

    strength = strength.clip(0, 1)
    colour = colormaps["inferno"](strength)[:, :, :3].astype(np.float32)
    alpha = (0.65 * strength)[:, :, None]
    return base * (1 - alpha) + colour * alpha


def _address(picture: NDArray[np.uint8]) -> str:
    from PIL import Image, features

    buffer = io.BytesIO()
    if features.check("webp"):
        kind = "webp"
        Image.fromarray(picture).save(buffer, "WEBP", quality=86, method=4)
    else:
        kind = "jpeg"
        Image.fromarray(picture).save(buffer, "JPEG", quality=86)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
