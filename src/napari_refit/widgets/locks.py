"""Which planes of the refined labels belong to the user, so that nothing automatic writes there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.planes import PlaneIndex
from napari_refit.widgets.planes import OpenPlane, expression, places, take

MOST_PLANES_OF_ONE_STROKE = 512
MOST_EARLIER = 20


class Locks:
    """Locked planes of one labels array.

    A plane is locked by painting on it, or by the user's button. For every plane that was ever painted the
    last automatic content is kept, so that undoing all paint releases it, and redoing locks it again.

    Parameters
    ----------
    shape : tuple of int
        Shape of the labels.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._painted: set[PlaneIndex] = set()
        self._by_hand: set[PlaneIndex] = set()
        self._automatic: dict[PlaneIndex, NDArray[Any]] = {}
        # What undo and redo may bring back, and is no hand's work either.
        self._earlier: dict[PlaneIndex, list[NDArray[Any]]] = {}
        self._open: tuple[PlaneIndex, NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self._painted | self._by_hand)

    def __contains__(self, index: object) -> bool:
        return index in self._painted or index in self._by_hand

    def is_painted(self, index: PlaneIndex) -> bool:
        """Whether the plane was locked by painting."""
        return index in self._painted

    def was_painted(self, index: PlaneIndex) -> bool:
        """Whether the labels layer may hold undo steps for the plane."""
        return index in self._automatic or index in self._painted

    def along(self, plane: OpenPlane) -> list[int]:
        """Positions of the locked planes on the slice axis, where the open plane is; empty for a 2-D image."""
        if plane.slice_axis is None:
            return []
        return [position for position in range(self.shape[plane.slice_axis]) if plane.at(position) in self]

    def lock(self, index: PlaneIndex) -> None:
        """Lock a plane by the user's wish."""
        self._by_hand.add(index)

    def unlock(self, index: PlaneIndex, content: NDArray[Any]) -> None:
        """Give a plane back; ``content`` is what it holds now."""
        self._by_hand.discard(index)
        self._painted.discard(index)
        if index in self._automatic:
            self._automatic[index] = content.copy()
        if self._open is not None and self._open[0] == index:
            self._open = (index, content.copy())

    def note_open(self, index: PlaneIndex, content: NDArray[Any]) -> None:
        """Remember what a plane holds when the user comes to it: painting starts from there."""
        self._open = (index, content.copy())

    def note_written(self, index: PlaneIndex, content: NDArray[Any]) -> None:
        """Remember what was written automatically."""
        if self._open is not None and self._open[0] == index:
            self._open = (index, content.copy())
        if index in self._automatic:
            self._automatic[index] = content.copy()

    def note_step(self, index: PlaneIndex, before: NDArray[Any], after: NDArray[Any]) -> None:
        """Remember an automatic change that is an undo step of its own."""
        self.note_written(index, after)
        self._automatic[index] = after
        self._earlier[index] = [*self._earlier.get(index, []), before, after][-MOST_EARLIER:]

    def note_paint(self, atoms: Iterable[Any], index: PlaneIndex) -> set[PlaneIndex]:
        """Lock every plane that a brush stroke touched.

        Parameters
        ----------
        atoms : iterable
            The value of napari's ``paint`` event: index tuples, or objects with a ``slice_key``.
        index : tuple of (axis, position)
            The open plane, whose axes say how planes are cut.

        Returns
        -------
        set of PlaneIndex
        """
        touched = set().union(*(self._touched(atom, index) for atom in atoms)) or {index}
        for plane in touched:
            if plane not in self._automatic and self._open is not None and self._open[0] == plane:
                self._automatic[plane] = self._open[1]
            self._painted.add(plane)
        return touched

    def compare(self, labels: NDArray[Any]) -> set[PlaneIndex]:
        """Lock or release planes by whether they still differ from what was automatic.

        Called after an undo or redo, which say nothing of where they wrote. Returns the planes whose lock changed.
        """
        changed = set()
        if (
            self._open is not None
            and self._open[0] not in self._automatic
            and self._differs(labels, *self._open)
        ):
            self._automatic[self._open[0]] = self._open[1]
        for index, automatic in self._automatic.items():
            known = (automatic, *self._earlier.get(index, ()))
            differs = all(self._differs(labels, index, content) for content in known)
            if differs != (index in self._painted):
                (self._painted.add if differs else self._painted.discard)(index)
                changed.add(index)
        return changed

    def note_crossed(self, labels: NDArray[Any], index: PlaneIndex) -> None:
        """An automatic plane was written: planes cut along other axes changed a little, by no hand."""
        axes = [axis for axis, _ in index]
        for other in [other for other in self._automatic if other not in self._painted]:
            if [axis for axis, _ in other] != axes:
                self._automatic[other] = take(labels, other, len(self.shape)).copy()
        if self._open is not None and self._open[0] not in self and [a for a, _ in self._open[0]] != axes:
            self._open = (self._open[0], take(labels, self._open[0], len(self.shape)).copy())

    def _differs(self, labels: NDArray[Any], index: PlaneIndex, automatic: NDArray[Any]) -> bool:
        return not np.array_equal(take(labels, index, len(self.shape)), automatic)

    def protected(self, index: PlaneIndex) -> NDArray[np.bool_] | None:
        """Pixels of a plane that lie on locked planes cut along other axes; None if there are none."""
        crossing = [other for other in self._painted | self._by_hand if other != index]
        if not crossing:
            return None
        ndim = len(self.shape)
        cut = dict(index)
        plane_axes = [axis for axis in range(ndim) if axis not in cut]
        found = np.zeros([self.shape[axis] for axis in plane_axes], bool)
        for other in crossing:
            if all(cut.get(axis, position) == position for axis, position in other):
                rest = tuple((axis, position) for axis, position in other if axis not in cut)
                where = dict(rest)
                found[tuple(where.get(axis, slice(None)) for axis in plane_axes)] = True
        return found if found.any() else None

    def _touched(self, atom: Any, index: PlaneIndex) -> set[PlaneIndex]:
        axes = [axis for axis, _ in index]
        key = getattr(atom, "slice_key", None)
        if key is None:
            key = atom[0] if isinstance(atom, tuple) and atom and isinstance(atom[0], tuple) else ()
        if len(key) != len(self.shape):
            return {index}
        ranges = [_positions(key[axis]) for axis in axes]
        if np.prod([len(positions) for positions in ranges], dtype=float) > MOST_PLANES_OF_ONE_STROKE:
            return {index}
        return {tuple(zip(axes, positions, strict=True)) for positions in product(*ranges)}


