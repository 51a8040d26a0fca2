"""SLIC's k-means on a CUDA device: one program per tile of the image.

In each round a kernel lists the centres whose windows touch each tile, another gives every pixel to the nearest of
them and adds the pixels up for each centre, and a third moves the centres. The host waits for nothing in between.
Sums are whole numbers, so that the same input gives the same result each time. Like all modules that import triton, it
is to be imported only where `napari_refit.uss.llvm` has nothing against it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from napari_refit.bands import Stop, check

# Compiled once for all sizes.
_SIZES = ["n_centres", "depth", "height", "width", "plane", "n_pixels"]
# How many centres a tile's list holds; where there are more, the tile is compared with all of them.
_ROOM = 256
# Centres that are looked at together when lists are made.
_TOGETHER = 1024
# As in `slic_rounds`.
_LARGEST_PULL = 1e20
# Colours are added up in steps of the largest one over so much: finer than single precision holds it.
_FINENESS = 30


@triton.jit
def _corner(depth, height, width, TZ: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr):
    """z, y, x of the first pixel of this program's tile."""
    tile = tl.program_id(0)
    columns, rows = tl.cdiv(width, TX), tl.cdiv(height, TY)
    return tile // (columns * rows) * TZ, tile // columns % rows * TY, tile % columns * TX


