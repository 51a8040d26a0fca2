"""What a search has tried, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_refit.recipe import RefitParams

State = Literal["done", "pruned", "failed", "running"]


@dataclass(frozen=True)
class Trial:
    """One set of parameters.

    Attributes
    ----------
    number : int
        From 0; unique in its study.
    values : dict of str to value
        By dotted key.
    score : float or None
        Over all images; None unless it is done.
    state : {"done", "pruned", "failed", "running"}
        pruned: stopped early, for it was below the median.
    seconds : float
    n_images : int
        How many images it was judged on.
    error : str
        Why it failed.
    """

    number: int
    values: dict[str, Any]
    score: float | None
    state: State
    seconds: float = 0.0
    n_images: int = 0
    error: str = ""


@dataclass(frozen=True)
class TuneResult:
    """What came of a search.

    Attributes
    ----------
    trials : list of Trial
        All of the study, those of other processes and earlier runs included.
    best : Trial or None
        The first of the highest score.
    params : RefitParams
        With the best values; those that the search began with if there is no best.
    importances : dict of str to float
        See `napari_refit.tune.study_file.importances`.
    images : list of str
        Names of what was tuned on.
    stage_runs : dict of str to (int, int)
        Of this run: stage to how often it ran, and how often its result was there already.
    stopped : str
        Why it ended before all trials were done; empty if it did not.
    objective : str
        By what was judged: dsc, miou, nsd, paper or label-free.
    about : dict
        What the study is about, as its file says it.
    seconds : float
        Of this run.
    """

    trials: list[Trial]
    best: Trial | None
    params: RefitParams
    importances: dict[str, float] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    stage_runs: dict[str, tuple[int, int]] = field(default_factory=dict)
    stopped: str = ""
    objective: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """The first of those with the highest score; None if none has one.

    Examples
    --------
    >>> best_of([Trial(0, {}, 0.3, "done"), Trial(1, {}, 0.5, "done"), Trial(2, {}, 0.5, "done")]).number
    1
    """
    done = [trial for trial in trials if trial.score is not None]
    return max(done, key=lambda trial: (trial.score, -trial.number), default=None)
