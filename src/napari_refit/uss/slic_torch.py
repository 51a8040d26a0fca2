"""SLIC's k-means on an accelerator: a few operations on the whole image per round.

The image is cut into cells about as large as the seeds' grid; a cell's pixels are compared with the centres whose
windows reach it, all at once. Nothing is fetched from the device before the end. Sums are products of matrices
and sums along axes, never of scattered values, so that the same input gives the same result each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop, check
from napari_refit.devices import torch_device, uploaded

if TYPE_CHECKING:
    import torch

# Distances between the pixels of some cells and their candidates that are held at once.
_LARGEST_BATCH = {"cuda": 1 << 27, "cpu": 1 << 22}
_LARGEST_BATCH_ELSEWHERE = 1 << 25
# Along each axis; smaller cells keep an accelerator waiting for its next call.
_SMALLEST_CELL = {2: 8, 3: 4}
# As in `slic_rounds`.
_LARGEST_PULL = 1e20


def nearest_centres(
    channels: NDArray[np.float32] | torch.Tensor,
    places: NDArray[np.float64],
    *,
    keep: NDArray[np.bool_] | None = None,
    step: float,
    reach: Sequence[float],
    compactness: float,
    spacing: Sequence[float] = (1, 1, 1),
    rounds: int = 10,
    adaptive: bool = False,
    device: Any = None,
    cancelled: Stop | None = None,
) -> NDArray[np.int32]:
    """As `slic_rounds.nearest_centres`, on a device.

    Where more centres crowd around a cell than there is room for, the farthest are left out; a pixel that no
    window holds any more keeps its label but does not pull at its centre.

    Parameters
    ----------
    channels : ndarray or tensor of float32, (C, D, H, W)
    places : ndarray of float64, (K, 3)
        Where the centres start.
    keep : ndarray of bool, (D, H, W), optional
        Only pixels where it is True take part; the centres then move by place alone first.
    step, reach, compactness, spacing, rounds, adaptive
        As in `slic_rounds.nearest_centres`.
    device : None, str or torch.device
        None is the fastest there is.
    cancelled : callable, optional
        Asked before each round.

    Returns
    -------
    ndarray of int32, (D, H, W)

    Raises
    ------
    ValueError
        If the device is unknown or not there.
    Cancelled
        If ``cancelled()`` answered True.

    Examples
    --------
    >>> row = np.array([[[[0, 0, 0, 9, 9]]]], np.float32)
    >>> places = np.array([[0.0, 0, 1], [0, 0, 3]])
    >>> nearest_centres(row, places, step=2, reach=(2, 4, 4), compactness=5, device="cpu")
    array([[[0, 0, 0, 1, 1]]], dtype=int32)
    """
    import torch

    where = torch_device(device)
    with torch.inference_mode():
        cells = _Cells(channels, keep, places, step, reach, spacing, where)
        pull = min(1.0 / float(compactness) ** 2, _LARGEST_PULL)
        if keep is not None:
            for _ in range(rounds):
                check(cancelled)
                cells.round(torch.zeros(len(places), device=where))
            cells.labels.fill_(-1)
        greatest = torch.ones(len(places), device=where)
        for number in range(rounds):
            check(cancelled)
            # At first the centres have no channels yet: all are equally far then.
            blank = number == 0 and keep is None
            moves = number < rounds - 1
            cells.round(torch.zeros_like(greatest) if blank else pull / greatest, moves)
            if adaptive and moves:
                greatest = torch.maximum(greatest, pull * cells.widest())
        return cells.picture()


class _Cells:
    """The image in B cells of P pixels each, and the K centres on their way.

    Attributes
    ----------
    labels : Tensor of int64, (B, P)
        -1 where there is none.
    """

    def __init__(
        self,
        channels: NDArray[np.float32] | torch.Tensor,
        keep: NDArray[np.bool_] | None,
        places: NDArray[np.float64],
        step: float,
        reach: Sequence[float],
        spacing: Sequence[float],
        device: torch.device,
    ) -> None:
        import torch

        least = _SMALLEST_CELL[2 if channels.shape[1] == 1 else 3]
        self.shape = channels.shape[1:]
        self.weight, self.reach, self.spacing = 1.0 / float(step) ** 2, tuple(reach), tuple(spacing)
        # Whole steps of the seeds' grid, so that all cells have about as many seeds.
        steps = [max(1, int(window / 2)) for window in self.reach]
        self.edges = [
            1 if length == 1 else -(-least // length_of_step) * length_of_step
            for length, length_of_step in zip(self.shape, steps, strict=True)
        ]
        self.counts = [-(-length // edge) for length, edge in zip(self.shape, self.edges, strict=True)]
        axes = [
            torch.arange(n, device=device) * edge for n, edge in zip(self.counts, self.edges, strict=True)
        ]
        self.corners = torch.cartesian_prod(*axes).float()
        self.pixels = torch.cartesian_prod(
            *(torch.arange(edge, device=device) for edge in self.edges)
        ).float()

        kept = np.ones(self.shape, bool) if keep is None else np.ascontiguousarray(keep)
        self.inside = self._cut(torch.from_numpy(kept).to(device)[None])[0]
        colours = self._cut(uploaded(channels, device)).permute(1, 2, 0)
        # No product undoes a NaN; such a pixel is near to nothing, and gets no label.
        self.inside &= ~colours.isnan().any(2)
        colours = torch.where(self.inside[..., None], colours, 0)
        # Small numbers: the square of a difference is taken apart below.
        self.means = colours.sum(1) / self.inside.sum(1).clamp(min=1)[:, None]
        colours = torch.where(self.inside[..., None], colours - self.means[:, None], 0)
        squares = colours.square().sum(2, keepdim=True)
        self.factors = torch.cat([colours, squares, torch.ones_like(squares)], 2)
        places_of_pixels = self.pixels.expand(len(colours), -1, -1)
        self.summands = torch.cat([torch.ones_like(squares), places_of_pixels, colours], 2)
        self.labels = torch.full(self.inside.shape, -1, dtype=torch.int64, device=device)

        self.places = torch.from_numpy(places).to(device=device, dtype=torch.float32)
        self.tints = torch.zeros((len(places), len(channels)), device=device)
        spans = [
            torch.arange(-far, far + 1, device=device)
            for far in (
                min(-(-int(window) // edge), n - 1)
                for window, edge, n in zip(self.reach, self.edges, self.counts, strict=True)
            )
        ]
        self.offsets = torch.cartesian_prod(*spans)
        crowd = torch.bincount(self._touched()[0].flatten(), minlength=len(self.corners) + 1)[:-1].max()
        # Centres move: half as many again as the seeds need.
        self.room = min(int(1.5 * int(crowd)) + 4, len(places))

    def _cut(self, image: torch.Tensor) -> torch.Tensor:
        """(N, D, H, W) to (N, B, P), filled up with zeros."""
        n = len(image)
        (z, y, x), (cz, cy, cx) = self.counts, self.edges
        padded = image.new_zeros((n, z * cz, y * cy, x * cx))
        padded[:, : image.shape[1], : image.shape[2], : image.shape[3]] = image
        return padded.view(n, z, cz, y, cy, x, cx).permute(0, 1, 3, 5, 2, 4, 6).reshape(n, z * y * x, -1)

    def picture(self) -> NDArray[np.int32]:
        """The labels as an image, on the processor."""
        (z, y, x), (cz, cy, cx) = self.counts, self.edges
        labels = self.labels.where(self.inside, -1).view(z, y, x, cz, cy, cx)
        depth, height, width = self.shape
        image = labels.permute(0, 3, 1, 4, 2, 5).reshape(z * cz, y * cy, x * cx)[:depth, :height, :width]
        found: NDArray[np.int32] = image.int().cpu().numpy()
        return np.ascontiguousarray(found)

    def _touched(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Which cells each centre's window touches, (K, J), B where it is none, and each centre's own cell, (K,)."""
        import torch

        inside = torch.ones(
            (len(self.places), len(self.offsets)), dtype=torch.bool, device=self.places.device
        )
        number = torch.zeros(inside.shape, dtype=torch.int64, device=self.places.device)
        own = torch.zeros(len(self.places), dtype=torch.int64, device=self.places.device)
        for axis, (length, edge, n, reach) in enumerate(
            zip(self.shape, self.edges, self.counts, self.reach, strict=True)
        ):
            # A centre that has lost all its pixels is NaN: it is sent away.
            place = self.places[:, axis].nan_to_num(nan=-1e9)
            home = (place / edge).floor().clamp(0, n - 1)
            first = ((place - reach).clamp(min=0) / edge).floor()
            last = ((place + reach).clamp(max=length - 1) / edge).floor()
            cell = home[:, None] + self.offsets[:, axis]
            inside &= (cell >= first[:, None]) & (cell <= last[:, None])
            number = number * n + cell.long()
            own = own * n + home.long()
        return torch.where(inside, number, len(self.corners)), own

    def _seat(self, touched: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The candidates of each cell, (B, M), K where a seat is free; and each centre's seats, (K, J), B * M if none.

        The nearest ones get a seat; they sit in the order of their numbers, so that the lower number wins a tie.
        """
        import torch

        n_cells, n_pairs, room = len(self.corners), touched.numel(), self.room
        middles = torch.cat([self.corners + self.pixels[-1] / 2, self.corners[:1]])
        far = (middles[touched] - self.places[:, None]).square().sum(2).flatten()
        order = far.argsort()
        order = order[touched.flatten()[order].argsort(stable=True)]
        cell = touched.flatten()[order]
        starts = torch.searchsorted(cell, torch.arange(n_cells + 1, device=cell.device))
        rank = torch.arange(n_pairs, device=cell.device) - starts[cell]
        seat = torch.where((cell < n_cells) & (rank < room), cell * room + rank, n_cells * room)
        table = torch.full((n_cells * room + 1,), len(self.places), device=cell.device)
        table[seat] = order // touched.shape[1]
        sitting, before = table[:-1].view(n_cells, room).sort(dim=1)
        moved = torch.empty_like(before).scatter_(
            1, before, torch.arange(room, device=cell.device).expand(n_cells, -1)
        )
        moved += torch.arange(n_cells, device=cell.device)[:, None] * room
        moved = torch.cat([moved.flatten(), moved.new_tensor([n_cells * room])])
        seats = torch.empty_like(seat)
        seats[order] = moved[seat]
        return sitting, seats.view(touched.shape)

    def round(self, pulls: torch.Tensor, moves: bool = True) -> None:
        """Give each pixel to its nearest centre, then move the centres unless nobody looks at them any more."""
        import torch

        touched, own = self._touched()
        sitting, seats = self._seat(touched)
        # The last row stands for free seats: a centre far outside.
        places = torch.cat([self.places, self.places.new_full((1, 3), 1e9)])
        tints = torch.cat([self.tints, torch.zeros_like(self.tints[:1])])
        pulls = torch.cat([pulls, pulls.new_zeros(1)])
        sums = self.summands.new_zeros((sitting.numel() + 1, self.summands.shape[2]))
        for batch in self._batches():
            ids = sitting[batch]
            distance = torch.baddbmm(
                self._in_space(places[ids] - self.corners[batch][:, None]),
                self.factors[batch],
                _taken_apart(tints[ids] - self.means[batch][:, None], pulls[ids]),
                beta=self.weight,
            )
            seat = distance.argmin(2)
            reached = distance.gather(2, seat[..., None])[..., 0].isfinite() & self.inside[batch]
            self.labels[batch] = torch.where(reached, ids.gather(1, seat), self.labels[batch])
            if not moves:
                continue
            won = torch.where(reached, seat, -1)[..., None] == torch.arange(self.room, device=seat.device)
            rows = slice(batch.start * self.room, batch.stop * self.room)
            sums[rows] = torch.bmm(won.float().transpose(1, 2), self.summands[batch]).flatten(0, 1)
        if moves:
            self._move(sums[seats], touched, own)

    def _batches(self) -> Iterator[slice]:
        largest = _LARGEST_BATCH.get(self.inside.device.type, _LARGEST_BATCH_ELSEWHERE)
        size = max(1, largest // (self.inside.shape[1] * self.room))
        for first in range(0, len(self.corners), size):
            yield slice(first, min(first + size, len(self.corners)))

    def _in_space(self, places: torch.Tensor) -> torch.Tensor:
        """Squared distances between a cell's pixels and its candidates, infinite outside their windows."""
        import torch

        parts = []
        for axis, (edge, reach, spacing) in enumerate(zip(self.edges, self.reach, self.spacing, strict=True)):
            pixels = torch.arange(edge, device=places.device)[:, None]
            place = places[:, None, :, axis]
            outside = (pixels < (place - reach).floor()) | (pixels >= (place + reach + 1).floor())
            parts.append((spacing * (place - pixels)).square().masked_fill(outside, torch.inf))
        z, y, x = parts
        return (z[:, :, None, None] + (y[:, None, :, None] + x[:, None, None])).flatten(1, 3)

    def _move(self, sums: torch.Tensor, touched: torch.Tensor, own: torch.Tensor) -> None:
        """Each centre to the mean of what it has won in the cells around its own."""
        import torch

        corners = torch.cat([self.corners, self.corners[:1]])[touched] - self.corners[own][:, None]
        means = torch.cat([self.means, self.means[:1]])[touched]
        n, places, tints = sums[..., :1], sums[..., 1:4], sums[..., 4:]
        count = n.sum(1)
        self.places = self.corners[own] + (places + n * corners).sum(1) / count
        self.tints = (tints + n * means).sum(1) / count

    def widest(self) -> torch.Tensor:
        """Greatest squared distance in the channels between each centre and its pixels, (K,)."""
        import torch

        own = self.labels.clamp(min=0)
        colours = self.factors[..., : self.tints.shape[1]] + self.means[:, None]
        distance = (colours - self.tints[own]).square().sum(2).nan_to_num(nan=0.0)
        distance = torch.where(self.inside & (self.labels >= 0), distance, 0)
        greatest = torch.zeros(len(self.places), device=distance.device)
        return greatest.scatter_reduce_(0, own.flatten(), distance.flatten(), "amax")


def _taken_apart(tints: torch.Tensor, pulls: torch.Tensor) -> torch.Tensor:
    """What the colours, their squared length and 1 are multiplied by to get ``pulls`` times squared differences."""
    import torch

    pulls = pulls[..., None]
    factors = [-2 * pulls * tints, pulls, pulls * tints.square().sum(2, keepdim=True)]
    return torch.cat(factors, 2).transpose(1, 2)
