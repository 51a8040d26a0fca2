"""The Tune dock: tick parameters, let trials run, use the best."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QLabel, QWidget

from napari_refit.errors import one_line
from napari_refit.io.formats import split_name
from napari_refit.recipe import RefitParams
from napari_refit.tune.settings import TuneParams
from napari_refit.tune.space import Range
from napari_refit.widgets import saving
from napari_refit.widgets.dock import Dock
from napari_refit.widgets.form import LABEL_WIDTH, ParameterForm
from napari_refit.widgets.forms import labelled
from napari_refit.widgets.help_panel import HelpPanel
from napari_refit.widgets.open_docks import REGISTER, dock_of
from napari_refit.widgets.paths import PathRow
from napari_refit.widgets.style import NoteLabel
from napari_refit.widgets.tune_footer import TuneFooter
from napari_refit.widgets.tune_help import tune_help
from napari_refit.widgets.tune_images import ImageChoice
from napari_refit.widgets.tune_job import TuneOrder
from napari_refit.widgets.tune_plot import TunePlot
from napari_refit.widgets.tune_session import TuneSession
from napari_refit.widgets.tune_space import SpaceForm, title_of
from napari_refit.widgets.tune_table import TrialTable
from napari_refit.widgets.watching import single_shot

MINIMUM_WIDTH = 340
LOOK_DELAY = 100
SUFFIX = ".db"
STUDIES = "Studies (*.db *.sqlite *.sqlite3 *.journal *.log)"
NO_OPTUNA = 'A search needs optuna, which is not installed: pip install "napari-refit[tune]"'
NOTHING_TICKED = "Tick at least one parameter to search."
SCORES = {
    "dsc": "Mean DSC",
    "miou": "Mean IoU",
    "nsd": "Surface Dice",
    "paper": "DSC (paper)",
    "label-free": "Label-free score",
}


class TuneDock(Dock):
    """Searches for parameters.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.

    Attributes
    ----------
    session : TuneSession
        The search that runs.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__("ReFitTuneDock", MINIMUM_WIDTH, parent)
        # Layers are told apart by identity, which a proxy of the viewer would hide.
        self.viewer = napari_viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = TuneSession(napari_viewer, self)
        self._help: HelpPanel | None = None
        self._dock: Any = None
        self._named = False
        self._build()
        self._look_later = single_shot(self, LOOK_DELAY, self._look)
        self._connect()
        self._of_viewer.listen(napari_viewer.layers, ("removed",), self._on_removed)
        self._on_docks()
        if find_spec("optuna") is None:
            self.footer.error.set_plain(NO_OPTUNA)

    # -- for other programs

    @property
    def params(self) -> TuneParams:
        """How the search is done."""
        return self.form.value  # type: ignore[return-value]

    def set_params(self, params: TuneParams) -> None:
        """Search another way."""
        self.form.set_value(params)
        self._on_form()

    def set_study(self, path: str | Path) -> None:
        """Keep the trials there; those of a study that is there are shown."""
        self._named = True
        self.study.set_text(str(path))

    def start(self) -> None:
        """Begin a search; what is wrong is said in the dock. A study that is there is left alone."""
        self._start(goes_on=False)

    def go_on(self) -> None:
        """Go on with the study, with its own ranges and parameters."""
        self._start(goes_on=True)

    # -- closing

    def _let_go(self) -> None:
        self._look_later.stop()
        REGISTER.changed.disconnect(self._on_docks)
        self._follow(None)
        self.session.close()
        self.images.close_down()
        if self._help is not None:
            self._help.close()

    # -- building

    def _build(self) -> None:
        self.images = ImageChoice(self.viewer)
        self.space = SpaceForm()
        self.size = NoteLabel()
        self.form = ParameterForm(TuneParams, prefix="tune")
        self.study = PathRow("Study", "where the trials are kept", {"Browse…": STUDIES}, saves=True)
        self.study.setToolTip("The file that every trial is written to, so that the search can go on later.")
        self.plot = TunePlot()
        self.result = NoteLabel("gain")
        self.table = TrialTable(title_of)
        self.hint = QLabel("Double-click a trial to use it in the ReFit dock.")
        self.hint.setWordWrap(True)
        self.footer = TuneFooter()
        parts = {
            "Images": (self.images,),
            "Parameters": (self.space, self.size),
            "Method and budget": (self.form, labelled("Study", self.study, LABEL_WIDTH)),
            "Trials": (self.plot, self.result, self.table, self.hint),
        }
        self.sections = self._lay_out_sections(parts, self.footer)
        self._on_form()
        self._show_trials([])

    def _connect(self) -> None:
        session, footer = self.session, self.footer
        REGISTER.changed.connect(self._on_docks)
        self.images.changed.connect(self._suggest_study)
        self.space.changed.connect(self._on_form)
        self.form.changed.connect(lambda _: self._on_form())
        self.study.changed.connect(self._on_study)
        self.study.line.textEdited.connect(self._on_named)
        self.table.chosen.connect(session.apply)
        footer.start_clicked.connect(self.start)
        footer.continue_clicked.connect(self.go_on)
        footer.cancel_clicked.connect(session.cancel)
        footer.apply_clicked.connect(self._on_apply)
        footer.save_clicked.connect(self._on_save)
        footer.help_clicked.connect(self._on_help)
        footer.refit_clicked.connect(self._on_refit)
        session.status.connect(footer.set_status)
        session.error.connect(footer.error.set_plain)
        session.result.connect(self.result.set_plain)
        session.reset.connect(self._show_trials)
        session.trial.connect(self._on_trial)
        session.importances.connect(self._on_importances)
        session.progress.connect(footer.set_progress)
        session.busy.connect(self._on_busy)
        session.ended.connect(self._look_at_study)

    # -- reactions

    def _on_docks(self) -> None:
        """A ReFit dock was opened or closed."""
        self._follow(dock_of(self.viewer))
        self._look()

    def _follow(self, dock: Any) -> None:
        if self._dock is not None and self._dock is not dock:
            try:
                self._dock.session.changed.disconnect(self._look_later.start)
                self._dock.session.layers_changed.disconnect(self._look_later.start)
            except (RuntimeError, TypeError):  # Qt deleted it
                pass
        if dock is not None and self._dock is not dock:
            dock.session.changed.connect(self._look_later.start)
            dock.session.layers_changed.connect(self._look_later.start)
        self._dock = dock

    def _look(self) -> None:
        """Show what the ReFit dock works with now."""
        dock = self._dock
        self.footer.refit.setVisible(dock is None)
        self.images.set_dock(dock)
        self.space.set_params(RefitParams() if dock is None else dock.sections.params)
        self._on_form()

    def _start(self, goes_on: bool) -> None:
        if self.session.running:
            return
        self.footer.error.set_plain("")
        try:
            order = self._order(goes_on)
        except (ValueError, OSError) as error:
            self.footer.error.set_plain(one_line(error))
            return
        self.session.start(order, self.images.read_layers())

    def _order(self, goes_on: bool) -> TuneOrder:
        """What is to be done.

        Raises
        ------
        ValueError
            With what is missing or wrong.
        """
        for name, message in self.form.errors().items():
            raise ValueError(f"{self.form.label(name).text()}: {message} Correct it before searching.")
        images = self.images.images()
        path = self._checked_study()
        params = self.params
        if goes_on:
            about = self.session.about
            if self.session.base is None or not path.exists():
                raise ValueError(f"{path.name}: there is no study to go on with; press Start.")
            done = sum(trial.state != "running" for trial in self.session.trials.values())
            if done >= params.trials and about.get("sampler") != "grid":
                raise ValueError(f"The study has {done} trials: ask for more of them to go on.")
            same = {name: about[name] for name in ("objective", "seed", "sampler") if name in about}
            # So many are drawn again as were drawn then.
            same["images"] = max(1, len(about.get("images", ())))
            space = [Range(**content) for content in about.get("space", [])]
            return TuneOrder(images, self.session.base, space, params.model_copy(update=same), path)
        space = self.space.space
        if not space:
            raise ValueError(NOTHING_TICKED)
        if path.exists():
            # What was found before is never thrown away.
            path = _free(path)
            self.study.set_text(str(path))
        return TuneOrder(images, self._dock.sections.params, space, params, path)

    def _checked_study(self) -> Path:
        path = self.study.path
        if path is None:
            raise ValueError("Say where the study is kept: choose a file under Study.")
        suffixes = STUDIES.partition("*")[2].rstrip(")").split(" *")
        if path.suffix.lower() not in suffixes:
            raise ValueError(f"{path.name}: a study's name must end in {' or '.join(suffixes)}.")
        if not path.parent.is_dir():
            raise ValueError(f"{path.parent}: there is no such folder; create it or choose another.")
        return path

    def _suggest_study(self) -> None:
        """A name beside what is tuned on, until the user gives one."""
        if self._named or self.session.running:
            return
        beside = self.images.folder.path if self.images.kind.value() == "folder" else None
        name = "study" if beside is None else f"{beside.name}-tune"
        image = None if self._dock is None else self._dock.session.image
        if beside is None and image is not None:
            beside = saving.source_path(image)
            name = f"{split_name(beside)[0] if beside else image.name.partition(' ')[0]}-tune"
        folder = Path.home() if beside is None else beside.parent
        self.study.set_text(str(folder / f"{name}{SUFFIX}"))

    def _on_named(self) -> None:
        self._named = True

    def _on_study(self) -> None:
        if self.session.running:
            return
        path = self.study.path
        if path is not None and path.is_file():
            self.session.read(path)
        else:
            self.session.clear()
        self._look_at_study()

    def _look_at_study(self) -> None:
        running, path = self.session.running, self.study.path
        there = not running and path is not None and path.is_file()
        self.footer.resume.setEnabled(there)
        self.footer.set_found(self.session.best is not None)
        self.footer.stopped.set_plain(
            f"{path.name} is there: Continue adds trials to it, Start begins another." if there else ""
        )

    def _on_form(self) -> None:
        """Say how much there is to search."""
        params = self.params
        self.form.set_row_visible("levels", params.sampler == "grid")
        space = self.space.space
        text = f"{len(space)} parameters are searched." if len(space) != 1 else "1 parameter is searched."
        if params.sampler == "grid" and space:
            count = 1
            for each in space:
                count *= len(each.levels(params.levels))
            text += f" The grid has {count} points."
        self.size.set_plain(text if space else NOTHING_TICKED)

    def _on_busy(self, busy: bool) -> None:
        self.footer.set_busy(busy)
        self._look_at_study()
        if busy:
            self.sections["Trials"].expand(animate=False)
            single_shot(self, 0, lambda: self.scroll.ensureWidgetVisible(self.sections["Trials"])).start()

    def _show_trials(self, trials: list[Any]) -> None:
        self.table.set_trials(trials)
        self.table.setVisible(bool(trials))
        self.hint.setVisible(bool(trials))
        self.plot.set_importances({})
        self._draw()
        self.footer.set_found(self.session.best is not None)

    def _on_trial(self, trial: Any) -> None:
        self.table.add(trial)
        self.table.show()
        self.hint.show()
        self._draw()
        self.footer.set_found(self.session.best is not None)

    def _draw(self) -> None:
        trials = self.session.trials.values()
        scores = [(trial.number, trial.score) for trial in trials if trial.score is not None]
        self.plot.set_scores(scores, SCORES.get(self.session.objective, "Score"))

    def _on_importances(self, shares: dict[str, float]) -> None:
        self.plot.set_importances({title_of(key): share for key, share in shares.items()})

    def _on_apply(self) -> None:
        if self.session.best is not None:
            self.session.apply(self.session.best)

    def _on_save(self) -> None:
        trial = self.table.current() or self.session.best
        if trial is None or self.session.base is None:
            return
        name, _ = QFileDialog.getSaveFileName(self, "Save as preset", "tuned.json", "JSON (*.json)")
        if not name:
            return
        path = Path(name if name.lower().endswith(".json") else f"{name}.json")
        try:
            self.session.save(trial, path)
        except OSError as error:
            self.footer.error.set_plain(one_line(error))
        else:
            self.footer.error.set_plain("")
            self.footer.set_status(f"Saved trial {trial.number} as {path}.")

    def _on_help(self) -> None:
        if self._help is None:
            self._help = HelpPanel(self, "Tune help", tune_help)
        self._help.toggle()

    def _on_refit(self) -> None:
        self.viewer.window.add_plugin_dock_widget("napari-refit", "ReFit")

    def _on_removed(self, event: Any) -> None:
        self.session.forget(event.value)


def _free(path: Path) -> Path:
    """A name beside a study that no file has."""
    stem = path.stem
    return next(
        found for k in range(2, 100_000) if not (found := path.with_name(f"{stem}-{k}{path.suffix}")).exists()
    )
