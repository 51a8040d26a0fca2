"""Which slices are most in need of a look: how uncertain the fit is of each, and how it differs from its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_refit.fit.uncertainty import Belief, uncertainty
from napari_refit.planes import PlaneIndex
from napari_refit.widgets.live import LiveLoop, Task
from napari_refit.widgets.planes import OpenPlane, take
from napari_refit.widgets.watching import single_shot

DELAY = 200
NONE = Belief({}, {})
ACCEPTED, PAINTED, PROPAGATED, REFINED = "accepted", "painted", "propagated", "refined"


@dataclass
class DoubtBook:
    """What is known of one image's slices.

    Attributes
    ----------
    beliefs : dict
        Plane to how far the fit believes in its mask.
    values : dict
        Plane to its uncertainty with the slices beside it along ``axis``, where nothing changed since.
    """

    beliefs: dict[PlaneIndex, Belief] = field(default_factory=dict)
    values: dict[PlaneIndex, float] = field(default_factory=dict)
    axis: int | None = None

    def note(self, index: PlaneIndex, found: Belief | None) -> None:
        """A plane was written; ``found`` is None where there is no mask."""
        if found is not None:
            self.beliefs[index] = found
            self.touch(index)

    def set(self, beliefs: Mapping[PlaneIndex, Belief | None]) -> None:
        """Several planes were written; of those with None nothing is known any more."""
        for index, found in beliefs.items():
            self.beliefs.pop(index, None)
            self.touch(index)
            self.note(index, found)

    def touch(self, index: PlaneIndex) -> None:
        """A plane's labels changed: it and those beside it are to be compared again."""
        self.values.pop(index, None)
        for axis, position in index:
            for other in (position - 1, position + 1):
                self.values.pop(tuple((a, other if a == axis else p) for a, p in index), None)

    def look_along(self, axis: int | None) -> None:
        """Slices have other neighbours from now on."""
        if axis != self.axis:
            self.values.clear()
            self.axis = axis


@dataclass(frozen=True)
class Row:
    """A slice in the list: its position, its uncertainty (None for what the user has settled), and what it is."""

    position: int
    uncertainty: float | None
    state: str


def ranked(
    labels: NDArray[Any],
    plane: OpenPlane,
    length: int,
    book: DoubtBook,
    state: Callable[[PlaneIndex], str],
    cancelled: Callable[[], bool],
) -> list[Row]:
    """The slices that there is a mask of, the most uncertain first, then those that the user has settled."""
    states = {position: state(plane.at(position)) for position in range(length)}
    known = {position for position, text in states.items() if text}
    open_rows, settled = [], []
    for position in sorted(known):
        if cancelled():
            break
        index = plane.at(position)
        if states[position] in (ACCEPTED, PAINTED):
            settled.append(Row(position, None, states[position]))
            continue
        value = book.values.get(index)
        if value is None:
            beside = [
                take(labels, plane.at(other), labels.ndim)
                for other in (position - 1, position + 1)
                if other in known
            ]
            value = uncertainty(take(labels, index, labels.ndim), book.beliefs.get(index, NONE), beside)
            book.values[index] = value
        open_rows.append(Row(position, value, states[position]))
    open_rows.sort(key=lambda row: (-(row.uncertainty or 0.0), row.position))
    return [*open_rows, *settled]


class DoubtKeeper(QObject):
    """Ranks the slices of the open volume, soon after something changed, beside the window.

    Parameters
    ----------
    layers : Delivery

    Signals
    -------
    ranked(object)
        A list of `Row`.
    """

    ranked = Signal(object)

    def __init__(self, layers: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layers = layers
        self._loop = LiveLoop(self)
        self._loop.finished.connect(self._on_finished)
        self._timer = single_shot(self, DELAY, self._rank)
        self.rows: list[Row] = []
        self._sent_to: int | None = None

    @property
    def busy(self) -> bool:
        """Whether slices are ranked or about to be."""
        return self._timer.isActive() or self._loop.busy

    def changed(self) -> None:
        """Some mask, lock or the open volume changed."""
        if not self._timer.isActive():
            self._timer.start()

    def edited(self) -> None:
        """The user painted, undid or redid something on the open plane."""
        outputs, plane = self._layers.outputs, self._layers.plane
        if outputs is not None and plane is not None:
            outputs.doubts.touch(plane.index)
        self.changed()

    def next_after(self, position: int) -> int | None:
        """The slice most in need of a look; from the one that this led to the last time, the next in the list."""
        places = [row.position for row in self.rows if row.uncertainty is not None]
        if not places:
            return None
        going_on = position in places and position in (self._sent_to, places[0])
        self._sent_to = places[(places.index(position) + 1) % len(places)] if going_on else places[0]
        return self._sent_to

    def close(self) -> None:
        """Stop for good."""
        self._timer.stop()
        self._loop.close()

    def state(self, outputs: Any, index: PlaneIndex) -> str:
        """What a plane is; empty where there is no mask yet."""
        locks = outputs.locks
        if index in locks:
            return PAINTED if locks.is_painted(index) else ACCEPTED
        if index in outputs.propagations.carried:
            return PROPAGATED
        return REFINED if index in outputs.doubts.beliefs else ""

    def _rank(self) -> None:
        outputs, plane = self._layers.outputs, self._layers.plane
        labels = None if outputs is None else outputs["labels"]
        if labels is None or plane is None or plane.slice_axis is None:
            self._on_finished([])
            return
        outputs.doubts.look_along(plane.slice_axis)
        length = outputs.shape[plane.slice_axis]
        states = {plane.at(position): self.state(outputs, plane.at(position)) for position in range(length)}
        data, book = labels.data, outputs.doubts

        def job(task: Task) -> list[Row]:
            return ranked(data, plane, length, book, states.__getitem__, task.cancelled)

        self._loop.request(job)

    def _on_finished(self, rows: list[Row]) -> None:
        if rows != self.rows:
            self.rows = rows
            self.ranked.emit(rows)
