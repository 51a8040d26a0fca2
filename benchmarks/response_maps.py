"""How good response maps are by themselves: ``python benchmarks/response_maps.py DATA STUDIES [SET ...]``.

DATA holds the evaluation data, STUDIES what ``make results`` left (a folder per set, with the split and the trained
classifiers). Of each fold's validation images, which chose that classifier's epoch but did not train it, those that
show the object are mapped with every row of `ROWS`. Printed are the mean Dice of the maps at the single threshold that
is best on these images, the difference to the first row, both with 95 % intervals over patients (groups of near
duplicates where there are no patients), and the mean Dice after BoundaryFit at the best of its thresholds. Test images
are not read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.response import compute_responses
from napari_refit.cam.runs import cost
from napari_refit.fitting import gate_and_fit
from napari_refit.io.datasets import Split, find_dataset
from napari_refit.params import BOTH, FINER, CamParams
from napari_refit.recipe import RefitParams
from napari_refit.responses import PlaneResponse
from napari_refit.segmenting import Segments
from napari_refit.stages import Run
from napari_refit.study.bootstrap import draw_weights, mean_estimate
from napari_refit.study.cases import fitting_params, only, read_stack, read_truth_stack
from napari_refit.study.responding import pipeline_of

SETS = {"busi": "benign-normal", "lgg": "", "hippocampus": "paper"}
"""Each with its preparation."""
MOST_PLANES = 80
FIT_THRESHOLDS = np.arange(0.30, 0.96, 0.05)
_MIRROR: dict[str, Any] = {"smoothing": "mirror"}
_HIRES: dict[str, Any] = {"method": "hirescam"}
ROWS: dict[str, dict[str, Any]] = {
    "Grad-CAM, last stage, one scale": {},
    "the same, of the simplified image": {"cam_input": "simplified"},
    "the same, mirrored": _MIRROR,
    "the same, four mirrored copies": {"smoothing": "flips"},
    "LayerCAM, last stage": {"method": "layercam"},
    "LayerCAM, stride 16": {"method": "layercam", "layer": FINER},
    "HiResCAM, stride 16": {**_HIRES, "layer": FINER},
    "HiResCAM, last x stride 16": {**_HIRES, "layer": BOTH},
    "Grad-CAM, scales 1, 2, mirrored": {**_MIRROR, "scales": (1, 2)},
    "Grad-CAM, scales 0.5, 1, 1.5, mirrored": {**_MIRROR, "scales": (0.5, 1, 1.5)},
    "Grad-CAM, scales 0.5, 1, 1.5, 2, mirrored": {**_MIRROR, "scales": (0.5, 1, 1.5, 2)},
    "HiResCAM, stride 16, scales 0.5, 1, 1.5, mirrored": {
        **_MIRROR,
        **_HIRES,
        "layer": FINER,
        "scales": (0.5, 1, 1.5),
    },
    "LayerCAM, last x stride 16, scales 0.5, 1, 1.5, mirrored": {
        **_MIRROR,
        "method": "layercam",
        "layer": BOTH,
        "scales": (0.5, 1, 1.5),
    },
    "HiResCAM, last x stride 16, scales 0.5, 1, 1.5, mirrored": {
        **_MIRROR,
        **_HIRES,
        "layer": BOTH,
        "scales": (0.5, 1, 1.5),
    },
    "HiResCAM, last x stride 16, scales 0.5, 1, 1.5, 2, mirrored": {
        **_MIRROR,
        **_HIRES,
        "layer": BOTH,
        "scales": (0.5, 1, 1.5, 2),
    },
}


@dataclass(frozen=True)
class Plane:
    """A plane that shows the object, and whose classifier it is."""

    classifier: Any
    image: np.ndarray
    segments: Segments
    truth: np.ndarray
    patient: str


def planes(name: str, data: Path, studies: Path) -> list[Plane]:
    """Of every fold's validation cases as many planes as there may be, drawn with a fixed seed."""
    dataset = find_dataset(data / name)
    dataset = dataset.prepared(SETS[name]) if SETS[name] else dataset
    split = Split.load(studies / name / "split.json")
    params = fitting_params(RefitParams(), dataset.preparation)
    found = []
    for number, fold in enumerate(split.folds, start=1):
        training = studies / name / "stages" / "training" / f"classifier-fold{number}"
        classifier = load_classifier(training / "checkpoint.safetensors")
        there = list(_with_object(only(dataset, fold.validation)))
        count = min(len(there), MOST_PLANES // len(split.folds))
        for k in sorted(np.random.default_rng(0).choice(len(there), count, replace=False)):
            refit, index, truth, patient = there[k]
            refit.params = params
            image = refit.stages.plain_image(index, params)
            segments = refit.stages.segments(index, image, params, Run())
            found.append(Plane(classifier, image, segments, truth, patient))
    return found


def _with_object(dataset: Any) -> Iterator[tuple[Any, Any, np.ndarray, str]]:
    for case in dataset.cases:
        stack, truth = read_stack(dataset, case), read_truth_stack(dataset, case) > 0
        refit = pipeline_of(stack)
        for index, seen in zip(
            refit.grid.planes.stack(0), truth if stack.axis is not None else truth[None], strict=True
        ):
            if seen.any():
                yield refit, index, seen, case.group or case.patient


def respond(plane: Plane, cam: CamParams) -> PlaneResponse:
    """The response map of the first class that is not the background."""
    seen = plane.segments.simplified if cam.cam_input == "simplified" else plane.image
    found = compute_responses(plane.classifier, seen[None], plane.classifier.foreground[:1], cam)
    return PlaneResponse(found.maps[0], found.raw[0], (True,), ("object",), (1,))


def dice_by_threshold(response: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice at the thresholds 0.01, 0.02, ... 1."""
    bins = np.floor(response * 100 + 1e-3).astype(np.int64).clip(0, 100)
    found, hits = (
        np.bincount(each.ravel(), minlength=101)[:0:-1].cumsum()[::-1] for each in (bins, bins[truth])
    )
    return 2 * hits / (found + np.count_nonzero(truth))


def dice_after_fit(plane: Plane, response: PlaneResponse) -> list[float]:
    """Dice of BoundaryFit's mask at each of `FIT_THRESHOLDS`, the rest of it as by default."""
    scores = []
    for threshold in FIT_THRESHOLDS:
        params = RefitParams(gate="off", threshold=float(threshold))
        segments = plane.segments
        mask = (
            gate_and_fit(response, segments.clusters, segments.simplified, plane.image, params, None).mask > 0
        )
        scores.append(2 * np.count_nonzero(mask & plane.truth) / (mask.sum() + plane.truth.sum()))
    return scores


def main() -> int:
    """Print a table per set."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    data, studies = Path(sys.argv[1]), Path(sys.argv[2])
    for name in sys.argv[3:] or SETS:
        chosen = planes(name, data, studies)
        _, patients = np.unique([plane.patient for plane in chosen], return_inverse=True)
        weights = draw_weights(int(patients.max()) + 1)
        print(f"\n## {name}: {len(chosen)} images, {patients.max() + 1} patients or groups\n")
        print(
            "| maps | cost | Dice | threshold | against the first | after BoundaryFit | its threshold | s |"
        )
        print("|---|---|---|---|---|---|---|---|")
        first = None
        for title, changes in ROWS.items():
            cam, start = CamParams(**changes), time.perf_counter()
            responses = [respond(plane, cam) for plane in chosen]
            spent = (time.perf_counter() - start) / len(chosen)
            pairs = list(zip(chosen, responses, strict=True))
            scores = np.array([dice_by_threshold(found.maps[0], plane.truth) for plane, found in pairs])
            fitted = np.array([dice_after_fit(plane, found) for plane, found in pairs])
            best, best_fit = scores.mean(0).argmax(), fitted.mean(0).argmax()
            values = scores[:, best]
            first = values if first is None else first
            cells = [
                title,
                f"{cost(cam):g}",
                interval(mean_estimate(weights, values, patients)),
                f"{(best + 1) / 100:.2f}",
                interval(mean_estimate(weights, values - first, patients), "+"),
                interval(mean_estimate(weights, fitted[:, best_fit], patients)),
                f"{FIT_THRESHOLDS[best_fit]:.2f}",
                f"{spent:.2f}",
            ]
            print("| " + " | ".join(cells) + " |", flush=True)
    return 0


def interval(found: Any, sign: str = "") -> str:
    """A figure with its interval."""
    return f"{found.value:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f})"


if __name__ == "__main__":
    sys.exit(main())
