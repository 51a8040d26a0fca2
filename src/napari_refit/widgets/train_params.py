"""The parameters of a training, in forms made from their declarations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_refit.declare import declarations, subgroups
from napari_refit.learn.settings import TrainingParams
from napari_refit.params import IntensityParams
from napari_refit.widgets import style
from napari_refit.widgets.form import ParameterForm
from napari_refit.widgets.model_names import architecture_names

BASIC = (
    "learner",
    "architecture",
    "weights",
    "input_size",
    "epochs",
    "batch_size",
    "learning_rate",
    "validation_share",
    "test_share",
    "folds",
)
AUGMENTATION = (
    "flip_horizontal",
    "flip_vertical",
    "rotation",
    "translation",
    "scaling",
    "brightness",
    "contrast",
    "gamma",
    "noise",
    "blur",
)


class TrainingForms(QWidget):
    """The parameters that one looks at first, and folded away: augmentation, intensity, all others.

    Signals
    -------
    changed(object)
        The new `TrainingParams`.
    intensity_changed(object)
        The new `IntensityParams`.
    """

    changed = Signal(object)
    intensity_changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._params = TrainingParams()
        names = [item.name for item in declarations(TrainingParams)]
        rest = [name for name in names if name not in (*BASIC, *AUGMENTATION)]
        self.basic, self.augmentation, self.rest = (
            self._form([name for name in names if name in wanted]) for wanted in (BASIC, AUGMENTATION, rest)
        )
        learner = next(item for item in declarations(TrainingParams) if item.name == "learner")
        self.basic.set_row_visible("learner", len(learner.choices) > 1)
        self.groups = {name: self._group(name, model) for name, model in subgroups(TrainingParams).items()}
        self.intensity = ParameterForm(IntensityParams, prefix="intensity")
        self.intensity.changed.connect(self.intensity_changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.basic)
        for form in self.groups.values():
            layout.addWidget(form)
        for title, form in (
            ("Augmentation", self.augmentation),
            ("Intensity", self.intensity),
            ("More", self.rest),
        ):
            layout.addWidget(style.collapsible(title, form))
        self._show_group()

    @property
    def params(self) -> TrainingParams:
        """Every parameter as shown."""
        return self._params

    def set_params(self, params: TrainingParams) -> None:
        """Show other parameters, without a signal."""
        self._params = params
        for form in (self.basic, self.augmentation, self.rest):
            form.set_value(params)
        for name, form in self.groups.items():
            form.set_value(getattr(params, name))
        self._show_group()

    def problem(self) -> str:
        """What is wrong with a value that is being typed; empty when nothing is."""
        for form in (self.basic, self.augmentation, self.rest, self.intensity, *self.groups.values()):
            for name, message in form.errors().items():
                return f"{form.label(name).text()}: {message}"
        return ""

    def _form(self, names: Iterable[str]) -> ParameterForm:
        names = tuple(names)
        skip = [item.name for item in declarations(TrainingParams) if item.name not in names]
        choices: dict[str, Any] = {"architecture": architecture_names}
        form = ParameterForm(
            TrainingParams,
            choices={name: items for name, items in choices.items() if name in names},
            skip=skip,
        )
        form.changed.connect(lambda value: self._take({name: getattr(value, name) for name in names}))
        return form

    def _group(self, name: str, model: type) -> ParameterForm:
        form = ParameterForm(model, prefix=name)
        form.changed.connect(lambda value: self._take({name: value}))
        return form

    def _take(self, changes: dict[str, Any]) -> None:
        self._params = self._params.model_copy(update=changes)
        for form in (self.basic, self.augmentation, self.rest):
            if form.value != self._params and not form.errors():
                form.set_value(self._params)
        self._show_group()
        self.changed.emit(self._params)

    def _show_group(self) -> None:
        for name, form in self.groups.items():
            form.setVisible(name == self._params.learner and bool(list(declarations(form.group))))
