"""Quickshift on an accelerator: one line of the window at a time, for all pixels at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_refit.bands import Stop, check
from napari_refit.devices import uploaded

ELEMENTS = 1 << 25
"""Of the largest intermediate array: how many pixels times columns of the window are handled together."""


def torch_links(
    colours: NDArray[np.floating],
    kernel_size: float,
    generator: np.random.Generator,
    device: torch.device,
    cancelled: Stop | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Link every pixel to the nearest one of higher density.

    For colours in single precision, densities are rounded after every addition as scikit-image rounds them: in areas
    of one colour that decides which pixel is the densest. For colours in double precision, weights are computed in
    single precision, so that densities that differ by less than about 1e-5 may be ordered otherwise than on the
    processor. Distances, among which there are many equal ones in a picture of few grey levels, are compared in the
    precision of the colours, or the best that the device has.

    Parameters
    ----------
    colours : ndarray of float, (H, W, C)
        As they are compared.
    kernel_size : float
        In pixels, at least 1.
    generator : numpy.random.Generator
        Of the noise that breaks ties.
    device : torch.device
    cancelled : callable, optional
        Asked before each line of the window.

    Returns
    -------
    tensor of int64, (H, W)
        The parents (`napari_refit.uss.quickshift.QuickshiftTree`).
    tensor of float, (H, W)
        The distances, of the colours' dtype; of float32 where the device has no double precision.

    Raises
    ------
    napari_refit.errors.Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> colours = np.array([[[0.0], [0.0], [9.0]]])
    >>> parents, distances = torch_links(colours, 1, np.random.default_rng(1), torch.device("cpu"))
    >>> parents.tolist(), distances[0, 0].item()
    ([[1, 1, 1]], 1.0)
    """
    height, width, _ = colours.shape
    wide = torch.float32 if device.type == "mps" else torch.float64
    kind = torch.float32 if colours.dtype == np.float32 else wide
    reach = math.ceil(3 * kernel_size)
    window = _Window(min(reach, height - 1), min(reach, width - 1))
    narrow = np.float32 if kind == torch.float32 else np.float64
    exact = uploaded(colours.astype(narrow, copy=False), device).permute(2, 0, 1).contiguous()
    noise = torch.from_numpy(generator.normal(scale=1e-5, size=(height, width)))

    if colours.dtype == np.float32:
        own = theirs = _rounded_densities(exact, noise.float(), kernel_size, window, wide, cancelled)
    else:
        densities = _densities(exact, kernel_size, window, wide, cancelled)
        own, theirs = _ranks(densities, noise.to(device, wide))
    their_padded = window.pad(theirs, -math.inf if theirs.is_floating_point() else -1)
    padded = window.pad(exact, math.inf)
    nearest = torch.full((height, width), math.inf, dtype=kind, device=device)
    steps = torch.zeros(height, width, dtype=torch.int64, device=device)
    for top, bottom, dy in window.lines(height, width, cancelled):
        squares = window.squares(exact, padded, top, bottom, dy)
        # What is not a number is not denser than anything, nor is anything denser.
        denser = window.line(their_padded, top, bottom, dy) > own[top:bottom, :, None]
        square, dx = squares.masked_fill_(~denser, math.inf).min(-1)
        # Lines from top to bottom, and the first of equals in each: the first pixel wins.
        better = square < nearest[top:bottom]
        nearest[top:bottom] = torch.where(better, square, nearest[top:bottom])
        steps[top:bottom] = torch.where(better, dx + (dy * width - window.across), steps[top:bottom])

    places = torch.arange(height * width, device=device).view(height, width)
    # What scikit-image reports for a pixel without a parent: infinity in single precision.
    none = math.inf if kind == torch.float32 else torch.finfo(kind).max
    return places + steps, nearest.clamp_(max=none).sqrt_()


def _densities(
    exact: torch.Tensor, kernel_size: float, window: _Window, wide: torch.dtype, cancelled: Stop | None
) -> torch.Tensor:
    """The densities without noise, from weights of single precision."""
    _, height, width = exact.shape
    densities = torch.zeros(height, width, dtype=wide, device=exact.device)
    planes = exact.float()
    padded = window.pad(planes, math.inf)
    for top, bottom, dy in window.lines(height, width, cancelled):
        squares = window.squares(planes, padded, top, bottom, dy)
        weights = squares.mul_(-0.5 / kernel_size**2).exp_()
        densities[top:bottom] += weights.sum(-1, dtype=wide)
    return densities


