"""The table that both docks show their records in: sorting, unknown values, records that change."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_refit.widgets.sorted_table import Column, SortedTable

pytestmark = pytest.mark.gui
COLUMNS = (
    Column("Name", lambda record: record[0], lambda record: record[0]),
    Column("Score", lambda record: record[1], lambda record: str(record[1]), is_number=True, width=60),
)


@pytest.fixture
def table(qtbot):
    found = SortedTable(COLUMNS, "Records", 120)
    qtbot.addWidget(found)
    found.records.set_records([(k, (name, score)) for k, (name, score) in enumerate(RECORDS)])
    found.show()
    return found


RECORDS = [("b", 0.5), ("a", None), ("d", 0.1), ("c", float("nan")), ("e", 0.9)]


def names(table):
    return "".join(record[0] for record in table.shown())


def test_as_they_came_until_a_head_is_clicked(table):
    assert names(table) == "badce"
    table.sort_by("Score")
    assert names(table)[:3] == "dbe"
    assert set(names(table)[3:]) == set("ac"), "what is not known comes last"
    table.sort_by("Score", falling=True)
    assert names(table)[:3] == "ebd"
    assert set(names(table)[3:]) == set("ac")
    table.sort_by("Name")
    assert names(table) == "abcde"
    table.keep_order()
    assert names(table) == "badce"


def test_a_record_that_changes_moves(table):
    table.sort_by("Score", falling=True)
    table.records.put(2, ("d", 1.0))
    table.records.put("new", ("f", 0.7))
    assert names(table)[:4] == "defb"


def test_the_row_of_a_key_is_shown_and_chosen_by_enter(table):
    table.sort_by("Name")
    chosen, current = [], []
    table.chosen.connect(chosen.append)
    table.current_changed.connect(current.append)
    table.show_current(4)
    assert current == [("e", 0.9)]
    QTest.keyClick(table, Qt.Key.Key_Return)
    assert chosen == [("e", 0.9)]
    table.show_current("nobody")
    assert table.current() == ("e", 0.9)


def test_heads_are_never_cut_off(table):
    table.set_columns([*COLUMNS, Column("A rather long title", str, str, width=10)])
    header = table.horizontalHeader()
    assert header.sectionSize(2) >= header.fontMetrics().horizontalAdvance("A rather long title")
