"""Quickshift's links on the processor: what runs in which order, on all threads.

Densities are computed in single precision first. Where a link hangs on two of them that are too close to tell, they are
computed again, exactly, and the link is looked for again: in a photograph that is one pixel in a hundred.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop, check, cut, n_threads, run_bands
from napari_refit.uss import quickshift_exact_kernel as exact
from napari_refit.uss import quickshift_kernel as density
from napari_refit.uss import quickshift_links_kernel as links

# Pixels of a stretch of a line.
STRETCH = density.LONGEST
# Each some 10 ms of work, after which a caller can stop.
PAIRS = 20_000_000
SEARCHED_LINES = 32
EXACT_PAIRS = 8_000_000
PIXELS_PER_CUT = 1 << 17


def compiled_tree(
    colours: NDArray[np.floating],
    kernel_size: float,
    generator: np.random.Generator,
    cancelled: Stop | None = None,
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Link every pixel to the nearest one of higher density.

    Parameters
    ----------
    colours : ndarray of float32 or float64, (H, W, C)
        As they are compared. The links are those of scikit-image for this dtype, whose order of additions and
        roundings is followed wherever they matter.
    kernel_size : float
        In pixels, at least 1.
    generator : numpy.random.Generator
        Of the noise that breaks ties.
    cancelled : callable, optional

    Returns
    -------
    ndarray of int32 or int64, (H, W)
        The parents (`napari_refit.uss.quickshift.QuickshiftTree`).
    ndarray of the colours' dtype, (H, W)
        The distances.

    Raises
    ------
    napari_refit.errors.Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> colours = np.array([[[0.0], [0.0], [9.0]]])
    >>> parents, distances = compiled_tree(colours, 1, np.random.default_rng(1))
    >>> parents, distances[0, 0].item()
    (array([[1, 1, 1]], dtype=int32), 1.0)
    """
    height, width, _ = colours.shape
    reach = math.ceil(3 * kernel_size)
    window = _Window(
        min(reach, height - 1),
        max(links.ACROSS, min(reach, width - 1)),
        -(-width // STRETCH),
        kernel_size,
    )
    planes, largest, finite = window.planes(colours)
    noise = np.empty((height, width))
    densities = _densities(window, planes, noise, generator, cancelled)
    inner = densities[:, window.across : window.across + width]
    if not finite:
        _drop_not_finite(colours, window, inner)
    margins = np.full(densities.shape, _margin(colours, window, largest), np.float32)
    flat = _flat_windows(window, planes, noise.shape)
    if flat.any():
        margins[:, window.across : window.across + width][flat] = 0
        if colours.dtype == np.float32:
            _settle(window, planes, np.flatnonzero(flat), True, noise, densities, cancelled)
        else:
            inner[flat] = noise[flat] + window.flat_density(height, width)[flat]
    return _links(window, planes, densities, noise, margins, cancelled)


def cut_tree(
    parents: NDArray[np.integer], distances: NDArray[np.floating], max_dist: float
) -> NDArray[np.int64]:
    """Cut the links of `compiled_tree` that are longer than ``max_dist``.

    Parameters
    ----------
    parents : ndarray of int, (H, W)
    distances : ndarray of float, (H, W)
    max_dist : float

    Returns
    -------
    ndarray of int64, (H, W)
        Cluster numbers from 0, in the order of the clusters' densest pixels.

    Examples
    --------
    >>> cut_tree(np.array([[1, 1, 3, 4, 4]]), np.array([[2.0, 1e9, 2.0, 7.0, 1e9]]), 5)
    array([[0, 0, 1, 1, 2]])
    """
    labels = np.empty(parents.size, np.int64)
    tree = parents.ravel(), distances.ravel(), distances.dtype.type(max_dist)
    # With less to do, a second thread on a busy machine starts later than the first one ends.
    n_bands = max(1, min(n_threads(), labels.size // PIXELS_PER_CUT))
    bands = cut(labels.size, n_bands)
    counts = run_bands(links.count_roots, labels.size, *tree, n_bands=n_bands) if n_bands > 1 else [0]
    firsts = dict(zip((start for start, _ in bands), accumulate(counts[:-1], initial=0), strict=True))

    def number(start: int, stop: int) -> None:
        links.number_roots(start, stop, *tree, firsts[start], labels)

    run_bands(number, labels.size, n_bands=n_bands)
    run_bands(links.follow_links, labels.size, tree[0], labels, n_bands=n_bands)
    return labels.reshape(parents.shape)


@dataclass(frozen=True)
class _Window:
    """How many lines and columns are compared to each side, and how lines are cut into stretches."""

    down: int
    across: int
    n_stretches: int
    kernel_size: float

    def length(self, width: int) -> int:
        return -(-width // (density.LANES * self.n_stretches)) * density.LANES

    def planes(self, colours: NDArray[np.floating]) -> tuple[NDArray[np.floating], float, bool]:
        """The channels with margins, the largest finite magnitude, and whether all are finite."""
        height, width, channels = colours.shape
        total = self.n_stretches * self.length(width) + 2 * self.across + density.SPARE
        planes = np.empty((height, channels, total), colours.dtype)
        bands = run_bands(density.lay_out, height, colours, self.across, planes)
        return planes, max(largest for largest, _ in bands), all(finite for _, finite in bands)

    def flat_density(self, height: int, width: int) -> NDArray[np.float64]:
        """The density of each pixel of an image of one colour."""
        lines, columns = (
            _clipped_sums(np.exp(-0.5 * (np.arange(-steps, steps + 1) / self.kernel_size) ** 2), length)
            for steps, length in ((self.down, height), (self.across, width))
        )
        return np.outer(lines, columns)


def _clipped_sums(weights: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The sum of those of the weights around each of ``length`` places that do not stick out."""
    return np.convolve(np.ones(length), weights)[len(weights) // 2 :][:length]


def _densities(
    window: _Window,
    planes: NDArray[np.floating],
    noise: NDArray[np.float64],
    generator: np.random.Generator,
    cancelled: Stop | None,
) -> NDArray[np.float64]:
    """The densities in single precision, minus infinity in the margins; the noise is filled in."""
    height, _, total = planes.shape
    # Each block of lines adds to the lines below it too, in memory of its own: their number, on which the order
    # of the additions depends, must not depend on the threads.
    lines = PAIRS // (total * (2 * window.across + 1) * (window.down + 1))
    lines = min(max(lines, window.down // 2, 1), 64, height)
    totals = np.empty((-(-height // lines), lines + window.down, total))
    reach = window.down, window.across

    def add_noise() -> None:
        generator.standard_normal(out=noise)
        np.multiply(noise, 1e-5, out=noise)

    def add_block(block: int) -> None:
        totals[block] = 0
        start, stop = block * lines, min((block + 1) * lines, height)
        density.add_densities(
            start, stop, planes, reach, window.n_stretches, window.kernel_size, totals[block]
        )

    _share([add_noise, *(partial(add_block, block) for block in range(len(totals)))], cancelled)
    densities = np.full((height, total), -np.inf)
    densities[:, window.across : window.across + noise.shape[1]] = noise
    run_bands(density.join_densities, height, totals, lines, densities)
    return densities


def _margin(colours: NDArray[np.floating], window: _Window, largest: float) -> float:
    """How wrong a density may be.

    What single precision does to a density is a share of the highest there can be, 2 pi kernel**2: weights and sums
    are off by some 2e-7, and colours by half a unit in their last place, which matters most one kernel away. What
    scikit-image does in single precision is worse: each of its additions rounds the whole sum.
    """
    columns = 2 * max(window.down, window.across) + 1
    if colours.dtype == np.float32:
        share = 8e-8 * columns
    else:
        share = 2e-7 + 2e-8 * largest * math.sqrt(colours.shape[2]) / window.kernel_size
    return share * 2 * math.pi * window.kernel_size**2


def _links(
    window: _Window,
    planes: NDArray[np.floating],
    densities: NDArray[np.float64],
    noise: NDArray[np.float64],
    margins: NDArray[np.float32],
    cancelled: Stop | None,
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    height, width = noise.shape
    kind = planes.dtype.type
    parents = np.empty((height, width), np.int32 if height * width < 2**31 else np.int64)
    with np.errstate(over="ignore"):
        # What scikit-image reports for a pixel without a parent: infinity in single precision.
        none = kind(np.finfo(np.float64).max)
    distances = np.full((height, width), none)
    unsure, asked = np.empty((height, width), np.uint8), np.zeros((height, width), np.uint8)
    rings, lengths = _rings(window, planes, width)
    beyond = abs(rings[:, :2]).max(axis=1) > links.ACROSS
    outer = rings[beyond], lengths[beyond]

    def find_parents(start: int) -> None:
        stop = min(start + SEARCHED_LINES, height)
        found = parents, distances, unsure, asked
        links.find_parents(start, stop, planes, densities, window.across, *outer, margins, *found)

    _share([partial(find_parents, start) for start in range(0, height, SEARCHED_LINES)], cancelled)

    _settle(window, planes, np.flatnonzero(unsure | asked), False, noise, densities, cancelled)
    again = np.flatnonzero(unsure)

    def find_again(start: int, stop: int) -> None:
        found = parents, distances, asked
        links.find_again(
            start, stop, again, planes, densities, window.across, rings, lengths, margins, none, *found
        )

    _share(_parts(find_again, len(again), max(1, EXACT_PAIRS // len(rings))), cancelled)
    return parents, distances


def _settle(
    window: _Window,
    planes: NDArray[np.floating],
    pixels: NDArray[np.intp],
    flat: bool,
    noise: NDArray[np.float64],
    densities: NDArray[np.float64],
    cancelled: Stop | None,
) -> None:
    """Put the exact densities of some pixels into their places."""
    reach, kernel_size = (window.down, window.across), planes.dtype.type(window.kernel_size)

    def settle(start: int, stop: int) -> None:
        exact.exact_densities(start, stop, pixels, flat, planes, reach, kernel_size, noise, densities)

    size = (2 * window.down + 1) * (2 * window.across + 1) * exact.TOGETHER
    _share(_parts(settle, -(-len(pixels) // exact.TOGETHER), max(1, EXACT_PAIRS // size)), cancelled)


def _flat_windows(window: _Window, planes: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether the window around each pixel holds a single colour."""
    flat_lines, flat = np.empty(shape, bool), np.empty(shape, bool)
    run_bands(exact.mark_flat_lines, len(planes), planes, window.across, flat_lines)
    exact.mark_flat_windows(planes, window.down, window.across, flat_lines, flat)
    return flat


def _rings(
    window: _Window, planes: NDArray[np.floating], width: int
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Offsets in the window by rising length, and their squared lengths, as the compiled loops want them."""
    _, channels, total = planes.shape
    down, across = window.down, window.across
    dy, dx = (axis.ravel() for axis in np.mgrid[-down : down + 1, -across : across + 1])
    order = np.argsort(dy * dy + dx * dx, kind="stable")[1:]
    dy, dx = dy[order], dx[order]
    rings = np.stack([dy, dx, dy * total + dx, dy * channels * total + dx, dy * width + dx], axis=1)
    return rings, np.stack([dy * dy + dx * dx, dy * dy, dx * dx], axis=1).astype(planes.dtype)


def _drop_not_finite(colours: NDArray[np.floating], window: _Window, densities: NDArray[np.float64]) -> None:
    """Where NaN is within the window, or the pixel itself is infinite, no density is higher or lower."""
    from scipy.ndimage import maximum_filter

    size = 2 * window.down + 1, 2 * window.across + 1
    near_nan = maximum_filter(np.isnan(colours).any(axis=2), size=size, mode="constant")
    densities[near_nan | np.isinf(colours).any(axis=2)] = np.nan


def _parts(work: Callable[[int, int], None], length: int, size: int) -> list[Callable[[], None]]:
    """Tasks of at most ``size``, and several for each thread; what they find does not depend on the cut."""
    size = min(size, max(1, -(-length // (4 * n_threads()))))
    return [partial(work, start, min(start + size, length)) for start in range(0, length, size)]


def _share(tasks: Sequence[Callable[[], None]], cancelled: Stop | None) -> None:
    """Do the tasks on all threads; whoever is free takes the next."""
    queue = iter(tasks)

    def work(start: int, stop: int) -> None:
        for task in queue:
            check(cancelled)
            task()

    run_bands(work, n_threads())
