"""An FSSS training that leaves files: the checkpoint, its report beside it, and until it is done the state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_refit.io.sidecar import file_checksum, write_sidecar
from napari_refit.learn.files import Callbacks, check_target, state_path
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.pixels import PixelSamples
from napari_refit.learn.fsss.training import FsssResult, train_fsss
from napari_refit.learn.splits import Split


def train_fsss_to_file(
    samples: PixelSamples,
    params: FsssParams,
    out: Path,
    *,
    split: Split | None = None,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Callbacks | None = None,
) -> dict[str, Any]:
    """Train and write the checkpoint.

    Parameters
    ----------
    samples : PixelSamples
    params : FsssParams
    out : Path
        ``.safetensors``. The report goes beside it, as ``.refit.json``.
    split : Split, optional
        Who is trained on and who is not; by default patients are split as ``params`` say.
    device, resume, overwrite, callbacks
        As of `napari_refit.learn.files.train_to_file`.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    ValueError, ReadError, Cancelled
        As `train_fsss`.
    WriteError
        If ``out`` cannot be written, is there already, or belongs to an unfinished training; before any work.
    """
    callbacks = callbacks or Callbacks()
    check_target(out, 1, resume=resume, overwrite=overwrite)
    state, hear = state_path(out), callbacks.on_epoch
    result = train_fsss(
        samples,
        params,
        device=device,
        split=split,
        state=state,
        resume_from=state if resume and state.exists() else None,
        progress=callbacks.progress,
        cancelled=callbacks.cancelled,
        on_epoch=None if hear is None else lambda row: hear(0, row),
    )
    result.save(out)
    report = {"checkpoint": str(out), "checksum": file_checksum(out), **result.report}
    # Names of images are for the report, as a checkpoint may be shared.
    names = {"left_out": getattr(samples, "left_out", {}), "predictions": _predictions(samples, result)}
    write_sidecar(out, {**report, **names})
    # Only now: until the checkpoint and its report are there, the state is all there is.
    state.unlink(missing_ok=True)
    return report


def _predictions(samples: PixelSamples, result: FsssResult) -> dict[str, list[dict[str, Any]]]:
    """Dice of every image that was not trained on."""
    parts = {"validation": result.split.validation, "test": result.split.test}
    return {
        part: [
            {
                "name": samples.names[index],
                "patient": samples.patients[index],
                "dice": dict(zip(samples.classes, result.dice[index].tolist(), strict=True)),
            }
            for index in indices
        ]
        for part, indices in parts.items()
    }
