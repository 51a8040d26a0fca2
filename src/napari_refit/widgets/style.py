"""Colours and small widgets that the parts of the docks share.

Colours follow the theme of the widget itself (napari sets it by a style sheet), so they hold for a second
viewer with another theme as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QColor, QIcon, QPalette
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QLabel, QSlider, QWidget
from superqt import QCollapsible


@dataclass(frozen=True)
class Colors:
    """The colours of one theme, as ``#rrggbb``; each is readable as text on the theme's background."""

    text: str
    muted: str
    gain: str
    loss: str
    warning: str
    cam: str
    refined: str
    track: str


DARK = Colors(
    text="#f0f1f2",
    muted="#a9b0b8",
    gain="#6fd08c",
    loss="#ff8f85",
    warning="#f2c14e",
    cam="#f2a65a",
    refined="#6cb8ff",
    track="#424a54",
)
LIGHT = Colors(
    text="#1e1e21",
    muted="#55595f",
    gain="#176b2c",
    loss="#a8201a",
    warning="#7a4f00",
    cam="#964a00",
    refined="#0f559c",
    track="#c5c3c1",
)


def is_dark(widget: QWidget) -> bool:
    """Whether the widget shows light text on a dark background."""
    widget.ensurePolished()
    return widget.palette().color(QPalette.ColorRole.WindowText).lightness() > 127


def colors(widget: QWidget) -> Colors:
    """Return the colours that fit the widget's theme."""
    return DARK if is_dark(widget) else LIGHT


def theme_changed(event: QEvent) -> bool:
    """Whether a change event means that colours must be looked up again."""
    return event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours as WCAG 2 defines it, from 1 to 21."""

    def luminance(name: str) -> float:
        red, green, blue = (
            value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
            for value in QColor(name).getRgbF()[:3]
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def colored(text: str, color: str, *, bold: bool = False) -> str:
    """Return rich text of one colour; ``text`` is plain."""
    weight = ";font-weight:600" if bold else ""
    return f'<span style="color:{color}{weight}">{escape(text)}</span>'


class NoteLabel(QLabel):
    """A wrapping line of plain text in one colour of the theme, hidden while empty.

    Parameters
    ----------
    role : {"muted", "loss", "warning"}
        The field of `Colors` to use.
    """

    def __init__(self, role: str = "muted", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._role = role
        self._plain = ""
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.hide()

    def set_plain(self, text: str) -> None:
        """Show a text; an empty one hides the label."""
        # Another text lays out the whole dock again.
        if text == self._plain:
            return
        self._plain = text
        self._paint()
        self.setVisible(bool(text))

    def plain(self) -> str:
        """Return the text that is shown."""
        return self._plain

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if theme_changed(event):
            self._paint()

    def _paint(self) -> None:
        self.setText(colored(self._plain, getattr(colors(self), self._role)) if self._plain else "")


_PASSIVE_KEYS = frozenset({Qt.Key.Key_Tab, Qt.Key.Key_Backtab, Qt.Key.Key_Shift, Qt.Key.Key_Control})


class LazyComboBox(QComboBox):
    """A combo box that asks for its items only when the user opens it or types in it.

    Parameters
    ----------
    items : callable, optional
        Returns the values. What it raises is shown as the tool tip, and the values there are stay.
    empty : str
        What is shown for the value ``""``.
    """

    def __init__(
        self,
        items: Callable[[], Iterable[str]] | None = None,
        *,
        empty: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._items = items
        self._empty = empty
        self._fresh = False
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        ignore_wheel(self)

    def value(self) -> str:
        """Return the chosen value."""
        if self.isEditable() and self.currentText() != self.itemText(self.currentIndex()):
            return self.currentText().strip()
        data = self.currentData()
        return self.currentText() if data is None else str(data)

    def set_value(self, value: str) -> None:
        """Choose a value without a signal; where nothing can be typed, one that is not in the list is added."""
        blocked = self.blockSignals(True)
        if self.isEditable():
            self.setCurrentIndex(self.findData(value))
            self.setEditText(value)
        else:
            if self.findData(value) < 0:
                self.addItem(value or self._empty, value)
            self.setCurrentIndex(self.findData(value))
        self.blockSignals(blocked)

    def set_values(self, values: Iterable[str]) -> None:
        """Replace the list without a signal and keep the chosen value."""
        value = self.value() if self.count() or self.isEditable() else None
        blocked = self.blockSignals(True)
        self.clear()
        for item in values:
            self.addItem(item or self._empty, item)
        self.blockSignals(blocked)
        if value is not None:
            self.set_value(value)

    def refresh(self) -> None:
        """Ask for the items now."""
        if self._items is None:
            return
        self._fresh = True
        self.setCursor(Qt.CursorShape.WaitCursor)
        try:
            self.set_values(self._items())
        except Exception as error:
            self.setToolTip(f"The list could not be read: {error}")
        finally:
            self.unsetCursor()

    def showPopup(self) -> None:
        """Refresh, then open."""
        self.refresh()
        super().showPopup()

    def keyPressEvent(self, event: QEvent) -> None:
        """Refresh before the first key after the focus came here: it may choose another item."""
        if not self._fresh and event.key() not in _PASSIVE_KEYS:
            self.refresh()
        super().keyPressEvent(event)

    def focusOutEvent(self, event: QEvent) -> None:
        """Ask again next time."""
        self._fresh = False
        super().focusOutEvent(event)


class _IgnoreWheel(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


def ignore_wheel(widget: QSlider | QComboBox | QAbstractSpinBox) -> None:
    """Let the wheel scroll the dock instead of changing a value that does not have the focus."""
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_IgnoreWheel(widget))


def collapsible(title: str, content: QWidget, parent: QWidget | None = None) -> QCollapsible:
    """Return a folded section whose arrow has the colour of the theme's text."""
    section = QCollapsible("", parent, expandedIcon=QIcon(), collapsedIcon=QIcon())
    section.toggleButton().setStyleSheet(
        "QPushButton { text-align: left; border: none; background: transparent; padding: 2px; }"
    )
    section.setDuration(0)
    section.layout().setContentsMargins(0, 0, 0, 0)
    section.layout().setSpacing(2)
    section.content().layout().setContentsMargins(0, 0, 0, 0)
    section.addWidget(content)

    def name(expanded: bool) -> None:
        section.setText(f"{'▾' if expanded else '▸'} {title}")

    section.toggled.connect(name)
    section.toggleButton().setAccessibleName(title)
    name(False)
    return section
