"""What the status line says: results and hints at once, the running stage only where it takes a moment."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal

from napari_refit.widgets.watching import single_shot

STAGE_DELAY = 150
"""Milliseconds; a shorter stage would only flicker, and each text lays out the dock again."""


class Status(QObject):
    """Decides when the status line changes.

    Signals
    -------
    said(str)
    """

    said = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stage = ""
        self._timer = single_shot(self, STAGE_DELAY, self._say_stage)

    def say(self, text: str) -> None:
        """Show a text now, in place of a stage that was about to be shown."""
        self._timer.stop()
        self.said.emit(text)

    def stage(self, text: str) -> None:
        """A stage began: show it if nothing else is said for a moment."""
        self._stage = text
        if not self._timer.isActive():
            self._timer.start()

    def stop(self) -> None:
        """Show nothing more of what began."""
        self._timer.stop()

    def _say_stage(self) -> None:
        self.said.emit(self._stage)
