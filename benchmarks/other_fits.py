"""The fits beside other ways from a response map to a mask: ``python -m benchmarks.other_fits DATA STUDIES [SET ...]``.

DATA and STUDIES as of `response_maps`, with the same validation images; test images are not read. Every way is given
the same Grad-CAM response maps. Ours run with their defaults. Of each other way the best of its settings on these very
images counts, which is in its favour; those that work on pixels are given every n-th pixel where a side is longer than
`SIDE`, for they take long.

Printed are the mean Dice of the automatic mask; the paired difference to `appearance`; Dice with the same strokes for
all (one on the object, one on the background, by the rule of `napari_refit.study.strokes`, where the map at its best
threshold is wrong); Dice after one and two rounds of strokes where each way's own mask is wrong; all with 95 %
intervals over patients; and the seconds that an automatic mask takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.response_maps import SETS, Plane, dice_by_threshold, interval, planes, respond
from scipy.ndimage import gaussian_gradient_magnitude

from napari_refit.fit.hints import BACKGROUND_HINT
from napari_refit.fitting import gate_and_fit
from napari_refit.params import CamParams
from napari_refit.recipe import RefitParams
from napari_refit.responses import PlaneResponse
from napari_refit.study.bootstrap import draw_weights, mean_estimate
from napari_refit.study.strokes import draw_strokes

SIDE = 200
ROUNDS = 2
BETA = 130
"""Of the random walker: what scikit-image has by default."""
SEEDS = [{"high": high, "low": low} for high in (0.7, 0.85) for low in (0.2, 0.4)]
Way = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Sample:
    """A plane, and its response map in [0, 1]."""

    plane: Plane
    response: PlaneResponse
    truth: np.ndarray

    @property
    def map(self) -> np.ndarray:
        found: np.ndarray = self.response.maps[0]
        return found


def ours(fit: str) -> Way:
    """A fit of the registry with its defaults, as the dock runs it."""

    def run(sample: Sample, hints: np.ndarray) -> np.ndarray:
        plane, params = sample.plane, RefitParams(fit=fit, gate="off")
        segments = plane.segments
        painted = hints if hints.any() else None
        return (
            gate_and_fit(
                sample.response,
                segments.clusters,
                segments.simplified,
                plane.image,
                params,
                None,
                hints=painted,
            ).mask
            > 0
        )

    return run


def threshold(sample: Sample, hints: np.ndarray, level: float) -> np.ndarray:
    """The map itself, with the strokes drawn in."""
    return np.where(hints > 0, hints == 1, sample.map >= level)


def on_small(method: Callable[..., np.ndarray]) -> Way:
    """A way on pixels, run on every n-th of them."""

    def run(sample: Sample, hints: np.ndarray, **setting: Any) -> np.ndarray:
        step = -(-max(hints.shape) // SIDE)
        small = hints[::step, ::step].copy()
        if step > 1:
            # A stroke is thinner than the steps: wherever it passes, it counts.
            rows, columns = np.nonzero(hints)
            small[rows // step, columns // step] = hints[rows, columns]
        image = sample.plane.image[::step, ::step]
        grey = image.mean(-1) if image.ndim == 3 else image
        found = method(grey, sample.map[::step, ::step], small, **setting)
        return np.repeat(np.repeat(found, step, 0), step, 1)[: hints.shape[0], : hints.shape[1]]

    return run


def seeds(
    response: np.ndarray, hints: np.ndarray, high: float, low: float, keep: bool, frame: bool
) -> np.ndarray:
    """1 object, 2 background, 0 open: strokes, and the highest and lowest responses where they are kept or needed.

    With ``frame`` the edge of the picture is background as soon as the object has a stroke.
    """
    found = np.where(hints == BACKGROUND_HINT, 2, (hints > 0).astype(np.int64))
    strong, weak = response >= min(high, response.max()), response <= max(low, response.min())
    for value, there in ((1, strong), (2, weak)):
        if keep or not (found == value).any():
            found[there & (hints == 0)] = value
    if frame and (hints == 1).any():
        edge = np.ones(found.shape, bool)
        edge[1:-1, 1:-1] = False
        found[edge & (hints == 0)] = 2
    return found


def random_walk(
    grey: np.ndarray,
    response: np.ndarray,
    hints: np.ndarray,
    high: float,
    low: float,
    keep: bool,
    frame: bool,
) -> np.ndarray:
    """scikit-image's random walker (Grady 2006)."""
    from skimage.segmentation import random_walker

    marked = seeds(response, hints, high, low, keep, frame)
    if not (marked == 0).any() or len(np.unique(marked[marked > 0])) < 2:
        return marked == 1
    return np.asarray(random_walker(grey, marked, beta=BETA, mode="cg_j", prob_tol=0.1) == 1)


