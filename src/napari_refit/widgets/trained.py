"""Checkpoints that were trained in this session: ReFit docks take them at once, and start with the latest."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

_DOCKS: weakref.WeakSet = weakref.WeakSet()
_TRAINED: list[Path] = []


def enlist(dock: Any) -> None:
    """Have a ReFit dock take what is trained beside it."""
    _DOCKS.add(dock)


def retire(dock: Any) -> None:
    """A ReFit dock was closed."""
    _DOCKS.discard(dock)


def latest() -> Path | None:
    """The checkpoint that was trained last and is still there."""
    return next((path for path in reversed(_TRAINED) if path.is_file()), None)


def same_viewer(one: Any, other: Any) -> bool:
    """Whether two names are of one viewer; plugins may be given a proxy of it."""
    return getattr(one, "__wrapped__", one) is getattr(other, "__wrapped__", other)


def hand_over(viewer: Any, path: Path) -> int:
    """A checkpoint was trained: select it in the ReFit docks of a viewer.

    Returns
    -------
    int
        How many docks took it; with none, the next one to open will.
    """
    _TRAINED.append(path)
    docks = [dock for dock in _DOCKS if same_viewer(dock.viewer, viewer)]
    for dock in docks:
        dock.choose_classifier(str(path))
    return len(docks)


def forget() -> None:
    """Begin anew, as after a restart."""
    _TRAINED.clear()
