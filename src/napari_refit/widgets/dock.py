"""What every dock of the plugin does: how it is laid out, and what happens when napari shows or closes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_refit.widgets import style
from napari_refit.widgets.forms import embolden
from napari_refit.widgets.graphics import keep_triton_out
from napari_refit.widgets.watching import Connections, call_when_destroyed


class Dock(QWidget):
    """Scrolls what is between its toolbar and its footer, and lets go of everything once, however it is closed.

    A subclass calls `_lay_out`, and says in `_let_go` what there is to let go of.

    Parameters
    ----------
    name : str
        Of the Qt object.
    minimum_width : int
        In pixels.
    """

    def __init__(self, name: str, minimum_width: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._open = True
        self._docked = False
        self.setObjectName(name)
        self.setMinimumWidth(minimum_width)
        self._of_viewer = Connections(self)
        call_when_destroyed(self, self._forget)

    def shut_down(self) -> None:
        """Let go of the viewer and stop every thread; what the dock made in the viewer stays. May be called twice."""
        if not self._open:
            return
        self._open = False
        self._of_viewer.release()
        self._let_go()

    def _let_go(self) -> None:
        """Stop what runs and close what is open."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Qt deleted the dock, say with its window."""
        self._open = False

    def _lay_out(self, widgets: Iterable[QWidget], footer: QWidget, toolbar: QWidget | None = None) -> None:
        """Put these widgets one below the other where they can be scrolled."""
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(6, 4, 6, 6)
        layout.setSpacing(6)
        for widget in widgets:
            layout.addWidget(widget)
        layout.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(4, 4, 4, 4)
        outer.setSpacing(4)
        if toolbar is not None:
            outer.addWidget(toolbar)
        outer.addWidget(self.scroll, 1)
        bottom = QHBoxLayout()
        bottom.setContentsMargins(6, 0, 6, 2)
        bottom.addWidget(footer)
        outer.addLayout(bottom)

    def _lay_out_sections(
        self, parts: Mapping[str, Iterable[QWidget]], footer: QWidget, folded: Collection[str] = ()
    ) -> dict[str, Any]:
        """Put widgets one below the other in sections that can be folded away; the sections by their titles."""
        sections = {}
        for title, widgets in parts.items():
            content = QWidget()
            inside = QVBoxLayout(content)
            inside.setContentsMargins(0, 0, 0, 4)
            inside.setSpacing(4)
            for widget in widgets:
                inside.addWidget(widget)
            section = sections[title] = style.collapsible(title, content)
            embolden(section)
            if title not in folded:
                section.expand(animate=False)
        self._lay_out(sections.values(), footer)
        # What is in it has to fit into the width that there is, not the other way round.
        self.scroll.widget().setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        return sections

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
