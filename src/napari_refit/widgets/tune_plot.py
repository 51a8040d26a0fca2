"""How good the trials are, and how much each parameter matters, while a search runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_refit.widgets.plot import Plot, add_legend, dress
from napari_refit.widgets.style import colors

HEIGHT = 150
BAR_HEIGHT = 20
MOST_BARS = 8
LONGEST_NAME = 22


class TunePlot(Plot):
    """The best score so far over the trials, each trial's own score, and below it the parameters' importance.

    matplotlib is imported when the first trial is shown.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        note = "The best score so far and each parameter's importance are drawn here."
        super().__init__(note, HEIGHT, QSizePolicy.Policy.Ignored, parent)
        self._scores: list[tuple[int, float]] = []
        self._importances: dict[str, float] = {}
        self._name = "Score"
        self.setAccessibleName("Scores of the trials and importance of the parameters")

    @property
    def canvas(self) -> Any:
        """The matplotlib canvas, None before the first trial."""
        return self._canvas

    @property
    def best(self) -> list[tuple[int, float]]:
        """Number of a trial and the best score up to it."""
        found: list[tuple[int, float]] = []
        for number, score in sorted(self._scores):
            found.append((number, max(score, found[-1][1] if found else score)))
        return found

    @property
    def importances(self) -> dict[str, float]:
        """What is drawn: title of a parameter to its share, the highest first."""
        ordered = sorted(self._importances.items(), key=lambda item: -item[1])
        return dict(ordered[:MOST_BARS])

    def set_scores(self, scores: Sequence[tuple[int, float]], name: str) -> None:
        """Show these trials: numbers with scores; ``name`` is what the scores are called."""
        self._scores, self._name = list(scores), name
        self._renew()

    def set_importances(self, importances: Mapping[str, float]) -> None:
        """Show the share of each parameter, by its title."""
        self._importances = dict(importances)
        self._renew()

    def _renew(self) -> None:
        self._height = HEIGHT + (BAR_HEIGHT * len(self.importances) + 40 if self._importances else 0)
        self._stale = True
        self._refresh()

    def _has_content(self) -> bool:
        return bool(self._scores)

    def _draw(self) -> None:
        palette = colors(self)
        background = self._background_color()
        figure = self._canvas.figure
        figure.clear()
        figure.set_facecolor(background)
        bars = self.importances
        if bars:
            axes, below = figure.subplots(
                2, height_ratios=[HEIGHT, self._height - HEIGHT], gridspec_kw={"hspace": 0.12}
            )
        else:
            axes, below = figure.subplots(), None
        dress(axes, palette, background)
        numbers = [number for number, _ in sorted(self._scores)]
        axes.plot(
            numbers,
            [score for _, score in sorted(self._scores)],
            "o",
            color=palette.cam,
            ms=2.5,
            alpha=0.7,
            label="Trial",
        )
        axes.step(
            numbers,
            [score for _, score in self.best],
            where="post",
            color=palette.refined,
            lw=1.6,
            label="Best so far",
        )
        axes.set_ylabel(self._name, fontsize=8, color=palette.text, labelpad=2)
        axes.set_xlabel("Trial", fontsize=8, color=palette.text, labelpad=1)
        add_legend(axes, palette)
        if below is not None:
            dress(below, palette, background)
            names = [_short(name) for name in bars]
            below.barh(range(len(bars)), list(bars.values()), color=palette.refined, height=0.6)
            below.set_yticks(range(len(bars)), names, fontsize=8)
            below.invert_yaxis()
            below.set_xlim(0, max(1e-9, *bars.values()) * 1.02)
            below.xaxis.set_major_formatter("{x:.0%}")
            below.locator_params(axis="x", integer=False, nbins=4)
            below.set_xlabel("Importance", fontsize=8, color=palette.text, labelpad=1)
        self._canvas.draw_idle()


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
