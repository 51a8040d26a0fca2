"""Quickshift on an accelerator: one line of the window at a time, for all pixels at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_refit.bands import Stop, check

ELEMENTS = 1 << 26
"""Of the largest intermediate array: how many pixels times columns of the window are handled together."""


def torch_links(
    colours: NDArray[np.floating],
    kernel_size: float,
    generator: np.random.Generator,
    device: torch.device,
    cancelled: Stop | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Link every pixel to the nearest one of higher density.

    Weights are computed in single precision and added up in double precision where the device has it, so that only
    densities that differ by less than about 1e-5 can be ordered otherwise than on the processor. Distances, among
    which there are many equal ones in a picture of few grey levels, are compared in double precision.

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
    tensor of float64, (H, W)
        The distances; of float32 where the device has no double precision.

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
    reach = math.ceil(3 * kernel_size)
    window = _Window(min(reach, height - 1), min(reach, width - 1))
    exact = torch.from_numpy(np.ascontiguousarray(np.moveaxis(colours, -1, 0))).to(device, wide)

    densities = torch.zeros(height, width, dtype=wide, device=device)
    planes = exact.float()
    padded = window.pad(planes, math.inf)
    for top, bottom, dy in window.lines(height, width, cancelled):
        squares = window.squares(dy, device)
        for own, line in zip(planes, padded, strict=True):
            difference = own[top:bottom, :, None] - window.line(line, top, bottom, dy)
            squares = torch.addcmul(squares, difference, difference)
        weights = squares.mul_(-0.5 / kernel_size**2).exp_()
        densities[top:bottom] += weights.sum(-1, dtype=wide)

    noise = torch.from_numpy(generator.normal(scale=1e-5, size=(height, width))).to(device, wide)
    ranks, their_ranks = _ranks(densities, noise)
    their_padded = window.pad(their_ranks, -1)
    padded = window.pad(exact, math.inf)
    nearest = torch.full((height, width), math.inf, dtype=wide, device=device)
    steps = torch.zeros(height, width, dtype=torch.int64, device=device)
    for top, bottom, dy in window.lines(height, width, cancelled):
        squares = torch.zeros((), dtype=wide, device=device)
        for own, line in zip(exact, padded, strict=True):
            # The order of the additions decides between nearly equal distances; a fused one would round otherwise.
            squares = (own[top:bottom, :, None] - window.line(line, top, bottom, dy)).square_().add_(squares)
        squares.add_(dy * dy).add_(window.squares(0, device))
        lower = window.line(their_padded, top, bottom, dy) <= ranks[top:bottom, :, None]
        square, dx = squares.masked_fill_(lower, math.inf).min(-1)
        # Lines from top to bottom, and the first of equals in each: the first pixel wins.
        better = square < nearest[top:bottom]
        nearest[top:bottom] = torch.where(better, square, nearest[top:bottom])
        steps[top:bottom] = torch.where(better, dx + (dy * width - window.across), steps[top:bottom])

    places = torch.arange(height * width, device=device).view(height, width)
    parents = places + steps
    return parents, _distances(exact, places, parents)


class _Window:
    """How many lines and columns are compared to each side."""

    def __init__(self, down: int, across: int) -> None:
        self.down, self.across = down, across

    def pad(self, plane: torch.Tensor, value: float) -> torch.Tensor:
        margins = (self.across, self.across, self.down, self.down)
        return torch.nn.functional.pad(plane, margins, value=value)

    def squares(self, dy: int, device: torch.device) -> torch.Tensor:
        """Squared distances over place alone to a line of the window."""
        return torch.arange(-self.across, self.across + 1, device=device).square().float() + dy * dy

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


def _distances(exact: torch.Tensor, places: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    width = places.shape[1]
    flat = exact.flatten(1)
    squares = (flat[:, places.flatten()] - flat[:, parents.flatten()]).square().sum(0).view_as(places)
    down = torch.div(parents, width, rounding_mode="floor") - torch.div(places, width, rounding_mode="floor")
    squares = squares + down.square() + (parents % width - places % width).square()
    none = torch.finfo(exact.dtype).max if exact.dtype == torch.float64 else math.inf
    return torch.where(parents == places, none, squares).sqrt()


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
    roots = torch.where((distances > max_dist).flatten(), places, parents.flatten())
    # Each step doubles how far up a pixel sees.
    for _ in range(math.ceil(math.log2(max(2, parents.numel())))):
        roots = roots[roots]
    numbers = torch.cumsum(roots == places, 0) - 1
    return numbers[roots].view_as(parents)
