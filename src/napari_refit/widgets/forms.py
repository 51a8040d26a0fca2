"""The parameter sections of a dock: USS, CAM and BoundaryFit, joined to one `RefitParams`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_refit.cam.runs import cost, runs
from napari_refit.params import (
    BOTH,
    FINER,
    CamParams,
    FinishParams,
    HintParams,
    IntensityParams,
    PropagationParams,
)
from napari_refit.recipe import RefitParams
from napari_refit.registry import FITS, SEGMENTERS
from napari_refit.widgets import style
from napari_refit.widgets.choosing import EntryCombo
from napari_refit.widgets.form import LABEL_WIDTH, ParameterForm
from napari_refit.widgets.graphics import keep_triton_out

ALL_CLASSES = "Highest of all classes"


class ParameterSections(QWidget):
    """Forms for every parameter in use; only the chosen segmenter's and fit's are shown.

    Signals
    -------
    changed(object)
        The new `RefitParams`.
    shown_class_changed(object)
        The class whose response is to be shown, or None.
    """

    changed = Signal(object)
    shown_class_changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._params = RefitParams()
        self._layer_names: tuple[str, ...] = ()
        self._forms: dict[str, ParameterForm] = {}
        self._titles: dict[str, QLabel] = {}
        self.segmenter = EntryCombo(SEGMENTERS)
        self.fit = EntryCombo(FITS)
        self.shown_class = QComboBox()
        self.shown_class.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        style.ignore_wheel(self.shown_class)
        self._shown_class_row = labelled("Response of", self.shown_class)
        self._shown_class_row.hide()
        self.intensity = style.collapsible("Intensity", self._form("intensity", IntensityParams))
        self._uss, self._fitting = QVBoxLayout(), QVBoxLayout()
        cam = self._form("cam", CamParams)
        self.cost = style.NoteLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self.uss_section = self._section(
            "USS: clusters", labelled("Segmenter", self.segmenter), self._uss, self.intensity
        )
        self.cam_section = self._section("CAM: response map", cam, self.cost, self._shown_class_row)
        self.finish = style.collapsible("Finish", self._form("finish", FinishParams))
        # Shown among what is done by hand.
        self.strokes = self._form("hints", HintParams)
        self.propagation = self._form("propagation", PropagationParams)
        self.fit_section = self._section("Fit: mask", labelled("Fit", self.fit), self._fitting, self.finish)
        for section in (self.uss_section, self.cam_section, self.fit_section):
            layout.addWidget(section)
        self.uss_section.expand(animate=False)
        self.fit_section.expand(animate=False)
        self.segmenter.chosen.connect(self._on_segmenter)
        self.fit.chosen.connect(self._on_fit)
        self.shown_class.activated.connect(self._on_shown_class)
        self.set_params(self._params)

    @property
    def params(self) -> RefitParams:
        """Every parameter as shown."""
        return self._params

    def form(self, group: str) -> ParameterForm:
        """The form of a group: as in `RefitParams`, or of a segmenter's or fit's name."""
        if group not in self._forms:
            registry, place = (SEGMENTERS, self._uss) if group in SEGMENTERS else (FITS, self._fitting)
            if registry is SEGMENTERS:
                self._titles[group] = QLabel(f"{registry[group].title}, for the fit")
                place.addWidget(self._titles[group])
            place.addWidget(self._form(group, registry[group].params))
        return self._forms[group]

    def set_params(self, params: RefitParams) -> None:
        """Show other parameters, without a signal."""
        self._params = params
        for group in params.groups():
            self.form(group).set_value(params.of(group))
        self.segmenter.set_value(params.segmenter)
        self.fit.set_value(params.fit)
        self._show_chosen()
        self.cost.set_plain(cost_text(params.cam))

    def set_targets(self, classes: Iterable[str]) -> None:
        """Take other target classes over from the classifier chooser."""
        cam = self._params.cam.model_copy(update={"classes": tuple(classes)})
        self.form("cam").set_value(cam)
        self._take("cam", cam)

    def set_layer_names(self, names: Iterable[str]) -> None:
        """Offer the classifier's layers that can be mapped."""
        self._layer_names = tuple(names)

    def set_shown_classes(self, names: Iterable[str]) -> None:
        """Offer the classes whose response can be shown; with a single one there is nothing to choose."""
        items = [ALL_CLASSES, *names]
        if items == [self.shown_class.itemText(k) for k in range(self.shown_class.count())]:
            return
        current = self.shown_class.currentText()
        self.shown_class.clear()
        for item in items:
            self.shown_class.addItem(item, None if item == ALL_CLASSES else item)
        self.shown_class.setCurrentIndex(max(0, self.shown_class.findText(current)))
        self._shown_class_row.setVisible(len(items) > 2)
        self._on_shown_class()

    def _form(self, group: str, model: type) -> ParameterForm:
        choices: dict[str, Any] = {}
        skip: tuple[str, ...] = ()
        if group == "cam":
            choices, skip = {"method": _methods, "layer": self._layers}, ("classes",)
        form = ParameterForm(model, choices=choices, skip=skip, prefix=group)
        form.changed.connect(lambda value: self._take(group, value))
        self._forms[group] = form
        return form

    def _layers(self) -> list[str]:
        return ["", FINER, BOTH, *self._layer_names]

    def _take(self, group: str, value: Any) -> None:
        self._announce(self._params.replace(**{group: value}))

    def _announce(self, params: RefitParams) -> None:
        if params != self._params:
            self._params = params
            self._show_chosen()
            self.cost.set_plain(cost_text(params.cam))
            self.changed.emit(params)

    def _on_segmenter(self, name: str) -> None:
        self._announce(self._params.replace(segmenter=name))

    def _on_fit(self, name: str) -> None:
        self._announce(self._params.replace(fit=name))

    def _show_chosen(self) -> None:
        """Show the forms of the chosen segmenter and fit, and of the segmenters that the fit asks for besides."""
        chosen = self._params.segmenter
        segmenters = self._params.segmenters()
        for group in (*segmenters, self._params.fit):
            if group not in self._forms:
                self.form(group).set_value(self._params.of(group))
        for entry in (*SEGMENTERS, *FITS):
            if entry.name in self._forms:
                used = entry.name in segmenters or entry.name == self._params.fit
                self._forms[entry.name].setVisible(used)
                if entry.name in self._titles:
                    self._titles[entry.name].setVisible(used and entry.name != chosen)

    def _on_shown_class(self) -> None:
        self.shown_class_changed.emit(self.shown_class.currentData())

    @staticmethod
    def _section(title: str, *parts: QWidget | QVBoxLayout) -> Any:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.setSpacing(3)
        for part in parts:
            layout.addLayout(part) if isinstance(part, QVBoxLayout) else layout.addWidget(part)
        section = style.collapsible(title, content)
        embolden(section)
        return section


