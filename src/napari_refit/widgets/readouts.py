"""Readouts: how good the CAM and the refined mask are, and what the classifier believes about the open slice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from qtpy.QtCore import QEvent, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QGridLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_refit.widgets.style import Colors, NoteLabel, colored, colors, theme_changed

DASH = "–"
MOST_CLASSES = 6
NAME_WIDTH = 120
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One score of the readout."""

    key: str
    title: str
    help: str
    decimals: int = 3
    smaller_is_better: bool = False


ROWS = (
    Row("dice", "DSC", "Dice score of the foreground, averaged over the classes. 1 is a perfect match."),
    Row("iou", "IoU", "Overlap divided by union, of the foreground, averaged over the classes."),
    Row("mean_iou", "mIoU", "Mean of overlap divided by union, with the background counted as a class."),
    Row(
        "hd95",
        "HD95 (mm)",
        "95th percentile of the distances between the two outlines. Smaller is better.",
        decimals=1,
        smaller_is_better=True,
    ),
    Row(
        "surface_dice",
        "Surface Dice",
        "Part of the two outlines that lie within the tolerance of each other.",
    ),
)


class ReadoutTable(QWidget):
    """Scores of the open slice and of the volume: CAM alone, refined, and the difference.

    The dictionaries are those of `napari_refit.metrics.evaluate`. The menu of the table copies it as text.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scores: dict[str, tuple[Scores | None, Scores | None]] = {
            "slice": (None, None),
            "volume": (None, None),
        }
        self._cells: dict[tuple[str, str, str], QLabel] = {}
        self._written: dict[tuple[str, str, str], tuple[str, str, str]] = {}
        self._hint = NoteLabel()
        self._note = NoteLabel()
        self._table = QWidget()
        grid = QGridLayout(self._table)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(0, 1)
        self._add_group(grid, 0, "slice", "This slice", heads=True)
        grid.setRowMinimumHeight(len(ROWS) + 1, 4)
        self._add_group(grid, len(ROWS) + 2, "volume", "Volume", heads=False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._hint, self._table, self._note):
            layout.addWidget(widget)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.set_hint("Choose a ground truth layer to see scores.")
        self._paint()

    def set_slice(self, cam: Scores | None, refined: Scores | None) -> None:
        """Show the scores of the open slice; None where there are none."""
        self._scores["slice"] = (cam, refined)
        self._paint()

    def set_volume(self, cam: Scores | None, refined: Scores | None) -> None:
        """Show the scores of the volume; None where there are none."""
        self._scores["volume"] = (cam, refined)
        self._paint()

    def set_note(self, text: str) -> None:
        """Show a line below the table; an empty text hides it."""
        self._note.set_plain(text)

    def set_hint(self, text: str) -> None:
        """Set what stands in place of the table while there are no scores."""
        self._hint_text = text
        self._hint.set_plain(text)
        self._paint()

    def text(self, group: str, key: str, column: str) -> str:
        """Return what a cell shows.

        Parameters
        ----------
        group : {"slice", "volume"}
        key : str
            A key of `napari_refit.metrics.evaluate`.
        column : {"cam", "refined", "difference"}
        """
        return self._cells[group, key, column].property("plain")

    def cell(self, group: str, key: str, column: str) -> QLabel:
        """Return the label of a cell; see `text`."""
        return self._cells[group, key, column]

    def as_text(self) -> str:
        """Return the table as lines of tab-separated cells, ready to be pasted into a spreadsheet."""
        lines = ["\t".join(("", "score", "CAM", "Refined", "Difference"))]
        for group in self._scores:
            for row in ROWS:
                cells = [self.text(group, row.key, column) for column in ("cam", "refined", "difference")]
                lines.append("\t".join((group, row.title, *cells)))
        return "\n".join(lines)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if theme_changed(event) and self._cells:
            self._paint()

    def contextMenuEvent(self, event: QEvent) -> None:
        """Offer to copy the table."""
        menu = QMenu(self)
        menu.addAction("Copy the table", lambda: QApplication.clipboard().setText(self.as_text()))
        menu.exec(event.globalPos())

    def _add_group(self, grid: QGridLayout, top: int, group: str, title: str, heads: bool) -> None:
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        name = QLabel(f"<b>{title}</b>")
        grid.addWidget(name, top, 0)
        if heads:
            tips = (
                "The response map alone, at the same threshold.",
                "After refinement.",
                "Refined minus CAM.",
            )
            for column, text in enumerate(("CAM", "Refined", "Difference"), start=1):
                head = QLabel(text)
                head.setToolTip(tips[column - 1])
                grid.addWidget(head, top, column, right)
        for line, row in enumerate(ROWS, start=top + 1):
            label = QLabel(row.title)
            label.setToolTip(row.help)
            grid.addWidget(label, line, 0)
            for column, kind in enumerate(("cam", "refined", "difference"), start=1):
                cell = QLabel()
                cell.setTextFormat(Qt.TextFormat.RichText)
                cell.setMinimumWidth(62)
                cell.setAlignment(right)
                cell.setAccessibleName(f"{title}: {row.title}, {kind}")
                grid.addWidget(cell, line, column)
                self._cells[group, row.key, kind] = cell

    def _paint(self) -> None:
        empty = all(scores is None for pair in self._scores.values() for scores in pair)
        self._hint.set_plain(self._hint_text if empty else "")
        self._table.setVisible(not empty)
        palette = colors(self)
        for group, (cam, refined) in self._scores.items():
            for row in ROWS:
                one, other = _score(cam, row.key), _score(refined, row.key)
                for column, scores, value in (("cam", cam, one), ("refined", refined, other)):
                    text = _number(value, row.decimals)
                    reason = _reason(scores, row.key, group) if text in (DASH, "∞") else ""
                    self._write(group, row.key, column, text, palette.text, reason)
                text, gain = _signed(other - one, row)
                color = palette.text if gain is None else palette.gain if gain else palette.loss
                reason = "" if text != DASH else "Both scores are needed for a difference."
                if gain is not None:
                    reason = "Better than the CAM alone." if gain else "Worse than the CAM alone."
                self._write(group, row.key, "difference", text, color, reason)

    def _write(self, group: str, key: str, column: str, text: str, color: str, tip: str) -> None:
        # Laying out rich text takes long.
        if self._written.get((group, key, column)) == (text, color, tip):
            return
        self._written[group, key, column] = (text, color, tip)
        cell = self._cells[group, key, column]
        cell.setProperty("plain", text)
        cell.setText(colored(text, color, bold=column == "difference"))
        cell.setToolTip(tip)


def _score(scores: Scores | None, key: str) -> float:
    value = math.nan if scores is None else scores.get(key, math.nan)
    return math.nan if value is None else float(value)


def _number(value: float, decimals: int) -> str:
    if math.isnan(value):
        return DASH
    return "∞" if math.isinf(value) else f"{value:.{decimals}f}"


def _signed(value: float, row: Row) -> tuple[str, bool | None]:
    """Return a difference with its sign, and whether it is a gain (None: neither)."""
    if math.isnan(value):
        return DASH, None
    if math.isinf(value):
        return ("+∞" if value > 0 else "−∞"), (value < 0) == row.smaller_is_better
    text = f"{value:+.{row.decimals}f}"
    if float(text) == 0:
        return f"{0:.{row.decimals}f}", None
    return text.replace("-", "−"), (value < 0) == row.smaller_is_better


def _reason(scores: Scores | None, key: str, group: str) -> str:
    if scores is None:
        return (
            "Not computed for this slice." if group == "slice" else "Press “Refine volume” to see its scores."
        )
    dice = _score(scores, "dice")
    if math.isnan(dice):
        return "Neither the mask nor the ground truth has anything here, so there is nothing to compare."
    if math.isinf(_score(scores, key)):
        return "Either the mask or the ground truth is empty, so there is no outline to measure to."
    if key in ("hd95", "surface_dice"):
        return "The voxel spacing is unknown, so there are no distances in mm."
    return "Not defined here."


class Bar(QWidget):
    """A thin bar that shows a part of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.part = 0.0
        self.setMinimumWidth(24)
        self.setFixedHeight(8)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the track and the part."""
        palette = colors(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        part = min(max(self.part, 0.0), 1.0) if math.isfinite(self.part) else 0.0
        for color, width in ((palette.track, 1.0), (palette.refined, part)):
            painter.setBrush(QColor(color))
            painter.drawRoundedRect(QRectF(0, 0, self.width() * width, self.height()), 2, 2)
        painter.end()


class Belief(NamedTuple):
    """What the classifier believes about one class; ``predicted`` is None when the class is no target."""

    name: str
    logit: float
    probability: float
    predicted: bool | None


class BeliefReadout(QFrame):
    """What the classifier believes about the open slice: probability and logit of each class."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[Belief] = []
        self._lines: list[_BeliefLine] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(6)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self.hide()

    def set_belief(
        self,
        names: Sequence[str],
        logits: Sequence[float],
        probabilities: Sequence[float],
        predicted: Mapping[str, bool] | Sequence[bool | None],
    ) -> None:
        """Show the classes, the surest ones when there are many.

        Parameters
        ----------
        names, logits, probabilities : sequence
            One entry per class of the classifier; empty hides the readout.
        predicted : mapping or sequence
            Whether each target class is predicted positive: by name, or one entry per class with None for those
            that are no target.

        Raises
        ------
        ValueError
            If the lengths differ.
        """
        names = [str(name) for name in names]
        if isinstance(predicted, Mapping):
            predicted = [predicted.get(name) for name in names]
        lengths = {len(names), len(logits), len(probabilities), len(predicted)}
        if len(lengths) > 1:
            raise ValueError(
                f"names, logits, probabilities and predicted differ in length: {sorted(lengths)}"
            )
        rows = [
            Belief(name, float(logit), float(probability), None if flag is None else bool(flag))
            for name, logit, probability, flag in zip(names, logits, probabilities, predicted, strict=True)
        ]
        if len(rows) > MOST_CLASSES:
            rows = sorted(rows, key=lambda row: (row.predicted is None, -row.probability))[:MOST_CLASSES]
        self._rows = rows
        self._paint()

    @property
    def rows(self) -> list[Belief]:
        """The classes that are shown."""
        return list(self._rows)

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if theme_changed(event) and getattr(self, "_rows", None):
            self._paint()

    def _paint(self) -> None:
        palette = colors(self)
        while len(self._lines) < len(self._rows):
            self._lines.append(_BeliefLine(self._grid, len(self._lines)))
        for line, row in zip_longest(self._lines, self._rows):
            line.show(row, palette)
        self.setVisible(bool(self._rows))


