"""A search for parameters from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_refit.errors import Cancelled, one_line
from napari_refit.recipe import RefitParams
from napari_refit.tune.evaluating import Evaluator, described, is_figure, stops_of
from napari_refit.tune.images import TuneImage
from napari_refit.tune.objective import chosen_objective
from napari_refit.tune.settings import TuneParams
from napari_refit.tune.space import Range, applied, check_space, current_values
from napari_refit.tune.study_file import (
    LOOKED_AT,
    VALUES,
    WORKER,
    as_trial,
    importances,
    load_optuna,
    open_study,
    put_back,
    read_trials,
    settle_about,
    settle_lost,
    trials_of,
    worker,
)
from napari_refit.tune.trials import Trial, TuneResult, best_of

if TYPE_CHECKING:
    import optuna

__all__ = ["Trial", "TuneResult", "importances", "read_trials", "tune"]

Progress = Callable[[int, int, str], None]
Cancel = Callable[[], bool]
STARTUP_TRIALS = 5
"""No trial is stopped early before so many are done."""


def tune(
    images: Sequence[TuneImage],
    base: RefitParams,
    space: Sequence[Range],
    params: TuneParams | None = None,
    *,
    study: Path | None = None,
    progress: Progress | None = None,
    cancelled: Cancel | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> TuneResult:
    """Search for the parameters that score highest on the images.

    Parameters
    ----------
    images : sequence of TuneImage
        From `napari_refit.tune.images`.
    base : RefitParams
        What is not searched. Except in a grid, its values are tried first.
    space : sequence of Range
        What is searched.
    params : TuneParams, optional
    study : Path, optional
        A file, SQLite (``.db``) or journal (``.journal``). One that is there already goes on, or is joined while
        another process is at it; without one, all is forgotten but for the result.
    progress : callable, optional
        ``progress(done, total, text)``.
    cancelled : callable, optional
        Asked often. On True, and on Ctrl-C, the search ends; the trial at hand is tried again when the study goes on.
    on_trial : callable, optional
        Given each trial of this process as it is finished.

    Returns
    -------
    TuneResult

    Raises
    ------
    ValueError
        If there is nothing to tune, no image, no reference mask for an objective that wants it, a grid of more points
        than trials, or a study that is about something else.
    ExtraMissing
        If optuna is not installed.
    ReadError, WriteError
        If the study cannot be opened.
    """
    return Search(images, base, space, params or TuneParams(), study, progress, cancelled, on_trial).run()


class Search:
    """One run of `tune`, with its arguments."""

    def __init__(
        self,
        images: Sequence[TuneImage],
        base: RefitParams,
        space: Sequence[Range],
        settings: TuneParams,
        path: Path | None,
        progress: Progress | None,
        cancelled: Cancel | None,
        on_trial: Callable[[Trial], None] | None,
    ) -> None:
        check_space(space, base)
        if not images:
            raise ValueError("there is no image to tune on")
        self.images, self.base, self.settings, self.path = list(images), base, settings, path
        self.space = in_stage_order(space, base)
        self.progress, self.cancelled, self.on_trial = progress, cancelled, on_trial
        self.objective = chosen_objective(settings.objective, images)
        self.evaluator = Evaluator(self.images, self.objective, settings)
        self.stops = stops_of(settings, len(self.images))
        load_optuna()
        self.wanted = self._wanted_trials()

    def run(self) -> TuneResult:
        """Search until all trials are done, time is up or the caller stops it."""
        start = time.perf_counter()
        study, stopped = self._open(), ""
        try:
            settle_lost(study, self.cancelled)
            if self._open_places(study):
                self.evaluator.prepare(self.base, self.progress, self.cancelled)
            while self._open_places(study) or settle_lost(study, self.cancelled):
                if self.cancelled is not None and self.cancelled():
                    raise Cancelled("stopped")
                if self.settings.minutes and time.perf_counter() - start > 60 * self.settings.minutes:
                    stopped = f"the {self.settings.minutes:g} minutes are over"
                    break
                self._one(study)
        except (Cancelled, KeyboardInterrupt):
            stopped = "stopped"
        return self._result(study, stopped, time.perf_counter() - start)

    def _wanted_trials(self) -> int:
        if self.settings.sampler != "grid":
            return self.settings.trials
        from napari_refit.tune.samplers import grid_size

        size = grid_size(self.space, self.settings.levels)
        if size > self.settings.trials:
            raise ValueError(
                f"the grid has {size} points, more than the {self.settings.trials} trials: allow as many, or take "
                "fewer values of each parameter, narrower ranges or wider steps"
            )
        return size

    def _open(self) -> optuna.Study:
        from optuna.pruners import MedianPruner, NopPruner

        from napari_refit.tune.samplers import make_sampler

        study = open_study(self.path)
        new = settle_about(study, self.path, self.about())
        start = current_values(self.base, self.space)
        study.sampler = make_sampler(self.settings, self.space)
        study.pruner = MedianPruner(n_startup_trials=STARTUP_TRIALS) if self.settings.pruning else NopPruner()
        if (
            new
            and self.settings.sampler != "grid"
            and all(each.holds(start[each.key]) for each in self.space)
        ):
            study.enqueue_trial(start, skip_if_exists=True)
        return study

    def about(self) -> dict[str, Any]:
        """What the study is about."""
        from napari_refit import __version__

        return {
            "program": "napari-refit",
            "version": __version__,
            "objective": self.objective.name,
            "seed": self.settings.seed,
            "sampler": self.settings.sampler,
            "space": [each.as_dict() for each in self.space],
            "base": self.base.model_dump(mode="json"),
            "images": described(self.images),
            "source": _source(self.images[0]),
        }

    def _open_places(self, study: optuna.Study) -> int:
        """How many trials there are yet to begin."""
        from optuna.trial import TrialState

        from napari_refit.tune.samplers import counts

        begun = [
            trial
            for trial in study.get_trials(deepcopy=False)
            if counts(trial) and trial.state != TrialState.WAITING
        ]
        return max(0, self.wanted - len(begun))

    def _one(self, study: optuna.Study) -> None:
        from optuna.trial import TrialState

        from napari_refit.tune.samplers import ERROR, counts, distributions

        trial = study.ask(distributions(self.space))
        trial.set_user_attr(WORKER, worker())
        before = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
        if sum(map(counts, before)) >= self.wanted:
            # Two processes saw the last open place at once, and this one comes second.
            study.tell(trial, state=TrialState.FAIL)
            return
        values = {each.key: each.rounded(trial.params[each.key]) for each in self.space}
        trial.set_user_attr(VALUES, values)
        try:
            state, score = self._judged(study, trial, values)
        except (Cancelled, KeyboardInterrupt):
            put_back(study, trial.number)
            raise
        except (ValueError, RuntimeError, MemoryError, ArithmeticError) as error:
            trial.set_user_attr(ERROR, one_line(error))
            state, score = TrialState.FAIL, None
        study.tell(trial, score, state)
        done = as_trial(study.get_trials(deepcopy=False)[trial.number])
        if self.on_trial is not None:
            self.on_trial(done)
        self._tell_progress(study)

    def _judged(self, study: optuna.Study, trial: Any, values: Mapping[str, Any]) -> tuple[Any, float | None]:
        from optuna.trial import TrialState

        params = applied(self.base, values)
        score = float("nan")
        for n_images, score in self.evaluator.scores(params, self.stops, self.cancelled):
            if n_images == len(self.images):
                break
            if is_figure(score):
                trial.report(score, n_images)
                if trial.should_prune():
                    trial.set_user_attr(LOOKED_AT, n_images)
                    return TrialState.PRUNED, None
        trial.set_user_attr(LOOKED_AT, len(self.images))
        if not is_figure(score):
            raise ValueError("no image has a figure: masks and reference masks are all empty")
        return TrialState.COMPLETE, score

    def _tell_progress(self, study: optuna.Study) -> None:
        if self.progress is None:
            return
        trials = trials_of(study)
        best = best_of(trials)
        finished = sum(trial.state != "running" for trial in trials)
        shown = "" if best is None or best.score is None else f", best {best.score:.4f}"
        self.progress(min(finished, self.wanted), self.wanted, f"trials{shown}")

    def _result(self, study: optuna.Study, stopped: str, seconds: float) -> TuneResult:
        trials = trials_of(study)
        best = best_of(trials)
        return TuneResult(
            trials=trials,
            best=best,
            params=self.base if best is None else applied(self.base, best.values),
            importances=importances(study),
            images=[image.name for image in self.images],
            stage_runs=self.evaluator.tally.by_stage(),
            stopped=stopped,
            objective=self.objective.name,
            about=dict(study.user_attrs["about"]),
            seconds=seconds,
        )


def in_stage_order(space: Sequence[Range], base: RefitParams) -> list[Range]:
    """Ranges in the order of the stages that read them, so that a grid changes the first stages least often."""
    groups = [
        "segmenter",
        "intensity",
        *base.segmenters(),
        *_chosen(space, "segmenter"),
        "cam",
        "fit",
        base.fit,
        *_chosen(space, "fit"),
        "finish",
    ]
    return sorted(space, key=lambda each: groups.index(each.key.partition(".")[0]))


def _chosen(space: Sequence[Range], key: str) -> list[Any]:
    return [choice for each in space if each.key == key for choice in each.choices]


def _source(image: TuneImage) -> str:
    """The classifier, by its checksum."""
    classifier = image.refit.classifier
    return "" if classifier is None else str(classifier.checksum)
