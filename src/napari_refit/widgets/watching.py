"""Listening to napari, and letting go again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal


class Connections:
    """Connections of a Qt object to napari's events, released together, at the latest when the object is destroyed.

    Parameters
    ----------
    owner : QObject, optional
        Releases everything when it is destroyed.
    """

    def __init__(self, owner: QObject | None = None) -> None:
        self._releases: list[Callable[[], Any]] = []
        if owner is not None:
            call_when_destroyed(owner, self.release)

    def listen(self, source: Any, names: Iterable[str], callback: Callable[..., None]) -> None:
        """Connect a bound method to events of a napari object.

        napari keeps only a weak reference to what the method is bound to. Events that this kind of object does
        not have are left out.
        """
        for name in names:
            emitter = getattr(source.events, name, None)
            if emitter is not None:
                emitter.connect(callback)
                self.add(partial(emitter.disconnect, callback))

    def add(self, release: Callable[[], Any]) -> None:
        """Call this, too, on release."""
        self._releases.append(release)

    def release(self) -> None:
        """Disconnect everything; what is released stays so."""
        while self._releases:
            self._releases.pop()()


def call_when_destroyed(owner: QObject, method: Callable[[], None]) -> None:
    """Call a bound method when a Qt object is destroyed, if what it is bound to is still there.

    The garbage collector may be what destroys the object. The slot must not be part of the same garbage then, or
    it would be called after its own contents were cleared: so it is held here, and holds nothing but a weak
    reference itself.
    """
    weak = weakref.WeakMethod(method)

    def call() -> None:
        _SLOTS.discard(call)
        found = weak()
        if found is not None:
            found()

    _SLOTS.add(call)
    owner.destroyed.connect(call)


_SLOTS: set[Callable[[], None]] = set()


class Soon(QObject):
    """Calls a slot once when the current event is over: before the window is painted, unlike a timer.

    Parameters
    ----------
    owner : QObject
    slot : callable
        However often it was asked for meanwhile, it is called once.
    """

    _asked = Signal()

    def __init__(self, owner: QObject, slot: Callable[[], Any]) -> None:
        super().__init__(owner)
        self._slot = slot
        self._pending = False
        self._asked.connect(self._call, Qt.ConnectionType.QueuedConnection)

    @property
    def pending(self) -> bool:
        """Whether the call is still to come."""
        return self._pending

    def ask(self) -> None:
        """Have the slot called."""
        if not self._pending:
            self._pending = True
            self._asked.emit()

    def stop(self) -> None:
        """Call it no more for what was asked so far."""
        self._pending = False

    def _call(self) -> None:
        if self._pending:
            self._pending = False
            self._slot()


def single_shot(owner: QObject, milliseconds: int, slot: Callable[[], Any]) -> QTimer:
    """A timer that calls once each time it is started."""
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(slot)
    return timer


class LabelsWatch:
    """Tells a user's edits of a labels layer from what the program writes itself.

    Parameters
    ----------
    on_edited : callable
        ``on_edited(atoms)``: the user painted; ``atoms`` is what napari says of the stroke, empty while it lasts.
    on_redrawn : callable
        ``on_redrawn()``: the layer was drawn anew, perhaps because of an undo or a redo.
    """

    def __init__(self, on_edited: Callable[[list[Any]], None], on_redrawn: Callable[[], None]) -> None:
        self._on_edited = on_edited
        self._on_redrawn = on_redrawn
        self._muted = 0
        self._layer: Any = None
        self._connections = Connections()

    def follow(self, layer: Any) -> None:
        """Listen to this layer and to no other; None: to nothing."""
        if layer is self._layer:
            return
        self._connections.release()
        self._layer = layer
        if layer is not None:
            self._connections.listen(layer, ("paint",), self._painted)
            self._connections.listen(layer, ("labels_update",), self._stroke)
            self._connections.listen(layer, ("set_data", "data"), self._redrawn)

    @contextmanager
    def muted(self) -> Iterator[None]:
        """While the program itself writes."""
        self._muted += 1
        try:
            yield
        finally:
            self._muted -= 1

    def _painted(self, event: Any) -> None:
        if not self._muted:
            self._on_edited(list(event.value))

    def _stroke(self) -> None:
        if not self._muted:
            self._on_edited([])

    def _redrawn(self) -> None:
        if not self._muted:
            self._on_redrawn()
