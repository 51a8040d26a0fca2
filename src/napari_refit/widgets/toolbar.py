"""The dock's top row: Live, Compare, the parameters' menu, help."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QMenu, QPushButton, QSizePolicy, QToolButton, QWidget

from napari_refit.recipe import RefitParams


class Toolbar(QWidget):
    """Buttons that are always in reach.

    Signals
    -------
    preset_chosen(str)
    load_clicked(), save_clicked(), copy_clicked(), help_clicked()
        Of the parameters' menu, and the help button.
    """

    preset_chosen = Signal(str)
    load_clicked = Signal()
    save_clicked = Signal()
    copy_clicked = Signal()
    help_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.live = self._button("Live", "Update the open slice while sliders move (Shift+U).")
        self.live.setCheckable(True)
        self.live.setChecked(True)
        self.compare = self._button(
            "Compare", "Ground truth, CAM, edges and refined labels side by side (Shift+C)."
        )
        self.compare.setCheckable(True)
        self.parameters = self._button("Parameters", "Presets; load, save, and copy as a command line.")
        self.parameters.setMenu(self._menu())
        self.help = QToolButton()
        self.help.setText("?")
        self.help.setToolTip("Help and keyboard shortcuts (Shift+H).")
        self.help.setAccessibleName("Help")
        self.help.setMinimumWidth(26)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 0)
        layout.setSpacing(4)
        for button in (self.live, self.compare, self.parameters):
            layout.addWidget(button, 1)
        layout.addWidget(self.help)
        self.help.clicked.connect(self.help_clicked)

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        presets = menu.addMenu("Presets")
        presets.setToolTipsVisible(True)
        for name, help_text in RefitParams.presets().items():
            action = presets.addAction(name)
            action.setToolTip(help_text)
            action.triggered.connect(lambda _=False, name=name: self.preset_chosen.emit(name))
        menu.addSeparator()
        menu.addAction("Load from file…").triggered.connect(lambda: self.load_clicked.emit())
        menu.addAction("Save to file…").triggered.connect(lambda: self.save_clicked.emit())
        menu.addAction("Copy as command line").triggered.connect(lambda: self.copy_clicked.emit())
        return menu

    @staticmethod
    def _button(title: str, tip: str) -> QPushButton:
        button = QPushButton(title)
        button.setToolTip(tip)
        button.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        return button
