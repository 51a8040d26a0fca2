"""Where response maps come from: a classifier, or a layer that is one already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QCompleter,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_refit.modalities import COLOUR, parse_modalities
from napari_refit.widgets.classifier_source import NEEDS_ARCHITECTURE, SUFFIXES, ClassifierSource
from napari_refit.widgets.graphics import keep_triton_out
from napari_refit.widgets.model_names import architecture_names, torchvision_names
from napari_refit.widgets.readouts import BeliefReadout
from napari_refit.widgets.style import LazyComboBox, NoteLabel

KINDS = {
    "sample": "Sample classifier",
    "file": "Checkpoint file…",
    "torchvision": "torchvision model",
    "layer": "Response map from layer",
    "none": "None",
}
WEIGHTS = {"none": "None (untrained)", "imagenet": "ImageNet", "file": "Checkpoint file…"}
MOST_ROWS = 4
ROW_HEIGHT = 22
LABEL_WIDTH = 104

__all__ = ["ClassifierChooser", "ClassifierSource"]


class ClassifierChooser(QWidget):
    """Choose the classifier, its target classes and the device, and see what it believes.

    Nothing is loaded here, and torch is not imported before the list of devices is opened.
    """

    source_changed = Signal(object)
    """The new `ClassifierSource`; not `complete` while something is still to be chosen."""

    classes_changed = Signal(tuple)
    """Names of the target classes that are checked."""

    device_changed = Signal(str)
    """``"auto"`` or a torch device."""

    modalities_changed = Signal(tuple)
    """Positions of the modalities that the classifier is fed; empty: all."""

    def __init__(self, parent: QWidget | None = None, kinds: Mapping[str, str] = KINDS) -> None:
        super().__init__(parent)
        self._shown = self._source = ClassifierSource()
        self._form = QFormLayout()
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setHorizontalSpacing(6)
        self._form.setVerticalSpacing(3)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

        self.kind = _combo(kinds)
        self.model = LazyComboBox(torchvision_names)
        _searchable(self.model, "type to search")
        self.weights = _combo(WEIGHTS)
        self.path = QLineEdit()
        self.path.setPlaceholderText("file, or drop one here")
        self.path.setAcceptDrops(False)
        self.browse = QPushButton("Browse…")
        self.architecture = LazyComboBox(architecture_names)
        _searchable(self.architecture, "which network is it?")
        self.layer = LazyComboBox()
        self.layer.setPlaceholderText("choose a layer")
        self.modalities = QLineEdit()
        self.modalities.setPlaceholderText("all, in their order")
        self._modalities: tuple[int, ...] = ()
        self._channels = 0
        self.classes = QListWidget()
        self.classes.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.device = LazyComboBox(torch_devices)
        self.device.set_values(("auto", "cpu"))

        file_row = QWidget()
        row = QHBoxLayout(file_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.path, 1)
        row.addWidget(self.browse)
        self._rows: dict[str, QWidget] = {}
        self._add("kind", "Classifier", self.kind, "Where the response map comes from.")
        self._add("model", "Model", self.model, "A classification model of torchvision.")
        self._add("weights", "Weights", self.weights, "Published weights are downloaded once.")
        self._add(
            "file", "File", file_row, "A checkpoint: .safetensors, .pt or .pth. Pickled models are refused."
        )
        self._add(
            "architecture", "Architecture", self.architecture, "A .pt or .pth file does not say which it is."
        )
        self._add("layer", "Layer", self.layer, "An image layer on the same grid, with values from 0 to 1.")
        self._add(
            "modalities",
            "Modalities",
            self.modalities,
            "Where the image has the modalities that this classifier compares: positions on the modality axis "
            "from 0, such as 0, 1, in the order that it was taught.",
        )
        self._add("classes", "Target classes", self.classes, "The classes to segment.")
        self._add(
            "device", "Device", self.device, "Where the classifier runs; auto takes a GPU when there is one."
        )
        self._error = NoteLabel("loss")
        self._belief_title = QLabel("<b>Belief about this slice</b>")
        self.belief = BeliefReadout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(self._form)
        for widget in (self._error, self._belief_title, self.belief):
            layout.addWidget(widget)
        self._belief_title.hide()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setAcceptDrops(True)

        self.kind.set_value("none")
        self._show_rows()
        self.kind.currentIndexChanged.connect(self._on_kind)
        self.weights.currentIndexChanged.connect(self._on_kind)
        for combo in (self.model, self.architecture):
            combo.activated.connect(lambda _: self._announce())
            combo.lineEdit().editingFinished.connect(self._announce)
        self.layer.activated.connect(lambda _: self._announce())
        self.path.editingFinished.connect(self._announce)
        self.path.returnPressed.connect(lambda: self._announce(again=True))
        self.browse.clicked.connect(self._on_browse)
        self.modalities.editingFinished.connect(self._on_modalities)
        self.classes.itemChanged.connect(lambda _: self.classes_changed.emit(self.checked_classes))
        self.device.currentIndexChanged.connect(lambda _: self.device_changed.emit(self.device.value()))

    @property
    def source(self) -> ClassifierSource:
        """What was last announced by `source_changed`."""
        return self._source

    @property
    def checked_classes(self) -> tuple[str, ...]:
        """Names of the checked target classes, in their order."""
        items = (self.classes.item(row) for row in range(self.classes.count()))
        return tuple(item.text() for item in items if item.checkState() == Qt.CheckState.Checked)

    def set_source(self, source: ClassifierSource) -> None:
        """Show a source as if the user had chosen it; emits `source_changed`.

        Raises
        ------
        ValueError
            If the kind is unknown.
        """
        if self.kind.findData(source.kind) < 0:
            raise ValueError(f"unknown kind of classifier {source.kind!r}; there are: {', '.join(KINDS)}")
        self.kind.set_value(source.kind)
        if source.kind == "torchvision":
            own_file = source.weights not in ("", "none", "imagenet")
            self.model.set_value(source.value)
            self.weights.set_value("file" if own_file else source.weights or "none")
            self.path.setText(source.weights if own_file else "")
        elif source.kind == "file":
            self.path.setText(source.value)
            if source.arch:
                self.architecture.set_value(source.arch)
        elif source.kind == "layer":
            self.layer.set_value(source.value)
        self._show_rows()
        self._announce(again=True)

    def set_source_text(self, text: str) -> None:
        """Choose a checkpoint's path, a model's name as in ``resnet34:imagenet``, or ``sample``."""
        if text == "sample":
            self.set_source(ClassifierSource("sample"))
            return
        if Path(text).suffix.lower() in SUFFIXES and ":" not in text[2:]:
            self.set_source(ClassifierSource("file", text))
            return
        name, _, weights = text.partition(":")
        if Path(weights).suffix.lower() in SUFFIXES:
            self.set_source(ClassifierSource("file", weights, arch=name))
        else:
            self.set_source(ClassifierSource("torchvision", name, weights=weights or "none"))

    def set_source_layer(self, name: str) -> None:
        """Choose a layer as the response map."""
        self.set_source(ClassifierSource("layer", name))

    def set_layers(self, names: Iterable[str]) -> None:
        """Offer these layers; a chosen one that is gone is no longer chosen, which is announced."""
        names = list(names)
        chosen = self.layer.value()
        blocked = self.layer.blockSignals(True)
        self.layer.clear()
        for name in names:
            self.layer.addItem(name, name)
        self.layer.setCurrentIndex(names.index(chosen) if chosen in names else -1)
        self.layer.blockSignals(blocked)
        if self.kind.value() == "layer":
            self._announce()

    def set_classes(self, names: Iterable[str], checked: Collection[str]) -> None:
        """Offer these target classes, without a signal."""
        names = list(names)
        blocked = self.classes.blockSignals(True)
        self.classes.clear()
        for name in names:
            item = QListWidgetItem(name)
            item.setSizeHint(QSize(0, ROW_HEIGHT))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if name in checked else Qt.CheckState.Unchecked)
            self.classes.addItem(item)
        self.classes.blockSignals(blocked)
        if names:
            self.classes.setFixedHeight(ROW_HEIGHT * min(len(names), MOST_ROWS) + 8)
        self._show_rows()

    def set_channels(self, channels: int) -> None:
        """Ask for modalities if the classifier wants several channels that are no colours, without a signal."""
        self._channels = channels
        self._show_rows()

    def set_error(self, text: str) -> None:
        """Show what is wrong, in one line; an empty text hides it."""
        self._error.set_plain(text.strip().splitlines()[0] if text.strip() else "")
        self._error.setToolTip(text.strip())

    def error(self) -> str:
        """Return the error that is shown."""
        return self._error.plain()

    def set_belief(
        self,
        names: Sequence[str],
        logits: Sequence[float],
        probabilities: Sequence[float],
        predicted: Mapping[str, bool] | Sequence[bool | None],
    ) -> None:
        """Show what the classifier believes; see `BeliefReadout.set_belief`."""
        self.belief.set_belief(names, logits, probabilities, predicted)
        self._belief_title.setVisible(bool(self.belief.rows))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take a checkpoint."""
        if _dropped(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Choose the checkpoint that was dropped."""
        path = _dropped(event)
        if path:
            event.acceptProposedAction()
            self._take_file(path)

    def _add(self, key: str, title: str, widget: QWidget, tip: str) -> None:
        label = QLabel(title)
        label.setFixedWidth(LABEL_WIDTH)
        target = self.path if key == "file" else widget
        label.setBuddy(target)
        for item in (label, target):
            item.setToolTip(tip)
        target.setAccessibleName(title)
        self._form.addRow(label, widget)
        self._rows[key] = widget

    def _show_rows(self) -> None:
        kind, weights = self.kind.value(), self.weights.value()
        plain = Path(self.path.text().strip()).suffix.lower() in NEEDS_ARCHITECTURE
        from_model = kind not in ("layer", "none", "refit")
        visible = {
            "model": kind == "torchvision",
            "weights": kind == "torchvision",
            "file": kind == "file" or (kind == "torchvision" and weights == "file"),
            "architecture": kind == "file" and plain,
            "layer": kind == "layer",
            "modalities": from_model and self._channels > 1 and self._channels not in COLOUR,
            "classes": self.classes.count() > 0 and kind != "none",
            "device": from_model,
        }
        for key, shown in visible.items():
            self._form.setRowVisible(self._rows[key], shown)

    def _chosen(self) -> ClassifierSource:
        kind = self.kind.value()
        path = str(Path(self.path.text().strip()).expanduser()) if self.path.text().strip() else ""
        if kind == "file":
            plain = Path(path).suffix.lower() in NEEDS_ARCHITECTURE
            return ClassifierSource(kind, path, arch=self.architecture.value() if plain else "")
        if kind == "torchvision":
            weights = self.weights.value()
            return ClassifierSource(kind, self.model.value(), weights=path if weights == "file" else weights)
        return ClassifierSource(kind, self.layer.value() if kind == "layer" else "")

    def _on_kind(self) -> None:
        self._show_rows()
        if self.kind.value() == "torchvision" and not self.model.count():
            self.model.refresh()
        self._announce()

    def _on_modalities(self) -> None:
        try:
            found = parse_modalities(self.modalities.text())
        except ValueError as error:
            self.set_error(str(error))
            return
        self.set_error("")
        if found != self._modalities:
            self._modalities = found
            self.modalities_changed.emit(found)

    def _on_browse(self) -> None:
        start = str(Path(self.path.text()).expanduser().parent) if self.path.text() else ""
        pattern = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        path, _ = QFileDialog.getOpenFileName(self, "Open checkpoint", start, f"Checkpoints ({pattern})")
        if path:
            self._take_file(path)

    def _take_file(self, path: str) -> None:
        if self.kind.value() != "torchvision" or self.weights.value() != "file":
            self.kind.set_value("file")
        self.path.setText(path)
        self._show_rows()
        self._announce(again=True)

    def _announce(self, again: bool = False) -> None:
        self._show_rows()
        shown = self._chosen()
        if shown == self._shown and not again:
            return
        self._shown = shown
        # They were said of another classifier.
        self._channels, self._modalities = 0, ()
        self.modalities.clear()
        self._show_rows()
        problem = shown.problem
        self._source = replace(shown, value="", weights="") if problem else shown
        self.source_changed.emit(self._source)
        self.set_error(problem)


def _combo(values: Mapping[str, str]) -> LazyComboBox:
    combo = LazyComboBox()
    for value, title in values.items():
        combo.addItem(title, value)
    return combo


def _searchable(combo: LazyComboBox, placeholder: str) -> None:
    combo.setEditable(True)
    combo.setInsertPolicy(LazyComboBox.InsertPolicy.NoInsert)
    combo.lineEdit().setPlaceholderText(placeholder)
    completer = QCompleter(combo.model(), combo)
    completer.setFilterMode(Qt.MatchFlag.MatchContains)
    completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    combo.setCompleter(completer)


def torch_devices() -> list[str]:
    """What torch can compute on here; it is imported for this."""
    keep_triton_out()
    import torch

    found = ["auto", "cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(1, torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _dropped(event: QEvent) -> str:
    for url in event.mimeData().urls():
        path = url.toLocalFile()
        if Path(path).suffix.lower() in SUFFIXES:
            return path
    return ""
