"""What propagation gains, and how well uncertainty ranks.

Run ``python -m benchmarks.propagation gain|ranks DATA STUDIES SET FIT [FOLD ...]``.

DATA holds the evaluation data, STUDIES what ``make results`` left (a folder per set, with the split and each fold's
response maps of its test cases). In place of a user's, the reference masks of some slices are accepted: of one, the
slice that shows most of the object; of more, slices at even steps between the first and the last that show it.
``gain`` prints the mean Dice of the whole volume as refined, with the accepted slices put in, and propagated from
them, and the gain of the last over the one before. ``ranks`` prints the mean of Spearman's rank correlation, within
each volume, of uncertainty with 1 minus Dice per slice. In brackets are 95 % intervals over patients.

The defaults of the propagation were chosen on the second fold of LGG; figures to quote come from other cases.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_refit import metrics
from napari_refit.fit.uncertainty import Belief, belief, uncertainty
from napari_refit.io.datasets import Split, find_dataset
from napari_refit.pipeline import Refit
from napari_refit.recipe import RefitParams
from napari_refit.study.bootstrap import draw_weights, mean_estimate
from napari_refit.study.cases import fitting_params, read_stack, read_truth_stack
from napari_refit.study.responding import CaseResponse, refit_of
from napari_refit.study.training import learner_dataset

SETS = {"lgg": "default", "hippocampus": "paper"}
"""Each with its preparation."""
ACCEPTED = (1, 2, 3, 5)
RANKED_WITH = 2

Mask = NDArray[np.uint8]
Values = dict[tuple[str, ...], list[float]]


def volumes(
    data: Path, study: Path, name: str, folds: list[int], params: RefitParams
) -> Iterator[tuple[Refit, Mask]]:
    """Each test case of the folds as a pipeline, with its reference mask (0 and 1)."""
    dataset = learner_dataset(find_dataset(data / name).prepared(SETS[name]), "classifier")
    split = Split.load(study / "split.json")
    for fold in folds:
        for case in split.folds[fold - 1].test:
            stack = read_stack(dataset, dataset.case(case))
            truth = (read_truth_stack(dataset, dataset.case(case)) > 0).astype(np.uint8)
            with np.load(study / f"stages/responses/classifier-fold{fold}-image/{case}.npz") as kept:
                response = CaseResponse(
                    kept["maps"], kept["predicted"], kept["numbers"], kept["logits"], float(kept["seconds"])
                )
            yield refit_of(stack, response, fitting_params(params, dataset.preparation), "cpu"), truth


def chosen(truth: Mask, count: int) -> list[int]:
    """The slices that the user would have accepted."""
    areas = truth.reshape(len(truth), -1).sum(axis=1)
    shown = np.flatnonzero(areas)
    if count == 1:
        return [int(areas.argmax())]
    steps = np.linspace(0, len(shown) - 1, count + 2)[1:-1].round().astype(int)
    return sorted({int(shown[step]) for step in steps})


def measure_propagation(refit: Refit, automatic: Mask, truth: Mask, fit: str, found: Values) -> None:
    """Dice of the volume with so many slices accepted."""
    found[fit, "as refined"].append(metrics.dice(automatic, truth))
    for count in ACCEPTED:
        positions = chosen(truth, count)
        put_in = automatic.copy()
        put_in[positions] = truth[positions]
        carried = put_in.copy()
        for position, mask in refit.propagate(put_in, positions, axis=0).masks.items():
            carried[position] = mask > 0
        before, after = metrics.dice(put_in, truth), metrics.dice(carried, truth)
        slices = f"{count} accepted"
        found[fit, slices, "put in"].append(before)
        found[fit, slices, "propagated"].append(after)
        found[fit, slices, "gain"].append(after - before)


def measure_ranks(
    beliefs: list[Belief], mask: Mask, truth: Mask, settled: list[int], name: tuple[str, ...], found: Values
) -> None:
    """Rank correlation of uncertainty and error over the slices of one volume that are not settled."""
    from scipy.stats import spearmanr

    n = len(truth)
    free = [k for k in range(n) if k not in settled]
    beside = [[mask[j] for j in (k - 1, k + 1) if 0 <= j < n] for k in range(n)]
    crisp = [belief(mask[k : k + 1].astype(np.float32), mask[k], (1,), 0.5) for k in range(n)]
    scores = {
        "fit alone": [uncertainty(mask[k], beliefs[k]) for k in free],
        "masks alone": [uncertainty(mask[k], crisp[k], beside[k]) for k in free],
        "uncertainty": [uncertainty(mask[k], beliefs[k], beside[k]) for k in free],
    }
    shown = [bool(mask[k].any() or truth[k].any()) for k in free]
    errors = [
        1 - metrics.dice(mask[k], truth[k]) if here else 0.0 for k, here in zip(free, shown, strict=True)
    ]
    for which, used in (("all slices", [True] * len(free)), ("slices with object or mask", shown)):
        own = np.array(errors)[used]
        if len(own) < 5 or np.ptp(own) == 0:
            continue
        for score, values in scores.items():
            of = np.array(values)[used]
            found[*name, which, score].append(float(spearmanr(of, own)[0]) if np.ptp(of) else 0.0)


def main(arguments: list[str]) -> int:
    """Print a table."""
    what, data, studies, name, fit, *folds = arguments
    found: Values = defaultdict(list)
    wanted = [int(fold) for fold in folds] or [1]
    for refit, truth in volumes(Path(data), Path(studies) / name, name, wanted, RefitParams(fit=fit)):
        refined = refit.volume(axis=0)
        automatic = (refined.mask > 0).astype(np.uint8)
        if what == "gain":
            measure_propagation(refit, automatic, truth, fit, found)
            continue
        beliefs = list(refined.beliefs.values())
        measure_ranks(beliefs, automatic, truth, [], (fit, "as refined"), found)
        settled = chosen(truth, RANKED_WITH)
        automatic[settled] = truth[settled]
        carried = refit.propagate(automatic, settled, axis=0)
        for position, mask in carried.masks.items():
            automatic[position], beliefs[position] = mask > 0, carried.beliefs[position]
        measure_ranks(beliefs, automatic, truth, settled, (fit, f"{RANKED_WITH} accepted, propagated"), found)
    for key, values in found.items():
        weights = draw_weights(len(values))
        shown = mean_estimate(weights, np.array(values), np.arange(len(values)))
        print(
            f"{name} | {' | '.join(key)} | {shown.value:.3f} ({shown.low:.3f} to {shown.high:.3f}) | n {shown.n}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
