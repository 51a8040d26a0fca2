"""The classes of a tag table: their keys, names and counts."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import QSize, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QLineEdit, QPushButton, QSizePolicy, QToolButton, QWidget

from napari_refit.learn.datasets import BACKGROUND
from napari_refit.widgets.tag_desk import TagDesk

MOST_KEYS = 9
NEW = "new class"


class ClassList(QWidget):
    """One row per class; the button is its key.

    Signals
    -------
    tag_clicked(int)
        The button of a class, 0 for background.
    """

    tag_clicked = Signal(int)

    def __init__(self, desk: TagDesk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(4)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.names: list[QLineEdit] = []
        self.counts: dict[str, QLabel] = {}
        self.add = QPushButton("Add class")
        self.add.setToolTip("Another class that a slice may show.")
        self.add.clicked.connect(self._on_add)
        desk.classes_changed.connect(self._build)
        desk.tags_changed.connect(self.refresh)
        desk.rows_changed.connect(self.refresh)
        self._build()

    def refresh(self) -> None:
        """Count again."""
        counts = self._desk.tagging.counts(self._desk.slots)
        for name, label in self.counts.items():
            label.setText(str(counts.get(name, 0)))

    def _build(self) -> None:
        while self._grid.count():
            widget = self._grid.takeAt(0).widget()
            if widget is not self.add:
                widget.hide()
                widget.deleteLater()
        self.names, self.counts = [], {}
        nothing = QLabel(BACKGROUND)
        nothing.setToolTip("Nothing is there.")
        self._row(0, BACKGROUND, nothing, None)
        for number, name in enumerate(self._desk.tagging.classes, start=1):
            line = QLineEdit(name)
            line.setAccessibleName(f"Name of class {number}")
            line.setToolTip("Type another name to rename the class everywhere.")
            line.editingFinished.connect(partial(self._on_named, line, name))
            remove = QToolButton()
            remove.setText("×")
            remove.setAccessibleName(f"Remove class {name}")
            remove.setToolTip(
                f"Remove {name}; slices that show nothing else become untagged. Undo brings it back."
            )
            remove.clicked.connect(partial(self._desk.remove_class, name))
            self.names.append(line)
            self._row(number, name, line, remove)
        self._grid.addWidget(self.add, len(self.names) + 1, 1)
        self.refresh()

    def _row(self, number: int, name: str, shown: QWidget, remove: QWidget | None) -> None:
        key = QPushButton(str(number) if number <= MOST_KEYS else "")
        key.setFixedSize(QSize(26, 22))
        key.setStyleSheet("QPushButton { padding: 0px; }")
        key.setAccessibleName(f"Tag as {name}")
        key.setToolTip(f"Tag the slice as {name}" + (f" (key {number})" if number <= MOST_KEYS else ""))
        key.clicked.connect(lambda: self.tag_clicked.emit(number))
        count = QLabel("0")
        count.setMinimumWidth(28)
        count.setToolTip(f"How many slices are tagged as {name}.")
        self.counts[name] = count
        widgets: list[Any] = [key, shown, count, remove]
        for column, widget in enumerate(widgets):
            if widget is not None:
                self._grid.addWidget(widget, number, column)

    def _on_named(self, line: QLineEdit, old: str) -> None:
        if (
            line in self.names
            and line.text().strip() != old
            and not self._desk.rename_class(old, line.text())
        ):
            blocked = line.blockSignals(True)
            line.setText(old)
            line.blockSignals(blocked)

    def _on_add(self) -> None:
        taken = self._desk.tagging.classes
        name = next(name for k in range(1, 1000) if (name := f"{NEW} {k}") not in taken)
        if self._desk.add_class(name):
            self.names[-1].setFocus()
            self.names[-1].selectAll()