def geodesic(
    grey: np.ndarray,
    response: np.ndarray,
    hints: np.ndarray,
    high: float,
    low: float,
    keep: bool,
    frame: bool,
) -> np.ndarray:
    """Nearer to the object's seeds than to the background's, along ways that avoid edges (Criminisi et al. 2008)."""
    from skimage.graph import MCP_Geometric

    marked = seeds(response, hints, high, low, keep, frame)
    edges = gaussian_gradient_magnitude(grey.astype(np.float64), 1.0)
    cost = 0.1 + edges / max(float(edges.mean()), 1e-9)
    away = []
    for value in (1, 2):
        starts = np.argwhere(marked == value)
        if not len(starts):
            return np.full(grey.shape, value == 2)
        away.append(MCP_Geometric(cost).find_costs(starts)[0])
    return np.asarray(away[0] < away[1])


def grabcut(grey: np.ndarray, response: np.ndarray, hints: np.ndarray, high: float) -> np.ndarray:
    """OpenCV's GrabCut (Rother et al. 2004) on pixels: probably object from a level on, strokes for sure."""
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)
    state = np.where(response >= min(high, response.max()), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[hints == BACKGROUND_HINT], state[(hints > 0) & (hints != BACKGROUND_HINT)] = cv2.GC_BGD, cv2.GC_FGD
    picture = np.repeat(np.round(grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    if (
        np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).all()
        or not np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).any()
    ):
        return np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))
    models = np.zeros((1, 65)), np.zeros((1, 65))
    state = cv2.grabCut(picture, state, None, *models, 3, cv2.GC_INIT_WITH_MASK)[0]
    return np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))


@dataclass(frozen=True)
class Entry:
    """A way, the settings of which the best by itself counts, and how it takes strokes, by title."""

    way: Way
    settings: list[dict[str, Any]]
    variants: dict[str, dict[str, Any]]


_STROKES = {
    "{}, seeds of the map and strokes": {"keep": True, "frame": False},
    "{}, strokes instead of the map": {"keep": False, "frame": False},
    "{}, strokes and the frame instead of the map": {"keep": False, "frame": True},
}


def _seeded(name: str, method: Callable[..., np.ndarray]) -> Entry:
    variants = {title.format(name): options for title, options in _STROKES.items()}
    return Entry(on_small(method), SEEDS, variants)


ENTRIES = (
    Entry(ours("appearance"), [{}], {"`appearance`": {}}),
    Entry(ours("boundary"), [{}], {"`boundary`": {}}),
    Entry(
        threshold,
        [{"level": float(level)} for level in np.arange(0.3, 0.95, 0.05)],
        {"Grad-CAM at its best threshold": {}},
    ),
    _seeded("random walker", random_walk),
    _seeded("geodesic distance", geodesic),
    Entry(on_small(grabcut), [{"high": high} for high in (0.5, 0.6, 0.7, 0.8)], {"GrabCut": {}}),
)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Of two masks of which the second is not empty."""
    return float(2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()))


def corrected(run: Callable[[np.ndarray], np.ndarray], mask: np.ndarray, truth: np.ndarray) -> list[float]:
    """Dice after each round of strokes where the way's own mask is wrong."""
    hints, found = np.zeros(truth.shape, np.uint8), []
    for _ in range(ROUNDS):
        draw_strokes(mask.astype(np.uint8), truth.astype(np.uint8), hints)
        mask = run(hints)
        found.append(dice(mask, truth))
    return found


