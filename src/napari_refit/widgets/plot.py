"""What the plots of the docks share: a note until there is something to draw, matplotlib only then, one look."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QSizePolicy, QStackedLayout, QWidget

from napari_refit.widgets.style import Colors, NoteLabel, theme_changed

EMPTY_HEIGHT = 44


class Plot(QWidget):
    """Draws when it is visible and something changed; a subclass says whether there is anything, and draws it.

    A subclass sets ``_stale`` when something changed, and calls `_refresh`.

    Parameters
    ----------
    note : str
        Shown while there is nothing to draw.
    height : int
        With something drawn, in pixels.
    width_policy : QSizePolicy.Policy
    """

    def __init__(
        self,
        note: str,
        height: int,
        width_policy: QSizePolicy.Policy,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._height = height
        self._canvas: Any = None
        self._stale = True
        self._empty = NoteLabel()
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.set_plain(note)
        self._layout = QStackedLayout(self)
        self._layout.setContentsMargins(2, 2, 2, 2)
        self._layout.addWidget(self._empty)
        self.setFixedHeight(EMPTY_HEIGHT)
        self.setSizePolicy(width_policy, QSizePolicy.Policy.Fixed)

    def showEvent(self, event: QShowEvent) -> None:
        """Draw what came while hidden."""
        super().showEvent(event)
        self._refresh()

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if theme_changed(event) and self._canvas is not None:
            self._stale = True
            self._refresh()

    def _has_content(self) -> bool:
        """Whether there is anything to draw."""
        raise NotImplementedError

    def _draw(self) -> None:
        """Draw it on the canvas."""
        raise NotImplementedError

    def _refresh(self) -> None:
        if not self.isVisible() or not self._stale:
            return
        if not self._has_content():
            self._layout.setCurrentWidget(self._empty)
            self.setFixedHeight(EMPTY_HEIGHT)
            return
        if self._canvas is None:
            self._create()
        self.setFixedHeight(self._height)
        self._draw()
        self._stale = False
        self._layout.setCurrentWidget(self._canvas)

    def _create(self) -> None:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        self._canvas = FigureCanvasQTAgg(Figure(layout="constrained"))
        self._canvas.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._layout.addWidget(self._canvas)

    def _background_color(self) -> str:
        return str(self.palette().color(self.backgroundRole()).name())


def dress(axes: Any, palette: Colors, background: str) -> None:
    """Give matplotlib axes the dock's colours and small type, whole numbers below and no frame."""
    axes.set_facecolor(background)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(colors=palette.text, labelsize=8, length=2, pad=2)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(palette.muted)


def show_scores(axes: Any) -> None:
    """Have the vertical axis span scores from 0 to 1."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1])


def add_legend(axes: Any, palette: Colors) -> None:
    """Name the curves in a line above the axes."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        fontsize=8,
        frameon=False,
        labelcolor=palette.text,
        borderpad=0,
        borderaxespad=0.2,
        handlelength=1.5,
    )