class _BeliefLine:
    """The labels and the bar of one class; they are kept, so that a new slice makes nothing jump."""

    def __init__(self, grid: QGridLayout, line: int) -> None:
        self.title, self.percent, self.raw, self.badge = QLabel(), QLabel(), QLabel(), QLabel()
        self.bar = Bar()
        self.raw.setToolTip("Logit: the classifier's raw score.")
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        grid.addWidget(self.title, 2 * line, 0)
        grid.addWidget(self.bar, 2 * line, 1)
        grid.addWidget(self.percent, 2 * line, 2, right)
        grid.addWidget(self.raw, 2 * line, 3, right)
        grid.addWidget(self.badge, 2 * line + 1, 1, 1, 3)

    def show(self, row: Belief | None, palette: Colors) -> None:
        """Show a class, or nothing."""
        for widget in (self.title, self.bar, self.percent, self.raw):
            widget.setVisible(row is not None)
        self.badge.setVisible(row is not None and row.predicted is not None)
        if row is None:
            return
        elided = self.title.fontMetrics().elidedText(row.name, Qt.TextElideMode.ElideMiddle, NAME_WIDTH)
        self.title.setText(elided)
        self.title.setToolTip(row.name)
        self.bar.part = row.probability
        self.bar.update()
        self.percent.setText(f"{100 * row.probability:.0f} %")
        self.percent.setToolTip(f"Probability {row.probability:.4f}, logit {row.logit:+.3f}")
        self.raw.setText(colored(f"{row.logit:+.1f}".replace("-", "−"), palette.muted))
        color = palette.gain if row.predicted else palette.warning
        word = "predicted positive" if row.predicted else "predicted negative"
        tip = "With the gate on “positive”, this slice yields no mask for this class."
        self.badge.setText(colored(word, color, bold=True))
        self.badge.setToolTip("" if row.predicted else tip)
