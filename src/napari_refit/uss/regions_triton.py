"""Connected regions of a label map on a CUDA device.

Runs along the lines come first; then runs that touch are joined, all at once, by linking the later one's root to the
earlier one's. A root is the first pixel of its region in the end, in whatever order that happens. Like all modules
that import triton, it is to be imported only where `napari_refit.uss.llvm` has nothing against it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl

_BLOCK = 256
# Compiled once for all sizes.
_SIZES = ["depth", "height", "width", "n_pixels"]


@triton.jit
def _join(labels, parents, here, back, joined):
    """Join each pixel's tree with that of the pixel ``back`` before it."""
    one, other = here, here - back
    going = joined & (tl.load(labels + here, mask=joined) == tl.load(labels + here - back, mask=joined))
    while tl.max(going.to(tl.int32), 0) > 0:
        above = tl.load(parents + one, mask=going, other=0)
        other_above = tl.load(parents + other, mask=going, other=0)
        at_roots = (above == one) & (other_above == other)
        going &= above != other_above
        high, low = tl.maximum(above, other_above), tl.minimum(above, other_above)
        found = tl.atomic_min(parents + high, low, mask=going & at_roots)
        # If somebody else was faster, what they linked to is joined in turn.
        one = tl.where(going & at_roots, found, above)
        other = tl.where(going & at_roots, low, other_above)
        going &= (at_roots == 0) | (found != high)


@triton.jit(do_not_specialize=_SIZES)
def _join_runs(labels, parents, depth, height, width, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < depth * height * width
    _join(labels, parents, here, width, inside & (here // width % height > 0))
    if depth > 1:
        _join(labels, parents, here, width * height, inside & (here >= width * height))


@triton.jit(do_not_specialize=_SIZES)
def _climb(parents, roots, n_pixels, BLOCK: tl.constexpr):
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    root = here
    going = here < n_pixels
    while tl.max(going.to(tl.int32), 0) > 0:
        above = tl.load(parents + root, mask=going, other=0)
        going &= above != root
        root = tl.where(going, above, root)
    tl.store(roots + here, root, mask=here < n_pixels)


def connected_regions(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Make each connected region of one label a region of its own, as `napari_refit.uss.edges.connected_clusters`.

    Parameters
    ----------
    labels : tensor of int32, (D, H, W)
        Fewer than 2**31 of them.

    Returns
    -------
    tensor of int32, (D, H, W)
        Regions 1..n in the order of their first pixels.
    tensor of int64, (n,)
        The place of the first pixel of each in the flat image.
    """
    depth, height, width = labels.shape
    labels = labels.contiguous()
    grid = (-(-labels.numel() // _BLOCK),)
    with torch.cuda.device(labels.device) if labels.is_cuda else nullcontext():
        places = torch.arange(labels.numel(), dtype=torch.int32, device=labels.device).view_as(labels)
        begins = torch.ones_like(labels, dtype=torch.bool)
        torch.ne(labels[..., 1:], labels[..., :-1], out=begins[..., 1:])
        parents = torch.where(begins, places, 0).cummax(-1).values
        _join_runs[grid](labels, parents, depth, height, width, BLOCK=_BLOCK)
        roots = torch.empty_like(parents)
        _climb[grid](parents, roots, labels.numel(), BLOCK=_BLOCK)
        numbers = (roots == places).flatten().cumsum(0, dtype=torch.int32)
        firsts = (roots == places).flatten().nonzero()[:, 0]
        return numbers[roots.flatten()].view_as(labels), firsts
