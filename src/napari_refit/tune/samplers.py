"""What is tried next: optuna's samplers, made so that a study that goes on draws what an unbroken one would have."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from napari_refit.tune.settings import TuneParams
from napari_refit.tune.space import Range

ERROR = "error"
"""Attribute of a trial whose parameters failed; one that failed without it was given up and is tried again."""
Make = Callable[[int, int], BaseSampler]


class Steady(BaseSampler):
    """A sampler made anew for each trial, seeded by how many trials there were before it.

    Parameters
    ----------
    make : callable
        ``make(seed, place)`` returns the sampler of the trial that is the ``place``-th, from 0 on.
    seed : int
    """

    def __init__(self, make: Make, seed: int) -> None:
        self._make, self._seed = make, seed
        self._inner: BaseSampler = RandomSampler(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        before = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
        place = sum(counts(other) for other in before)
        seed = int(np.random.SeedSequence([self._seed, place]).generate_state(1)[0] % 2**31)
        self._inner = self._make(seed, place)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner.after_trial(study, trial, state, values)


class Point(BaseSampler):
    """Answers with values that are given."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        del study, trial
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        del study, trial, search_space
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        del study, trial, param_distribution
        return self._values[param_name]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those that were asked for: not one that was given up."""
    return trial.state != TrialState.FAIL or ERROR in trial.user_attrs


def grid_points(space: Sequence[Range], levels: int) -> list[dict[str, Any]]:
    """Every combination; what comes first in the space changes least often.

    Parameters
    ----------
    space : sequence of Range
        In the order of the stages, so that clusters serve as many trials in a row as can be.
    levels : int
        See `Range.levels`.
    """
    values = [each.levels(levels) for each in space]
    return [dict(zip((each.key for each in space), point, strict=True)) for point in product(*values)]


def grid_size(space: Sequence[Range], levels: int) -> int:
    """How many combinations there are."""
    return math.prod(len(each.levels(levels)) for each in space)


def distributions(space: Sequence[Range]) -> dict[str, BaseDistribution]:
    """The space as optuna wants it."""
    return {each.key: _distribution(each) for each in space}


def make_sampler(settings: TuneParams, space: Sequence[Range]) -> BaseSampler:
    """The sampler that the settings name."""
    if settings.sampler == "grid":
        points = grid_points(space, settings.levels)
        return Steady(lambda seed, place: Point(points[place % len(points)]), settings.seed)
    if settings.sampler == "cmaes":
        return Steady(lambda seed, place: _cmaes(seed), settings.seed)
    return Steady(lambda seed, place: TPESampler(seed=seed), settings.seed)


def _cmaes(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return CmaEsSampler(
            seed=seed,
            independent_sampler=RandomSampler(seed),
            warn_independent_sampling=False,
            consider_pruned_trials=True,
        )


def _distribution(each: Range) -> BaseDistribution:
    if each.is_choice:
        return CategoricalDistribution(each.choices)
    assert each.low is not None
    assert each.high is not None
    # optuna wants the highest value to be on a step.
    high = each.levels(2)[-1] if each.step is not None else each.high
    if each.is_whole:
        return IntDistribution(int(each.low), int(high), log=each.log, step=int(each.step or 1))
    return FloatDistribution(float(each.low), float(high), log=each.log, step=each.step)
