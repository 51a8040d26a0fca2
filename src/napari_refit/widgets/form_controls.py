"""The controls of a generated form: one per kind of parameter, all with the same small interface."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from qtpy.QtCore import QLocale, Qt, Signal
from qtpy.QtGui import QKeyEvent, QValidator
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSlider,
    QWidget,
)

from napari_refit.params import Declaration
from napari_refit.widgets.style import LazyComboBox, colors, ignore_wheel

POSITIONS = 1000
MOST_STEPS = 20_000
BOX_WIDTH = 66


def shown(value: Any) -> str:
    """Return a value as a form shows it.

    Examples
    --------
    >>> shown(0.5), shown(20000), shown(1e-6), shown(("lesion", "cyst")), shown((0.5, 1.0)), shown(None)
    ('0.5', '20000', '1e-06', 'lesion, cyst', '0.5, 1', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, (tuple, list)):
        return ", ".join(shown(item) for item in value)
    return str(value.value) if isinstance(value, Enum) else str(value)


class Control(QWidget):
    """Base of the controls.

    Attributes
    ----------
    edited : Signal
        The user gave another value.
    typed : Signal(object)
        The user is typing: the text so far, as it would be validated.
    focus_widget : QWidget
        What takes the keyboard.
    error : str
        Why the shown value is refused; empty when it is not.
    """

    edited = Signal()
    typed = Signal(object)

    def __init__(self, *widgets: QWidget) -> None:
        super().__init__()
        self.error = ""
        self.focus_widget: QWidget = widgets[0]
        self._tip = ""
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in widgets:
            layout.addWidget(widget)
        self._widgets = widgets
        self._sheet = ""

    def value(self) -> Any:
        """Return what is shown, valid or not."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value without a signal."""
        raise NotImplementedError

    def set_tip(self, tip: str) -> None:
        """Set the tool tip that is shown while there is no error."""
        self._tip = tip
        self.set_error(self.error)

    def set_error(self, message: str) -> None:
        """Turn red with a message as tool tip, or back with an empty one."""
        self.error = message
        for widget in self._widgets:
            widget.setToolTip(message or self._tip)
        red = colors(self).loss
        sheet = self._sheet + (f"\n* {{ color: {red}; border: 1px solid {red}; }}" if message else "")
        if self.marked.styleSheet() != sheet:
            self.marked.setStyleSheet(sheet)

    @property
    def marked(self) -> QWidget:
        """The widget that turns red."""
        return self._widgets[-1]


class NumberBox(QDoubleSpinBox):
    """A spin box that lets any text be typed, so that a wrong one can be explained instead of swallowed."""

    typed = Signal(object)
    step_asked = Signal(int)

    def __init__(self, integer: bool) -> None:
        self.refuses: Callable[[str], bool] = lambda text: False
        self._integer = integer
        super().__init__()
        self.setLocale(QLocale.c())
        self.setDecimals(0 if integer else 15)
        self.setRange(-1e300, 1e300)
        self.setKeyboardTracking(False)
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.lineEdit().textEdited.connect(self.typed.emit)
        ignore_wheel(self)

    def stepBy(self, steps: int) -> None:
        """Leave steps to the control, which knows the bounds."""
        self.step_asked.emit(steps)

    def textFromValue(self, value: float) -> str:
        """Write without needless zeros."""
        return str(round(value)) if self._integer else shown(float(value))

    def valueFromText(self, text: str) -> float:
        """Read any number Python reads."""
        try:
            return float(text)
        except ValueError:
            return self.value()

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Let every text be typed; only a valid one is taken."""
        try:
            good = math.isfinite(float(text)) and not self.refuses(text)
        except ValueError:
            good = False
        state = QValidator.State.Acceptable if good else QValidator.State.Intermediate
        return state, text, position

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keep a wrong text on Enter, so that it can be corrected; Escape takes it back."""
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if enter and self.validate(self.text(), 0)[0] != QValidator.State.Acceptable:
            return
        if event.key() == Qt.Key.Key_Escape:
            self.lineEdit().setText(self.textFromValue(self.value()))
            self.typed.emit(self.text())
            return
        super().keyPressEvent(event)


