"""Checkpoints that were trained in this session: ReFit docks take them at once, and start with the latest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_refit.widgets.open_docks import docks_of

_TRAINED: list[Path] = []


def latest() -> Path | None:
    """The checkpoint that was trained last and is still there."""
    return next((path for path in reversed(_TRAINED) if path.is_file()), None)


def hand_over(viewer: Any, path: Path) -> int:
    """A checkpoint was trained: select it in the ReFit docks of a viewer.

    Returns
    -------
    int
        How many docks took it; with none, the next one to open will.
    """
    _TRAINED.append(path)
    docks = docks_of(viewer)
    for dock in docks:
        dock.choose_classifier(str(path))
    return len(docks)


def forget() -> None:
    """Begin anew, as after a restart."""
    _TRAINED.clear()
