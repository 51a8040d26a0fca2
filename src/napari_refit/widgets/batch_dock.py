"""The Batch dock: refine many files with one set of parameters, and review what came of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QWidget

from napari_refit.batch.settings import BatchParams
from napari_refit.errors import one_line
from napari_refit.widgets.batch_footer import BatchFooter
from napari_refit.widgets.batch_help import batch_help
from napari_refit.widgets.batch_job import BatchOrder, Row
from napari_refit.widgets.batch_recipe import RecipeChoice
from napari_refit.widgets.batch_session import BatchSession
from napari_refit.widgets.batch_table import CaseTable, state_of
from napari_refit.widgets.classifier_chooser import LABEL_WIDTH
from napari_refit.widgets.dock import Dock
from napari_refit.widgets.form import ParameterForm
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.help_panel import HelpPanel
from napari_refit.widgets.paths import FOLDER, PathRow
from napari_refit.widgets.review_panel import ReviewPanel
from napari_refit.widgets.style import NoteLabel
from napari_refit.widgets.watching import single_shot

MINIMUM_WIDTH = 340
REPORT = "report.html"
NO_INPUT = "Choose the images: a folder, a pattern, a CSV file or a BIDS dataset."
NO_OUTPUT = "Choose the folder for the results."
NO_DASK = 'Several workers need Dask, which is not installed: pip install "napari-refit[distributed]"'
EMPTY = "The cases are listed here: Check says what would be done, Start does it."


class BatchDock(Dock):
    """Refines many files, and reviews the results.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.

    Attributes
    ----------
    session : BatchSession
        The batch that runs.
    review : ReviewPanel
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__("ReFitBatchDock", MINIMUM_WIDTH, parent)
        # Layers are told apart by identity, which a proxy of the viewer would hide.
        self.viewer = napari_viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = BatchSession(self)
        self._help: HelpPanel | None = None
        self._named = False
        self._build()
        self._connect()
        self._show_there()

    # -- for other programs

    @property
    def out(self) -> Path | None:
        """The output folder that is chosen."""
        return self.output.path

    def set_input(self, text: str | Path) -> None:
        """Refine these images: a folder, a pattern, a table, a dataset."""
        self.input.set_text(str(text))

    def set_output(self, path: str | Path) -> None:
        """Write there; what is done there already is shown."""
        self._named = True
        self.output.set_text(str(path))

    def set_settings(self, settings: BatchParams) -> None:
        """Run it another way."""
        self.form.set_value(settings)

    def check(self) -> None:
        """List what would be done; what is wrong with the choices is said in the dock."""
        self._ask(self.session.check)

    def start(self) -> None:
        """Refine what is not done yet; what is wrong with the choices is said in the dock."""
        self._ask(self.session.start)

    # -- closing

    def _let_go(self) -> None:
        self.session.close()
        self.review.close_down()
        self.recipe.close_down()
        if self._help is not None:
            self._help.close()

    def _forget(self) -> None:
        # The window was closed, and takes the painting with it unless it is written now.
        self.review.session.save_now()
        super()._forget()

    # -- building

    def _build(self) -> None:
        self.input = PathRow(
            "Input",
            "folder, pattern, CSV file or BIDS dataset",
            {
                "Folder or BIDS dataset…": FOLDER,
                "CSV file…": "Tables (*.csv)",
                "Single file…": "All files (*)",
            },
        )
        self.input.setToolTip("A pattern such as scans/**/*.nii.gz is typed.")
        self.output = PathRow("Output", "folder for the results", {"Browse…": FOLDER})
        self.recipe = RecipeChoice(self.viewer)
        self.form = ParameterForm(BatchParams, prefix="batch")
        self.warning = NoteLabel("warning")
        self.result = NoteLabel("gain")
        self.empty = NoteLabel()
        self.empty.set_plain(EMPTY)
        self.review = ReviewPanel(self.viewer)
        self.table = CaseTable(self.review.session.state)
        self.detail = NoteLabel()
        self.footer = BatchFooter()
        parts = {
            "Files": (
                labelled("Input", self.input, LABEL_WIDTH),
                labelled("Output", self.output, LABEL_WIDTH),
            ),
            "Refinement": (self.recipe,),
            "Options": (self.form, self.warning),
            "Review": (self.review,),
            "Cases": (self.result, self.empty, self.table, self.detail),
        }
        self.sections = self._lay_out_sections(parts, self.footer, folded=("Options",))
        self.sections["Review"].hide()
        self.table.hide()

    def _connect(self) -> None:
        session, footer, review = self.session, self.footer, self.review
        self.input.changed.connect(self._suggest_output)
        self.output.changed.connect(self._on_output)
        self.output.line.textEdited.connect(self._on_named)
        self.form.changed.connect(self._on_form)
        self.table.chosen.connect(self._on_chosen)
        self.table.current_changed.connect(self._on_current)
        footer.check_clicked.connect(self.check)
        footer.start_clicked.connect(self.start)
        footer.cancel_clicked.connect(session.cancel)
        footer.report_clicked.connect(self._on_report)
        footer.review_clicked.connect(self._on_review)
        footer.help_clicked.connect(self._on_help)
        session.status.connect(footer.set_status)
        session.error.connect(footer.error.set_plain)
        session.result.connect(self.result.set_plain)
        session.rows.connect(self._on_rows)
        session.row.connect(self._on_row)
        session.progress.connect(footer.set_progress)
        session.busy.connect(self._on_busy)
        session.finishing.connect(lambda: footer.set_finishing(True))
        session.report.connect(lambda path: QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))))
        session.ended.connect(self._show_there)
        review.toggled.connect(self._on_reviewing)
        review.session.status.connect(footer.set_status)
        review.session.error.connect(footer.error.set_plain)
        review.session.moved.connect(self._on_case)
        review.session.judged.connect(lambda name: self.table.refresh())

    # -- reactions

    def _ask(self, do: Any) -> None:
        if self.session.running:
            return
        self.footer.error.set_plain("")
        try:
            order = self._order()
        except (ValueError, OSError) as error:
            self.footer.error.set_plain(one_line(error))
            return
        do(order)

    def _order(self) -> BatchOrder:
        """What is to be done.

        Raises
        ------
        ValueError, ReadError
            With what is missing or wrong.
        """
        for name, message in self.form.errors().items():
            raise ValueError(f"{self.form.label(name).text()}: {message} Correct it first.")
        if not self.input.text:
            raise ValueError(NO_INPUT)
        if self.out is None:
            raise ValueError(NO_OUTPUT)
        model, modalities, device = self.recipe.source()
        given = str(Path(self.input.text).expanduser())
        settings: Any = self.form.value
        return BatchOrder((given,), self.out, self.recipe.params(), settings, model, modalities, device)

    def _suggest_output(self) -> None:
        """A folder beside the input, until the user gives one."""
        text = self.input.text
        if self._named or not text or self.session.running:
            return
        path = Path(text).expanduser().absolute()
        inside = Path(*_before(path))
        folder = inside.parent if inside.is_file() else inside
        self.output.set_text(str(folder.parent / f"{folder.name}-refined"))

    def _on_named(self) -> None:
        self._named = True

    def _on_output(self) -> None:
        if self.session.running:
            return
        if self.out is not None and self.out.is_dir():
            self.session.read(self.out)
        else:
            self.session.clear()
        self._show_there()

    def _show_there(self) -> None:
        """Say what there is in the output folder."""
        results = sum(record.state in ("done", "skipped") for record in self.session.records.values())
        report = self.out is not None and (self.out / REPORT).is_file()
        self.footer.set_there(results, report)

    def _on_form(self, settings: Any) -> None:
        several = settings.workers > 1 or bool(settings.scheduler)
        self.warning.set_plain(NO_DASK if several and find_spec("distributed") is None else "")

    def _on_rows(self, rows: list[Row]) -> None:
        self.table.set_rows(rows)
        self.empty.setVisible(not rows)
        self.table.setVisible(bool(rows))
        self.detail.set_plain("")

    def _on_row(self, row: Row) -> None:
        self.table.records.put(row.name, row)
        self.table.show()
        self.empty.hide()

    def _on_busy(self, busy: bool) -> None:
        self.footer.set_busy(busy)
        if busy:
            self.sections["Cases"].expand(animate=False)
            single_shot(self, 0, lambda: self.scroll.ensureWidgetVisible(self.table)).start()

    def _on_current(self, row: Row | None) -> None:
        """Say all of the case that is selected."""
        text = "" if row is None else row.text if row.name in row.text else f"{row.name}: {row.text}"
        self.detail.set_plain("" if row is None or not row.text else text)

    def _on_chosen(self, row: Row) -> None:
        """Review a case."""
        if row.record is None or row.record.state not in ("done", "skipped") or self.out is None:
            self.footer.set_status(f"{row.name}: {state_of(row)}; there is no result to review.")
        elif self.review.session.on:
            self.review.session.go(row.name)
        else:
            self.review.begin(self.out, row.name)

    def _on_review(self) -> None:
        if self.review.session.on:
            self.review.session.end()
        elif self.out is not None:
            self.review.begin(self.out)

    def _on_reviewing(self, on: bool) -> None:
        for title in ("Files", "Refinement", "Options"):
            self.sections[title].setVisible(not on)
        self.sections["Review"].setVisible(on)
        self.sections["Review"].expand(animate=False)
        self.footer.set_reviewing(on)
        self.table.set_reviewing(on)
        self.scroll.verticalScrollBar().setValue(0)

    def _on_case(self) -> None:
        if self.review.session.on:
            self.table.show_current(self.review.session.name)

    def _on_report(self) -> None:
        if self.out is not None:
            self.session.find_report(self.out)

    def _on_help(self) -> None:
        if self._help is None:
            self._help = HelpPanel(self, "Batch help", batch_help)
        self._help.toggle()


def _before(path: Path) -> list[str]:
    """The parts of a pattern before the first that is one."""
    found = []
    for part in path.parts:
        if set(part) & set("*?["):
            break
        found.append(part)
    return found
