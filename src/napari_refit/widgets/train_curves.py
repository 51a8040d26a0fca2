"""Loss, accuracy and AUROC while a training runs."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_refit.learn.telling import CURVES, PARTS, Curves
from napari_refit.widgets.plot import Plot, add_legend, dress, show_scores
from napari_refit.widgets.style import colors

HEIGHT = 300
TITLES = {"loss": "Loss", "accuracy": "Accuracy", "auroc": "AUROC"}


class CurvePlot(Plot):
    """Three small plots over the epochs; of several folds the latest is drawn in full, the others faintly.

    matplotlib is imported when the first epoch is shown.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        note = "Loss, accuracy and AUROC are drawn here after every epoch."
        super().__init__(note, HEIGHT, QSizePolicy.Policy.Ignored, parent)
        self._curves = Curves()
        self._epochs = 1
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

    def _has_content(self) -> bool:
        return bool(self._curves.epochs)

    def _draw(self) -> None:
        palette = colors(self)
        background = self._background_color()
        figure = self._canvas.figure
        figure.clear()
        figure.set_facecolor(background)
        plots = figure.subplots(len(CURVES), sharex=True)
        shades = {"training": palette.cam, "validation": palette.refined}
        latest = max(self._curves.rows)
        for axes, what in zip(plots, CURVES, strict=True):
            dress(axes, palette, background)
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
            if what == "loss":
                axes.set_ylim(bottom=0)
            else:
                show_scores(axes)
            axes.set_ylabel(TITLES[what], fontsize=8, color=palette.text, labelpad=2)
        figure.align_ylabels(plots)
        fold = f" (fold {latest})" if latest else ""
        plots[-1].set_xlabel(
            f"Epoch{fold}; dotted: the best so far", fontsize=8, color=palette.text, labelpad=1
        )
        add_legend(plots[0], palette)
        self._canvas.draw_idle()
