"""How the preset of phantoms was chosen: ``python benchmarks/default_parameters.py [PHANTOMS]``.

Refines validation phantoms, whose seeds neither the classifier's training nor the demo uses, over a grid of
parameters, and prints the foreground Dice over all their voxels beside that of the CAM at its best single threshold.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np

from napari_refit.demo import sample_classifier
from napari_refit.io.phantom import phantom
from napari_refit.pipeline import Refit
from napari_refit.recipe import RefitParams
from napari_refit.scoring import THRESHOLDS

SEEDS = range(2000, 2008)
PRESET = RefitParams.preset("phantom")
EQUATION_1 = {"threshold": 0.5, "coverage": 1.0, "spread": 0.0, "tolerance": 0.0}
GRID = {
    "compactness": (10.0, 20.0),
    "tolerance": (0.0, 0.04, 0.08),
    "coverage": (1.0, 0.5, 0.25),
    "threshold": (0.1, 0.2, 0.3, 0.5),
}


def dice(hits: float, found: float, wanted: float) -> float:
    """Dice from voxel counts."""
    return 2 * hits / (found + wanted)


def main() -> int:
    """Print the CAM's row, eq. (1), the default, and the best of the grid."""
    seeds = SEEDS[: int(sys.argv[1])] if len(sys.argv) > 1 else SEEDS
    cells = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    cells += [EQUATION_1, {"cam_input": "simplified"}, {}]
    cam = {name: np.zeros((len(THRESHOLDS), 2)) for name in ("image", "simplified")}
    counts = np.zeros((len(cells), 2))
    wanted = 0
    for seed in seeds:
        made = phantom(seed)
        truth = made.truth.transpose(2, 1, 0) > 0
        wanted += int(truth.sum())
        refit = Refit(made.image.transpose(2, 1, 0), sample_classifier())
        for name, table in cam.items():
            refit.params = PRESET.replace(cam_input=name)
            response = refit.volume(keep_response=True).response[0]
            masks = (response >= threshold for threshold in THRESHOLDS)
            table += [[np.count_nonzero(mask & truth), np.count_nonzero(mask)] for mask in masks]
        refit.params = PRESET
        positive = [k for k in range(len(truth)) if any(refit.slice(k).predicted)]
        for row, cell in enumerate(cells):
            refit.params = PRESET.replace(**cell)
            for k in range(len(truth)) if "cam_input" in cell else positive:
                mask = refit.slice(k).mask > 0
                counts[row] += np.count_nonzero(mask & truth[k]), np.count_nonzero(mask)
        print(f"phantom {seed}: {len(positive)} slices predicted positive", file=sys.stderr, flush=True)
    for name, table in cam.items():
        scores = [dice(hits, found, wanted) for hits, found in table]
        best = int(np.argmax(scores))
        print(f"CAM of the {name}, best single threshold {THRESHOLDS[best]:.2f}: {scores[best]:.3f}")
    scores = [dice(hits, found, wanted) for hits, found in counts]
    print(f"eq. (1), threshold 0.5: {scores[-3]:.3f}")
    print(f"phantom preset on the CAM of the simplified image: {scores[-2]:.3f}")
    print(f"phantom preset: {scores[-1]:.3f}")
    for row in np.argsort(scores[:-3])[::-1][:10]:
        print(f"{scores[row]:.3f}  " + "  ".join(f"{key} {value:g}" for key, value in cells[row].items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
