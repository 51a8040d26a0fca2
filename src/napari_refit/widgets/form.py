"""A form generated from a parameter group: one labelled row per declaration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from html import escape
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QMenu, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from napari_refit.params import Declaration, declarations
from napari_refit.widgets import style
from napari_refit.widgets.form_controls import Control, NumberControl, shown
from napari_refit.widgets.form_kinds import control_for

LABEL_WIDTH = 130


class ParameterForm(QWidget):
    """A form for one parameter group.

    Parameters
    ----------
    group : type
        A pydantic model. Fields declared through `napari_refit.params` bring their unit, step and so on; a
        plain pydantic model works as well.
    parent : QWidget, optional
        The parent widget.
    choices : mapping, optional
        Field name to a callable that returns the values to offer. It is called when the user opens the combo
        box, not before.
    skip : collection of str
        Fields without a row; they keep the value that `set_value` gave them.
    prefix : str
        Name of the group, shown in tool tips as part of the key.

    Raises
    ------
    ValueError
        If the group cannot be built: a field without a default whose value cannot be guessed.
    """

    changed = Signal(object)
    """The new parameters, also while a slider is being dragged."""

    def __init__(
        self,
        group: type[BaseModel],
        parent: QWidget | None = None,
        *,
        choices: Mapping[str, Callable[[], Iterable[str]]] | None = None,
        skip: Collection[str] = (),
        prefix: str = "",
    ) -> None:
        super().__init__(parent)
        self._group = group
        self._keys = {name: field.alias or name for name, field in group.model_fields.items()}
        self._prefix = prefix
        self._controls: dict[str, Control] = {}
        self._labels: dict[str, RowLabel] = {}
        self._rows: dict[str, QFormLayout] = {}
        shown_rows = [item for item in declarations(group) if item.name not in skip]
        self._defaults = {item.name: _default(item) for item in declarations(group)}
        self._value = self._build(self._defaults)
        self._defaults = {name: getattr(self._value, name) for name in group.model_fields}

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(self._form([item for item in shown_rows if not item.advanced], choices or {}))
        advanced = [item for item in shown_rows if item.advanced]
        self.more = None
        if advanced:
            content = QWidget()
            content.setLayout(self._form(advanced, choices or {}))
            self.more = style.collapsible("More", content)
            layout.addWidget(self.more)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.set_value(self._value)

    @property
    def group(self) -> type[BaseModel]:
        """The parameter group."""
        return self._group

    @property
    def value(self) -> BaseModel:
        """The last valid parameters."""
        return self._value

    def set_value(self, value: BaseModel) -> None:
        """Show other parameters, without a signal.

        Raises
        ------
        TypeError
            If ``value`` is of another group.
        """
        if not isinstance(value, self._group):
            raise TypeError(f"expected {self._group.__name__}, got {type(value).__name__}")
        self._value = value
        for name, control in self._controls.items():
            control.set_value(getattr(value, name))
            control.set_error("")

    def reset(self, name: str | None = None) -> None:
        """Go back to the default of one parameter, or of all; emits `changed` when something changes."""
        names = [name] if name else list(self._controls)
        values = {item: getattr(self._value, item) for item in self._group.model_fields}
        value = self._build(values | {item: self._defaults[item] for item in names})
        different = value != self._value
        self.set_value(value)
        if different:
            self.changed.emit(value)

    def control(self, name: str) -> Control:
        """Return the control of a field.

        Raises
        ------
        ValueError
            If there is no row for that name.
        """
        try:
            return self._controls[name]
        except KeyError:
            raise ValueError(f"no row {name!r}; there are: {', '.join(self._controls)}") from None

    def label(self, name: str) -> QLabel:
        """Return the label of a field."""
        self.control(name)
        return self._labels[name]

    def set_row_visible(self, name: str, visible: bool) -> None:
        """Show or hide the row of a field."""
        self._rows[name].setRowVisible(self.control(name), visible)

    def set_slider_range(self, name: str, low: float, high: float) -> None:
        """Give a number's slider another range than its bounds, say that of the open image.

        The spin box still takes every valid number.
        """
        control = self.control(name)
        if not isinstance(control, NumberControl):
            raise ValueError(f"{name!r} is not a number")
        control.set_slider_range(low, high)

    def errors(self) -> dict[str, str]:
        """Return the messages of the rows that are red."""
        return {name: control.error for name, control in self._controls.items() if control.error}

    def _form(self, items: list[Declaration], choices: Mapping[str, Any]) -> QFormLayout:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(6)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for item in items:
            control = control_for(item, self._group.model_fields[item.name], choices.get(item.name))
            label = RowLabel(f"{item.title} ({item.unit})" if 0 < len(item.unit) <= 2 else item.title)
            label.reset_requested.connect(lambda name=item.name: self.reset(name))
            label.default_text = shown(self._defaults[item.name])
            label.setBuddy(control.focus_widget)
            tip = self._tip(item)
            label.setToolTip(tip)
            control.set_tip(tip)
            control.focus_widget.setAccessibleName(item.title)
            control.focus_widget.setAccessibleDescription(item.help)
            control.edited.connect(lambda name=item.name: self._on_edited(name))
            control.typed.connect(lambda text, name=item.name: self._on_typed(name, text))
            self._controls[item.name] = control
            self._labels[item.name] = label
            self._rows[item.name] = form
            form.addRow(label, control)
        return form

    def _tip(self, item: Declaration) -> str:
        facts = []
        if item.unit:
            facts.append(f"Unit: {item.unit}")
        if item.low is not None and item.high is not None:
            facts.append(f"Range: {shown(item.low)} to {shown(item.high)}")
        elif item.low is not None:
            facts.append(f"At least {shown(item.low)}")
        elif item.high is not None:
            facts.append(f"At most {shown(item.high)}")
        default = shown(self._defaults[item.name])
        facts.append(f"Default: {default or 'empty'} (double-click the name to reset)")
        facts.append(f"Key: {self._prefix + '.' if self._prefix else ''}{item.name}")
        lines = [f"<b>{escape(item.title)}</b>", escape(item.help, quote=False), *map(escape, facts)]
        return "<p>" + "<br>".join(line for line in lines if line) + "</p>"

    def _build(self, values: Mapping[str, Any]) -> BaseModel:
        return self._group.model_validate({self._keys[name]: value for name, value in values.items()})

    def _displayed(self) -> dict[str, Any]:
        values = {name: getattr(self._value, name) for name in self._group.model_fields}
        return values | {name: control.value() for name, control in self._controls.items()}

    def _try(self, values: Mapping[str, Any], name: str) -> tuple[BaseModel | None, str]:
        try:
            return self._build(values), ""
        except ValidationError as error:
            own = [item for item in error.errors() if not item["loc"] or item["loc"][0] == self._keys[name]]
            return None, _message((own or error.errors())[0])

    def _on_edited(self, name: str) -> None:
        value, _ = self._try(self._displayed(), name)
        everything = value is not None
        if value is None:
            kept = {item: getattr(self._value, item) for item in self._group.model_fields}
            value, message = self._try(kept | {name: self._controls[name].value()}, name)
            if value is None:
                self._controls[name].set_error(message)
                return
        for item, control in self._controls.items():
            if control.error and (everything or item == name):
                control.set_error("")
        if value != self._value:
            self._value = value
            self.changed.emit(value)
        self._controls[name].set_value(getattr(self._value, name))

    def _on_typed(self, name: str, text: object) -> None:
        kept = {item: getattr(self._value, item) for item in self._group.model_fields}
        _, message = self._try(kept | {name: text}, name)
        self._controls[name].set_error(message)


class RowLabel(QLabel):
    """The name of a parameter; a double click or its menu asks for the default."""

    reset_requested = Signal()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.default_text = ""
        self.setWordWrap(True)
        self.setFixedWidth(LABEL_WIDTH)

    def mouseDoubleClickEvent(self, event: object) -> None:
        """Ask for the default."""
        QToolTip.hideText()
        self.reset_requested.emit()

    def contextMenuEvent(self, event: Any) -> None:
        """Offer the default."""
        menu = QMenu(self)
        menu.addAction(f"Reset to default ({self.default_text or 'empty'})", self.reset_requested.emit)
        menu.exec(event.globalPos())


def _default(item: Declaration) -> Any:
    if item.default is not PydanticUndefined:
        return item.default
    guesses: dict[str, Any] = {"bool": False, "text": "", "texts": (), "numbers": (item.low or 0.0,)}
    guesses |= {"float": item.low or 0.0, "int": int(item.low or 0)}
    return item.choices[0] if item.kind == "choice" else guesses[item.kind]


def _message(error: Any) -> str:
    text = error["msg"].removeprefix("Value error, ")
    return text if text.endswith(".") else f"{text}."
