"""The table of a batch's cases: state, score, what is wrong; and what a review decided."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QWidget

from napari_refit.widgets.batch_job import ACTIONS, Row
from napari_refit.widgets.sorted_table import Column, SortedTable

HEIGHT = 240
STATE_WIDTH, SCORE_WIDTH, TIME_WIDTH = 78, 52, 56
ROLES = {
    "failed": "loss",
    ACTIONS["fail"]: "loss",
    "done": "gain",
    "cancelled": "warning",
    ACTIONS["keep"]: "warning",
}
WORDS = {"skipped": "done before", "cancelled": "given up"}
REVIEW_ROLES = {"accepted": "gain", "rejected": "loss", "fixed": "refined", "open": "muted"}


class CaseTable(SortedTable):
    """The cases; a double click asks for one.

    Parameters
    ----------
    review_of : callable
        What a review decided about a case; None while there is no review.
    """

    def __init__(self, review_of: Callable[[str], str], parent: QWidget | None = None) -> None:
        self._review_of = review_of
        super().__init__(_columns(), "Cases", HEIGHT, parent)
        self.setToolTip("Double-click a case that is done, or press Enter, to review it.")

    def set_rows(self, rows: list[Row]) -> None:
        """Show these cases."""
        self.records.set_records((row.name, row) for row in rows)

    def set_reviewing(self, on: bool) -> None:
        """Show what the review decided in place of how long each took."""
        self.set_columns(_columns(self._review_of) if on else _columns())

    def refresh(self) -> None:
        """What the review decided changed."""
        self.viewport().update()


def state_of(row: Row) -> str:
    """A row's state in words."""
    return WORDS.get(row.state, row.state)


def score_of(row: Row) -> float | None:
    """The Dice of the refined labels, where there is a truth."""
    value = {} if row.record is None else row.record.metrics.get("refined", {})
    found = value.get("dice")
    return None if found is None else float(found)


def _seconds(row: Row) -> float | None:
    refined = row.record is not None and row.record.state in ("done", "skipped")
    return row.record.seconds if refined and row.record.seconds else None


def _columns(review_of: Callable[[str], str] | None = None) -> list[Column]:
    def seconds(row: Row) -> str:
        value = _seconds(row)
        return "" if value is None else f"{value:.1f} s"

    def score(row: Row) -> str:
        value = score_of(row)
        return "" if value is None else f"{value:.3f}"

    def about(row: Row) -> str:
        return f"{row.name}: {row.text}" if row.text else row.name

    def verdict(row: Row) -> str:
        # What has no result is not reviewed.
        return (review_of(row.name) if review_of is not None else "") or state_of(row)

    def role(row: Row) -> str:
        return REVIEW_ROLES.get(verdict(row)) or ROLES.get(row.state, "muted")

    case = Column("Case", lambda row: row.name, lambda row: row.name, cell_tip=about)
    state = Column("State", state_of, state_of, role=role, cell_tip=about, width=STATE_WIDTH)
    decided = Column("Review", verdict, verdict, role=role, cell_tip=about, width=STATE_WIDTH)
    dice = Column(
        "DSC",
        score_of,
        score,
        tip="Dice of the refined labels, where there is a ground truth.",
        cell_tip=about,
        is_number=True,
        width=SCORE_WIDTH,
    )
    time = Column("Time", _seconds, seconds, cell_tip=about, is_number=True, width=TIME_WIDTH)
    return [case, state, dice, time] if review_of is None else [case, decided, dice]
