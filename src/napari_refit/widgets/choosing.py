"""Combo boxes whose items follow the viewer's layers or a registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_refit.registry import Registry
from napari_refit.widgets import style
from napari_refit.widgets.watching import Connections


class LayerCombo(QComboBox):
    """Chooses one of a viewer's layers; follows layers that come, go and are renamed.

    Parameters
    ----------
    viewer : napari.Viewer
    accepts : callable
        ``accepts(layer) -> bool``.
    none_text : str
        What is shown when none is chosen.

    Attributes
    ----------
    touched : bool
        Whether the user ever chose here.

    Signals
    -------
    chosen(object)
        Another layer, or None.
    """

    chosen = Signal(object)

    def __init__(
        self, viewer: Any, accepts: Callable[[Any], bool], none_text: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._accepts = accepts
        self._none_text = none_text
        self._layers: list[Any] = [None]
        self._chosen: Any = None
        self.touched = False
        self._of_viewer = Connections(self)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        style.ignore_wheel(self)
        names = ("inserted", "removed", "renamed", "reordered")
        self._of_viewer.listen(viewer.layers, names, self.refresh)
        self.currentIndexChanged.connect(self._on_index)
        self.activated.connect(self._on_touched)
        self.refresh()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self._chosen

    def choose(self, layer: Any) -> None:
        """Choose a layer of the viewer; None, or one that is not accepted: none."""
        self.refresh()
        place = next((k for k, own in enumerate(self._layers) if own is not None and own == layer), 0)
        self.setCurrentIndex(place)

    def candidates(self) -> list[Any]:
        """The layers on offer."""
        return [layer for layer in self._layers if layer is not None]

    def refresh(self) -> None:
        """Read the viewer's layers again; the choice stays as long as its layer does."""
        found = [None, *(layer for layer in self._viewer.layers if self._accepts(layer))]
        names = [self._none_text if layer is None else layer.name for layer in found]
        if found == self._layers and names == [self.itemText(k) for k in range(self.count())]:
            return
        chosen = self._chosen
        blocked = self.blockSignals(True)
        self.clear()
        self.addItems(names)
        self._layers = found
        place = next((k for k, layer in enumerate(found) if layer is chosen), 0)
        self.setCurrentIndex(place)
        self.blockSignals(blocked)
        self._on_index(place)

    def close_down(self) -> None:
        """Let go of the viewer."""
        self._of_viewer.release()

    def _on_touched(self) -> None:
        self.touched = True

    def _on_index(self, place: int) -> None:
        layer = self._layers[place] if 0 <= place < len(self._layers) else None
        self.setToolTip("" if layer is None else layer.name)
        if layer is not self._chosen:
            self._chosen = layer
            self.chosen.emit(layer)


class EntryCombo(QComboBox):
    """Chooses an entry of a registry by its title; entries registered later appear when it is opened.

    Signals
    -------
    chosen(str)
        The name of another entry.
    """

    chosen = Signal(str)

    def __init__(self, registry: Registry, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._registry = registry
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        style.ignore_wheel(self)
        self.refresh()
        self.activated.connect(lambda: self.chosen.emit(self.value))

    @property
    def value(self) -> str:
        """The name of the chosen entry."""
        return str(self.currentData())

    def set_value(self, name: str) -> None:
        """Choose an entry without a signal."""
        self.refresh()
        self.setCurrentIndex(max(0, self.findData(name)))

    def refresh(self) -> None:
        """Read the registry again."""
        if [self.itemData(k) for k in range(self.count())] == list(self._registry.names):
            return
        name = self.currentData()
        self.clear()
        for entry in self._registry:
            self.addItem(entry.title, entry.name)
        self.setCurrentIndex(max(0, self.findData(name)))

    def showPopup(self) -> None:
        """Refresh, then open."""
        self.refresh()
        super().showPopup()
