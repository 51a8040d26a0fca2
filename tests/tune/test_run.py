"""The search itself, against brute force; what trials share; what is refused."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from made import BASE, SIDE, made_images, made_picture

from napari_refit import metrics
from napari_refit.pipeline import Refit
from napari_refit.tune.images import TuneImage
from napari_refit.tune.run import STARTUP_TRIALS, tune
from napari_refit.tune.settings import TuneParams
from napari_refit.tune.space import Range, default_space, range_of

THRESHOLDS = (0.2, 0.4, 0.6, 0.8)
SEGMENTS = (20, 40, 60)
SPACE = [Range("boundary.threshold", 0.2, 0.8, step=0.2), Range("slic.n_segments", 20, 60, step=20)]
QUIET = {"pruning": False, "threads": 1}


def by_hand(number: int, threshold: float, n_segments: int):
    """The mask by the public pipeline, from scratch."""
    image, truth, response = made_picture(number)
    params = BASE.replace(threshold=threshold, n_segments=n_segments)
    return Refit(image, response=response, params=params).slice(0).mask, truth


FIGURES = {
    "dsc": lambda pairs: np.mean([metrics.dice(*pair) for pair in pairs]),
    "miou": lambda pairs: np.mean([metrics.mean_iou(*pair, classes=[1]) for pair in pairs]),
    "nsd": lambda pairs: np.mean([metrics.surface_dice(*pair) for pair in pairs]),
    "paper": lambda pairs: metrics.paper_dsc(*(np.stack(part) for part in zip(*pairs, strict=True))),
}


@pytest.fixture(scope="module")
def brute_force():
    """Pairs of mask and truth at every point of the grid."""
    return {
        point: [by_hand(number, *point) for number in range(5)]
        for point in itertools.product(THRESHOLDS, SEGMENTS)
    }


@pytest.mark.parametrize("objective", FIGURES)
def test_a_grid_finds_what_brute_force_finds(objective, brute_force):
    result = tune(made_images(5), BASE, SPACE, TuneParams(sampler="grid", objective=objective, **QUIET))
    assert len(result.trials) == len(brute_force)
    expected = {point: FIGURES[objective](pairs) for point, pairs in brute_force.items()}
    found = {
        (trial.values["boundary.threshold"], trial.values["slic.n_segments"]): trial.score
        for trial in result.trials
    }
    assert found == pytest.approx(expected)
    assert result.best.score == pytest.approx(max(expected.values()))
    assert result.params.of("boundary").threshold == result.best.values["boundary.threshold"]
    assert result.params.of("slic").compactness == BASE.of("slic").compactness
    assert result.objective == objective
    assert sum(result.importances.values()) == pytest.approx(1)


def test_clusters_and_response_maps_are_made_once(images):
    settings = TuneParams(sampler="grid", **QUIET)
    result = tune(images, BASE, SPACE, settings)
    n, points = len(images), len(THRESHOLDS) * len(SEGMENTS)
    assert result.stage_runs["clusters"] == (n * len(SEGMENTS), n * (points - len(SEGMENTS)))
    # Asked for once before the trials as well.
    assert result.stage_runs["response"] == (n, n * points)
    assert result.stage_runs["fit"] == (n * points, 0)
    below = tune(images, BASE, SPACE[:1], settings)
    assert below.stage_runs["clusters"] == (n, n * (len(THRESHOLDS) - 1))


def test_a_cache_that_is_full_costs_time_and_no_more(images, monkeypatch):
    import napari_refit.tune.evaluating as evaluating

    settings = TuneParams(sampler="grid", **QUIET)
    plenty = tune(images, BASE, SPACE, settings)
    monkeypatch.setattr(evaluating, "LEAST_CACHE", 24)
    monkeypatch.setattr(evaluating.Evaluator, "share", lambda self: 0)
    scarce = tune(images, BASE, SPACE, settings)
    assert scarce.stage_runs["clusters"][0] > plenty.stage_runs["clusters"][0]
    assert [trial.score for trial in scarce.trials] == [trial.score for trial in plenty.trials]


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "grid"])
def test_the_same_seed_gives_the_same_search(sampler):
    space = default_space(BASE)[:4]

    def seen(seed: int, threads: int):
        settings = TuneParams(sampler=sampler, trials=16, seed=seed, levels=2, prune_after=2, threads=threads)
        result = tune(made_images(6), BASE, space, settings)
        return [(trial.values, trial.score, trial.state, trial.n_images) for trial in result.trials]

    first = seen(3, 1)
    assert len(first) == 16
    assert seen(3, 2) == first
    assert sampler == "grid" or seen(4, 1) != first


def test_tpe_begins_with_the_present_parameters_and_gets_better(images):
    space = default_space(BASE)
    result = tune(images, BASE.replace(threshold=0.9), space, TuneParams(trials=25, **QUIET))
    assert result.trials[0].values["boundary.threshold"] == 0.9
    assert result.best.score > result.trials[0].score + 0.1
    assert result.best.score == max(trial.score for trial in result.trials)


def test_poor_trials_are_stopped_after_a_few_images_and_only_poor_ones():
    space = [range_of("boundary.threshold"), range_of("boundary.coverage")]
    images = made_images(8)
    result = tune(images, BASE, space, TuneParams(trials=30, prune_after=2, threads=1))
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert {trial.n_images for trial in pruned} <= {2, 4}
    assert all(trial.score is None for trial in pruned)
    assert all(trial.number >= STARTUP_TRIALS for trial in pruned)

    def score(trial, count):
        params = BASE.replace(**trial.values)
        pairs = []
        for number in range(count):
            image, truth, response = made_picture(number)
            pairs.append((Refit(image, response=response, params=params).slice(0).mask, truth))
        return np.mean([metrics.dice(*pair) for pair in pairs])

    trial = pruned[0]
    before = [
        max(score(other, count) for count in (2, 4) if count <= trial.n_images)
        for other in result.trials[: trial.number]
        if other.state == "done"
    ]
    assert score(trial, trial.n_images) < np.median(before) + 1e-9


def test_a_failing_set_of_parameters_costs_one_trial(images, monkeypatch):
    from napari_refit.tune.evaluating import Evaluator

    inner = Evaluator.made

    def made(self, place, params, cancelled=None):
        if params.of("boundary").threshold > 0.5:
            raise ValueError("too\nmuch")
        return inner(self, place, params, cancelled)

    monkeypatch.setattr(Evaluator, "made", made)
    result = tune(images, BASE, SPACE, TuneParams(sampler="grid", **QUIET))
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert len(failed) == 6
    assert {trial.error for trial in failed} == {"too much"}
    assert len(result.trials) == 12


def test_several_classes_are_judged_by_their_numbers():
    draw = np.random.default_rng(2)
    truth = np.zeros((SIDE, SIDE), np.uint8)
    truth[5:20, 5:20], truth[22:36, 20:36] = 2, 1
    response = np.stack([truth == 1, truth == 2]).astype(np.float32)
    image = (truth / 2 + draw.normal(0, 0.02, truth.shape)).astype(np.float32)
    refit = Refit(image, response=response)
    space = [Range("boundary.threshold", 0.3, 0.6, step=0.3)]
    settings = TuneParams(sampler="grid", **QUIET)
    right = tune([TuneImage("a", "a", refit, {}, truth)], BASE, space, settings)
    assert right.best.score > 0.9
    swapped = np.array([0, 2, 1], np.uint8)[truth]
    assert tune([TuneImage("a", "a", refit, {}, swapped)], BASE, space, settings).best.score < 0.1
    named = TuneImage("a", "a", refit, {}, swapped, numbers={1: 2, 2: 1})
    assert tune([named], BASE, space, settings).best.score == right.best.score


@pytest.mark.parametrize("fit", ["appearance", "hierarchy", "partition_ensemble"])
def test_every_fit_can_be_tuned(fit):
    base = BASE.replace(fit=fit)
    result = tune(made_images(3), base, default_space(base), TuneParams(trials=6, **QUIET))
    assert {trial.state for trial in result.trials} == {"done"}
    assert result.best.score >= result.trials[0].score
    clusters, saved = result.stage_runs["clusters"]
    if fit == "partition_ensemble":
        # Four partitions, of which three do not depend on what is searched of SLIC's number of clusters.
        assert clusters + saved == 6 * 3 * 4


def test_segmenters_can_be_chosen_between(images):
    space = [Range("segmenter", choices=("slic", "watershed")), range_of("watershed.markers"), SPACE[1]]
    result = tune(images[:3], BASE, space, TuneParams(sampler="grid", levels=2, **QUIET))
    assert len(result.trials) == 2 * 2 * 3
    # What belongs to the other segmenter changes nothing, and reruns nothing.
    assert result.stage_runs["clusters"][0] == 3 * (2 + 3)
    by_segmenter = {}
    for trial in result.trials:
        by_segmenter.setdefault(trial.values["segmenter"], set()).add(trial.score)
    assert len(by_segmenter["slic"]) <= 3
    assert len(by_segmenter["watershed"]) <= 2


def test_progress_and_trials_are_told(images):
    told, trials = [], []
    settings = TuneParams(sampler="grid", **QUIET)
    result = tune(
        images, BASE, SPACE, settings, progress=lambda *args: told.append(args), on_trial=trials.append
    )
    assert [text for _, _, text in told[: len(images)]] == ["response maps"] * len(images)
    assert [done for done, _, text in told if text.startswith("trials")] == list(range(1, 13))
    assert {total for _, total, text in told if text.startswith("trials")} == {12}
    assert told[-1][2] == f"trials, best {result.best.score:.4f}"
    assert trials == result.trials


def test_time_is_a_budget_too(images, monkeypatch):
    import napari_refit.tune.run as run

    clock = itertools.count(step=20.0)
    monkeypatch.setattr(run, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    result = tune(images, BASE, SPACE, TuneParams(minutes=1, trials=50, **QUIET))
    assert 1 <= len(result.trials) <= 3
    assert result.stopped == "the 1 minutes are over"


def test_what_cannot_be_tuned(images):
    settings = TuneParams(sampler="grid", **QUIET)
    with pytest.raises(ValueError, match="no image to tune on"):
        tune([], BASE, SPACE, settings)
    with pytest.raises(ValueError, match="nothing to tune"):
        tune(images, BASE, [], settings)
    with pytest.raises(ValueError, match="not in use"):
        tune(images, BASE, [range_of("quickshift.ratio")], settings)
    without = made_images(2, with_truth=False)
    with pytest.raises(ValueError, match="dsc needs reference masks, and picture 0 has none"):
        tune(without, BASE, SPACE, TuneParams(objective="dsc"))
    with pytest.raises(ValueError, match="the grid has 12 points, more than the 11 trials"):
        tune(images, BASE, SPACE, settings.model_copy(update={"trials": 11}))
    image = TuneImage("alone", "alone", Refit(np.zeros((8, 8))), {}, None)
    with pytest.raises(ValueError, match="alone: there is no classifier and no response map"):
        tune([image], BASE, SPACE, settings)


def test_without_reference_masks_the_criterion_is_label_free():
    result = tune(made_images(4, with_truth=False), BASE, SPACE, TuneParams(sampler="grid", **QUIET))
    assert result.objective == "label-free"
    assert all(trial.score >= 0 for trial in result.trials)
    assert not math.isclose(result.trials[0].score, result.best.score)


def test_a_pipeline_in_use_is_not_disturbed(images):
    refit = images[0].refit
    before = refit.slice(0)
    held = refit.stages.cache.n_bytes
    tune(images, BASE, SPACE, TuneParams(sampler="grid", **QUIET))
    assert refit.stages.cache.n_bytes == held
    after = refit.slice(0)
    assert after.seconds["clusters"] == after.seconds["response"] == after.seconds["fit"] == 0
    np.testing.assert_array_equal(before.mask, after.mask)
