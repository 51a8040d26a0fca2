"""Images to batches: resized once and kept in memory, mixed by class, made ready on a thread ahead of their use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_refit.errors import Cancelled
from napari_refit.learn.samples import Samples

Progress = Callable[[int, int, str], None]
T = TypeVar("T")

# ITU-R BT.601, as a classifier of one channel sees colour.
_GREY = (0.299, 0.587, 0.114)
_LOOKED_AT = 64
_COLOURED = 0.02


class ImageStore:
    """Every image, resized to the network's input: float16 in memory as far as they fit, read again beyond.

    An image is rounded to float16 in either case, so that a training does not depend on the memory it had.

    Parameters
    ----------
    samples : Samples
    size : int
        Side of the square, px.
    channels : int
        See `count_channels`.
    limit : int
        Bytes that may be kept.
    progress, cancelled
        Plain callbacks.

    Attributes
    ----------
    checksum : str
        ``"sha256:..."`` of all resized images.
    mean, deviation : float
        Of all their values.

    Raises
    ------
    ValueError
        If an image has a wrong shape, or values that are not finite or outside [0, 1]; it is named.
    """

    def __init__(
        self,
        samples: Samples,
        size: int,
        channels: int,
        limit: int = 2 << 30,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._samples = samples
        self.size = size
        self.channels = channels
        count = len(samples)
        kept = min(count, limit // (2 * self.channels * size * size))
        self._kept = torch.empty((kept, self.channels, size, size), dtype=torch.float16)
        digest, total, squares = hashlib.sha256(), 0.0, 0.0
        for index in range(count):
            if cancelled is not None and cancelled():
                raise Cancelled("stopped while reading the images")
            if progress is not None:
                progress(index, count, f"reading {samples.names[index]}")
            image = self._read(index)
            digest.update(image.numpy().tobytes())
            values = image.double()
            total += float(values.mean())
            squares += float(values.square().mean())
            if index < kept:
                self._kept[index] = image
        self.checksum = f"sha256:{digest.hexdigest()}"
        self.mean = total / count
        self.deviation = max(squares / count - self.mean**2, 0.0) ** 0.5

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Some images as float32 (N, C, size, size)."""
        return torch.stack([self._image(int(index)) for index in indices]).float()

    def _image(self, index: int) -> Tensor:
        return self._kept[index] if index < len(self._kept) else self._read(index)

    def _read(self, index: int) -> Tensor:
        image = to_channels(checked_image(self._samples, index), self.channels, self._samples.names[index])
        planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
        if planes.shape[-2:] != (self.size, self.size):
            # As a classifier resizes what it is fed (see Classifier.prepare).
            planes = functional.interpolate(
                planes, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        return planes[0].half()


def checked_image(samples: Samples, index: int) -> NDArray[np.float32]:
    """One image as (H, W, C); refused with its name if it is none."""
    image = np.asarray(samples.image(index), dtype=np.float32)
    name = samples.names[index]
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"{name}: an image must have shape (H, W) or (H, W, C), got {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError(
            f"{name}: {int((~np.isfinite(image)).sum())} values are NaN or infinite; fill them before training"
        )
    low, high = float(image.min()), float(image.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(f"{name}: values must be in [0, 1], found {low:g} to {high:g}")
    return image


def to_channels(image: NDArray[np.float32], channels: int, name: str = "image") -> NDArray[np.float32]:
    """Bring an image (H, W, C) to so many channels: grey is repeated, three colours become grey.

    Raises
    ------
    ValueError
        If there is no sensible way; the image is named.
    """
    found = image.shape[2]
    if found == channels:
        return image
    if found == 1:
        return np.repeat(image, channels, axis=2)
    if found == 3 and channels == 1:
        return (image @ np.array(_GREY, np.float32))[..., None]
    raise ValueError(f"{name}: has {found} channels, the others {channels}")


def count_channels(samples: Samples, wanted: Literal["auto", "grey", "all"] = "auto") -> int:
    """How many channels a network for these images gets, judged by up to 64 of them.

    Parameters
    ----------
    samples : Samples
    wanted : {"auto", "grey", "all"}
        all: as many as the images have. auto: one where they are grey pictures saved as colour, even if some hold
        a coloured mark.
    """
    if wanted == "grey":
        return 1
    picks = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), _LOOKED_AT)).round().astype(int))
    most, coloured = 1, []
    for pick in picks:
        image = checked_image(samples, int(pick))
        most = max(most, image.shape[2])
        coloured.append(float((np.ptp(image, axis=2) > 0.1).mean()))
    return 1 if wanted == "auto" and most == 3 and float(np.mean(coloured)) < _COLOURED else most


def class_groups(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group that each image is drawn from in balanced batches: its class, or the rarest that it shows.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,) or (N, K)

    Examples
    --------
    >>> class_groups(np.array([[1, 0], [1, 1], [0, 0], [1, 0]])).tolist()
    [0, 1, -1, 0]
    """
    if labels.ndim == 1:
        return labels
    rarity = np.where(labels == 1, labels.sum(0), len(labels) + 1)
    groups: NDArray[np.int64] = np.where(labels.any(1), rarity.argmin(1), -1)
    return groups


def epoch_batches(
    groups: NDArray[np.int64], batch_size: int, balanced: bool, draw: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The order of one epoch, in batches of nearly one size.

    Parameters
    ----------
    groups : ndarray of int64, shape (N,)
    batch_size : int
        At most.
    balanced : bool
        Whether every batch holds as many images of each group, those of small groups more than once per epoch.
    draw : numpy.random.Generator

    Returns
    -------
    list of ndarray of int64
        Positions in ``groups``; N in all.
    """
    count = len(groups)
    if balanced:
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        each = -(-count // len(members))
        columns = []
        for group in members:
            rounds = [draw.permutation(group) for _ in range(-(-each // len(group)))]
            columns.append(np.concatenate(rounds)[:each])
        # One of each group in turn, in another order every time.
        order = np.stack([draw.permutation(row) for row in np.stack(columns, axis=1)]).ravel()[:count]
    else:
        order = draw.permutation(count)
    return np.array_split(order, max(1, -(-count // batch_size)))


def ahead(make: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Make one thing per item, each on a thread while the one before it is in use.

    Examples
    --------
    >>> list(ahead(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="refit-batches") as pool:
        waiting = iter(items)
        pending = [pool.submit(make, item) for item in [next(waiting, None)] if item is not None]
        while pending:
            future = pending.pop()
            made = future.result()
            following = next(waiting, None)
            if following is not None:
                pending.append(pool.submit(make, following))
            yield made
