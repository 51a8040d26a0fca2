"""Review mode of the Batch dock: which case, what was decided, the buttons and their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_refit.batch.record import Record
from napari_refit.widgets import shortcuts
from napari_refit.widgets.form import LABEL_WIDTH
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.review_painting import DISCARD, SAVE, STAY
from napari_refit.widgets.review_session import ACCEPTED, FIXED, OPEN, REJECTED, ReviewSession
from napari_refit.widgets.style import LazyComboBox, NoteLabel, colored, colors

STEPS = {"": "All cases", OPEN: "Open cases", REJECTED: "Rejected cases", FIXED: "Fixed cases"}
ROLES = {OPEN: "muted", ACCEPTED: "gain", REJECTED: "loss", FIXED: "refined"}
FIGURES = {"dice": "DSC", "iou": "IoU", "hd95": "HD95"}
UNSAVED = "The painting is not saved yet: Save fix, or Accept, writes it over the result."
CHANGED = "It was decided on before, but its labels have changed since."


class ReviewPanel(QWidget):
    """Steps through the results of a batch.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    session : ReviewSession

    Signals
    -------
    toggled(bool)
        A review began, or ended.
    """

    toggled = Signal(bool)

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._bound = False
        self.session = session = ReviewSession(viewer, self._ask, self)
        self.title = QLabel()
        self.title.setTextFormat(Qt.TextFormat.RichText)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.title.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.facts = NoteLabel()
        self.warning = NoteLabel("warning")
        self.previous = self._button("← Previous", "review_previous", session.previous)
        self.next = self._button("Next →", "review_next", session.next)
        self.accept = self._button("Accept", "review_accept", session.accept)
        self.reject = self._button("Reject", "review_reject", session.reject)
        self.fix = self._button("Fix", "review_fix", session.fix)
        self.fix.setCheckable(True)
        self.save = self._button("Save fix", "review_save", session.save)
        self.discard = self._button("Discard", "", session.painting.discard)
        self.discard.setToolTip("Go back to what the file holds; Ctrl+Z gives the painting back.")
        self.note = QLineEdit()
        self.note.setPlaceholderText("a word on this case")
        self.steps = LazyComboBox()
        for value, text in STEPS.items():
            self.steps.addItem(text, value)
        self.steps.setToolTip("Which cases Previous and Next go through.")
        self.counts = QLabel()
        self.counts.setTextFormat(Qt.TextFormat.RichText)
        self.counts.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.bar.setAccessibleName("Cases that are reviewed")
        self._lay_out()
        self._connect()
        self._shortcuts = self._window_shortcuts()
        self._show()

    def begin(self, out: Any, name: str = "") -> None:
        """Review an output folder."""
        if not self.session.on:
            self.session.begin(out, name)

    def close_down(self) -> None:
        """Let go of the viewer; unsaved painting is written."""
        self._bind(False)
        self.session.close()

    # -- building

    def _button(self, title: str, name: str, clicked: Any) -> QPushButton:
        button = QPushButton(title)
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda: clicked())
        if name:
            known = shortcuts.BY_NAME[name]
            button.setToolTip(f"{known.help} ({known.shown})")
        return button

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        rows = (
            (self.previous, self.next),
            (self.accept, self.reject),
            (self.fix, self.save, self.discard),
        )
        for row, buttons in enumerate(rows):
            width = 6 // len(buttons)
            for column, button in enumerate(buttons):
                grid.addWidget(button, row, column * width, 1, width)
        for column in range(6):
            grid.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.setSpacing(4)
        # What changes its height is below the buttons, which must not move under the mouse.
        layout.addWidget(self.title)
        layout.addLayout(grid)
        for widget in (self.warning, self.facts):
            layout.addWidget(widget)
        layout.addWidget(labelled("Note", self.note, LABEL_WIDTH))
        layout.addWidget(labelled("Step through", self.steps, LABEL_WIDTH))
        layout.addWidget(self.counts)
        layout.addWidget(self.bar)

    def _connect(self) -> None:
        session = self.session
        session.moved.connect(self._on_moved)
        session.judged.connect(lambda name: self._show())
        session.painting.changed.connect(lambda unsaved: self._show())
        session.painting.brush.connect(self.fix.setChecked)
        self.note.editingFinished.connect(lambda: session.set_note(self.note.text().strip()))
        self.steps.currentIndexChanged.connect(self._on_steps)

    def _actions(self) -> dict[str, Any]:
        session = self.session
        return {
            "review_next": session.next,
            "review_previous": session.previous,
            "review_accept": session.accept,
            "review_reject": session.reject,
            "review_fix": session.fix,
            "review_save": session.save,
        }

    def _window_shortcuts(self) -> list[QShortcut]:
        """The same keys while the panel has the focus."""
        found = []
        for name, action in self._actions().items():
            sequence = QKeySequence(shortcuts.BY_NAME[name].key.replace("-", "+"))
            shortcut = QShortcut(sequence, self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)
            found.append(shortcut)
        return found

    def _bind(self, on: bool) -> None:
        if on == self._bound:
            return
        self._bound = on
        if on:
            self._bound_actions = self._actions()
            shortcuts.bind(self._viewer, self._bound_actions)
        else:
            shortcuts.unbind(self._viewer, self._bound_actions)

    # -- reactions

    def _ask(self, name: str) -> str:
        """What to do with unsaved painting."""
        kinds = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self,
            "Save the painting?",
            f"What you painted in {name} is not saved.\nSave it over the result?",
            kinds.Save | kinds.Discard | kinds.Cancel,
            kinds.Save,
        )
        return {kinds.Save: SAVE, kinds.Discard: DISCARD}.get(answer, STAY)

    def _on_moved(self) -> None:
        on = self.session.on
        if on != self._bound:
            self._bind(on)
            self.toggled.emit(on)
        self._show()

    def _on_steps(self) -> None:
        self.session.only = self.steps.value() if self.steps.currentData() else ""

    def _show(self) -> None:
        session = self.session
        shown, unsaved = session.case is not None, session.painting.unsaved
        for button in (self.accept, self.fix):
            button.setEnabled(shown)
        self.reject.setEnabled(session.on)
        self.save.setEnabled(unsaved)
        self.discard.setEnabled(unsaved)
        if not session.on:
            return
        palette, state = colors(self), session.state(session.name)
        count = len(session.records)
        place, end = f"{session.position} of {count} · ", f" · {state}"
        metrics = self.title.fontMetrics()
        room = self.title.width() - metrics.horizontalAdvance(place + end) - 12
        name = metrics.elidedText(session.name, Qt.TextElideMode.ElideMiddle, max(room, 60))
        self.title.setText(
            colored(place, palette.muted)
            + colored(name, palette.text, bold=True)
            + colored(end, getattr(palette, ROLES[state]))
        )
        self.title.setToolTip(session.name)
        self.facts.set_plain("" if session.record is None else facts(session.record, session.fixed_figures))
        self.warning.set_plain(UNSAVED if unsaved else CHANGED if session.changed(session.name) else "")
        if not self.note.hasFocus():
            self.note.setText(session.note)
        counts = session.counts
        self.counts.setText(
            " · ".join(
                colored(f"{number} {word}", getattr(palette, ROLES[word])) for word, number in counts.items()
            )
        )
        self.bar.setRange(0, max(count, 1))
        self.bar.setValue(count - counts.get(OPEN, 0))


def facts(record: Record, fixed: Mapping[str, Any] | None = None) -> str:
    """What is known of a result, in one line; ``fixed``: metrics of the labels after they were painted.

    Examples
    --------
    >>> record = Record("a", "a", "b", "done", metrics={"refined": {"dice": 0.8123}}, n_slices=9, n_empty=2)
    >>> facts(record)
    'DSC 0.812 · 2 of 9 slices empty'
    >>> facts(record, {"dice": 0.9})
    'DSC 0.900 after painting, 0.812 before · 2 of 9 slices empty'
    """
    before, after = record.metrics.get("refined", {}), fixed or {}
    parts = []
    for name, title in FIGURES.items():
        if after.get(name) is not None:
            was = "" if before.get(name) is None else f", {before[name]:.3f} before"
            parts.append(f"{title} {after[name]:.3f} after painting{was}")
        elif before.get(name) is not None:
            parts.append(f"{title} {before[name]:.3f}")
    if record.n_empty:
        parts.append(f"{record.n_empty} of {record.n_slices} slices empty")
    return " · ".join(parts)
