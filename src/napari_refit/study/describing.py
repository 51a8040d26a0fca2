"""What a report says of a study's methods, programs and computer, and what it shows of an image."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_refit.intensity import measure_range, normalise
from napari_refit.params import FinishParams
from napari_refit.study.cases import fitting_params, read_stack
from napari_refit.study.methods import Method
from napari_refit.study.pieces import OUTSIDE, RESPONDING
from napari_refit.study.results import MethodInfo, Panel

if TYPE_CHECKING:
    from napari_refit.study.run import Study

PACKAGES = ("napari-refit", "torch", "torchvision", "grad-cam", "monai", "scikit-image", "nibabel", "numpy")
CHOSEN_ON = "training and validation images"


def describe_methods(study: Study, methods: Iterable[Method]) -> tuple[MethodInfo, ...]:
    """Every method as it was run."""
    return tuple(_described(study, method) for method in methods)


def _described(study: Study, method: Method) -> MethodInfo:
    if method.kind == "blank":
        return MethodInfo(method.key, method.title, method.about)
    settings: dict[str, Any] = {}
    threshold: dict[str, Any] = {}
    checksums: dict[str, str] = {}
    params = fitting_params(method.params, study.dataset.preparation)
    gate = "image-level label" if study.settings.gate == "label" else params.cam.gate
    if method.kind in RESPONDING:
        settings = {"preset": method.preset, "gate": gate, "cam": params.cam.model_dump(exclude={"gate"})}
    if method.kind == "refit":
        settings |= {
            "segmenter": params.segmenter,
            **{name: params.of(name).model_dump() for name in params.segmenters()},
            params.fit: params.fit_params.model_dump(exclude={"threshold"} if method.tuned else set()),
            **({"finish": params.finish.model_dump()} if params.finish != FinishParams() else {}),
        }
    notes: list[str] = []
    if method.learner and study.pieces[0].source(method.learner) != OUTSIDE:
        settings["training"] = study.pieces[0].training(method.learner).params.changed()
    if method.kind == "fsss":
        settings |= {"labels": method.labels, **study.settings.fsss}
        if method.labels != "truth":
            settings |= {"preset": method.preset, "fit": params.fit}
    for pieces in study.pieces:
        try:
            if method.kind == "fsss":
                checksums[f"fold {pieces.number}, segmentation"] = pieces.network(method).checksum
                content = pieces.fsss_training(method).content()
                notes += _rounds(pieces.number, content.get("rounds") or [])
                left_out = content.get("left_out") or {}
                notes += [
                    f"fold {pieces.number}: {count} training images left out: {why}"
                    for why, count in left_out.items()
                    if count
                ]
            if method.learner:
                checksums[f"fold {pieces.number}"] = pieces.responder(method.learner).classifier.checksum
            if method.kind == "threshold" and (area := pieces.auroc(method)) is not None:
                notes.append(f"fold {pieces.number}: image-level AUROC on the test images {area:.3f}")
            if method.tuned:
                threshold[f"fold {pieces.number}"] = pieces.threshold(method)["threshold"]
        except (OSError, ValueError, ImportError):
            # A fold that is not done.
            continue
    if threshold:
        threshold = {"chosen on": CHOSEN_ON, **threshold}
    elif method.kind in RESPONDING and hasattr(params.fit_params, "threshold"):
        threshold = {"chosen on": "nothing: fixed", "all folds": params.fit_params.threshold}
    return MethodInfo(method.key, method.title, method.about, settings, checksums, threshold, tuple(notes))


def _rounds(fold: int, rounds: list[dict[str, Any]]) -> list[str]:
    """What is said of a training in several rounds."""
    if len(rounds) < 2:
        return []
    told = [
        f"round {row['round']}: {row['images']} images"
        + (
            f", Dice {row['validation_dice']:.3f} with its labels"
            if row["validation_dice"] is not None
            else ""
        )
        for row in rounds
    ]
    return [f"fold {fold}: {'; '.join(told)}"]


def panel_of(study: Study, case: str, axis: int | None, index: int | None) -> Panel:
    """What there is to see of one tested image.

    Raises
    ------
    KeyError
        If the case is not among those that are tested.
    """
    pieces = study.fold_of[case]
    stack = read_stack(pieces.testing, pieces.testing.case(case))
    number = 0 if index is None else index - stack.start
    whole = axis is None and stack.axis is not None
    if whole:
        number = stack.n_planes // 2
    plane = stack.values if stack.axis is None else stack.values[number]
    params = fitting_params(study.settings.methods[0].params, pieces.preparation).intensity
    image = normalise(plane, measure_range(stack.values, params), params)
    if stack.rgb and image.shape[-1] not in (1, 3):
        # Several modalities: the last one is what the dataset's masks are drawn on.
        image = image[..., -1]
    truth = pieces.truth(case)
    masks, responses = {}, {}
    for method in study.settings.methods:
        kept = None if method.kind == "blank" else _quietly(pieces.kept_mask, method, case)
        if kept is not None:
            mask = kept.arrays["mask"]
            masks[method.key] = mask if stack.axis is None else mask[number]
        found = _quietly(pieces.kept_response, method, case)
        if found is not None:
            responses[method.key] = found.maps[number]
    return Panel(image, truth if stack.axis is None else truth[number], masks, responses)


def versions() -> dict[str, str]:
    """Of Python and the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str | None) -> dict[str, Any]:
    """The computer, as far as results and seconds depend on it."""
    from napari_refit.devices import torch_device

    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "device": str(torch_device(device)),
    }


def _quietly(function: Any, method: Method, case: str) -> Any:
    """None where a method has nothing to show, for instance because it failed."""
    try:
        return function(method, case)
    except (OSError, ValueError, ImportError):
        return None
