"""The table of slices: what each shows, and whom; keys tag the selected rows."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QSizePolicy, QTableView, QWidget

from napari_refit.learn.datasets import BACKGROUND
from napari_refit.widgets.style import colors
from napari_refit.widgets.tag_desk import TagDesk

COLUMNS = ("Slice", "Label", "Patient")
SLICE, LABEL, PATIENT = range(3)
ROW_HEIGHT = 20
HEIGHT = 190


class TagModel(QAbstractTableModel):
    """The desk's rows; nothing is copied."""

    def __init__(self, desk: TagDesk, view: QWidget) -> None:
        super().__init__(view)
        self._desk = desk
        self._view = view

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """How many slices there are."""
        return 0 if parent is not None and parent.isValid() else len(self._desk.slots)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Slice, label, patient."""
        return len(COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Names of the columns."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What a cell shows."""
        layer, _ = slot = self._desk.slots[index.row()]
        tag = self._desk.tagging[slot]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            if index.column() == SLICE:
                return self._desk.title(index.row())
            if index.column() == PATIENT:
                return tag.patient or (layer.name if role == Qt.ItemDataRole.DisplayRole else "")
            if tag.labels is None:
                return "–" if role == Qt.ItemDataRole.DisplayRole else ""
            return "; ".join(tag.labels) or BACKGROUND
        if role == Qt.ItemDataRole.ForegroundRole:
            muted = (index.column() == LABEL and not tag.labels) or (
                index.column() == PATIENT and not tag.patient
            )
            return QColor(colors(self._view).muted) if muted else None
        if role == Qt.ItemDataRole.ToolTipRole and index.column() == PATIENT:
            return "Slices of one patient stay on one side of the split. Double-click to name the patient."
        return None

    def flags(self, index: QModelIndex) -> Any:
        """Label and patient can be typed."""
        flags = super().flags(index)
        return flags if index.column() == SLICE else flags | Qt.ItemFlag.ItemIsEditable

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Take what was typed; a patient's name goes for every selected row."""
        if role != Qt.ItemDataRole.EditRole:
            return False
        text = str(value).strip()
        if index.column() == PATIENT:
            rows = self._view.picked()
            self._desk.set_patient(rows if index.row() in rows else [index.row()], text)
        elif text in ("", "–"):
            self._desk.clear([index.row()])
        else:
            names = [] if text == BACKGROUND else [part.strip() for part in text.split(";") if part.strip()]
            self._desk.set_labels(index.row(), names)
        return True

    def refresh(self) -> None:
        """Other tags, same rows."""
        if self.rowCount():
            self.dataChanged.emit(self.index(0, 0), self.index(self.rowCount() - 1, PATIENT))

    def reset(self) -> None:
        """Other rows."""
        self.beginResetModel()
        self.endResetModel()


class TagTable(QTableView):
    """Moving in the table moves the viewer, and the other way round.

    Signals
    -------
    tag_pressed(int), toggle_pressed(int)
        A number key, and one with Control.
    clear_pressed(), undo_pressed()
    """

    tag_pressed = Signal(int)
    toggle_pressed = Signal(int)
    clear_pressed = Signal()
    undo_pressed = Signal()

    def __init__(self, desk: TagDesk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._follows = False
        self._model = TagModel(desk, self)
        self.setModel(self._model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setWordWrap(False)
        # Names of patients often differ at their end.
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT)
        self.setAccessibleName("Slices and their labels")
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        desk.rows_changed.connect(self._on_rows)
        desk.tags_changed.connect(self._model.refresh)
        desk.current_changed.connect(self._on_current)
        self.selectionModel().currentRowChanged.connect(self._on_moved)
        self._on_rows()

    def picked(self) -> list[int]:
        """The selected rows, in ascending order."""
        return sorted(index.row() for index in self.selectionModel().selectedRows())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Tag by keys; the others move as in any table."""
        modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        control = modifiers == Qt.KeyboardModifier.ControlModifier
        number = event.key() - Qt.Key.Key_0
        if 0 <= number <= 9 and (control or not modifiers):
            (self.toggle_pressed if control else self.tag_pressed).emit(int(number))
        elif event.key() in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete) and not modifiers:
            self.clear_pressed.emit()
        elif event.key() == Qt.Key.Key_Z and control:
            self.undo_pressed.emit()
        else:
            super().keyPressEvent(event)

    def keyboardSearch(self, search: str) -> None:
        """Letters search for nothing: a stray key must not move to another slice."""

    def _on_rows(self) -> None:
        self._model.reset()
        self._on_current(self._desk.current)

    def _on_current(self, row: int) -> None:
        if row < 0 or row == self.currentIndex().row():
            return
        self._follows = True
        index = self._model.index(row, LABEL)
        self.selectionModel().setCurrentIndex(
            index,
            QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows,
        )
        self.scrollTo(index)
        self._follows = False

    def _on_moved(self, current: QModelIndex, before: QModelIndex) -> None:
        if current.isValid() and not self._follows:
            self._desk.go(current.row())
