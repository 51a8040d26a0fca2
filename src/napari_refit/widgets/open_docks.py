"""The ReFit docks that are open, for the docks that work beside them."""

from __future__ import annotations

import weakref
from typing import Any

from qtpy.QtCore import QObject, Signal


class _Register(QObject):
    """Tells that a ReFit dock was opened or closed.

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.docks: list[weakref.ref[Any]] = []


REGISTER = _Register()


def enlist(dock: Any) -> None:
    """A ReFit dock was opened."""
    REGISTER.docks.append(weakref.ref(dock))
    REGISTER.changed.emit()


def retire(dock: Any) -> None:
    """A ReFit dock was closed; may be called twice."""
    rest = [held for held in REGISTER.docks if held() not in (None, dock)]
    if len(rest) != len(REGISTER.docks):
        REGISTER.docks[:] = rest
        REGISTER.changed.emit()


def docks_of(viewer: Any) -> list[Any]:
    """The open ReFit docks of a viewer, in the order in which they were opened."""
    found = [held() for held in REGISTER.docks]
    return [dock for dock in found if dock is not None and same_viewer(dock.viewer, viewer)]


def dock_of(viewer: Any) -> Any:
    """The ReFit dock of a viewer that was opened last, or None."""
    return next(reversed(docks_of(viewer)), None)


def same_viewer(one: Any, other: Any) -> bool:
    """Whether two names are of one viewer; plugins may be given a proxy of it."""
    return getattr(one, "__wrapped__", one) is getattr(other, "__wrapped__", other)
