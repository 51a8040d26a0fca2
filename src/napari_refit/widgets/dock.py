"""What every dock of the plugin does when napari shows it, takes it out of its window, or closes it."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QWidget

from napari_refit.widgets.graphics import keep_triton_out


class Dock(QWidget):
    """Lets go of everything once, however it is closed; a subclass says how in `shut_down`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._open = True
        self._docked = False

    def shut_down(self) -> None:
        """Let go of the viewer and stop every thread; may be called twice."""
        raise NotImplementedError

    def showEvent(self, event: QEvent) -> None:
        """The window is drawn from now on."""
        keep_triton_out()
        super().showEvent(event)

    def closeEvent(self, event: QEvent) -> None:
        """The dock was closed."""
        self.shut_down()
        super().closeEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Notice that napari took the dock out of its window: that is how it closes one."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and getattr(self, "_open", False):
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                QTimer.singleShot(0, self._close_if_alone)

    def _close_if_alone(self) -> None:
        if self.parent() is None:
            self.shut_down()
            self.deleteLater()
