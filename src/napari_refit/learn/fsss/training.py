"""Train a segmentation network from label maps: pseudo-labels, or reference masks for the upper bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_refit.devices import torch_device
from napari_refit.learn.datasets import BACKGROUND
from napari_refit.learn.epochs import describe_machine, run_epochs
from napari_refit.learn.feeding import ImageStore, Progress, count_channels
from napari_refit.learn.fsss.loss import dice_of, dice_summary
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.pixels import PixelSamples, SoftPixelSamples
from napari_refit.learn.fsss.run import FsssRun
from napari_refit.learn.fsss.starting import start_network
from napari_refit.learn.fsss.store import Imagewise, LabelStore, SoftStore, check_pixel_samples
from napari_refit.learn.optimising import precision
from napari_refit.learn.reporting import Trained, described, part_summary
from napari_refit.learn.reproducible import enough_memory, mixed, reproducible
from napari_refit.learn.splits import Split, split_patients
from napari_refit.learn.state import read_state

_GIB = 1 << 30


@dataclass(frozen=True, eq=False)
class FsssResult(Trained):
    """What came out of an FSSS training.

    Attributes
    ----------
    classifier : Classifier
        With the weights of the best epoch; its own maps are the probabilities of each class.
    metadata : CheckpointMetadata
        What its file will say; ``training`` holds the report.
    split : Split
    dice : ndarray of float64, shape (N, K)
        Of the validation and the test images, against the labels that were trained on, at the input size; NaN for
        the others, and where answer and labels are both empty.
    """

    dice: NDArray[np.float64]


def train_fsss(
    samples: PixelSamples,
    params: FsssParams | None = None,
    *,
    device: str | torch.device | None = None,
    split: Split | None = None,
    state: str | Path | None = None,
    resume_from: str | Path | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> FsssResult:
    """Train a segmentation network from label maps.

    The best epoch is chosen by Dice on the validation images against the labels of ``samples``: where those are
    pseudo-labels, no reference mask has a say.

    Parameters
    ----------
    samples : PixelSamples
        Images, label maps, patients; for instance what `napari_refit.learn.fsss.pseudo.pseudo_labels` makes. Soft
        labels are learned where there are any (`SoftPixelSamples`) and ``params`` do not say otherwise.
    params : FsssParams, optional
    device, split, state, resume_from, progress, cancelled
        As of `napari_refit.learn.training.train`. The weights after resuming are those of an unbroken training.
    on_epoch : callable, optional
        Called after every epoch with its row of the history: ``epoch``, ``learning_rate``, ``seconds``, ``loss``,
        ``dice``, ``pooled_dice`` of the ``training`` (augmented, as the weights change) and the ``validation``
        images, and whether it is the ``best`` so far.

    Returns
    -------
    FsssResult

    Raises
    ------
    ValueError, ReadError, Cancelled, FloatingPointError, MemoryError
        As of `napari_refit.learn.training.train`.
    ModuleNotFoundError
        If MONAI is not installed.

    Examples
    --------
    >>> from napari_refit.learn.fsss.pixels import ArrayPixels
    >>> labels = np.zeros((8, 32, 32), np.uint8)
    >>> labels[::2, 8:24, 8:24] = 1
    >>> samples = ArrayPixels(0.2 + 0.5 * labels, labels, ["blob"])
    >>> params = FsssParams(network="unet", weights="none", input_size=32, epochs=1, batch_size=4)
    >>> train_fsss(samples, params, device="cpu").classifier.classes
    ('background', 'blob')
    """
    params = params or FsssParams()
    check_pixel_samples(samples)
    where = torch_device(device)
    dtype = precision(params.as_training(), where)
    before = None if resume_from is None else read_state(Path(resume_from))
    memory = enough_memory(where, params.batch_size, params.input_size)
    with reproducible(where, params.threads) as threads, memory:
        limit = int(params.cache * _GIB)
        labels = LabelStore(samples, params.input_size, limit, progress, cancelled)
        imagewise = Imagewise(samples, labels)
        _check_presence(imagewise)
        split = split or split_patients(imagewise, params.validation_share, params.test_share, params.seed)
        channels = count_channels(imagewise, params.channels)
        torch.manual_seed(mixed(params.seed, 0))
        start = start_network(params, len(samples.classes) + 1, channels)
        images = ImageStore(imagewise, params.input_size, channels, limit, progress, cancelled)
        soft = None
        if params.targets == "soft" and isinstance(samples, SoftPixelSamples):
            soft = SoftStore(samples, params.input_size, limit, progress, cancelled)
        machine = describe_machine(where, threads, dtype)
        run = FsssRun(imagewise, params, split, images, labels, start, where, dtype, machine, soft)
        run_epochs(run, before, resume_from, state, progress, cancelled, on_epoch)
        return _result(run, samples)


def _check_presence(samples: Imagewise) -> None:
    for name, count in zip(samples.classes, samples.labels.sum(0).tolist(), strict=True):
        if count == 0:
            raise ValueError(f"no label map shows any {name!r}: add some, or leave the class out")


def _result(run: FsssRun, samples: PixelSamples) -> FsssResult:
    """Take the best epoch's weights, answer the images that were not trained on, and report."""
    run.network.load_state_dict(run.best)
    split = run.split
    dice = np.full(run.labels.presence.shape, np.nan)
    measured: dict[str, Any] = {}
    for part, indices in split.untrained.items():
        counts, loss = run.measure(indices)
        dice[indices] = dice_of(counts)
        measured[part] = {"loss": loss, **dice_summary(counts, samples.classes)} if len(indices) else None
    classifier, metadata = described(
        run,
        samples,
        partial(_summary, run),
        measured,
        classes=(BACKGROUND, *samples.classes),
        background=0,
        activation="softmax",
        data={"labels": getattr(samples, "labelling", {})},
        libraries=("torch", "torchvision", "monai", "numpy"),
    )
    return FsssResult(classifier, metadata, split, dice)


def _summary(run: FsssRun, part: NDArray[np.int64]) -> dict[str, Any]:
    shown = run.labels.presence
    empty = int((shown[part].sum(1) == 0).sum())
    return {**part_summary(run.samples, shown, part), "empty": empty}
