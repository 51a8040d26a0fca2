"""Work while the user looks: kernels are compiled when a dock opens, neighbouring slices computed when all is quiet."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QObject

from napari_refit.planes import PlaneIndex
from napari_refit.widgets.layers import class_colors
from napari_refit.widgets.live import LiveLoop, Task
from napari_refit.widgets.planes import OpenPlane
from napari_refit.widgets.watching import single_shot
from napari_refit.widgets.workbench import Order, Workbench

QUIET_MILLISECONDS = 300
EACH_WAY = 8


class LookAhead(QObject):
    """Fills a loop's idle time.

    Parameters
    ----------
    loop : LiveLoop
    bench : Workbench
    """

    def __init__(self, loop: LiveLoop, bench: Workbench, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._loop, self._bench = loop, bench
        self._next: tuple[Order, list[PlaneIndex]] | None = None
        self._timer = single_shot(self, QUIET_MILLISECONDS, self._begin)

    def warm_up(self) -> None:
        """Compile the kernels, or load them from the disk."""
        self._loop.work_ahead(_warm_up)

    def start(self, order: Order, plane: OpenPlane | None) -> None:
        """A plane is done: once nothing happens for a moment compute its neighbours, then compile what is left."""
        self._next = None
        if plane is not None and plane.slice_axis is not None:
            length = int(order.array.shape[plane.slice_axis])
            self._next = (order, [plane.at(position) for position in neighbours(plane.position, length)])
        self._timer.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._timer.stop()

    def _begin(self) -> None:
        from napari_refit.warming import all_ready, warm_up

        if self._loop.busy or (self._next is None and all_ready()):
            return
        neighbouring = None if self._next is None else self._bench.look_ahead(*self._next)

        def ahead(task: Task) -> None:
            if neighbouring is not None:
                neighbouring(task)
            warm_up(task.cancelled)

        self._loop.work_ahead(ahead)


def neighbours(position: int, length: int, each_way: int = EACH_WAY) -> list[int]:
    """The nearest positions, the next one first.

    Examples
    --------
    >>> neighbours(1, 5, each_way=2)
    [2, 0, 3]
    """
    steps = [step * sign for step in range(1, each_way + 1) for sign in (1, -1)]
    return [position + step for step in steps if 0 <= position + step < length]


def _warm_up(task: Task) -> Any:
    from napari_refit.warming import warm_up

    # napari compiles what draws labels at their first sight, in the window's thread, if nobody did before.
    class_colors().map(np.ones((1, 1), np.uint8))
    warm_up(task.cancelled)
