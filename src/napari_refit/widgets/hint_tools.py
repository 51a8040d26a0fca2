"""The dock's brushes for hints: object, background, eraser."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_refit.fit.hints import BACKGROUND_HINT
from napari_refit.widgets import style
from napari_refit.widgets.hinting import ERASE

HELP = "Paint a stroke along the middle of what is wrong: the mask follows, up to the edges of the image."


class HintTools(QWidget):
    """Brushes for the hints, of which one at most is in the hand.

    Signals
    -------
    taken(int)
        A brush was clicked: a class number, `BACKGROUND_HINT` or `ERASE`.
    clear_clicked(), clusters_clicked()
    """

    taken = Signal(int)
    clear_clicked = Signal()
    clusters_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._numbers: tuple[int, ...] = (1,)
        self.object = self._button("Object", "Paint what belongs to the class (Shift+O).")
        self.background = self._button("Background", "Paint what belongs to no class (Shift+G).")
        self.erase = self._button("Erase", "Take hints back (Shift+D).")
        self.clear = self._button("Clear slice", "Take every hint of this slice back.", checkable=False)
        self.classes = QComboBox()
        self.classes.setAccessibleName("Class of the object brush")
        self.classes.setToolTip("What the object brush paints.")
        style.ignore_wheel(self.classes)
        self.classes.hide()
        self.effort = style.NoteLabel("muted")
        self.effort.setToolTip(HELP)
        self.clusters = self._button(
            "Toggle clusters",
            "Click: a cluster in or out of the mask. Drag: paint by clusters. Shift+click: clear a class. "
            "Wheel: coarser or finer clusters (Shift+J).",
        )
        row = QHBoxLayout()
        row.setSpacing(4)
        for button in (self.object, self.background, self.erase, self.clear):
            row.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.classes)
        layout.addLayout(row)
        layout.addWidget(self.clusters)
        layout.addWidget(self.effort)
        self.object.clicked.connect(lambda: self.taken.emit(self.number))
        self.background.clicked.connect(lambda: self.taken.emit(BACKGROUND_HINT))
        self.erase.clicked.connect(lambda: self.taken.emit(ERASE))
        self.clear.clicked.connect(self.clear_clicked)
        self.clusters.clicked.connect(self.clusters_clicked)
        self.classes.activated.connect(self._on_class)
        self.set_effort("")

    @property
    def number(self) -> int:
        """The class number that the object brush paints."""
        return self._numbers[max(0, self.classes.currentIndex())]

    def set_classes(self, names: Sequence[str], numbers: Sequence[int]) -> None:
        """Offer these classes."""
        if not names or (tuple(numbers) == self._numbers and self.classes.count() == len(names)):
            return
        before = self.number
        self._numbers = tuple(numbers)
        blocked = self.classes.blockSignals(True)
        self.classes.clear()
        self.classes.addItems(list(names))
        self.classes.setCurrentIndex(self._numbers.index(before) if before in self._numbers else 0)
        self.classes.blockSignals(blocked)
        self.classes.setVisible(len(names) > 1)

    def set_tool(self, tool: int | None) -> None:
        """Show which brush is in the hand."""
        self.object.setChecked(tool not in (None, BACKGROUND_HINT, ERASE))
        self.background.setChecked(tool == BACKGROUND_HINT)
        self.erase.setChecked(tool == ERASE)

    def set_effort(self, text: str) -> None:
        """Show what the mask has cost so far."""
        self.effort.set_plain(text or "Paint a stroke where the mask is wrong.")

    def _on_class(self) -> None:
        if self.object.isChecked():
            self.taken.emit(self.number)

    @staticmethod
    def _button(title: str, tip: str, checkable: bool = True) -> QPushButton:
        button = QPushButton(title)
        button.setToolTip(tip)
        button.setCheckable(checkable)
        return button
