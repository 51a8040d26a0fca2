"""The Train dock: say which slices show what, train a classifier on that, and refine with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QWidget

from napari_refit.errors import one_line
from napari_refit.learn.places import SUFFIX
from napari_refit.learn.telling import overview
from napari_refit.widgets.classifier_chooser import LABEL_WIDTH, torch_devices
from napari_refit.widgets.dock import Dock
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.help_panel import HelpPanel
from napari_refit.widgets.style import LazyComboBox, NoteLabel
from napari_refit.widgets.tag_panel import TagPanel
from napari_refit.widgets.train_curves import CurvePlot
from napari_refit.widgets.train_footer import TrainFooter
from napari_refit.widgets.train_help import train_help
from napari_refit.widgets.train_job import Begun, TrainOrder
from napari_refit.widgets.train_out import OutputRow
from napari_refit.widgets.train_params import TrainingForms
from napari_refit.widgets.train_session import TrainSession
from napari_refit.widgets.train_sources import PathSource
from napari_refit.widgets.train_truth import TruthSource
from napari_refit.widgets.watching import single_shot

MINIMUM_WIDTH = 320
COUNT_DELAY = 150
SOURCES = {"table": "Table of slices", "path": "Folder, table or dataset", "truth": "Ground-truth layer"}
UNFINISHED = (
    "A training of {} was stopped: Resume goes on after its last whole epoch, with its own parameters."
)


class TrainDock(Dock):
    """Trains classifiers from image-level labels.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.

    Attributes
    ----------
    session : TrainSession
        The training that runs.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__("ReFitTrainDock", MINIMUM_WIDTH, parent)
        # Layers are told apart by identity, which a proxy of the viewer would hide.
        self.viewer = napari_viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = TrainSession(napari_viewer, self)
        self._help: HelpPanel | None = None
        self._build()
        self._count_later = single_shot(self, COUNT_DELAY, self._count)
        self._connect()
        self._of_viewer.listen(napari_viewer.layers, ("removed",), self._on_removed)
        self._on_source()

    # -- for other programs

    @property
    def source(self) -> Any:
        """The source that is chosen: a `TagPanel`, a `PathSource` or a `TruthSource`."""
        return self.sources[self.kind.value()]

    def choose_source(self, kind: str) -> None:
        """Take labels from "table", "path" or "truth"."""
        self.kind.set_value(kind)
        self._on_source()

    def set_out(self, path: str | Path) -> None:
        """Write the checkpoint there."""
        self.out.set_path(path)

    def start(self, *, resume: bool = False) -> None:
        """Start a training, or go on with the one that was stopped; what is wrong is said in the dock."""
        if self.session.running:
            return
        self.footer.error.set_plain("")
        try:
            order = self._order(resume)
        except (ValueError, OSError) as error:
            self.footer.error.set_plain(one_line(error))
            return
        if order is not None:
            self.session.start(order, self.source.layers())

    # -- closing

    def _let_go(self) -> None:
        self._count_later.stop()
        self.session.close()
        for source in self.sources.values():
            source.close_down()
        if self._help is not None:
            self._help.close()

    # -- building

    def _build(self) -> None:
        self.kind = LazyComboBox()
        for value, title in SOURCES.items():
            self.kind.addItem(title, value)
        self.table = TagPanel(self.viewer)
        self.path = PathSource()
        self.truth = TruthSource(self.viewer)
        self.sources: dict[str, Any] = {"table": self.table, "path": self.path, "truth": self.truth}
        self.note = NoteLabel()
        self.warning = NoteLabel("warning")
        self.forms = TrainingForms()
        self.device = LazyComboBox(torch_devices)
        self.device.set_values(("auto", "cpu"))
        self.device.setToolTip("Where it trains; auto takes a GPU when there is one.")
        self.out = OutputRow()
        self.curves = CurvePlot()
        self.result = NoteLabel("gain")
        self.footer = TrainFooter()
        parts = {
            "Image-level labels": (
                labelled("Labels from", self.kind, LABEL_WIDTH),
                *self.sources.values(),
                self.note,
                self.warning,
            ),
            "Training": (
                self.forms,
                labelled("Device", self.device, LABEL_WIDTH),
                labelled("Checkpoint", self.out, LABEL_WIDTH),
            ),
            "Curves": (self.curves, self.result),
        }
        self.sections = self._lay_out_sections(parts, self.footer)

    def _connect(self) -> None:
        session, footer = self.session, self.footer
        self.kind.currentIndexChanged.connect(lambda _: self._on_source())
        self.table.changed.connect(self._on_labels)
        self.table.said.connect(footer.set_status)
        for source in self.sources.values():
            source.failed.connect(footer.error.set_plain)
        for source in (self.path, self.truth):
            source.changed.connect(self._on_labels)
        self.truth.copy_clicked.connect(self._on_copy)
        self.forms.intensity_changed.connect(self._on_intensity)
        self.forms.changed.connect(lambda _: self._look_at_out())
        self.out.changed.connect(self._look_at_out)
        footer.start_clicked.connect(self.start)
        footer.resume_clicked.connect(lambda: self.start(resume=True))
        footer.cancel_clicked.connect(session.cancel)
        footer.report_clicked.connect(self._on_report)
        footer.help_clicked.connect(self._on_help)
        session.status.connect(footer.set_status)
        session.error.connect(footer.error.set_plain)
        session.result.connect(self._on_result)
        session.begun.connect(self._on_begun)
        session.epoch.connect(self.curves.add)
        session.progress.connect(footer.set_progress)
        session.busy.connect(self._on_busy)
        session.ended.connect(self._look_at_out)

    # -- reactions

    def _order(self, resume: bool) -> TrainOrder | None:
        """What is to be done; None where the user would rather not.

        Raises
        ------
        ValueError
            With what is missing or wrong.
        """
        problem = self.forms.problem()
        if problem:
            raise ValueError(f"{problem} Correct it before training.")
        samples = self.source.samples(self.forms.intensity.value)
        out = self.out.checked()
        may_begin, overwrite = (True, False) if resume else self.out.may_begin(out, self.forms.params.folds)
        if not may_begin:
            return None
        device = self.device.value()
        return TrainOrder(
            samples, self.forms.params, out, None if device == "auto" else device, resume, overwrite
        )

    def _on_source(self) -> None:
        for kind, source in self.sources.items():
            source.setVisible(kind == self.kind.value())
        self.footer.error.set_plain("")
        self._on_labels()

    def _on_labels(self) -> None:
        self._suggest_out()
        self._count_later.start()

    def _count(self) -> None:
        """Say what there is to train on; folders and layers say it themselves."""
        text = warning = ""
        if self.kind.value() == "table":
            desk = self.table.desk
            if desk.n_tagged():
                try:
                    text, warning = overview(desk.samples(self.forms.intensity.value))
                    text = f"{desk.n_tagged()} of {len(desk.slots)} tagged. {text}"
                except ValueError as error:
                    warning = one_line(error)
        self.note.set_plain(text)
        self.warning.set_plain(warning)

    def _suggest_out(self) -> None:
        if not self.session.running:
            self.out.suggest(self.source.default_out() or Path.home() / f"classifier{SUFFIX}")

    def _look_at_out(self) -> None:
        can_resume = not self.session.running and self.out.unfinished
        self.footer.resume.setEnabled(can_resume)
        name = self.out.path.name if can_resume else ""
        self.footer.stopped.set_plain(UNFINISHED.format(name) if can_resume else "")

    def _on_intensity(self, intensity: Any) -> None:
        for source in (self.path, self.truth):
            source.intensity = intensity

    def _on_copy(self) -> None:
        image, found = self.truth.image.layer, self.truth.found
        if image is None or found is None:
            return
        replaced = self.table.desk.take(image, found.values)
        self.table.image.choose(image)
        self.choose_source("table")
        more = f", {replaced} in place of others (Undo takes them back)" if replaced else ""
        self.footer.set_status(f"Copied {len(found.values)} labels{more}.")

    def _on_begun(self, begun: Begun) -> None:
        self.forms.set_params(begun.params)
        self.curves.set_curves(begun.curves, begun.params.epochs)

    def _on_busy(self, busy: bool) -> None:
        self.footer.set_busy(busy)
        self._look_at_out()
        if busy:
            self.sections["Curves"].expand(animate=False)
            QTimer.singleShot(0, self._show_curves)

    def _show_curves(self) -> None:
        self.scroll.ensureWidgetVisible(self.sections["Curves"])

    def _on_result(self, text: str) -> None:
        self.result.set_plain(text)
        if text:
            QTimer.singleShot(0, lambda: self.scroll.ensureWidgetVisible(self.result))
        self.footer.report.setEnabled(bool(text))

    def _on_report(self) -> None:
        if self.session.trained is not None:
            folder = self.session.trained.checkpoints[0].parent
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _on_help(self) -> None:
        if self._help is None:
            self._help = HelpPanel(self, "Train help", train_help)
        self._help.toggle()

    def _on_removed(self, event: Any) -> None:
        self.session.forget(event.value)
