"""Where a block of slices lies within its volume."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A run of whole slices, cut out of a volume so that memory stays bounded.

    Attributes
    ----------
    start : int
        First slice of the block within the volume.
    shape : tuple of int
        ``(D, H, W)`` of the whole volume, so that whatever is laid out over it (a grid of seeds) lies the same in every
        block.

    Examples
    --------
    >>> Block(start=8, shape=(64, 256, 256)).start
    8
    """

    start: int
    shape: tuple[int, int, int]
