"""Controls of a generated form for what is typed: a line of text, and the name of a file."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLineEdit, QPushButton

from napari_refit.declare import Declaration
from napari_refit.widgets.form_controls import Control, shown


class TextControl(Control):
    """A line of text; a type that is no string is written as JSON."""

    def __init__(self, item: Declaration, annotation: Any) -> None:
        self.line = QLineEdit()
        super().__init__(self.line)
        self._several = item.kind == "texts"
        self._json = not self._several and annotation is not str
        self._none = item.default is None
        if self._several:
            self.line.setPlaceholderText("names, separated by commas")
        self.line.textEdited.connect(lambda _: self.typed.emit(self.value()))
        self.line.editingFinished.connect(self.edited)

    def value(self) -> Any:
        """Return the text, or the texts between its commas."""
        text = self.line.text()
        if self._several:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if not text and self._none:
            return None
        if not self._json:
            return text
        try:
            return from_json(text)
        except ValueError:
            return text

    def set_value(self, value: Any) -> None:
        """Show a value without a signal."""
        plain = value is None or self._several or isinstance(value, (str, Enum, float))
        text = shown(value) if plain else to_json(value).decode()
        if text != self.line.text():
            self.line.setText(text)


class NumbersControl(TextControl):
    """A line of numbers between commas."""

    def __init__(self, item: Declaration, annotation: Any) -> None:
        super().__init__(replace(item, kind="texts"), annotation)
        self.line.setPlaceholderText("numbers, separated by commas")

    def set_value(self, value: Any) -> None:
        """Show numbers without a signal."""
        super().set_value(tuple(shown(number) for number in value))


class FileControl(TextControl):
    """A line of text that may name a file, with a button to look for one."""

    def __init__(self, item: Declaration, annotation: Any) -> None:
        super().__init__(item, annotation)
        self._title, self._suffixes = item.title, item.files
        self.browse = QPushButton("Browse…")
        self.browse.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.browse.setAccessibleName(f"{item.title}: choose a file")
        self.layout().addWidget(self.browse)
        self.browse.clicked.connect(self._on_browse)

    def _on_browse(self) -> None:
        now = Path(self.line.text()).expanduser()
        start = str(now.parent) if now.is_file() else ""
        pattern = " ".join(f"*{suffix}" for suffix in self._suffixes)
        path, _ = QFileDialog.getOpenFileName(self, self._title, start, f"Files ({pattern})")
        if path:
            self.line.setText(path)
            self.edited.emit()
