"""What is measured on: scikit-image's bundled photographs, the sample volume, and mirrored tiles for growing sizes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KEPT = Path(__file__).parents[1] / ".benchmarks" / "pictures"
VOLUME_SHAPE = (64, 256, 256)
TILE = 256

Picture = NDArray[np.float32]


@cache
def photograph(side: int, colour: bool) -> Picture:
    """A square photograph in its own resolution.

    Parameters
    ----------
    side : {256, 512, 1024}
    colour : bool

    Returns
    -------
    ndarray of float32, (side, side) or (side, side, 3)
        In [0, 1]. All of them come with scikit-image's wheel; nothing is downloaded.
    """
    from skimage import data
    from skimage.color import rgb2gray
    from skimage.util import img_as_float32

    name = {
        (256, False): "coins",
        (512, False): "camera",
        (1024, False): "retina",
        (256, True): "chelsea",
        (512, True): "astronaut",
        (1024, True): "retina",
    }[side, colour]
    whole = img_as_float32(getattr(data, name)())
    if whole.ndim == 3 and not colour:
        whole = rgb2gray(whole)
    top, left = (length // 2 - side // 2 for length in whole.shape[:2])
    return _frozen(whole[top : top + side, left : left + side])


@cache
def sample_volume() -> tuple[Picture, NDArray[np.uint8]]:
    """The sample volume with 64 slices of 256 x 256, float32 in [0, 1], and its truth."""
    # Making it takes as long as a stage's whole benchmark, so it is kept.
    path = KEPT / f"phantom-{'x'.join(map(str, VOLUME_SHAPE))}.npz"
    if not path.exists():
        from napari_refit.io.phantom import phantom

        made = phantom(seed=11, shape=VOLUME_SHAPE[::-1])
        KEPT.mkdir(parents=True, exist_ok=True)
        np.savez(path, image=made.image.T, truth=(made.truth.T > 0).astype(np.uint8))
    kept = np.load(path)
    low, high = np.percentile(kept["image"], (0.5, 99.5))
    image = np.clip((kept["image"].astype(np.float32) - low) / (high - low), 0, 1)
    return _frozen(image), kept["truth"]


@cache
def sample_slice() -> Picture:
    """The slice of `sample_volume` that shows most of the truth."""
    image, truth = sample_volume()
    return _frozen(image[int(truth.sum(axis=(1, 2)).argmax())])


@cache
def tiles(side: int, colour: bool) -> Picture:
    """One photograph, mirrored again and again until it fills a square.

    Its texture is the same at every size, so that what grows is the number of pixels and nothing else.
    """
    tile = photograph(2 * TILE, colour)[:TILE, 100 : 100 + TILE]
    pair = np.concatenate([tile, tile[::-1]])
    block = np.concatenate([pair, pair[:, ::-1]], axis=1)
    repeats = -(-side // (2 * TILE))
    return _frozen(np.tile(block, (repeats, repeats) + (1,) * (tile.ndim - 2))[:side, :side])


def response_maps(side: int, n_classes: int) -> Picture:
    """Smooth hills, one per class, as a coarse response map that was enlarged looks; (n_classes, side, side)."""
    rows, columns = np.mgrid[:side, :side] / np.float32(side)
    angles = 2 * np.pi * np.arange(n_classes) / n_classes
    centres = zip(0.5 + 0.22 * np.sin(angles), 0.5 + 0.22 * np.cos(angles), strict=True)
    hills = [np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 0.05) for row, column in centres]
    return _frozen(np.stack(hills))


def _frozen(array: NDArray[np.floating]) -> Picture:
    found = np.ascontiguousarray(array, np.float32)
    found.flags.writeable = False
    return found
