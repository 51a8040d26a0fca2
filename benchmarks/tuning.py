"""How well the search for parameters works on real data.

Run ``python -m benchmarks.tuning rank|race|speed DATA STUDIES WORK SET [MINUTES]``.

DATA holds the evaluation data, STUDIES what ``make results`` left (a folder per set, with the split and the trained
classifiers), WORK is a folder for what has been worked out; a run that was stopped, or whose MINUTES are over, goes on
from there. All images are training or validation images of the first fold that show the object; test images are not
read.

``rank`` draws sets of parameters at random from the default space and prints Spearman's rank correlation between the
label-free criterion and the mean Dice over the images, with 95 % intervals over patients, and the Dice of the set that
the criterion ranks first. ``race`` tries a whole grid, then lets others try a fifth as many: TPE and CMA-ES the grid's
points, and TPE any value between, each with several seeds. ``speed`` times 200 trials of TPE over SLIC and BoundaryFit
on 100 slices of 256 x 256.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_refit.io.datasets import Dataset, Split, find_dataset
from napari_refit.params import CamParams
from napari_refit.planes import PlaneIndex
from napari_refit.recipe import RefitParams
from napari_refit.responses import ClassifierResponse, PlaneResponse
from napari_refit.study.bootstrap import draw_weights
from napari_refit.study.cases import only, read_stack, read_truth_stack
from napari_refit.study.responding import pipeline_of
from napari_refit.tune.dataset_images import class_table, slices_of
from napari_refit.tune.evaluating import Evaluator
from napari_refit.tune.images import TuneImage, drawn, drawn_images
from napari_refit.tune.objective import OBJECTIVES, judged
from napari_refit.tune.run import in_stage_order, tune
from napari_refit.tune.samplers import make_sampler
from napari_refit.tune.settings import TuneParams
from napari_refit.tune.space import Range, applied, default_space
from napari_refit.watch import Watch

SETS = {"busi": "benign-normal", "lgg": "default", "hippocampus": "paper"}
"""Each with its preparation."""
SIZES = {"busi": 256}
"""Planes are resized to this, where they are larger than need be for a comparison of searches."""
RANKED_SETS = 80
RANKED_IMAGES = 40
RACE_IMAGES = 60
SHARE = 0.2
SEEDS = (0, 1, 2)
DRAWS = 20
"""Seeds of searches over the grid's own points, whose scores are known."""
GRID = (
    Range("slic.n_segments", 50, 400, log=True),
    Range("slic.compactness", 5, 80, log=True),
    Range("boundary.threshold", 0.3, 0.9, step=0.1),
    Range("boundary.coverage", 0.25, 1.0, step=0.25),
    Range("boundary.spread", 0, 20, step=10),
)
LEVELS = 3


class Remembered(ClassifierResponse):
    """A classifier's response maps, kept in files."""

    def __init__(self, classifier: Any, folder: Path, case: str) -> None:
        super().__init__(classifier)
        self._folder, self._case = folder, case

    def respond(
        self,
        indices: Sequence[PlaneIndex],
        inputs: Sequence[NDArray[np.float32]],
        params: CamParams,
        watch: Watch,
    ) -> list[PlaneResponse]:
        found = []
        for index, plane in zip(indices, inputs, strict=True):
            path = self._folder / f"{self._case}-{dict(index).get(0, 0)}.npz"
            if not path.exists():
                (made,) = super().respond([index], [plane], params, watch)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, maps=made.maps, predicted=made.predicted, numbers=made.class_numbers)
            with np.load(path) as kept:
                maps, numbers = kept["maps"], tuple(int(number) for number in kept["numbers"])
                predicted = tuple(bool(value) for value in kept["predicted"])
            found.append(PlaneResponse(maps, maps, predicted, tuple(map(str, numbers)), numbers))
        return found


def images_of(
    name: str, data: Path, studies: Path, work: Path, sides: Sequence[str], most: int
) -> list[TuneImage]:
    """Images of a set that show the object, of cases on these sides of the first fold."""
    from napari_refit.cam.classifier import load_classifier

    dataset: Dataset = find_dataset(data / name).prepared(SETS[name])
    if name in SIZES:
        dataset = dataset.prepared(dataset.preparation.model_copy(update={"size": SIZES[name]}))
    fold = Split.load(studies / name / "split.json").folds[0]
    dataset = only(dataset, [case for side in sides for case in getattr(fold, side)])
    training = studies / name / "stages" / "training" / "classifier-fold1"
    classifier = load_classifier(training / "checkpoint.safetensors")
    numbers = class_table(classifier, dataset.class_names)
    found: list[list[TuneImage]] = []
    for case in drawn(dataset.cases, [case.patient for case in dataset.cases], len(dataset.cases), 0):
        if len(found) == most:
            break
        stack, truth = read_stack(dataset, case), read_truth_stack(dataset, case)
        refit = pipeline_of(stack)
        refit.stages.use(Remembered(classifier, work / "responses" / name, case.name))
        slices = slices_of(dataset, case, stack, truth, refit, numbers, True)
        found += [slices] if slices else []
    return drawn_images(found, TuneParams(images=most), f"{name}: nothing to tune on")


