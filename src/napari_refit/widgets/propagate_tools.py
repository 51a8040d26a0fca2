"""The dock's button that carries accepted slices on, and the list of slices most in need of a look."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_refit.widgets import style
from napari_refit.widgets.doubts import Row

HEADS = ("Slice", "Uncertainty", "State")
TIPS = (
    "Click, or press Enter, to go there. Shift+W goes to the first, then down the list.",
    "0: the fit is sure, and the slices beside it look alike. 1: neither.",
    "accepted: locked as it is. painted: edited by hand. propagated: made from its neighbours. refined: by itself.",
)
EMPTY = "Slices are listed here once they have a mask, the most uncertain first."
HEIGHT = 150


class RowModel(QAbstractTableModel):
    """The list of slices, as Qt's views read it."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: list[Row] = []

    def set_rows(self, rows: list[Row]) -> None:
        """Show other slices."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """One for each slice."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Slice, uncertainty, state."""
        return 0 if parent is not None and parent.isValid() else len(HEADS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What a cell shows."""
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            shown = "–" if row.uncertainty is None else f"{row.uncertainty:.2f}"
            return (str(row.position), shown, row.state)[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() < 2:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """The columns' names, with what they mean."""
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return HEADS[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return TIPS[section]
        return None


class RowView(QTableView):
    """A table of whole rows; a click or Enter chooses one.

    Signals
    -------
    chosen(int)
        Number of the row.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(20)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setHighlightSections(False)
        self.clicked.connect(lambda index: self.chosen.emit(index.row()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Choose the row that has the focus."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.chosen.emit(self.currentIndex().row())
            return
        super().keyPressEvent(event)


class PropagateTools(QWidget):
    """A button with its parameters, and the list.

    Parameters
    ----------
    form : ParameterForm
        Of `napari_refit.params.PropagationParams`.

    Signals
    -------
    clicked()
        Propagate.
    slice_chosen(int)
        The user asks for a slice.
    """

    clicked = Signal()
    slice_chosen = Signal(int)

    def __init__(self, form: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QPushButton("Propagate")
        self.button.setToolTip(
            "Carry locked and painted slices, and hints, to the slices beside them, one after the other until the "
            "object ends (Shift+Y). Ctrl+Z takes it back."
        )
        self.button.clicked.connect(self.clicked)
        self.parameters = style.collapsible("Propagation", form)
        self.title = QLabel("Slices most in need of a look")
        self.model = RowModel(self)
        self.view = RowView()
        self.view.setModel(self.model)
        self.view.setFixedHeight(HEIGHT)
        self.view.setAccessibleName(self.title.text())
        self.note = style.NoteLabel("muted")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        for widget in (self.button, self.parameters, self.title, self.view, self.note):
            layout.addWidget(widget)
        self.view.chosen.connect(lambda row: self.slice_chosen.emit(self.model.rows[row].position))
        self._current = -1
        self.set_rows([])

    def set_rows(self, rows: list[Row]) -> None:
        """List these slices."""
        self.model.set_rows(rows)
        self.view.setVisible(bool(rows))
        self.note.set_plain("" if rows else EMPTY)
        self.set_current(self._current)

    def set_current(self, position: int) -> None:
        """Mark the open slice."""
        self._current = position
        places = [row.position for row in self.model.rows]
        if position in places:
            self.view.selectRow(places.index(position))
        else:
            self.view.clearSelection()
