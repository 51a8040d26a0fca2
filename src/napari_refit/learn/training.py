"""Train a classifier from image-level labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from napari_refit.devices import torch_device
from napari_refit.learn.epochs import describe_machine, run_epochs
from napari_refit.learn.feeding import ImageStore, Progress, count_channels
from napari_refit.learn.lessons import find_lesson
from napari_refit.learn.optimising import precision
from napari_refit.learn.reporting import TrainingResult, background_of, make_result
from napari_refit.learn.reproducible import enough_memory, mixed, reproducible
from napari_refit.learn.run import Run
from napari_refit.learn.samples import Samples, check_samples, presence
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split, split_patients
from napari_refit.learn.state import read_state

__all__ = ["TrainingResult", "check_labels", "train"]

_GIB = 1 << 30


def train(
    samples: Samples,
    params: TrainingParams | None = None,
    *,
    device: str | torch.device | None = None,
    split: Split | None = None,
    state: str | Path | None = None,
    resume_from: str | Path | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> TrainingResult:
    """Train a classifier from image-level labels.

    Parameters
    ----------
    samples : Samples
        Images, labels, patients; for instance `napari_refit.learn.samples.ArraySamples` or what
        `napari_refit.learn.samples.open_samples` reads.
    params : TrainingParams, optional
    device : str or torch.device, optional
        None: the fastest there is.
    split : Split, optional
        Who is trained on and who is not; by default patients are split as ``params`` say.
    state : path-like, optional
        Where to write, after every epoch, what is needed to go on after a stop.
    resume_from : path-like, optional
        Such a file. The weights become those of an unbroken training, bit for bit, on the same machine.
    progress : callable, optional
        Called with ``(done, total, text)``: images read, then batches trained on.
    cancelled : callable, optional
        Asked before every batch.
    on_epoch : callable, optional
        Called after every epoch with its row of the history: ``epoch``, ``learning_rate``, ``seconds``, and
        ``loss``, ``accuracy``, ``auroc`` of the ``training`` (augmented, as the weights change) and the
        ``validation`` images, and whether it is the ``best`` so far.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ValueError
        If labels, images or parameters do not fit; what is wrong is named.
    ReadError
        If an image, the weights or the state cannot be read.
    Cancelled
        If ``cancelled`` answered True; the state file is that of the last whole epoch.
    FloatingPointError
        If the loss is no number any more.
    MemoryError
        If the device's memory does not suffice.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_refit.learn.samples import ArraySamples
    >>> draw = np.random.default_rng(0)
    >>> images = draw.uniform(0.1, 0.3, (24, 32, 32)).astype(np.float32)
    >>> images[::2, 8:24, 8:24] += 0.5
    >>> samples = ArraySamples(images, [1, 0] * 12, ["background", "blob"])
    >>> params = TrainingParams(architecture="phantom-cnn", weights="none", input_size=32, epochs=2)
    >>> result = train(samples, params, device="cpu")
    >>> result.classifier.classes, [row["epoch"] for row in result.report["history"]]
    (('background', 'blob'), [1, 2])
    """
    params = params or TrainingParams()
    check_labels(samples)
    where = torch_device(device)
    dtype = precision(params, where)
    background_of(samples, params.background)
    split = split or split_patients(samples, params.validation_share, params.test_share, params.seed)
    before = None if resume_from is None else read_state(Path(resume_from))
    with (
        reproducible(where, params.threads) as threads,
        enough_memory(where, params.batch_size, params.input_size),
    ):
        torch.manual_seed(mixed(params.seed, 0))
        channels = count_channels(samples, params.channels)
        lesson = find_lesson(params.learner)
        start = lesson.start(samples, params, channels)
        store = ImageStore(
            samples, params.input_size, channels, int(params.cache * _GIB), progress, cancelled
        )
        machine = describe_machine(where, threads, dtype)
        run = Run(samples, params, split, store, lesson, start, where, dtype, machine)
        run_epochs(run, before, resume_from, state, progress, cancelled, on_epoch)
        return make_result(run)


def check_labels(samples: Samples) -> None:
    """Check that labels can be learned from: something to tell apart, and images of each.

    Raises
    ------
    ValueError
        With the class that lacks images.
    """
    check_samples(samples)
    shown = presence(samples)
    counts = dict(zip(samples.classes, shown.sum(0).tolist(), strict=True))
    for name, count in counts.items():
        if count == 0:
            raise ValueError(f"no image is of class {name!r}: add some, or leave the class out")
    for name, count in counts.items():
        if count == len(samples):
            raise ValueError(f"every image is of class {name!r}: there is nothing to tell it apart from")
