"""How long a stage will take here, going by how long it took before on this machine."""

from __future__ import annotations

from collections import deque

LATEST = 4


class Pace:
    """Seconds per pixel of each stage, by what made it run.

    A stage's cost depends on what changed: after a move of Quickshift's ``max_dist`` only the tree is cut again,
    after one of ``kernel_size`` everything is computed. So each kind of work is remembered by itself.

    Examples
    --------
    >>> pace = Pace()
    >>> pace.record("clusters", "quickshift kernel_size", 1000, 0.5)
    >>> pace.predict("clusters", "quickshift kernel_size", 2000)
    1.0
    >>> pace.predict("clusters", "slic slice", 2000) is None
    True
    """

    def __init__(self) -> None:
        self._seconds_per_pixel: dict[tuple[str, str], deque[float]] = {}

    def record(self, stage: str, kind: str, pixels: int, seconds: float) -> None:
        """Note what a stage took; of the latest few the least counts, for loading and other work only add to it."""
        latest = self._seconds_per_pixel.setdefault((stage, kind), deque(maxlen=LATEST))
        latest.append(seconds / max(1, pixels))

    def predict(self, stage: str, kind: str, pixels: int) -> float | None:
        """Seconds that the stage will take; None where nothing like it was measured yet."""
        known = self._seconds_per_pixel.get((stage, kind))
        return None if known is None else min(known) * pixels
