"""Which parameters are searched: those of the ReFit dock in its order, with a check box each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_refit.declare import Declaration, declarations
from napari_refit.recipe import RefitParams, group_models
from napari_refit.registry import FITS, SEGMENTERS
from napari_refit.tune.space import Range, default_space, range_of, tunable_keys
from napari_refit.widgets import style
from napari_refit.widgets.tune_range import RangeRow

KINDS = {"segmenter": SEGMENTERS, "fit": FITS}
TITLES = {"intensity": "Intensity", "cam": "CAM", "finish": "Finish"}


class SpaceForm(QWidget):
    """A row for each parameter in use that can be searched; what a dock folds away is folded here too.

    Ticks and ranges are kept for parameters that go out of use and come back.

    Signals
    -------
    changed()
        Other parameters, or other ranges.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._params = RefitParams()
        self._rows: dict[str, RangeRow] = {}
        self._shown: tuple[str, ...] = ()
        self._items: dict[str, Declaration] = {}
        self.suggested = QPushButton("Suggested")
        self.suggested.setToolTip("The main parameters of the segmenter and the fit, in their usual ranges.")
        self.none = QPushButton("None")
        self.none.setToolTip("Untick all.")
        self.suggested.clicked.connect(self.suggest)
        self.none.clicked.connect(lambda: self._tick(()))
        buttons = QHBoxLayout()
        buttons.setContentsMargins(0, 0, 0, 0)
        buttons.setSpacing(4)
        buttons.addWidget(self.suggested)
        buttons.addWidget(self.none)
        buttons.addStretch(1)
        self._list = QVBoxLayout()
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.setSpacing(2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(buttons)
        layout.addLayout(self._list)
        self._lay_out()
        self.suggest()

    @property
    def space(self) -> list[Range]:
        """What is ticked, in the order of the rows."""
        return [self._rows[key].range for key in self._shown if self._rows[key].checked]

    @property
    def rows(self) -> dict[str, RangeRow]:
        """The rows that are shown, by key."""
        return {key: self._rows[key] for key in self._shown}

    def set_params(self, params: RefitParams) -> None:
        """Show the parameters that these use, with the values that they have now."""
        others = (params.segmenter, params.fit) != (self._params.segmenter, self._params.fit)
        ticked = {each.key for each in self.space}
        self._params = params
        self._lay_out()
        if others:
            # What is searched of a segmenter or fit that came into use is what is suggested for it.
            came = [each.key for each in default_space(params) if each.key not in ticked]
            self._tick(ticked | {key for key in came if key not in self._touched()})
        for key in self._shown:
            self._rows[key].set_now(self._value(key))

    def set_space(self, space: list[Range]) -> None:
        """Tick just these, with their ranges."""
        for each in space:
            self._row(each.key).set_range(each)
        self._tick([each.key for each in space])

    def suggest(self) -> None:
        """Tick what is searched unless told otherwise, in the declared ranges."""
        self.set_space(default_space(self._params))

    def _touched(self) -> set[str]:
        return {key for key, row in self._rows.items() if row.controls is not None}

    def _tick(self, keys: Any) -> None:
        blocked = self.blockSignals(True)
        for key, row in self._rows.items():
            row.set_checked(key in keys)
        self.blockSignals(blocked)
        self._on_changed()

    def _row(self, key: str) -> RangeRow:
        if key not in self._rows:
            row = self._rows[key] = RangeRow(range_of(key), self._item(key))
            row.changed.connect(self._on_changed)
        return self._rows[key]

    def _item(self, key: str) -> Declaration:
        if key not in self._items:
            # A segmenter or fit may have been registered since.
            self._items = dict(_items())
        return self._items[key]

    def _on_changed(self) -> None:
        self._lay_out()
        if not self.signalsBlocked():
            self.changed.emit()

    def _value(self, key: str) -> Any:
        group, dot, name = key.partition(".")
        return getattr(self._params.of(group), name) if dot else getattr(self._params, key)

    def _sections(self) -> Iterator[tuple[str, list[str], bool]]:
        """Title, keys, and whether it is folded, of each part of the list."""
        groups = dict.fromkeys(key.partition(".")[0] for key in self._keys())
        by_group = {group: [key for key in self._keys() if key.startswith(f"{group}.")] for group in groups}
        for kind, registry in KINDS.items():
            own = [group for group in groups if group in registry]
            for group in own:
                keys = [key for key in by_group[group] if not self._item(key).advanced]
                yield registry[group].title, keys, False
            more = [key for group in own for key in by_group[group] if self._item(key).advanced]
            yield f"More of the {kind}", [kind, *more], True
        for group, title in TITLES.items():
            if by_group.get(group):
                yield title, by_group[group], True

    def _keys(self) -> list[str]:
        """Keys of what these parameters use, and of every segmenter and fit that is to be tried."""
        found = dict.fromkeys(tunable_keys(self._params))
        for kind in KINDS:
            row = self._rows.get(kind)
            if row is not None and row.checked:
                for name in row.range.choices:
                    found |= dict.fromkeys(tunable_keys(self._params.replace(**{kind: name})))
        return list(found)

    def _lay_out(self) -> None:
        """Put the rows in place, if they are others."""
        sections = list(self._sections())
        keys = tuple(key for _, held, _ in sections for key in held)
        if keys == self._shown:
            return
        for row in self._rows.values():
            row.setParent(None)
        while self._list.count():
            widget = self._list.takeAt(0).widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self._shown = keys
        for title, held, folded in sections:
            if not held:
                continue
            content = QWidget()
            inside = QVBoxLayout(content)
            inside.setContentsMargins(0, 0, 0, 2)
            inside.setSpacing(2)
            for key in held:
                inside.addWidget(self._row(key))
                self._row(key).set_now(self._value(key))
                self._row(key).show()
            section = style.collapsible(title, content)
            if not folded or any(self._rows[key].checked for key in held):
                section.expand(animate=False)
            self._list.addWidget(section)


def _items() -> Iterator[tuple[str, Declaration]]:
    """Key and declaration of every parameter."""
    for item in declarations(RefitParams):
        if item.name in KINDS:
            yield item.name, item
    for group, model in group_models().items():
        for item in declarations(model):
            yield f"{group}.{item.name}", item


def title_of(key: str) -> str:
    """What the docks call a parameter.

    Examples
    --------
    >>> title_of("boundary.threshold"), title_of("fit")
    ('Threshold (τ)', 'Fit')
    """
    return next((item.title for known, item in _items() if known == key), key)