def automatic(entry: Entry, samples: list[Sample]) -> tuple[dict[str, Any], list[np.ndarray], float]:
    """The setting that is best without strokes, its masks, and seconds per image."""
    found: list[tuple[float, dict[str, Any], list[np.ndarray]]] = []
    start = time.perf_counter()
    options = next(iter(entry.variants.values()))
    for setting in entry.settings:
        masks = [
            entry.way(each, np.zeros(each.truth.shape, np.uint8), **setting, **options) for each in samples
        ]
        mean = np.mean([dice(mask, each.truth) for mask, each in zip(masks, samples, strict=True)])
        found.append((float(mean), setting, masks))
    spent = (time.perf_counter() - start) / len(samples) / len(entry.settings)
    _, setting, masks = max(found, key=lambda each: each[0])
    return setting, masks, spent


def neutral_strokes(samples: list[Sample]) -> list[np.ndarray]:
    """For each image the strokes where the map at the threshold that is best for all of them is wrong."""
    scores = np.array([dice_by_threshold(sample.map, sample.truth) for sample in samples])
    level, found = (int(scores.mean(0).argmax()) + 1) / 100, []
    for sample in samples:
        hints = np.zeros(sample.truth.shape, np.uint8)
        draw_strokes((sample.map >= level).astype(np.uint8), sample.truth.astype(np.uint8), hints)
        found.append(hints)
    return found


def main() -> int:
    """Print a table per set."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    data, studies = Path(sys.argv[1]), Path(sys.argv[2])
    for name in sys.argv[3:] or SETS:
        samples = [
            Sample(each, respond(each, CamParams()), each.truth) for each in planes(name, data, studies)
        ]
        _, patients = np.unique([sample.plane.patient for sample in samples], return_inverse=True)
        weights, same = draw_weights(int(patients.max()) + 1), neutral_strokes(samples)
        print(f"\n## {name}: {len(samples)} images, {patients.max() + 1} patients or groups\n")
        print(
            "| way | automatic | against `appearance` | the same strokes | one round | two rounds | s | setting |"
        )
        print("|---|---|---|---|---|---|---|---|")
        first = None
        for entry in ENTRIES:
            try:
                setting, masks, spent = automatic(entry, samples)
            except ImportError as error:
                print(f"| {', '.join(entry.variants)} | not there: {error} | | | | | | |")
                continue
            values = np.array([dice(mask, each.truth) for mask, each in zip(masks, samples, strict=True)])
            first = values if first is None else first
            for title, options in entry.variants.items():
                runs = [partial(_run, entry.way, each, {**setting, **options}) for each in samples]
                helped = [
                    dice(run(hints), each.truth) for run, hints, each in zip(runs, same, samples, strict=True)
                ]
                rounds = [
                    corrected(run, mask, each.truth)
                    for run, mask, each in zip(runs, masks, samples, strict=True)
                ]
                figures = [values, values - first, np.array(helped), *np.array(rounds).T]
                cells = [
                    interval(mean_estimate(weights, each, patients), "+" if k == 1 else "")
                    for k, each in enumerate(figures)
                ]
                shown = ", ".join(f"{key} {value:g}" for key, value in setting.items()) or "default"
                print(f"| {title} | {' | '.join(cells)} | {spent:.2f} | {shown} |", flush=True)
    return 0


def _run(way: Way, sample: Sample, setting: dict[str, Any], hints: np.ndarray) -> np.ndarray:
    return way(sample, hints, **setting)


if __name__ == "__main__":
    sys.exit(main())
