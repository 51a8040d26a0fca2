"""SLIC's k-means on prepared channels: from seeds to the nearest centre of each pixel.

What surrounds it (the range and colours of an image, its smoothing, the seeds, the merging of stray pieces) is in
`napari_refit.uss.slic`. This is the place to cluster a block of a greater volume by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop, check, n_threads, run_bands

# One core sweeps as many in some 20 ms.
_PIXELS_PER_BAND = 2_000_000
# Keeps the distances within float32 however little compactness is asked for.
_LARGEST_PULL = 1e20


@dataclass(frozen=True)
class Tiles:
    """The channels of an image, cut for `nearest_centres`. Reusable as long as the channels stay.

    ``planes`` is float32 (C, D, H, W); the other arrays are described in `slic_tiles_kernel.cut_tiles`.
    """

    shape: tuple[int, int, int]
    tile: tuple[int, int, int]
    pixels: NDArray[np.float32]
    boxes: NDArray[np.float32]
    inside: NDArray[np.uint64]
    masked: bool

    @property
    def n_channels(self) -> int:
        return self.boxes.shape[1] // 2

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many tiles there are along each axis."""
        z, y, x = (-(-length // edge) for length, edge in zip(self.shape, self.tile, strict=True))
        return z, y, x


def cut_tiles(planes: NDArray[np.float32], keep: Any = None, *, cancelled: Stop | None = None) -> Tiles:
    """Cut the channels of an image into tiles.

    Parameters
    ----------
    planes : ndarray of float32, (C, D, H, W)
        A plane has depth 1.
    keep : array_like of bool, (D, H, W), optional
        Only pixels where it is True take part.
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    Tiles

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> cut_tiles(np.zeros((1, 1, 16, 20), np.float32)).counts
    (1, 2, 3)
    """
    from napari_refit.uss import slic_tiles_kernel as kernel

    planes = np.ascontiguousarray(planes, dtype=np.float32)
    n_channels, depth, height, width = planes.shape
    tile = (1, 8, 8) if depth == 1 else (4, 4, 4)
    count = -(-depth // tile[0]) * -(-height // tile[1]) * -(-width // tile[2])
    tiles = Tiles(
        shape=(depth, height, width),
        tile=tile,
        pixels=np.empty((count, kernel.PIXELS * n_channels), np.float32),
        boxes=np.empty((count, 2 * n_channels), np.float32),
        inside=np.empty(count, np.uint64),
        masked=keep is not None,
    )
    kept = np.zeros((1, 1, 1), bool) if keep is None else np.ascontiguousarray(keep, dtype=bool)
    run_bands(
        kernel.cut_tiles, count, planes.reshape(-1), planes.shape, kept, keep is not None, tile, tiles.pixels,
        tiles.boxes, tiles.inside, n_bands=_n_bands(planes.size), cancelled=cancelled,
    )  # fmt: skip
    return tiles


def nearest_centres(
    tiles: Tiles,
    seeds: Any,
    *,
    step: float,
    reach: Sequence[float],
    compactness: float,
    spacing: Sequence[float] = (1, 1, 1),
    rounds: int = 10,
    by_place_first: bool = False,
    adaptive: bool = False,
    cancelled: Stop | None = None,
) -> NDArray[np.int32]:
    """Move the centres by k-means and tell each pixel's nearest one, before stray pieces are merged.

    In each round a pixel goes to the nearest of the centres whose windows hold it, and each centre to the mean
    of its pixels. A pixel that no window holds keeps its last centre; a centre without pixels is given up.

    Clusters of a block of a greater image are those of the whole as far from its cut sides as all influence
    goes: a label depends on the centres up to ``reach`` away, and each further round on what lies twice
    ``reach`` further. So ``(2 * rounds - 1) * reach`` (and one pixel for each round) is always enough; since
    clusters seldom spread further than half their windows, a halo of about ``rounds * reach / 2`` hardly ever
    shows. Give the seeds of the whole image that are inside the block or ``reach`` around it, moved to the
    block's origin, and the ``step`` and ``reach`` of the whole.

    Parameters
    ----------
    tiles : Tiles
        The prepared channels; not scaled by the compactness.
    seeds : array_like, (K, 3)
        Where the centres start: z, y, x in pixels. They may lie outside.
    step : float
        The distance in space that weighs as much as ``compactness`` in the channels.
    reach : sequence of 3 float
        How far a centre's window reaches along z, y and x, in pixels: twice the steps of the seeds' grid.
    compactness : float
        Above 0.
    spacing : sequence of 3 float
        Distance between pixels along z, y and x.
    rounds : int
    by_place_first : bool
        Whether as many rounds by place alone come first, for seeds that lie irregularly.
    adaptive : bool
        Whether each centre's channels weigh less by as much as its pixels differ (SLICO).
    cancelled : callable, optional
        Asked now and then.

    Returns
    -------
    ndarray of int32, (D, H, W)
        Numbers of the seeds; -1 where a pixel is not kept, or no window ever held it.

    Raises
    ------
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> row = np.array([[[[0, 0, 0, 9, 9]]]], np.float32)
    >>> seeds = [[0, 0, 1], [0, 0, 3]]
    >>> nearest_centres(cut_tiles(row), seeds, step=2, reach=(2, 4, 4), compactness=5)
    array([[[0, 0, 0, 1, 1]]], dtype=int32)
    """
    from napari_refit.uss import slic_tiles_kernel

    work = _Rounds(tiles, seeds, step, reach, compactness, spacing, adaptive, cancelled)
    if not work.run(rounds, by_place_first):
        work = _Rounds(tiles, seeds, step, reach, compactness, spacing, adaptive, cancelled)
        work.remembers = True
        work.run(rounds, by_place_first)
    labels = np.empty(tiles.shape, np.int32)
    run_bands(
        slic_tiles_kernel.lay_out, tiles.counts[0] * tiles.counts[1], work.labels, tiles.inside, tiles.tile, 0,
        labels, cancelled=cancelled,
    )  # fmt: skip
    return labels


class _Rounds:
    """The centres on their way.

    The labels are written in the last round, and in every round (``remembers``) where a pixel may have to keep
    its last one or the weights are adapted to them.
    """

    def __init__(
        self,
        tiles: Tiles,
        seeds: Any,
        step: float,
        reach: Sequence[float],
        compactness: float,
        spacing: Sequence[float],
        adaptive: bool,
        cancelled: Stop | None,
    ) -> None:
        places = np.asarray(seeds, dtype=np.float64)
        self.tiles, self.adaptive, self.cancelled = tiles, adaptive, cancelled
        self.remembers = tiles.masked or adaptive
        self.centres = np.zeros((len(places), 3 + tiles.n_channels))
        self.centres[:, :3] = places
        self.counts = np.zeros(len(places))
        self.labels = np.full((len(tiles.inside), 64), -1, np.int32)
        self.pull = min(1.0 / float(compactness) ** 2, _LARGEST_PULL)
        self.reach = tuple(np.float32(length) for length in reach)
        self.scale = tuple(np.float32(length) for length in spacing)
        self.weight = np.float32(1.0 / float(step) ** 2)
        # Edges of about a step and a half: short lists, and not many of them.
        largest = 6 if tiles.shape[0] == 1 else 5
        self.shifts = tuple(
            0 if edge == 1 else max(3, min(int(np.log2(max(0.95 * float(length), 1))), largest))
            for length, edge in zip(self.reach, tiles.tile, strict=True)
        )
        self.blocks = tuple(
            -(-length >> shift) for length, shift in zip(tiles.shape, self.shifts, strict=True)
        )

    def run(self, rounds: int, by_place_first: bool) -> bool:
        """Whether all went well; if not, a pixel was lost whose last label nobody remembers."""
        if by_place_first:
            for _ in range(rounds):
                if not self._round(np.zeros(len(self.centres)), move=True):
                    return False
            self.labels[:] = -1
        greatest = np.ones(len(self.centres), np.float32)
        for number in range(rounds):
            # At first the centres have no channels yet: all are equally far then, and only rounding would differ.
            blank = number == 0 and not by_place_first
            pulls = np.zeros(len(self.centres)) if blank else self.pull / greatest
            move = number < rounds - 1
            if not self._round(pulls, move):
                return False
            if self.adaptive and move:
                greatest = np.maximum(greatest, self._widest())
        return True

    def _round(self, pulls: NDArray[Any], move: bool) -> bool:
        from napari_refit.uss import slic_centres_kernel, slic_kernel

        check(self.cancelled)
        tiles = self.tiles
        starts, members = slic_centres_kernel.bucket(
            self.centres, self.reach, tiles.shape, self.shifts, self.blocks
        )
        sums = np.zeros((len(members), 4 + tiles.n_channels))
        longest = int(np.diff(starts).max())
        lost = sum(
            run_bands(
                slic_kernel.sweep, len(starts) - 1, tiles.pixels.reshape(-1), tiles.boxes.reshape(-1), tiles.inside,
                tiles.shape, tiles.tile, self.shifts, self.blocks, self.scale, self.weight, self.reach,
                None if tiles.tile[0] == 1 else 0, None if tiles.n_channels != 3 else 0, self.centres,
                pulls.astype(np.float32), starts, members, longest, self.labels, sums.reshape(-1), move,
                self.remembers or not move, n_bands=_n_bands(tiles.pixels.size), cancelled=self.cancelled,
            )
        )  # fmt: skip
        if lost and not self.remembers:
            return False
        if move:
            slic_centres_kernel.settle(sums, members, self.centres, self.counts)
            if lost:
                _, rows, columns = tiles.counts
                slic_centres_kernel.add_lost(
                    self.labels, tiles.pixels, tiles.tile, rows, columns, self.centres, self.counts
                )
            with np.errstate(invalid="ignore"):
                self.centres /= self.counts[:, np.newaxis]
        return True

    def _widest(self) -> NDArray[np.float32]:
        """Greatest squared distance in the channels of each centre's pixels, where the compactness is 1."""
        from napari_refit.uss import slic_centres_kernel

        found = run_bands(
            slic_centres_kernel.widest, len(self.labels), self.labels, self.tiles.pixels, self.tiles.inside,
            self.centres, cancelled=self.cancelled,
        )  # fmt: skip
        return np.maximum.reduce(found) * np.float32(self.pull)


def _n_bands(n_values: int) -> int:
    return max(n_threads(), n_values // _PIXELS_PER_BAND)