@triton.jit(do_not_specialize=_SIZES)
def _list_centres(
    centres, members, counts, n_centres, depth, height, width, reach_z, reach_y, reach_x,
    STRIDE: tl.constexpr, ROOM: tl.constexpr, TOGETHER: tl.constexpr,
    TZ: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    corner_z, corner_y, corner_x = _corner(depth, height, width, TZ, TY, TX)
    tile = tl.program_id(0).to(tl.int64)
    count = 0
    for first in range(0, n_centres, TOGETHER):
        k = first + tl.arange(0, TOGETHER)
        # A centre that was given up is not a number: it touches nothing.
        z = tl.load(centres + k * STRIDE, mask=k < n_centres, other=float("nan"))
        y = tl.load(centres + k * STRIDE + 1, mask=k < n_centres, other=float("nan"))
        x = tl.load(centres + k * STRIDE + 2, mask=k < n_centres, other=float("nan"))
        touched = (z - reach_z < corner_z + TZ) & (z + reach_z + 1 >= corner_z)
        touched &= (y - reach_y < corner_y + TY) & (y + reach_y + 1 >= corner_y)
        touched &= (x - reach_x < corner_x + TX) & (x + reach_x + 1 >= corner_x)
        seat = count + tl.cumsum(touched.to(tl.int32), 0) - 1
        tl.store(members + tile * ROOM + seat, k, mask=touched & (seat < ROOM))
        count += tl.sum(touched.to(tl.int32), 0)
    tl.store(counts + tile, count)


@triton.jit
def _beyond(place, pixel, reach):
    """Whether a centre's window ends before a pixel, along one axis."""
    return (pixel < tl.floor(place - reach)) | (pixel >= tl.floor(place + reach + 1))


@triton.jit(do_not_specialize=_SIZES)
def _assign(
    planes, keep, centres, pulls, members, counts, labels, sums, fineness, n_centres, depth, height, width, plane,
    reach_z, reach_y, reach_x, spacing_z, spacing_y, spacing_x, weight,
    CHANNELS: tl.constexpr, MASKED: tl.constexpr, MOVES: tl.constexpr, ROOM: tl.constexpr,
    TZ: tl.constexpr, TY: tl.constexpr, TX: tl.constexpr,
):  # fmt: skip
    STRIDE: tl.constexpr = 3 + CHANNELS
    corner_z, corner_y, corner_x = _corner(depth, height, width, TZ, TY, TX)
    pixel = tl.arange(0, TZ * TY * TX)
    z, y, x = corner_z + pixel // (TY * TX), corner_y + pixel // TX % TY, corner_x + pixel % TX
    inside = (z < depth) & (y < height) & (x < width)
    here = (z * height + y) * width + x
    if MASKED:
        inside &= tl.load(keep + here, mask=inside, other=0) != 0
    one_0 = tl.load(planes + here, mask=inside, other=0)
    one_1 = tl.load(planes + min(1, CHANNELS - 1) * plane + here, mask=inside, other=0)
    one_2 = tl.load(planes + min(2, CHANNELS - 1) * plane + here, mask=inside, other=0)
    nearest = tl.full((TZ * TY * TX,), float("inf"), tl.float32)
    label = tl.load(labels + here, mask=inside, other=-1)
    place_z, place_y, place_x = z.to(tl.float32), y.to(tl.float32), x.to(tl.float32)

    tile = tl.program_id(0).to(tl.int64)
    listed = tl.load(counts + tile)
    n_candidates = tl.where(listed > ROOM, n_centres, listed)
    for seat in range(n_candidates):
        k = tl.load(members + tile * ROOM + seat, mask=listed <= ROOM, other=seat)
        centre = centres + k * STRIDE
        at_z, at_y, at_x = tl.load(centre), tl.load(centre + 1), tl.load(centre + 2)
        beyond = _beyond(at_z, place_z, reach_z) | _beyond(at_y, place_y, reach_y)
        beyond |= _beyond(at_x, place_x, reach_x)
        dz, dy, dx = (
            spacing_z * (at_z - place_z),
            spacing_y * (at_y - place_y),
            spacing_x * (at_x - place_x),
        )
        difference = one_0 - tl.load(centre + 3)
        colour = difference * difference
        if CHANNELS > 1:
            difference = one_1 - tl.load(centre + 4)
            colour += difference * difference
        if CHANNELS > 2:
            difference = one_2 - tl.load(centre + 5)
            colour += difference * difference
        for channel in tl.static_range(3, CHANNELS):
            one = tl.load(planes + channel * plane + here, mask=inside, other=0)
            difference = one - tl.load(centre + 3 + channel)
            colour += difference * difference
        distance = (dz * dz + dy * dy + dx * dx) * weight + tl.load(pulls + k) * colour
        # Members come in the order of their numbers: of equally near ones the lower wins.
        nearer = (distance < nearest) & (beyond == 0)
        nearest = tl.where(nearer, distance, nearest)
        label = tl.where(nearer, k, label)
    won = inside & (nearest < float("inf"))
    tl.store(labels + here, label, mask=inside)

    if MOVES:
        scale = tl.load(fineness)
        for seat in range(n_candidates):
            k = tl.load(members + tile * ROOM + seat, mask=listed <= ROOM, other=seat)
            mine = won & (label == k)
            count = tl.sum(mine.to(tl.int32), 0)
            if count > 0:
                total = sums + k * (STRIDE + 1)
                tl.atomic_add(total, count.to(tl.int64))
                tl.atomic_add(total + 1, tl.sum(tl.where(mine, z, 0), 0).to(tl.int64))
                tl.atomic_add(total + 2, tl.sum(tl.where(mine, y, 0), 0).to(tl.int64))
                tl.atomic_add(total + 3, tl.sum(tl.where(mine, x, 0), 0).to(tl.int64))
                for channel in tl.static_range(CHANNELS):
                    one = tl.load(planes + channel * plane + here, mask=mine, other=0)
                    tl.atomic_add(total + 4 + channel, tl.sum((one * scale).to(tl.int64), 0))
        # Pixels that no window holds any more still pull at the centre that they had last.
        lost = inside & (nearest == float("inf")) & (label >= 0)
        if tl.sum(lost.to(tl.int32), 0) > 0:
            totals = sums + label * (STRIDE + 1)
            tl.atomic_add(totals, 1, mask=lost)
            tl.atomic_add(totals + 1, z.to(tl.int64), mask=lost)
            tl.atomic_add(totals + 2, y.to(tl.int64), mask=lost)
            tl.atomic_add(totals + 3, x.to(tl.int64), mask=lost)
            for channel in tl.static_range(CHANNELS):
                one = tl.load(planes + channel * plane + here, mask=lost, other=0)
                tl.atomic_add(totals + 4 + channel, (one * scale).to(tl.int64), mask=lost)


@triton.jit(do_not_specialize=_SIZES)
def _move(sums, centres, fineness, n_centres, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Each centre to the mean of its pixels; one without pixels is not a number from then on."""
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = k < n_centres
    total, centre = sums + k * (4 + CHANNELS), centres + k * (3 + CHANNELS)
    count = tl.load(total, mask=there, other=1).to(tl.float64)
    scale = tl.load(fineness).to(tl.float64)
    for field in tl.static_range(3 + CHANNELS):
        mean = tl.load(total + 1 + field, mask=there, other=0).to(tl.float64) / count
        if field > 2:
            mean = mean / scale
        tl.store(centre + field, mean.to(tl.float32), mask=there)
        tl.store(total + 1 + field, tl.zeros((BLOCK,), tl.int64), mask=there)
    tl.store(total, tl.zeros((BLOCK,), tl.int64), mask=there)


@triton.jit(do_not_specialize=_SIZES)
def _widen(planes, labels, centres, widest, n_pixels, plane, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Raise ``widest`` to the greatest squared distance in the channels of each centre's pixels."""
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    label = tl.load(labels + here, mask=here < n_pixels, other=-1)
    seen = label >= 0
    square = tl.zeros((BLOCK,), tl.float32)
    for channel in tl.static_range(CHANNELS):
        one = tl.load(planes + channel * plane + here, mask=seen, other=0)
        difference = one - tl.load(centres + label * (3 + CHANNELS) + 3 + channel, mask=seen, other=0)
        square += difference * difference
    # Of numbers that are not negative, the bits have the same order.
    bits = square.to(tl.int32, bitcast=True)
    known = tl.load(widest + label, mask=seen, other=0)
    tl.atomic_max(widest + label, bits, mask=seen & (square >= 0) & (bits > known))


def nearest_centres(
    channels: torch.Tensor,
    places: NDArray[np.float64],
    *,
    keep: torch.Tensor | None = None,
    step: float,
    reach: Sequence[float],
    compactness: float,
    spacing: Sequence[float] = (1, 1, 1),
    rounds: int = 10,
    adaptive: bool = False,
    cancelled: Stop | None = None,
) -> torch.Tensor:
    """As `slic_rounds.nearest_centres`, on the device of the channels.

    Parameters
    ----------
    channels : tensor of float32, (C, D, H, W)
        Fewer than 2**31 values, which are counted in 32 bits.
    places : ndarray of float64, (K, 3)
        Where the centres start.
    keep : tensor of bool, (D, H, W), optional
        Only pixels where it is True take part; the centres then move by place alone first.
    step, reach, compactness, spacing, rounds, adaptive
        As in `slic_rounds.nearest_centres`.
    cancelled : callable, optional
        Asked before each round.

    Returns
    -------
    tensor of int32, (D, H, W)

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.
    """
    with torch.cuda.device(channels.device) if channels.is_cuda else nullcontext():
        work = _Rounds(channels, places, keep, step, reach, spacing)
        pull = min(1.0 / float(compactness) ** 2, _LARGEST_PULL)
        nothing = torch.zeros(len(places), device=channels.device)
        if keep is not None:
            for _ in range(rounds):
                check(cancelled)
                work.round(nothing)
            work.labels.fill_(-1)
        pulls = torch.full_like(nothing, pull)
        greatest = torch.ones_like(nothing)
        for number in range(rounds):
            check(cancelled)
            # At first the centres have no channels yet: all are equally far then.
            blank = number == 0 and keep is None
            moves = number < rounds - 1
            work.round(nothing if blank else pulls, moves)
            if adaptive and moves:
                greatest = torch.maximum(greatest, pull * work.widest())
                pulls = pull / greatest
        return work.labels


class _Rounds:
    """The centres on their way."""

    def __init__(
        self,
        channels: torch.Tensor,
        places: NDArray[np.float64],
        keep: torch.Tensor | None,
        step: float,
        reach: Sequence[float],
        spacing: Sequence[float],
    ) -> None:
        device = channels.device
        self.planes = channels.contiguous()
        self.n_channels, *shape = channels.shape
        self.shape = tuple(shape)
        self.tile = {"TZ": 1, "TY": 16, "TX": 16} if shape[0] == 1 else {"TZ": 4, "TY": 8, "TX": 8}
        edges = zip(shape, self.tile.values(), strict=True)
        n_tiles = int(np.prod([-(-length // edge) for length, edge in edges]))
        first = np.zeros((len(places), 3 + self.n_channels), np.float32)
        first[:, :3] = places
        self.centres = torch.from_numpy(first).to(device)
        self.sums = torch.zeros(len(places), 4 + self.n_channels, dtype=torch.int64, device=device)
        self.labels = torch.full(self.shape, -1, dtype=torch.int32, device=device)
        self.members = torch.empty(n_tiles, _ROOM, dtype=torch.int32, device=device)
        self.counts = torch.empty(n_tiles, dtype=torch.int32, device=device)
        self.keep = keep
        self.reach = tuple(float(length) for length in reach)
        self.spacing = tuple(float(length) for length in spacing)
        self.weight = 1.0 / float(step) ** 2
        # Powers of two, so that only what is too small to matter is cut off.
        seen = self.planes if keep is None else torch.where(keep, self.planes, 0)
        largest = seen.abs().nan_to_num_(0, 0).amax().clamp_(min=1e-30)
        self.fineness = torch.exp2(_FINENESS - largest.log2().ceil()).reshape(1)

    def round(self, pulls: torch.Tensor, moves: bool = True) -> None:
        """Give each pixel to its nearest centre, then move the centres unless nobody looks at them any more."""
        n_centres, grid = len(self.centres), (len(self.counts),)
        _list_centres[grid](
            self.centres, self.members, self.counts, n_centres, *self.shape, *self.reach,
            STRIDE=3 + self.n_channels, ROOM=_ROOM, TOGETHER=_TOGETHER, **self.tile,
        )  # fmt: skip
        _assign[grid](
            self.planes, self.planes if self.keep is None else self.keep, self.centres, pulls, self.members,
            self.counts, self.labels, self.sums, self.fineness, n_centres, *self.shape, self.labels.numel(),
            *self.reach, *self.spacing, self.weight, CHANNELS=self.n_channels, MASKED=self.keep is not None,
            MOVES=moves, ROOM=_ROOM, **self.tile, num_warps=2, enable_fp_fusion=False,
        )  # fmt: skip
        if moves:
            _move[(-(-n_centres // 128),)](
                self.sums, self.centres, self.fineness, n_centres, CHANNELS=self.n_channels, BLOCK=128
            )

    def widest(self) -> torch.Tensor:
        """Greatest squared distance in the channels between each centre and its pixels, (K,)."""
        bits = torch.zeros(len(self.centres), dtype=torch.int32, device=self.centres.device)
        n_pixels = self.labels.numel()
        _widen[(-(-n_pixels // 256),)](
            self.planes, self.labels, self.centres, bits, n_pixels, n_pixels,
            CHANNELS=self.n_channels, BLOCK=256, enable_fp_fusion=False,
        )  # fmt: skip
        return bits.view(torch.float32)
