"""One parameter that may be searched: a check box, and where it is to be searched."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QFlowLayout, QRangeSlider

from napari_refit.declare import Declaration
from napari_refit.tune.space import Range
from napari_refit.widgets.form_controls import NumberBox, shown
from napari_refit.widgets.style import NoteLabel, ignore_wheel

POSITIONS = 1000
BOX_WIDTH = 50
STEP_WIDTH = 36
INDENT = 18
ANY = "any"


class RangeRow(QWidget):
    """A check box with a parameter's name; when it is checked, its range.

    Parameters
    ----------
    declared : Range
        What is searched unless told otherwise.
    item : Declaration

    Signals
    -------
    changed()
        Another range, or another tick.
    """

    changed = Signal()

    def __init__(self, declared: Range, item: Declaration, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.declared = self._range = declared
        self.item = item
        unit = f" ({item.unit})" if 0 < len(item.unit) <= 2 else ""
        self.box = QCheckBox(f"{item.title}{unit}")
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        tip = f"<p><b>{escape(item.title)}</b><br>{escape(item.help)}<br>Key: {escape(declared.key)}</p>"
        self.box.setToolTip(tip)
        self.now = NoteLabel()
        self.now.setWordWrap(False)
        self.now.setToolTip("The value in the ReFit dock.")
        self._inside: NumberRange | ChoiceRange | None = None
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 0, 0)
        head.addWidget(self.box, 1)
        head.addWidget(self.now)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(1)
        self._layout.addLayout(head)
        self.box.toggled.connect(self._on_toggled)

    @property
    def checked(self) -> bool:
        """Whether it is to be searched."""
        return self.box.isChecked()

    @property
    def range(self) -> Range:
        """Where."""
        return self._range

    @property
    def controls(self) -> NumberRange | ChoiceRange | None:
        """What the range is set with; None before it was ever checked."""
        return self._inside

    def set_checked(self, checked: bool) -> None:
        """Search it, or not."""
        self.box.setChecked(checked)

    def set_range(self, value: Range) -> None:
        """Search it elsewhere."""
        self._range = value
        if self._inside is not None:
            self._inside.show_range(value)
        self.changed.emit()

    def set_now(self, value: object) -> None:
        """Say which value the ReFit dock has."""
        self.now.set_plain(f"now {shown(value)}")

    def _on_toggled(self, checked: bool) -> None:
        if checked and self._inside is None:
            if self.declared.is_choice:
                self._inside = ChoiceRange(self.item.title, self.declared.choices, self._range)
            else:
                self._inside = NumberRange(self.item, self._range)
            self._inside.edited.connect(self._on_edited)
            self._layout.addWidget(self._inside)
        if self._inside is not None:
            self._inside.setVisible(checked)
        self.changed.emit()

    def _on_edited(self, value: Range) -> None:
        if value != self._range:
            self._range = value
            self.changed.emit()


class StepBox(NumberBox):
    """A step above 0, or any value in between."""

    def textFromValue(self, value: float) -> str:
        """0 is no step."""
        return super().textFromValue(value) if value else ANY

    def valueFromText(self, text: str) -> float:
        """Words and nothing mean 0."""
        return super().valueFromText(text) if _is_number(text) else 0.0

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """A number, or nothing."""
        if text.strip().lower() in ("", ANY):
            return QValidator.State.Acceptable, text, position
        return super().validate(text, position)


class NumberRange(QWidget):
    """From, to and step, with a slider of two handles.

    Signals
    -------
    edited(object)
        Another `Range`.
    """

    edited = Signal(object)

    def __init__(self, item: Declaration, value: Range, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._item, self._range = item, value
        self._low, self._high = float(item.low or 0.0), float(item.high or 0.0)
        self._span = _span(item)
        self._integer = item.kind == "int"
        self._log = bool(item.log and self._low > 0)
        self._least = 1.0 if self._integer else (self._high - self._low) / 1e6
        self.low, self.high, self.step = NumberBox(self._integer), NumberBox(self._integer), StepBox(False)
        self.slider = QRangeSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, POSITIONS)
        self.slider.setMinimumWidth(50)
        ignore_wheel(self.slider)
        bounds = f"{shown(self._low)} to {shown(self._high)}"
        for box, title, width, tip in (
            (self.low, "from", BOX_WIDTH, f"The lowest value that is tried, within {bounds}."),
            (self.high, "to", BOX_WIDTH, f"The highest value that is tried, within {bounds}."),
            (
                self.step,
                "step",
                STEP_WIDTH,
                "What lies between two values that are tried; “any”: no fixed step.",
            ),
        ):
            box.setStyleSheet(
                f"QAbstractSpinBox {{ padding: 1px 3px; min-width: {width}px; max-width: {width}px; }}"
            )
            box.setToolTip(tip)
            box.setAccessibleName(f"{item.title}: {title}")
            box.step_asked.connect(lambda steps, box=box: self._on_step(box, steps))
        self.slider.setAccessibleName(f"{item.title}: range")
        self.slider.setToolTip(f"Drag both ends, within {bounds}.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(INDENT, 0, 0, 4)
        layout.setSpacing(4)
        layout.addWidget(self.low)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.high)
        layout.addWidget(QLabel("step"))
        layout.addWidget(self.step)
        self.show_range(value)
        self.low.valueChanged.connect(lambda value: self._take(low=value))
        self.high.valueChanged.connect(lambda value: self._take(high=value))
        self.step.valueChanged.connect(lambda value: self._take(step=value))
        self.slider.valueChanged.connect(self._on_slider)

    def show_range(self, value: Range) -> None:
        """Show a range without a signal."""
        self._range = value
        for box, number in ((self.low, value.low), (self.high, value.high), (self.step, value.step)):
            blocked = box.blockSignals(True)
            box.setValue(number or 0.0)
            box.lineEdit().setText(box.textFromValue(number or 0.0))
            box.blockSignals(blocked)
        blocked = self.slider.blockSignals(True)
        self.slider.setValue((self._position(value.low), self._position(value.high)))
        self.slider.blockSignals(blocked)

    def _take(self, low: float | None = None, high: float | None = None, step: float | None = None) -> None:
        """Use what was given as far as the declaration allows; of two ends the one that was given last counts."""
        now = self._range
        new_low = self._clip(now.low if low is None else low)
        new_high = self._clip(now.high if high is None else high)
        if new_high - new_low < self._least:
            if low is not None:
                new_high = self._clip(new_low + self._least)
                new_low = new_high - self._least if new_high - new_low < self._least else new_low
            else:
                new_low = self._clip(new_high - self._least)
                new_high = new_low + self._least if new_high - new_low < self._least else new_high
        new_step = now.step if step is None else step
        if new_step:
            new_step = min(max(new_step, self._least), new_high - new_low)
            new_step = float(max(round(new_step), 1)) if self._integer else new_step
        log = self._item.log and not new_step and new_low > 0
        if self._integer:
            new_low, new_high = round(new_low), round(new_high)
        value = replace(now, low=float(new_low), high=float(new_high), step=new_step or None, log=log)
        self.show_range(value)
        self.edited.emit(value)

    def _on_step(self, box: NumberBox, steps: int) -> None:
        by = self._item.step or (1.0 if self._integer else (self._high - self._low) / 100)
        name = "low" if box is self.low else "high" if box is self.high else "step"
        value = (getattr(self._range, name) or 0.0) + steps * by
        self._take(**{name: float(f"{max(value, 0.0) if name == 'step' else value:.10g}")})

    def _on_slider(self, positions: tuple[int, int]) -> None:
        old = (self._position(self._range.low), self._position(self._range.high))
        changes = {
            name: self._at(position)
            for name, position, before in zip(("low", "high"), positions, old, strict=True)
            if position != before
        }
        if changes:
            self._take(**changes)

    def _clip(self, value: float | None) -> float:
        return min(max(float(value or 0.0), self._low), self._high)

    def _position(self, value: float | None) -> int:
        low, high = self._span
        value = min(max(float(value or 0.0), low), high)
        if self._log:
            return round(POSITIONS * math.log(value / low) / math.log(high / low))
        return round(POSITIONS * (value - low) / ((high - low) or 1.0))

    def _at(self, position: int) -> float:
        low, high = self._span
        part = position / POSITIONS
        if self._log:
            return self._rounded(low * (high / low) ** part)
        value = low + part * (high - low)
        by = self._item.step or 0.0
        if by:
            value = low + round((value - low) / by) * by
        return self._rounded(value)

    def _rounded(self, value: float) -> float:
        return float(round(value)) if self._integer else float(f"{value:.4g}")


class ChoiceRange(QWidget):
    """A box for each value that may be tried; the last that is ticked stays so.

    Signals
    -------
    edited(object)
        Another `Range`.
    """

    edited = Signal(object)

    def __init__(
        self, title: str, choices: Iterable[object], value: Range, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.boxes: dict[object, QCheckBox] = {}
        flow = QFlowLayout(self)
        flow.setContentsMargins(INDENT, 0, 0, 4)
        for choice in choices:
            box = QCheckBox(shown(choice))
            box.setAccessibleName(f"{title}: {shown(choice)}")
            box.toggled.connect(self._on_toggled)
            flow.addWidget(box)
            self.boxes[choice] = box
        self.show_range(value)

    def show_range(self, value: Range) -> None:
        """Show which are tried, without a signal."""
        self._range = value
        for choice, box in self.boxes.items():
            blocked = box.blockSignals(True)
            box.setChecked(choice in value.choices)
            box.blockSignals(blocked)

    def _on_toggled(self) -> None:
        chosen = tuple(choice for choice, box in self.boxes.items() if box.isChecked())
        if not chosen:
            self.show_range(self._range)
            return
        self._range = replace(self._range, choices=chosen)
        self.edited.emit(self._range)


def _span(item: Declaration) -> tuple[float, float]:
    """What a slider reaches: twice as far as is usually searched, within what is allowed."""
    low, high = float(item.low or 0.0), float(item.high or 0.0)
    if item.search is None:
        return low, high
    first, last = item.search
    return max(low, first / 2 if first > 0 else first), min(high, 2 * last if last > 0 else last)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