def progress(text: str, done: int, total: int, what: str) -> None:
    if not sys.stderr.isatty():
        return
    print(f"{text}: {what} {done} of {total}", file=sys.stderr, end="\r", flush=True)


def random_values(space: Sequence[Range], chance: np.random.Generator) -> dict[str, Any]:
    """A set of parameters, drawn evenly from the space."""
    values = {}
    for each in space:
        assert each.low is not None
        assert each.high is not None
        share = chance.random()
        low, high = each.low, each.high
        value = low * (high / low) ** share if each.log else low + share * (high - low)
        values[each.key] = each.rounded(value)
    return values


def rank(name: str, data: Path, studies: Path, work: Path, minutes: float) -> None:
    """Print how well the label-free criterion ranks parameters."""
    start = time.perf_counter()
    base, space = RefitParams(), default_space(RefitParams())
    images = images_of(name, data, studies, work, ["validation"], RANKED_IMAGES)
    evaluator = Evaluator(images, OBJECTIVES["dsc"], TuneParams())
    evaluator.prepare(base, partial(progress, name))
    chance = np.random.default_rng(17)
    file = work / f"rank-{name}.json"
    table = json.loads(file.read_text()) if file.exists() else []
    for number in range(RANKED_SETS):
        values = random_values(space, chance)
        if number < len(table):
            continue
        if minutes and time.perf_counter() - start > 60 * minutes:
            print(f"{name}: {len(table)} of {RANKED_SETS} sets so far")
            return
        table.append(_both(evaluator, applied(base, values)))
        file.write_text(json.dumps(table))
        progress(name, number, RANKED_SETS, "sets")
    default = _both(evaluator, base)
    _print_rank(name, images, np.array(table, float), np.array(default, float))


def _both(evaluator: Evaluator, params: RefitParams) -> list[list[float]]:
    """Dice and the label-free criterion of every image."""
    found = []
    for place, image in enumerate(evaluator.images):
        made = evaluator.made(place, params)
        found.append([float(judged(OBJECTIVES[which], made, image)) for which in ("dsc", "label-free")])
    return found


def _print_rank(title: str, images: Sequence[TuneImage], table: NDArray, default: NDArray) -> None:
    from scipy.stats import spearmanr

    names, patients = np.unique([image.patient for image in images], return_inverse=True)

    def correlation(weights: NDArray) -> float:
        """Over the sets, of means over the images with these weights."""
        means = [
            np.nansum(part * weights, axis=1) / np.nansum(~np.isnan(part) * weights, axis=1)
            for part in (table[..., 0], table[..., 1])
        ]
        return float(spearmanr(*means)[0])

    drawn_weights = draw_weights(len(names), 1000)
    spread = [correlation(each[patients]) for each in drawn_weights[1:]]
    low, high = np.nanpercentile(spread, [2.5, 97.5])
    dice, criterion = np.nanmean(table, axis=1).T
    chosen = dice[int(criterion.argmax())]
    print(
        f"| {title} | {len(images)} of {len(names)} | {correlation(np.ones(len(images))):.2f} ({low:.2f} to {high:.2f})"
        f" | {chosen:.3f} | {np.median(dice):.3f} | {dice.max():.3f} | {np.nanmean(default[:, 0]):.3f} |"
    )


