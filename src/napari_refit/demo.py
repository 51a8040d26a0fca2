"""The main job on the sample volume, without a window."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from napari_refit.pipeline import Progress
from napari_refit.recipe import RefitParams

SAMPLE_CLASSIFIER = "phantom-classifier.safetensors"


def sample_classifier() -> Path:
    """Path of the classifier that ships with the program, trained on phantoms from slice labels only."""
    with as_file(files("napari_refit") / "data" / SAMPLE_CLASSIFIER) as path:
        return path


def run_demo(out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Make the phantom, refine it with the shipped classifier and the phantom preset, score it, draw it.

    Parameters
    ----------
    out : Path
        Folder, made if missing. Leaves the phantom and its truth, ``refined.nii.gz`` with its sidecar,
        ``report.json`` and ``panels.png``; results of an earlier demo there are replaced.
    progress : callable, optional
        See `napari_refit.pipeline.Refit.volume`.

    Returns
    -------
    dict
        What ``report.json`` holds; ``metrics`` has a row each for the blank mask, the CAM, the CAM at its best
        single threshold, and the refined mask.
    """
    from napari_refit.io.phantom import phantom_file
    from napari_refit.refining import Job, refine_file, write_report

    out = Path(out)
    image, truth = phantom_file(out)
    job = Job(
        image=image,
        output=out / "refined.nii.gz",
        model=sample_classifier(),
        truth=truth,
        panels=out / "panels.png",
    )
    report = refine_file(job, RefitParams.preset("phantom"), overwrite=True, progress=progress)
    write_report(out / "report.json", report)
    return report
