"""Loss, accuracy and AUROC while a training runs."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QSizePolicy, QStackedLayout, QWidget

from napari_refit.learn.telling import CURVES, PARTS, Curves
from napari_refit.widgets.style import NoteLabel, colors, theme_changed

HEIGHT = 300
EMPTY_HEIGHT = 44
TITLES = {"loss": "Loss", "accuracy": "Accuracy", "auroc": "AUROC"}


class CurvePlot(QWidget):
    """Three small plots over the epochs; of several folds the latest is drawn in full, the others faintly.

    matplotlib is imported when the first epoch is shown.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._curves = Curves()
        self._epochs = 1
        self._canvas: Any = None
        self._stale = True
        self._empty = NoteLabel()
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.set_plain("Loss, accuracy and AUROC are drawn here after every epoch.")
        self._layout = QStackedLayout(self)
        self._layout.setContentsMargins(2, 2, 2, 2)
        self._layout.addWidget(self._empty)
        self.setFixedHeight(EMPTY_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Curves of the training")

    @property
    def curves(self) -> Curves:
        """What is shown."""
        return self._curves

    @property
    def canvas(self) -> Any:
        """The matplotlib canvas, None before the first epoch."""
        return self._canvas

    def set_curves(self, curves: Curves, epochs: int) -> None:
        """Show other curves, on an axis of so many epochs."""
        self._curves, self._epochs, self._stale = curves, max(epochs, 1), True
        self._refresh()

    def add(self, fold: int, row: dict[str, Any]) -> None:
        """Show one more epoch."""
        self._curves.add(fold, row)
        self._stale = True
        self._refresh()

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

    def _refresh(self) -> None:
        if not self.isVisible() or not self._stale:
            return
        self._stale = False
        if not self._curves.epochs:
            self._layout.setCurrentWidget(self._empty)
            self.setFixedHeight(EMPTY_HEIGHT)
            return
        if self._canvas is None:
            from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
            from matplotlib.figure import Figure

            self._canvas = FigureCanvasQTAgg(Figure(layout="constrained"))
            self._canvas.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            self._layout.addWidget(self._canvas)
        self.setFixedHeight(HEIGHT)
        self._layout.setCurrentWidget(self._canvas)
        self._draw()

    def _draw(self) -> None:
        palette = colors(self)
        background = str(self.palette().color(self.backgroundRole()).name())
        figure = self._canvas.figure
        figure.clear()
        figure.set_facecolor(background)
        plots = figure.subplots(len(CURVES), sharex=True)
        shades = {"training": palette.cam, "validation": palette.refined}
        latest = max(self._curves.rows)
        for axes, what in zip(plots, CURVES, strict=True):
            axes.set_facecolor(background)
            for fold in sorted(self._curves.rows):
                for part in PARTS:
                    epochs, values = self._curves.line(fold, part, what)
                    axes.plot(
                        epochs,
                        values,
                        color=shades[part],
                        alpha=1.0 if fold == latest else 0.35,
                        lw=1.4,
                        marker="o" if part == "training" else "s",
                        ms=2.5,
                        label=part.capitalize() if fold == latest else None,
                    )
            best = self._curves.best(latest)
            if best is not None:
                axes.axvline(best, color=palette.text, lw=1, ls=":")
            axes.set_xlim(0.5, self._epochs + 0.5)
            axes.xaxis.get_major_locator().set_params(integer=True)
            if what == "loss":
                axes.set_ylim(bottom=0)
            else:
                axes.set_ylim(-0.03, 1.03)
                axes.set_yticks([0, 0.5, 1])
            axes.set_ylabel(TITLES[what], fontsize=8, color=palette.text, labelpad=2)
            axes.tick_params(colors=palette.text, labelsize=8, length=2, pad=2)
            for name, spine in axes.spines.items():
                spine.set_visible(name in ("left", "bottom"))
                spine.set_color(palette.muted)
        figure.align_ylabels(plots)
        fold = f" (fold {latest})" if latest else ""
        plots[-1].set_xlabel(
            f"Epoch{fold}; dotted: the best so far", fontsize=8, color=palette.text, labelpad=1
        )
        plots[0].legend(
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
        self._canvas.draw_idle()