def cost_text(cam: CamParams) -> str:
    """What a slice costs where it takes several runs of the classifier; else nothing.

    Examples
    --------
    >>> cost_text(CamParams(scales=(0.5, 1, 2), smoothing="mirror"))
    'Each slice takes 6 runs of the classifier: 10.5 times the cost of one.'
    >>> cost_text(CamParams(scales=(1,), smoothing="none"))
    ''
    """
    if runs(cam) == 1:
        return ""
    return f"Each slice takes {runs(cam)} runs of the classifier: {cost(cam):.3g} times the cost of one."


def embolden(section: Any) -> None:
    """Set the title of a section apart from those of what folds inside it."""
    font = section.toggleButton().font()
    font.setBold(True)
    section.toggleButton().setFont(font)


def labelled(title: str, control: QWidget, width: int = LABEL_WIDTH) -> QWidget:
    """A labelled row that lines up with those of the forms, or with others of that label width."""
    row = QWidget()
    form = QFormLayout(row)
    form.setContentsMargins(0, 0, 0, 0)
    form.setHorizontalSpacing(6)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    label = QLabel(title)
    label.setFixedWidth(width)
    label.setBuddy(control)
    control.setAccessibleName(title)
    form.addRow(label, control)
    return row


def _methods() -> list[str]:
    keep_triton_out()
    from napari_refit.cam.methods import available_methods

    return list(available_methods())
