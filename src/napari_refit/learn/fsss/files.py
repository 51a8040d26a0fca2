"""An FSSS training that leaves files: the checkpoint, its report beside it, and until it is done the state."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from napari_refit.learn.files import Callbacks, check_target, leave_files
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
    names: Mapping[str, Any] | None = None,
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
    names : mapping, optional
        More that only the file of the report says.

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
    check_target(out, 1, resume=resume, overwrite=overwrite)

    def answer(result: FsssResult, index: int) -> dict[str, Any]:
        return {"dice": dict(zip(samples.classes, result.dice[index].tolist(), strict=True))}

    return leave_files(
        partial(train_fsss, samples, params, device=device, split=split),
        samples,
        out,
        answer,
        resume=resume,
        callbacks=callbacks or Callbacks(),
        names={"left_out": getattr(samples, "left_out", {}), **(names or {})},
    )
