"""Quickshift on a CUDA device: one thread per pixel goes through its window as scikit-image does.

Every sum is rounded as scikit-image rounds it, in the same order; multiplications and additions are never fused. Like
all modules that import triton, it is to be imported only where `napari_refit.uss.llvm` has nothing against it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from napari_refit.bands import Stop, check
from napari_refit.devices import uploaded

# Compiled once for all sizes.
_SIZES = ["top", "height", "width", "plane", "down", "across"]
# Pixels of a line that are handled together, one per thread.
_BLOCK = 128
# The host draws the noise for one part while the device adds up the densities of the one before.
_PARTS = 8


@triton.jit
def _square(planes, plane, there, seen, one_0, one_1, one_2, here, inside, dy, dx, CHANNELS: tl.constexpr):
    """Squared distances over colour and place, added up as scikit-image does."""
    difference = one_0 - tl.load(planes + there, mask=seen, other=0)
    square = difference * difference
    if CHANNELS > 1:
        difference = one_1 - tl.load(planes + plane + there, mask=seen, other=0)
        square += difference * difference
    if CHANNELS > 2:
        difference = one_2 - tl.load(planes + 2 * plane + there, mask=seen, other=0)
        square += difference * difference
    for channel in tl.static_range(3, CHANNELS):
        one = tl.load(planes + channel * plane + here, mask=inside, other=0)
        difference = one - tl.load(planes + channel * plane + there, mask=seen, other=0)
        square += difference * difference
    return square + dy * dy + dx * dx


@triton.jit(do_not_specialize=_SIZES)
def _add_densities(
    planes, noise, densities, factor, top, height, width, plane, down, across,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(width, BLOCK)
    y = top + tl.program_id(0) // blocks
    x = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = x < width
    here = y * width + x
    scale = tl.load(factor)
    density = tl.load(noise + here, mask=inside, other=0)
    one_0 = tl.load(planes + here, mask=inside, other=0)
    one_1 = tl.load(planes + min(1, CHANNELS - 1) * plane + here, mask=inside, other=0)
    one_2 = tl.load(planes + min(2, CHANNELS - 1) * plane + here, mask=inside, other=0)
    for v in range(tl.maximum(y - down, 0), tl.minimum(y + down + 1, height)):
        for dx in range(-across, across + 1):
            seen = inside & (x + dx >= 0) & (x + dx < width)
            there = v * width + x + dx
            square = _square(
                planes, plane, there, seen, one_0, one_1, one_2, here, inside, y - v, dx, CHANNELS
            )
            weight = tl.exp(-(square * scale).to(tl.float64))
            density = tl.where(seen, (density.to(tl.float64) + weight).to(density.dtype), density)
    tl.store(densities + here, density, mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def _find_parents(
    planes, densities, parents, squares, height, width, plane, down, across,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(width, BLOCK)
    y = tl.program_id(0) // blocks
    x = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = x < width
    here = y * width + x
    density = tl.load(densities + here, mask=inside, other=0)
    one_0 = tl.load(planes + here, mask=inside, other=0)
    one_1 = tl.load(planes + min(1, CHANNELS - 1) * plane + here, mask=inside, other=0)
    one_2 = tl.load(planes + min(2, CHANNELS - 1) * plane + here, mask=inside, other=0)
    nearest = tl.full((BLOCK,), float("inf"), one_0.dtype)
    parent = here
    for v in range(tl.maximum(y - down, 0), tl.minimum(y + down + 1, height)):
        for dx in range(-across, across + 1):
            seen = inside & (x + dx >= 0) & (x + dx < width)
            there = v * width + x + dx
            # What is not a number is not denser than anything, nor is anything denser.
            seen &= tl.load(densities + there, mask=seen, other=float("-inf")) > density
            square = _square(
                planes, plane, there, seen, one_0, one_1, one_2, here, inside, y - v, dx, CHANNELS
            )
            better = seen & (square < nearest)
            nearest = tl.where(better, square, nearest)
            parent = tl.where(better, there, parent)
    tl.store(parents + here, parent, mask=inside)
    tl.store(squares + here, nearest, mask=inside)


def triton_links(
    colours: NDArray[np.floating],
    kernel_size: float,
    generator: np.random.Generator,
    device: torch.device,
    cancelled: Stop | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Link every pixel to the nearest one of higher density.

    The links are those of scikit-image for the dtype of the colours, but for densities that the device's
    exponential function, which may be off by a unit in the last place, puts on the other side of a rounding.

    Parameters
    ----------
    colours : ndarray of float32 or float64, (H, W, C)
        As they are compared; fewer than 2**31 values, which are counted in 32 bits.
    kernel_size : float
        In pixels, at least 1.
    generator : numpy.random.Generator
        Of the noise that breaks ties.
    device : torch.device
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    tensor of int64, (H, W)
        The parents (`napari_refit.uss.quickshift.QuickshiftTree`).
    tensor of the colours' dtype, (H, W)
        The distances.

    Raises
    ------
    napari_refit.errors.Cancelled
        If ``cancelled()`` answered True.
    """
    height, width, channels = colours.shape
    planes = uploaded(colours, device).permute(2, 0, 1).contiguous()
    kind = colours.dtype.type
    kernel = kind(kernel_size)
    factor = planes.new_tensor([kind(0.5 / np.float64(kernel * kernel))])
    noise, densities = planes.new_empty(height, width), planes.new_empty(height, width)
    reach = math.ceil(3 * kernel_size)
    window = min(reach, height - 1), min(reach, width - 1)
    blocks = -(-width // _BLOCK)
    options = {"CHANNELS": channels, "BLOCK": _BLOCK, "num_warps": _BLOCK // 32, "enable_fp_fusion": False}
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        lines = -(-height // _PARTS)
        for top in range(0, height, lines):
            check(cancelled)
            part = generator.normal(scale=1e-5, size=(min(lines, height - top), width))
            noise[top : top + lines] = torch.from_numpy(part.astype(kind, copy=False)).to(device)
            _add_densities[(len(part) * blocks,)](
                planes, noise, densities, factor, top, height, width, height * width, *window, **options
            )
        check(cancelled)
        parents = torch.empty(height, width, dtype=torch.int32, device=device)
        squares = planes.new_empty(height, width)
        _find_parents[(height * blocks,)](
            planes, densities, parents, squares, height, width, height * width, *window, **options
        )
    # What scikit-image reports for a pixel without a parent: infinity in single precision.
    none = math.inf if planes.dtype == torch.float32 else torch.finfo(torch.float64).max
    return parents.long(), squares.clamp_(max=none).sqrt_()
