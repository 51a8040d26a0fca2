"""The ReFit dock: choose an image and a classifier, move sliders, see the mask follow."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_refit.recipe import RefitParams
from napari_refit.responses import MOST_DEFAULT_CLASSES
from napari_refit.widgets import open_docks, style, trained
from napari_refit.widgets.choosing import LayerCombo
from napari_refit.widgets.classifier_chooser import LABEL_WIDTH as CHOOSER_LABEL_WIDTH
from napari_refit.widgets.classifier_chooser import ClassifierChooser, ClassifierSource
from napari_refit.widgets.cluster_tool import ROLE as CURSOR
from napari_refit.widgets.commands import Commands
from napari_refit.widgets.dock import Dock
from napari_refit.widgets.footer import Footer
from napari_refit.widgets.forms import ParameterSections, embolden, labelled
from napari_refit.widgets.hint_tools import HintTools
from napari_refit.widgets.hinting import ROLE as HINTS
from napari_refit.widgets.layers import role_of
from napari_refit.widgets.ordering import Source
from napari_refit.widgets.planes import finest, other_grid
from napari_refit.widgets.propagate_tools import PropagateTools
from napari_refit.widgets.readouts import ReadoutTable
from napari_refit.widgets.session import Session
from napari_refit.widgets.slice_plot import SlicePlot
from napari_refit.widgets.toolbar import Toolbar
from napari_refit.widgets.workbench import ClassesKnown

MINIMUM_WIDTH = 350


class ReFitDock(Dock):
    """The plugin's dock.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.

    Attributes
    ----------
    session : Session
        What the dock does, without its widgets.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__("ReFitDock", MINIMUM_WIDTH, parent)
        self.viewer = napari_viewer
        self.session = Session(napari_viewer, self)
        self._build()
        self.commands = Commands(self)
        self._connect()
        self._of_viewer.listen(napari_viewer.layers, ("inserted",), self._on_inserted)
        self._of_viewer.listen(napari_viewer.layers, ("removed", "renamed"), self._on_layer_list)
        self.session.set_params(self.sections.params)
        self._on_layer_list()
        self._choose_first()
        if trained.latest() is not None:
            self.choose_classifier(str(trained.latest()))
        self._on_plane()
        self.session.update()
        open_docks.enlist(self)

    # -- for other programs

    def choose_image(self, layer: Any) -> None:
        """Work on this image layer."""
        self.image.choose(layer)

    def choose_truth(self, layer: Any) -> None:
        """Compare with this labels layer."""
        self.truth.choose(layer)

    def choose_classifier(self, name: str) -> None:
        """Take a checkpoint's path or a model's name as the classifier."""
        self.chooser.set_source_text(name)

    def choose_response(self, layer: Any) -> None:
        """Take a layer as the response map."""
        self.chooser.set_source_layer(layer.name)

    def set_params(self, params: RefitParams) -> None:
        """Show other parameters, and refine with them."""
        self.sections.set_params(params)
        self._on_params(params)

    def show_first_lesion(self) -> None:
        """Go to the slice that shows most of the ground truth."""
        plane, truth = self.session.plane, self.session.scores.truth
        if plane is None or plane.slice_axis is None or truth is None:
            return
        axes = tuple(axis for axis in range(truth.ndim) if axis != plane.slice_axis)
        self.session.go_to_slice(int((np.asarray(finest(truth)) != 0).sum(axis=axes).argmax()))

    # -- closing

    def _let_go(self) -> None:
        open_docks.retire(self)
        self.commands.close()
        self.image.close_down()
        self.truth.close_down()
        self.session.close()

    def _forget(self) -> None:
        super()._forget()
        open_docks.retire(self)

    # -- building

    def _build(self) -> None:
        viewer = self.viewer
        self.toolbar = Toolbar()
        self.image = LayerCombo(viewer, _is_image, "Choose an image…")
        self.truth = LayerCombo(viewer, self._is_truth, "None")
        self.chooser = ClassifierChooser()
        self.sections = ParameterSections()
        self.hints = HintTools()
        self.propagate = PropagateTools(self.sections.propagation)
        strokes = style.collapsible("Strokes", self.sections.strokes)
        self.hints_section = style.collapsible("By hand", _stacked(self.hints, strokes, self.propagate))
        embolden(self.hints_section)
        self.hints_section.expand(animate=False)
        self.readouts = ReadoutTable()
        self.plot = SlicePlot()
        self.footer = Footer()
        self.scores_section = style.collapsible("Scores", _stacked(self.readouts, self.plot))
        embolden(self.scores_section)
        self.scores_section.expand(animate=False)
        widgets = (
            labelled("Image", self.image, CHOOSER_LABEL_WIDTH),
            labelled("Ground truth", self.truth, CHOOSER_LABEL_WIDTH),
            self.chooser,
            self.sections,
            self.scores_section,
            self.hints_section,
        )
        self._lay_out(widgets, self.footer, self.toolbar)

    def _connect(self) -> None:
        session, footer, toolbar = self.session, self.footer, self.toolbar
        self.image.chosen.connect(self._on_image)
        self.truth.chosen.connect(session.set_truth)
        self.chooser.source_changed.connect(self._on_source)
        self.chooser.classes_changed.connect(self.sections.set_targets)
        self.chooser.device_changed.connect(self._on_device)
        self.chooser.modalities_changed.connect(session.set_modalities)
        self.sections.changed.connect(self._on_params)
        self.sections.shown_class_changed.connect(session.show_class)
        self.hints.taken.connect(session.hand.hints.take)
        self.hints.clear_clicked.connect(self._on_clear_hints)
        self.hints.clusters_clicked.connect(self._on_cluster_tool)
        session.hand.clusters.toggled.connect(self.hints.clusters.setChecked)
        session.hand.hints.tool_changed.connect(self._on_tool)
        session.hand.hints.effort_changed.connect(self._on_effort)
        session.status.connect(footer.set_status)
        session.message.connect(footer.message.set_plain)
        session.error.connect(footer.error.set_plain)
        session.result.connect(self._on_result)
        session.classes.connect(self._on_classes)
        session.errands.progress.connect(footer.set_progress)
        session.errands.busy.connect(self._on_busy)
        session.doubts.ranked.connect(self.propagate.set_rows)
        self.propagate.clicked.connect(session.errands.propagate)
        self.propagate.slice_chosen.connect(session.go_to_slice)
        session.plane_changed.connect(self._on_plane)
        session.lock_changed.connect(self._on_lock)
        session.layers_changed.connect(self._on_layers)
        session.scores.slice_scored.connect(partial(self._on_scored, "slice"))
        session.scores.volume_scored.connect(partial(self._on_scored, "volume"))
        session.scores.plot_changed.connect(self._on_plot)
        session.scores.note.connect(self._on_note)
        self.plot.clicked.connect(session.go_to_slice)
        footer.refine_clicked.connect(session.refine_volume)
        footer.cancel_clicked.connect(session.cancel)
        footer.lock_toggled.connect(session.set_locked)
        footer.reset_clicked.connect(session.reset_slice)
        footer.save_clicked.connect(self.commands.save_labels)
        footer.restore_clicked.connect(session.restore_layers)
        toolbar.live.toggled.connect(session.set_live)
        toolbar.compare.clicked.connect(self.commands.toggle_compare)
        toolbar.preset_chosen.connect(self.commands.use_preset)
        toolbar.load_clicked.connect(self.commands.load_parameters)
        toolbar.save_clicked.connect(self.commands.save_parameters)
        toolbar.copy_clicked.connect(self.commands.copy_command)
        toolbar.help_clicked.connect(self.commands.show_help)
        self.commands.said.connect(footer.set_status)
        self.commands.failed.connect(footer.error.set_plain)

    # -- reactions

    def _choose_first(self) -> None:
        """Begin with the selected image, else the one opened first."""
        active = self.viewer.layers.selection.active
        found = self.image.candidates()
        if found:
            self.image.choose(active if active in found else found[0])

    def _on_inserted(self, event: Any) -> None:
        if self.image.layer is None and _is_image(event.value):
            self.image.choose(event.value)
        self._suggest_truth()
        self._on_layer_list()

    def _on_layer_list(self) -> None:
        """Offer the layers as response maps; the chosen one stays chosen when it is renamed."""
        names = [layer.name for layer in self.viewer.layers if _is_image(layer)]
        held = self.session.own(self.session.source.layer)
        blocked = self.chooser.blockSignals(held is not None)
        self.chooser.set_layers(names)
        if held is not None:
            self.chooser.set_source_layer(held.name)
        self.chooser.blockSignals(blocked)

    def _suggest_truth(self) -> None:
        """Take the only labels on the image's grid as ground truth, until the user says otherwise."""
        image = self.image.layer
        if self.truth.touched or self.truth.layer is not None or image is None:
            return
        fitting = [layer for layer in self.truth.candidates() if not other_grid(layer, image)]
        if len(fitting) == 1 and not role_of(fitting[0]):
            self.truth.choose(fitting[0])

    def _on_image(self, layer: Any) -> None:
        self.commands.leave_compare()
        self.session.set_image(layer)
        self.truth.refresh()
        self._suggest_truth()
        self._on_layer_list()

    def _is_truth(self, layer: Any) -> bool:
        outputs = self.session.outputs
        own = role_of(layer) in (HINTS, CURSOR)
        return isinstance(layer, Labels) and not own and (outputs is None or layer is not outputs["labels"])

    def _on_source(self, found: ClassifierSource) -> None:
        self.chooser.set_belief((), (), (), ())
        if found.layer is not None:
            named = [layer for layer in self.viewer.layers if layer.name == found.layer]
            self.session.set_source(Source(layer=named[0] if named else None))
        else:
            self.session.set_source(Source(model=found.model))

    def _on_device(self, name: str) -> None:
        self.session.set_device(None if name == "auto" else name)

    def _on_params(self, params: RefitParams) -> None:
        self.session.set_params(params)

    def _on_classes(self, known: ClassesKnown) -> None:
        chosen = self.sections.params.cam.classes
        if not set(chosen) <= set(known.names):
            chosen = ()
            self.sections.set_targets(chosen)
        few = known.targets if len(known.targets) <= MOST_DEFAULT_CLASSES else ()
        self.chooser.set_classes(known.targets, chosen or few)
        self.chooser.set_channels(known.channels)
        self.sections.set_layer_names(known.layers)

    def _on_result(self, result: Any) -> None:
        if result.logits is None:
            self.chooser.set_belief((), (), (), ())
        else:
            predicted = dict(zip(result.classes, result.predicted, strict=True))
            self.chooser.set_belief(result.all_classes, result.logits, result.probabilities, predicted)
        self.sections.set_shown_classes(result.classes)
        self.hints.set_classes(result.classes, result.class_numbers)

    def _on_tool(self) -> None:
        self.hints.set_tool(self.session.hand.hints.tool)

    def _on_cluster_tool(self) -> None:
        self.session.hand.toggle_clusters(self.hints.number)
        self.hints.clusters.setChecked(self.session.hand.clusters.on)

    def _on_effort(self) -> None:
        self.hints.set_effort(str(self.session.hand.hints.effort))

    def _on_clear_hints(self) -> None:
        if self.session.plane is not None:
            self.session.hand.hints.clear(self.session.plane.index)

    def _on_busy(self, busy: bool) -> None:
        self.footer.set_busy(busy)
        self._on_plane()

    def _on_plane(self) -> None:
        session, plane = self.session, self.session.plane
        several = session.image is not None and session.image.ndim > 2
        self.footer.refine.setEnabled(several and not session.volume_running)
        self.propagate.button.setEnabled(several and not session.volume_running)
        self.propagate.setVisible(several)
        self.plot.setVisible(several)
        if plane is not None:
            self.plot.set_current(plane.position)
            self.propagate.set_current(plane.position)
        self._on_lock()
        self._on_plot()

    def _on_lock(self) -> None:
        session = self.session
        possible = session.outputs is not None and session.plane is not None
        self.footer.set_lock(session.locked, session.painted, possible)

    def _on_layers(self) -> None:
        outputs = self.session.outputs
        missing = () if outputs is None else outputs.missing
        self.footer.restore.setVisible(bool(missing))
        self.footer.save.setEnabled(outputs is not None and outputs["labels"] is not None)
        self.truth.refresh()
        self._on_lock()

    def _on_scored(self, what: str, cam: Any, refined: Any) -> None:
        (self.readouts.set_slice if what == "slice" else self.readouts.set_volume)(cam, refined)
        self.commands.scores[what] = {"cam": cam, "refined": refined}

    def _on_note(self, text: str) -> None:
        nothing = bool(text)
        self.readouts.set_hint(text)
        if nothing:
            self.readouts.set_slice(None, None)
            self.readouts.set_volume(None, None)
            self.commands.scores.clear()

    def _on_plot(self) -> None:
        session, plane = self.session, self.session.plane
        if (
            session.outputs is None
            or session.scores.truth is None
            or plane is None
            or plane.slice_axis is None
        ):
            self.plot.set_scores(None, None)
            return
        length = session.outputs.shape[plane.slice_axis]
        self.plot.set_scores(*session.outputs.book.along(plane, length))


def _stacked(*parts: QWidget) -> QWidget:
    """Widgets one below the other, as the content of a section."""
    found = QWidget()
    layout = QVBoxLayout(found)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
    return found


def _is_image(layer: Any) -> bool:
    """Whether a layer is an image that the user opened."""
    return isinstance(layer, Image) and layer.ndim >= 2 and not role_of(layer)
