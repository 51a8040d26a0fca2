"""A small plot of the Dice score of every slice; a click jumps there."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_refit.widgets.plot import Plot, add_legend, dress, show_scores
from napari_refit.widgets.style import colors

HEIGHT = 120


class SlicePlot(Plot):
    """DSC per slice of the CAM and of the refined mask, with a line at the open slice.

    With the focus on the plot, the left and right arrows go to the previous and next slice that has a score.
    matplotlib is imported when the plot is first shown with scores.
    """

    clicked = Signal(int)
    """The slice that the user asks for."""

    def __init__(self, parent: QWidget | None = None) -> None:
        note = "The score of each slice is plotted here once there are a ground truth and a mask."
        super().__init__(note, HEIGHT, QSizePolicy.Policy.Preferred, parent)
        self._cam = np.empty(0)
        self._refined = np.empty(0)
        self._current = 0
        self._axes: Any = None
        self._line: Any = None
        self._curves: dict[str, Any] = {}
        self._frame: tuple[object, ...] = ()
        self._background: Any = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Dice score per slice")
        self.setToolTip(
            "Dice score per slice. Click to jump there; arrows go to the next slice that has a score."
        )

    def set_scores(self, cam: np.ndarray | None, refined: np.ndarray | None) -> None:
        """Show the scores.

        Parameters
        ----------
        cam, refined : array of float, shape (n_slices,), or None
            NaN where a slice has no score. Scores are parts of 1.

        Raises
        ------
        ValueError
            If an array is not one-dimensional, or the two lengths differ.
        """
        both = [
            np.empty(0) if values is None else np.asarray(values, dtype=float) for values in (cam, refined)
        ]
        if any(values.ndim != 1 for values in both):
            raise ValueError(f"scores must be 1-D, got shapes {[values.shape for values in both]}")
        if all(values.size for values in both) and both[0].size != both[1].size:
            raise ValueError(f"{both[0].size} CAM scores but {both[1].size} refined ones")
        self._cam, self._refined = both
        self._stale = True
        self._refresh()

    def set_current(self, index: int) -> None:
        """Move the line to a slice."""
        if index == self._current:
            return
        self._current = int(index)
        if self._line is None or self._stale:
            return
        self._line.set_xdata([self._current, self._current])
        self._blit()

    @property
    def n_slices(self) -> int:
        """How many slices there are."""
        return max(self._cam.size, self._refined.size)

    def scored(self) -> np.ndarray:
        """Return the slices that have a score, in ascending order."""
        known = np.zeros(self.n_slices, bool)
        for values in (self._cam, self._refined):
            known[: values.size] |= np.isfinite(values)
        return np.flatnonzero(known)

    def losses(self) -> np.ndarray:
        """Return the slices whose refined score is below that of the CAM, in ascending order."""
        if self._cam.size != self._refined.size:
            return np.empty(0, int)
        with np.errstate(invalid="ignore"):
            return np.flatnonzero(self._refined < self._cam)

    def neighbour(self, step: int, among: np.ndarray | None = None) -> int | None:
        """Return the nearest slice before (``step < 0``) or after the open one.

        Parameters
        ----------
        step : int
            The direction.
        among : array of int, optional
            Where to look; all scored slices when left out.
        """
        among = self.scored() if among is None else among
        found = among[among < self._current] if step < 0 else among[among > self._current]
        if not found.size:
            return None
        return int(found[-1] if step < 0 else found[0])

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Jump to the previous or next scored slice."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        plain = not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if not plain or event.key() not in steps:
            super().keyPressEvent(event)
            return
        index = self.neighbour(steps[event.key()])
        if index is not None:
            self.clicked.emit(index)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Show the keyboard focus."""
        super().paintEvent(event)
        if self.hasFocus():
            painter = QPainter(self)
            painter.setPen(QPen(QColor(colors(self).muted), 1))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
            painter.end()

    def focusInEvent(self, event: QEvent) -> None:
        """Show the focus."""
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QEvent) -> None:
        """Hide the focus."""
        super().focusOutEvent(event)
        self.update()

    def _has_content(self) -> bool:
        return bool(self.scored().size)

    def _draw(self) -> None:
        frame = self._wanted_frame()
        if frame != self._frame:
            self._draw_frame()
            self._frame = frame
        self._draw_curves()

    def _create(self) -> None:
        super()._create()
        self._canvas.setToolTip(self.toolTip())
        self._axes = self._canvas.figure.add_subplot()
        self._canvas.mpl_connect("button_press_event", self._on_click)
        self._canvas.mpl_connect("draw_event", self._on_drawn)

    def _wanted_frame(self) -> tuple[object, ...]:
        """What all but the scores themselves depends on; drawing it takes long, so it is drawn when it changes."""
        return (self._cam.size, self._refined.size, colors(self), self._background_color())

    def _draw_frame(self) -> None:
        """Draw axes and legend; the curves are laid over them whenever a score changes."""
        palette, background = colors(self), self._background_color()
        axes = self._axes
        axes.clear()
        self._canvas.figure.set_facecolor(background)
        dress(axes, palette, background)
        self._curves = {}
        for name, values, color, label, marker in (
            ("cam", self._cam, palette.cam, "CAM", "o"),
            ("refined", self._refined, palette.refined, "Refined", "s"),
        ):
            if values.size:
                (self._curves[name],) = axes.plot(
                    values, color=color, lw=1.4, marker=marker, ms=2.5, label=label, animated=True
                )
        axes.set_xlim(-0.5, self.n_slices - 0.5)
        show_scores(axes)
        axes.set_xlabel("Slice", fontsize=8, color=palette.text, labelpad=1)
        axes.set_ylabel("DSC", fontsize=8, color=palette.text, labelpad=1)
        add_legend(axes, palette)
        self._line = axes.axvline(self._current, color=palette.text, lw=1, ls="--", animated=True)
        self._background = None
        self._canvas.draw_idle()

    def _draw_curves(self) -> None:
        for name, values in (("cam", self._cam), ("refined", self._refined)):
            if name in self._curves:
                self._curves[name].set_ydata(values)
        self._blit()

    def _on_drawn(self, event: Any) -> None:
        self._background = self._canvas.copy_from_bbox(self._canvas.figure.bbox)
        self._draw_animated()

    def _draw_animated(self) -> None:
        for artist in (*self._curves.values(), self._line):
            self._axes.draw_artist(artist)

    def _blit(self) -> None:
        if self._background is None:
            self._canvas.draw_idle()
            return
        self._canvas.restore_region(self._background)
        self._draw_animated()
        self._canvas.blit(self._canvas.figure.bbox)

    def _on_click(self, event: Any) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        if event.inaxes is self._axes:
            self.clicked.emit(int(np.clip(round(event.xdata), 0, self.n_slices - 1)))