def race(name: str, data: Path, studies: Path, work: Path, minutes: float) -> None:
    """Print what a whole grid finds, and what TPE and CMA-ES find with a fifth of its trials."""
    start = time.perf_counter()
    images = images_of(name, data, studies, work, ["train", "validation"], RACE_IMAGES)
    common = {"objective": "dsc", "levels": LEVELS, "pruning": False}

    def left() -> float:
        return max(1e-3, minutes - (time.perf_counter() - start) / 60) if minutes else 0.0

    def study(settings: TuneParams) -> Any:
        file = (
            work
            / f"race-{name}-{settings.sampler}-{settings.seed}{'-pruned' if settings.pruning else ''}.journal"
        )
        return tune(images, RefitParams(), GRID, settings, study=file, progress=partial(progress, file.stem))

    whole = study(TuneParams(sampler="grid", trials=100_000, minutes=left(), **common))
    if whole.stopped:
        print(f"{name}: {len(whole.trials)} points of the grid so far")
        return
    best, size = whole.best.score, len(whole.trials)
    most = int(SHARE * size)
    print(f"{name}: grid of {size}, best {best:.3f} at {whole.best.values}; a fifth: {most} trials")
    scores = {tuple(trial.values.values()): trial.score for trial in whole.trials}
    for sampler in ("tpe", "cmaes"):
        found = [_on_points(sampler, seed, scores, most) for seed in range(DRAWS)]
        lacking = [100 * (best - max(each)) for each in found]
        needed = [
            next((k for k, score in enumerate(each, 1) if score >= best - 0.01), None) for each in found
        ]
        reached = sorted(count for count in needed if count is not None)
        print(
            f"| {name} | {sampler}, the grid's points | {len(reached)} of {DRAWS} within 1 point | "
            f"median {np.median(reached):.0f}, most {max(reached)} trials | "
            f"lacking {np.mean(lacking):.2f} on average, {max(lacking):.2f} at most |"
        )
    for pruning in (False, True):
        for seed in SEEDS:
            settings = TuneParams(trials=most, seed=seed, minutes=left(), **{**common, "pruning": pruning})
            result = study(settings)
            if result.stopped:
                print(f"{name}: tpe, seed {seed}: {len(result.trials)} trials so far")
                return
            print(
                f"| {name} | tpe{', stopped early' if pruning else ''}, all values | seed {seed} | "
                f"{result.best.score:.4f} | {100 * (result.best.score - best):+.2f} |"
            )


def _on_points(
    sampler: str, seed: int, scores: Mapping[tuple[Any, ...], float], most: int
) -> NDArray[np.float64]:
    """The best score so far of a search over a grid's points, whose scores are looked up."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    levels = [each.levels(LEVELS) for each in in_stage_order(GRID, RefitParams())]
    settings = TuneParams(sampler=sampler, seed=seed)  # type: ignore[arg-type]
    study = optuna.create_study(direction="maximize", sampler=make_sampler(settings, GRID))
    found = []
    for _ in range(most):
        trial = study.ask()
        point = tuple(own[trial.suggest_int(str(k), 0, len(own) - 1)] for k, own in enumerate(levels))
        found.append(scores[point])
        study.tell(trial, found[-1])
    return np.maximum.accumulate(found)


def speed(name: str, data: Path, studies: Path, work: Path, minutes: float) -> None:
    """Print how long 200 trials take, reading images and computing response maps left out."""
    images = images_of(name, data, studies, work, ["train", "validation"], 100)
    space = default_space(RefitParams())
    evaluator = Evaluator(images, OBJECTIVES["dsc"], TuneParams())
    start = time.perf_counter()
    evaluator.prepare(RefitParams(), partial(progress, "speed"))
    prepared = time.perf_counter() - start
    file, spent = work / f"speed-{name}.json", []
    if file.exists():
        spent = json.loads(file.read_text())
    settings = TuneParams(trials=200, objective="dsc", minutes=minutes)
    processor = time.process_time()
    study = work / f"speed-{name}.db"
    found = tune(images, RefitParams(), space, settings, study=study, progress=partial(progress, "speed"))
    spent.append([found.seconds, time.process_time() - processor, *found.stage_runs["clusters"]])
    file.write_text(json.dumps(spent))
    seconds, processor, run, saved = np.sum(spent, axis=0)
    shapes = {image.refit.grid.planes.shape[-2:] for image in images}
    print(
        f"{name}: {len(images)} images of {shapes}, {len(found.trials)} trials over {len(space)} parameters, "
        f"{sum(trial.state == 'pruned' for trial in found.trials)} of them stopped early: {seconds:.0f} s, "
        f"{processor:.0f} s of processor, in {len(spent)} parts; clusters made {run:.0f} times, {saved:.0f} saved; "
        f"response maps this time {prepared:.0f} s; best {found.best.score:.4f}, begun with {found.trials[0].score:.4f}"
    )


def main(arguments: list[str]) -> int:
    """Print figures."""
    if len(arguments) not in (5, 6) or arguments[0] not in ("rank", "race", "speed"):
        raise SystemExit(__doc__)
    what, data, studies, work, name, *rest = arguments
    folder = Path(work)
    folder.mkdir(parents=True, exist_ok=True)
    job = {"rank": rank, "race": race, "speed": speed}[what]
    job(name, Path(data), Path(studies), folder, float(rest[0]) if rest else 0.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