class StepSlider(QSlider):
    """A horizontal slider whose arrow keys ask for steps of the value, not of the slider."""

    step_asked = Signal(int)

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setMinimumWidth(50)
        ignore_wheel(self)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Turn arrows into one step and page keys into ten."""
        key = Qt.Key
        steps = {key.Key_Right: 1, key.Key_Up: 1, key.Key_Left: -1, key.Key_Down: -1}
        steps |= {key.Key_PageUp: 10, key.Key_PageDown: -10}
        if event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier or event.key() not in steps:
            super().keyPressEvent(event)
        else:
            self.step_asked.emit(steps[event.key()])


class NumberControl(Control):
    """A slider and a spin box; the spin box alone when there are no bounds or far too many steps."""

    def __init__(self, item: Declaration) -> None:
        self.slider = StepSlider()
        self.box = NumberBox(item.kind == "int")
        super().__init__(self.slider, self.box)
        self._integer = item.kind == "int"
        self._item = item
        self._value: float = item.low or 0
        self._low, self._high = item.low or 0.0, item.high or 0.0
        bounded = item.low is not None and item.high is not None and item.low < item.high
        self._log = bool(item.log and bounded and item.low > 0)
        span = self._high - self._low if bounded else 0.0
        self.step = item.step or (1 if self._integer else _nice_step(span) if bounded else 0.1)
        self.slider.setVisible(bounded and (self._log or span / self.step <= MOST_STEPS))
        self._fit_widths()
        self._set_positions()
        self.box.refuses = lambda text: bool(self.error)
        self.box.typed.connect(self.typed.emit)
        self.box.valueChanged.connect(self._take)
        self.box.step_asked.connect(self.step_by)
        self.box.editingFinished.connect(self._on_finished)
        self.slider.valueChanged.connect(self._on_slider)
        self.slider.step_asked.connect(self.step_by)

    def _fit_widths(self) -> None:
        alone = self.slider.isHidden()
        self.focus_widget = self.box if alone else self.slider
        width = BOX_WIDTH * (2 if alone else 1)
        self._sheet = f"QAbstractSpinBox {{ padding: 1px 4px; min-width: {width}px; max-width: {width}px; }}"
        self.set_error(self.error)
        self.layout().setAlignment(self.box, Qt.AlignmentFlag.AlignLeft if alone else Qt.AlignmentFlag(0))

    def value(self) -> Any:
        """Return the number, or the text while it is wrong."""
        if self.error:
            return self.box.text()
        return round(self._value) if self._integer else self._value

    def set_value(self, value: Any) -> None:
        """Show a number."""
        self._value = value
        self.box.blockSignals(True)
        self.box.setValue(value)
        self.box.lineEdit().setText(self.box.textFromValue(value))
        self.box.blockSignals(False)
        self.slider.blockSignals(True)
        self.slider.setValue(self._position(value))
        self.slider.blockSignals(False)

    def set_slider_range(self, low: float, high: float) -> None:
        """Let the slider go from ``low`` to ``high``."""
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"slider range must grow, got {low} to {high}")
        self._low = low if self._item.low is None else max(low, self._item.low)
        self._high = high if self._item.high is None else min(high, self._item.high)
        self._log = self._log and self._low > 0
        self.slider.setVisible(True)
        self._fit_widths()
        self._set_positions()
        self.set_value(self._value)

    def step_by(self, steps: int) -> None:
        """Add steps, as an arrow key does."""
        self._take(self._clip(self._value + steps * self.step))

    def _set_positions(self) -> None:
        count = (self._high - self._low) / self.step
        snaps = not self._log and (count <= POSITIONS or (self._integer and count <= MOST_STEPS))
        self._positions = max(round(count), 1) if snaps else POSITIONS
        self._snaps = snaps
        self.slider.blockSignals(True)
        self.slider.setRange(0, self._positions)
        self.slider.setPageStep(max(self._positions // 20, 1))
        self.slider.blockSignals(False)

    def _position(self, value: float) -> int:
        if self._high <= self._low:
            return 0
        value = min(max(value, self._low), self._high)
        if self._log:
            part = math.log(value / self._low) / math.log(self._high / self._low)
        else:
            part = (value - self._low) / (self._high - self._low)
        return round(part * self._positions)

    def _at(self, position: int) -> float:
        part = position / self._positions
        if position in (0, self._positions):
            return self._high if position else self._low
        if self._log:
            return float(f"{self._low * (self._high / self._low) ** part:.3g}")
        if self._snaps:
            return float(f"{self._low + position * self.step:.10g}")
        return float(f"{self._low + part * (self._high - self._low):.4g}")

    def _clip(self, value: float) -> float:
        low = -math.inf if self._item.low is None else self._item.low
        high = math.inf if self._item.high is None else self._item.high
        return float(f"{min(max(value, low), high):.10g}")

    def _take(self, value: float) -> None:
        value = round(value) if self._integer else value
        self.set_error("")
        different = value != self._value
        self.set_value(value)
        if different:
            self.edited.emit()

    def _on_slider(self, position: int) -> None:
        self._take(self._at(position))

    def _on_finished(self) -> None:
        if self.error:
            self.set_error("")
            self.set_value(self._value)


class SwitchControl(Control):
    """A check box."""

    def __init__(self) -> None:
        self.box = QCheckBox()
        super().__init__(self.box)
        self.box.toggled.connect(lambda _: self.edited.emit())

    def value(self) -> bool:
        """Return whether it is on."""
        return self.box.isChecked()

    def set_value(self, value: Any) -> None:
        """Set it without a signal."""
        self.box.blockSignals(True)
        self.box.setChecked(bool(value))
        self.box.blockSignals(False)


class ChoiceControl(Control):
    """A combo box over fixed values, or over those that a callable returns when it is opened."""

    def __init__(self, values: tuple[Any, ...], items: Callable[[], Iterable[str]] | None) -> None:
        self.combo = LazyComboBox(items, empty="automatic")
        super().__init__(self.combo)
        self._values = {str(value): value for value in values}
        self.combo.set_values([] if items else list(self._values))
        self.combo.currentIndexChanged.connect(lambda _: self.edited.emit())

    def value(self) -> Any:
        """Return the chosen value."""
        text = self.combo.value()
        return self._values.get(text, text)

    def set_value(self, value: Any) -> None:
        """Choose a value without a signal."""
        self.combo.set_value(str(value))


def _nice_step(span: float) -> float:
    return 10.0 ** math.floor(math.log10(span / 100)) if span > 0 else 0.1