def write_plane(
    layer: Any, index: PlaneIndex, values: NDArray[Any], locks: Locks, *, undoable: bool = False
) -> bool:
    """Write an automatic plane into a labels layer, around locked planes that cross it.

    Returns whether anything changed.

    Where the layer may hold undo steps for the plane, the change becomes an undo step of its own: otherwise
    undoing an older stroke would put back pixels that are long gone.
    """
    ndim = len(locks.shape)
    current = take(layer.data, index, ndim)
    values = np.asarray(values).astype(current.dtype, copy=False)
    protected = locks.protected(index)
    if protected is not None:
        values = np.where(protected, current, values)
    changed = not np.array_equal(current, values)
    if changed and (undoable or locks.was_painted(index)):
        different = current != values
        layer.data_setitem(places(index, ndim, different), values[different], refresh=False)
    elif changed:
        layer.data[expression(index, ndim)] = values
    locks.note_written(index, values)
    locks.note_crossed(layer.data, index)
    return changed


def write_planes(
    layer: Any, planes: Mapping[PlaneIndex, NDArray[Any]], locks: Locks
) -> dict[PlaneIndex, tuple[NDArray[Any], NDArray[Any]]]:
    """Write several automatic planes into a labels layer as one undo step, around locked planes.

    Returns what the planes held before and hold now, for those that changed.
    """
    ndim = len(locks.shape)
    changed, where, what = {}, [], []
    for index, values in planes.items():
        if index in locks:
            continue
        current = take(layer.data, index, ndim)
        values = np.asarray(values).astype(current.dtype, copy=False)
        protected = locks.protected(index)
        if protected is not None:
            values = np.where(protected, current, values)
        different = current != values
        if different.any():
            changed[index] = (current.copy(), values.copy())
            where.append(places(index, ndim, different))
            what.append(values[different])
    if changed:
        together = tuple(np.concatenate(parts) for parts in zip(*where, strict=True))
        layer.data_setitem(together, np.concatenate(what), refresh=False)
    for index, (before, after) in changed.items():
        locks.note_step(index, before, after)
        locks.note_crossed(layer.data, index)
    return changed


def _positions(part: Any) -> list[int]:
    if isinstance(part, slice):
        return list(range(part.start or 0, part.stop or 0))
    return sorted({int(value) for value in np.unique(np.asarray(part))})
