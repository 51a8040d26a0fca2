"""Listening to napari, and letting go again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


def connected(owner: Any, names: Iterable[str], callback: Callable[..., None]) -> list[Callable[[], None]]:
    """Connect a bound method to events of a napari object; returns what disconnects it again.

    napari keeps only a weak reference to what the method is bound to. Events that this kind of object does not
    have are left out.
    """
    emitters = [getattr(owner.events, name) for name in names if hasattr(owner.events, name)]
    for emitter in emitters:
        emitter.connect(callback)
    return [partial(emitter.disconnect, callback) for emitter in emitters]


def let_go(disconnectors: list[Callable[[], None]]) -> None:
    """Disconnect everything in a list, and empty it."""
    while disconnectors:
        disconnectors.pop()()


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
        self._disconnectors: list[Callable[[], None]] = []

    def follow(self, layer: Any) -> None:
        """Listen to this layer and to no other; None: to nothing."""
        if layer is self._layer:
            return
        let_go(self._disconnectors)
        self._layer = layer
        if layer is not None:
            self._disconnectors += connected(layer, ("paint",), self._painted)
            self._disconnectors += connected(layer, ("labels_update",), self._stroke)
            self._disconnectors += connected(layer, ("set_data", "data"), self._redrawn)

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
