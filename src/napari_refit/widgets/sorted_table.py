"""A table of records that sorts by any column; what is known of a record may change while it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QSizePolicy, QTableView, QWidget

from napari_refit.widgets.style import colors

ROW_HEIGHT = 20
WIDEST = 150
SORT = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    title, tip : str
        What its head says.
    value : callable
        Of a record: what is sorted by; None and NaN come last either way.
    text : callable
        Of a record: what is shown.
    role : callable, optional
        Of a record: the field of `napari_refit.widgets.style.Colors` that it is shown in, "" for the table's own.
    cell_tip : callable, optional
        Of a record: what a cell's tool tip says.
    is_number : bool
        Numbers stand at the right.
    width : int
        In pixels; 0 takes what the others leave.
    """

    title: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str]
    tip: str = ""
    role: Callable[[Any], str] | None = None
    cell_tip: Callable[[Any], str] | None = None
    is_number: bool = False
    width: int = 0


class RecordModel(QAbstractTableModel):
    """Records by key, in the order in which they came.

    Parameters
    ----------
    columns : sequence of Column
    view : QWidget
        Whose theme the colours follow.
    """

    def __init__(self, columns: Sequence[Column], view: QWidget) -> None:
        super().__init__(view)
        self._view = view
        self.columns = list(columns)
        self.records: list[Any] = []
        self._places: dict[Any, int] = {}

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show other columns of the same records."""
        self.beginResetModel()
        self.columns = list(columns)
        self.endResetModel()

    def set_records(self, records: Iterable[tuple[Any, Any]]) -> None:
        """Show other records, as pairs of key and record."""
        self.beginResetModel()
        found = dict(records)
        self.records = list(found.values())
        self._places = {key: place for place, key in enumerate(found)}
        self.endResetModel()

    def put(self, key: Any, record: Any) -> None:
        """Show a record in place of the one of that key, or below all others."""
        place = self._places.get(key)
        if place is not None:
            self.records[place] = record
            self.dataChanged.emit(self.index(place, 0), self.index(place, len(self.columns) - 1))
            return
        place = len(self.records)
        self.beginInsertRows(QModelIndex(), place, place)
        self.records.append(record)
        self._places[key] = place
        self.endInsertRows()

    def place(self, key: Any) -> int | None:
        """The row of a key, before sorting."""
        return self._places.get(key)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """One for each record."""
        return 0 if parent is not None and parent.isValid() else len(self.records)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """As declared."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What a cell shows."""
        record, column = self.records[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(record)
        if role == SORT:
            return column.value(record)
        if role == Qt.ItemDataRole.ToolTipRole:
            return (column.cell_tip(record) if column.cell_tip else column.text(record)) or None
        if role == Qt.ItemDataRole.TextAlignmentRole and column.is_number:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole and column.role is not None:
            name = column.role(record)
            return QColor(getattr(colors(self._view), name)) if name else None
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """The columns' titles, with what they mean."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tip or None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.is_number else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None


class _Sorting(QSortFilterProxyModel):
    """What is not known comes last, whichever way one sorts."""

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        one, other = left.data(SORT), right.data(SORT)
        if _unknown(one) or _unknown(other):
            rising = self.sortOrder() == Qt.SortOrder.AscendingOrder
            return _unknown(one) != _unknown(other) and _unknown(other) == rising
        try:
            return bool(one < other)
        except TypeError:
            return str(one) < str(other)


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


class SortedTable(QTableView):
    """A table of whole rows.

    Parameters
    ----------
    columns : sequence of Column
    name : str
        For screen readers.
    height : int
        In pixels.

    Signals
    -------
    chosen(object)
        A record: by a double click, or by Enter.
    current_changed(object)
        The record of the current row, or None.
    """

    chosen = Signal(object)
    current_changed = Signal(object)

    def __init__(
        self, columns: Sequence[Column], name: str, height: int, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.records = RecordModel(columns, self)
        self._sorting = _Sorting(self)
        self._sorting.setSourceModel(self.records)
        self._sorting.setDynamicSortFilter(True)
        self.setModel(self._sorting)
        self.setSortingEnabled(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        # Names of cases often differ at their end.
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(height)
        self.setAccessibleName(name)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setMinimumSectionSize(28)
        self.keep_order()
        self._fit_columns()
        self.doubleClicked.connect(lambda index: self.chosen.emit(self._record(index)))
        self.selectionModel().currentRowChanged.connect(
            lambda now, before: self.current_changed.emit(self._record(now))
        )

    def keep_order(self) -> None:
        """Show the records in the order in which they came, until a head is clicked."""
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self._sorting.sort(-1)

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show other columns of the same records, if they are others."""
        if [column.title for column in columns] == [column.title for column in self.records.columns]:
            return
        self.records.set_columns(columns)
        self.keep_order()
        self._fit_columns()

    def sort_by(self, title: str, *, falling: bool = False) -> None:
        """Sort by a column."""
        place = next(k for k, column in enumerate(self.records.columns) if column.title == title)
        self.sortByColumn(place, Qt.SortOrder.DescendingOrder if falling else Qt.SortOrder.AscendingOrder)

    def shown(self) -> list[Any]:
        """The records from top to bottom."""
        return [self._record(self._sorting.index(row, 0)) for row in range(self._sorting.rowCount())]

    def current(self) -> Any:
        """The record of the current row, or None."""
        return self._record(self.currentIndex())

    def show_current(self, key: Any) -> None:
        """Make the row of a key the current one."""
        place = self.records.place(key)
        if place is not None:
            index = self._sorting.mapFromSource(self.records.index(place, 0))
            self.setCurrentIndex(index)
            self.scrollTo(index)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter chooses the current row."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.chosen.emit(self.current())
            return
        super().keyPressEvent(event)

    def _record(self, index: QModelIndex) -> Any:
        return self.records.records[self._sorting.mapToSource(index).row()] if index.isValid() else None

    def _fit_columns(self) -> None:
        header = self.horizontalHeader()
        for place, column in enumerate(self.records.columns):
            mode = QHeaderView.ResizeMode.Interactive if column.width else QHeaderView.ResizeMode.Stretch
            header.setSectionResizeMode(place, mode)
            if column.width:
                # A head that is cut off says nothing.
                needed = min(header.sectionSizeHint(place), WIDEST)
                header.resizeSection(place, max(column.width, needed))