def _rounded_densities(
    exact: torch.Tensor,
    noise: torch.Tensor,
    kernel_size: float,
    window: _Window,
    wide: torch.dtype,
    cancelled: Stop | None,
) -> torch.Tensor:
    """The densities with noise, rounded to single precision after each addition, from the noise to the last pixel."""
    _, height, width = exact.shape
    densities = noise.to(exact.device)
    padded = window.pad(exact, math.inf)
    kernel = np.float32(kernel_size)
    factor = float(np.float32(0.5 / np.float64(kernel * kernel)))
    for top, bottom, dy in window.lines(height, width, cancelled):
        squares = window.squares(exact, padded, top, bottom, dy)
        weights = squares.mul_(-factor).to(wide).exp_()
        for column in range(weights.shape[-1]):
            densities[top:bottom] = densities[top:bottom].to(wide) + weights[..., column]
    return densities


class _Window:
    """How many lines and columns are compared to each side."""

    def __init__(self, down: int, across: int) -> None:
        self.down, self.across = down, across

    def pad(self, plane: torch.Tensor, value: float) -> torch.Tensor:
        margins = (self.across, self.across, self.down, self.down)
        return torch.nn.functional.pad(plane, margins, value=value)

    def squares(
        self, exact: torch.Tensor, padded: torch.Tensor, top: int, bottom: int, dy: int
    ) -> torch.Tensor:
        """Squared distances over colour and place to that line of the window of each pixel, (lines, W, columns).

        The order of the additions decides between nearly equal distances; a fused one would round otherwise.
        """
        squares = exact.new_zeros(())
        for own, line in zip(exact, padded, strict=True):
            difference = own[top:bottom, :, None] - self.line(line, top, bottom, dy)
            squares = difference.square_().add_(squares)
        aside = torch.arange(-self.across, self.across + 1, device=exact.device).square()
        return squares.add_(dy * dy).add_(aside)

    def lines(self, height: int, width: int, cancelled: Stop | None) -> Iterator[tuple[int, int, int]]:
        """First and last line of some pixels, and how much lower the line of their windows is."""
        n_lines = max(1, ELEMENTS // ((2 * self.across + 1) * width))
        for top in range(0, height, n_lines):
            for dy in range(-self.down, self.down + 1):
                check(cancelled)
                yield top, min(top + n_lines, height), dy

    def line(self, padded: torch.Tensor, top: int, bottom: int, dy: int) -> torch.Tensor:
        """What lies in that line of the window of each pixel, (lines, W, columns), without a copy."""
        rows = padded[top + dy + self.down : bottom + dy + self.down]
        return rows.unfold(-1, 2 * self.across + 1, 1)


def _ranks(densities: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels' places in the order of density, as seen by the pixel itself and by others.

    Where the density is not a number, the pixel is above all for itself and below all for the others.
    """
    valid = ~densities.isnan()
    flat, ties = densities.flatten(), noise.flatten()
    if densities.dtype == torch.float32:
        # Noise would vanish in a sum of single precision; it decides between equal densities.
        by_noise = ties.argsort()
        order = by_noise[flat[by_noise].argsort(stable=True)]
    else:
        order = (flat + ties).argsort()
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    ranks = ranks.view_as(densities)
    return torch.where(valid, ranks, len(order)), torch.where(valid, ranks, -1)


def torch_cut(parents: torch.Tensor, distances: torch.Tensor, max_dist: float) -> torch.Tensor:
    """Number the trees that are left once links longer than ``max_dist`` are cut, in the order of their roots.

    Parameters
    ----------
    parents : tensor of int64, (H, W)
    distances : tensor of float, (H, W)
    max_dist : float

    Returns
    -------
    tensor of int64, (H, W)

    Examples
    --------
    >>> torch_cut(torch.tensor([[1, 1, 1]]), torch.tensor([[2.0, 1e9, 7.0]]), 5).tolist()
    [[0, 0, 1]]
    """
    places = torch.arange(parents.numel(), device=parents.device)
    # As the distances are rounded, so is the limit.
    limit = torch.full((), max_dist, dtype=distances.dtype, device=distances.device)
    roots = torch.where((distances > limit).flatten(), places, parents.flatten())
    # Each step doubles how far up a pixel sees.
    for _ in range(math.ceil(math.log2(max(2, parents.numel())))):
        roots = roots[roots]
    numbers = torch.cumsum(roots == places, 0) - 1
    return numbers[roots].view_as(parents)
