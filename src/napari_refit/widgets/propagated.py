"""What earlier propagations told the slices of one image, and which of them the user took back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.planes import PlaneIndex
from napari_refit.widgets.planes import take

NOTHING: Mapping[PlaneIndex, Any] = MappingProxyType({})
Change = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class _Step:
    """One propagation: what slices are told from then on, each slice that it changed, and what the fit believes of
    those that it reached, before and after.
    """

    carried: Mapping[PlaneIndex, Any]
    changed: Mapping[PlaneIndex, Change]
    beliefs: tuple[Mapping[PlaneIndex, Any], Mapping[PlaneIndex, Any]]


class Propagations:
    """The propagations of one labels array; an undo of the labels takes the latest back, a redo gives it back.

    napari says of neither what it wrote, so the contents tell.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._count = 0

    @property
    def carried(self) -> Mapping[PlaneIndex, Any]:
        """What slices are told now; the same object as long as nothing changes."""
        return self._steps[self._count - 1].carried if self._count else NOTHING

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that the told slices are cut along; empty where there are none."""
        return next((tuple(axis for axis, _ in index) for index in self.carried), ())

    def add(
        self,
        carried: Mapping[PlaneIndex, Any],
        changed: Mapping[PlaneIndex, Change],
        before: Mapping[PlaneIndex, Any],
        after: Mapping[PlaneIndex, Any],
    ) -> None:
        """Another propagation was written; the fit believed so much ``before``, and does so much ``after``."""
        del self._steps[self._count :]
        self._steps.append(_Step(MappingProxyType(dict(carried)), changed, (before, after)))
        self._count += 1

    def compare(self, labels: NDArray[Any]) -> Mapping[PlaneIndex, Any] | None:
        """Find out whether an undo or redo took a propagation back or gave it back.

        Returns what the fit believes of the slices from now on (None: nothing is known), or None if neither happened.
        """
        if self._count and _mostly(labels, self._steps[self._count - 1], 0):
            self._count -= 1
            return self._steps[self._count].beliefs[0]
        if self._count < len(self._steps) and _mostly(labels, self._steps[self._count], 1):
            self._count += 1
            return self._steps[self._count - 1].beliefs[1]
        return None


def _mostly(labels: NDArray[Any], step: _Step, which: int) -> bool:
    """Whether most of the changed slices are as before (0) or after (1) the step."""
    same = [
        np.array_equal(take(labels, index, labels.ndim), change[which])
        for index, change in step.changed.items()
    ]
    return 2 * sum(same) > len(same)
