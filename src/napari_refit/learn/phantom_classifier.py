"""Train the shipped classifier on phantoms from slice labels only: ``python -m napari_refit.learn.phantom_classifier``.

A slice is labelled positive if its truth has any lesion voxel. That label is taken when the slices are made
(`labelled_slices`); training (`train`) is given images and labels, never a mask.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_refit.cam.architectures import PHANTOM_CNN, build
from napari_refit.cam.checkpoint import save_checkpoint
from napari_refit.intensity import measure_range, normalise
from napari_refit.io.phantom import DEMO_SEED, phantom
from napari_refit.learn.reproducible import reproducible
from napari_refit.learn.scores import area_under_curve
from napari_refit.params import IntensityParams

TRAINING_SEEDS = range(1000, 1060)
HELD_OUT_SEEDS = range(3000, 3010)
CLASSES = ("background", "lesion")
MEAN, DEVIATION = 0.25, 0.25
INPUT_SIZE = 192
EPOCHS = 8
THREADS = 2
BATCH = 16
LEARNING_RATE = 1e-3

Say = Callable[[str], None]


def labelled_slices(
    seeds: Iterable[int], step: int = 2, shape: tuple[int, int, int] = (192, 192, 64)
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Axial slices of phantoms and one label for each.

    Parameters
    ----------
    seeds : iterable of int
        One phantom each; the demo's seed is refused.
    step : int
        Every how many slices one is taken.
    shape : tuple of int
        Of each phantom, (x, y, z).

    Returns
    -------
    images : ndarray of float32, shape (N, y, x)
        As displayed, in [0, 1]: normalised once per volume with the pipeline's default percentiles.
    labels : ndarray of int64, shape (N,)
        1 if any voxel of the slice is lesion, else 0.

    Raises
    ------
    ValueError
        If the demo's seed is among the seeds, or there are none.
    """
    images, labels = [], []
    intensity = IntensityParams()
    for seed in seeds:
        if seed == DEMO_SEED:
            raise ValueError(f"seed {seed} is the demo's: the classifier must never see it")
        made = phantom(seed, shape)
        scaled = normalise(made.image, measure_range(made.image, intensity), intensity)
        images.append(scaled.transpose(2, 1, 0)[::step])
        labels.append((made.truth.max(axis=(0, 1)) > 0)[::step])
    if not images:
        raise ValueError("no seeds: there is nothing to make slices of")
    return np.concatenate(images), np.concatenate(labels).astype(np.int64)


def train(
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    epochs: int = 8,
    seed: int = 0,
    say: Say | None = None,
) -> nn.Module:
    """Train the small network to tell slices with a lesion from slices without.

    Parameters
    ----------
    images : ndarray of float32, shape (N, H, W)
        In [0, 1].
    labels : ndarray of int64, shape (N,)
        0 or 1 for each image; nothing finer is ever used.
    epochs : int
    seed : int
        Of the weights, the order and the augmentation. The same seed gives the same network, bit for bit, on the
        same machine and torch.
    say : callable, optional
        Called with one line per epoch.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.

    Raises
    ------
    ValueError
        If the arrays do not belong together or one class is missing.
    """
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"images must be (N, H, W) and labels (N,), got {images.shape} and {labels.shape}")
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise ValueError(f"labels must hold both 0 and 1, got {np.unique(labels).tolist()}")
    with _reproducible(seed) as draw:
        network = build(PHANTOM_CNN, len(CLASSES), 1).to(memory_format=torch.channels_last)
        _hold_background(network.head)
        optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
        n_steps = epochs * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=n_steps, pct_start=0.2
        )
        targets = torch.from_numpy(labels)
        for epoch in range(epochs):
            network.train()
            started, total = time.perf_counter(), 0.0
            for picks in torch.randperm(len(images), generator=draw).split(BATCH):
                batch = torch.from_numpy(images[picks.numpy()])
                logits = network(_augment(batch, draw))
                loss = functional.cross_entropy(logits, targets[picks], label_smoothing=0.02)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                _symmetrise(network)
                schedule.step()
                total += float(loss.detach()) * len(picks)
            if say is not None:
                seconds = time.perf_counter() - started
                say(f"epoch {epoch + 1}/{epochs}: loss {total / len(images):.4f}, {seconds:.0f} s")
    return network.eval()


@torch.no_grad()
def _symmetrise(network: nn.Module) -> None:
    """Average every kernel over its eight flips and turns.

    Slice labels do not say where the evidence should lie, and a free network answers beside the lesion. A network
    whose kernels are all symmetric cannot prefer a side.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            weight = part.weight
            weight = (weight + weight.flip(2)) / 2
            weight = (weight + weight.flip(3)) / 2
            part.weight.copy_((weight + weight.transpose(2, 3)) / 2)


def _hold_background(head: nn.Linear) -> None:
    """Hold the background's logit at 0: it is the absence of findings, so all evidence is in the lesion's map."""
    kept = torch.ones(len(CLASSES))
    kept[CLASSES.index("background")] = 0
    with torch.no_grad():
        head.weight *= kept[:, None]
        head.bias *= kept
    head.weight.register_hook(lambda gradient: gradient * kept[:, None])
    head.bias.register_hook(lambda gradient: gradient * kept)


def predict(network: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of a lesion in each image of shape (N, H, W)."""
    with torch.inference_mode():
        batches = ((batch[:, None] - MEAN) / DEVIATION for batch in torch.from_numpy(images).split(BATCH))
        return torch.cat([network(batch).softmax(1)[:, 1] for batch in batches]).numpy()


def _augment(images: Tensor, draw: torch.Generator) -> Tensor:
    """Shifts, contrast, brightness curve and noise; then the network's normalisation."""
    count = len(images)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, generator=draw)

    shifts = torch.randint(-12, 13, (2,), generator=draw).tolist()
    images = images.roll(shifts, (1, 2))
    images = images.clamp(0, 1) ** between(0.9, 1.1) * between(0.93, 1.07)
    images = images + between(0.0, 0.02) * torch.randn(images.shape, generator=draw)
    return ((images.clamp(0, 1) - MEAN) / DEVIATION)[:, None].contiguous(memory_format=torch.channels_last)


@contextmanager
def _reproducible(seed: int) -> Iterator[torch.Generator]:
    """A fixed random state and thread count; whatever was set before is put back."""
    with reproducible(torch.device("cpu"), THREADS):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def metadata(network_training: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint says about itself (see `napari_refit.cam.checkpoint.CheckpointMetadata`)."""
    return {
        "architecture": PHANTOM_CNN,
        "classes": CLASSES,
        "background": 0,
        "activation": "softmax",
        "input_size": INPUT_SIZE,
        "in_channels": 1,
        "mean": (MEAN,),
        "std": (DEVIATION,),
        "training": network_training,
    }


def main(arguments: list[str] | None = None) -> int:
    """Train, report and save; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_refit.learn.phantom_classifier", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, .safetensors")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the slices (%(default)s)")
    parser.add_argument("--phantoms", type=int, default=len(TRAINING_SEEDS), help="to train on (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of weights, order and augmentation (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.out.suffix != ".safetensors" or not options.out.parent.is_dir():
        parser.error(f"--out {options.out}: must end in .safetensors, in a folder that exists")
    if options.epochs < 1 or not 1 <= options.phantoms <= len(TRAINING_SEEDS):
        parser.error(f"--epochs must be 1 or more, --phantoms 1 to {len(TRAINING_SEEDS)}")

    started = time.perf_counter()
    seeds = TRAINING_SEEDS[: options.phantoms]
    images, labels = labelled_slices(seeds)
    _say(f"{len(labels)} slices of {len(seeds)} phantoms, {int(labels.sum())} with a lesion")
    network = train(images, labels, epochs=options.epochs, seed=options.seed, say=_say)
    held_out, truth = labelled_slices(HELD_OUT_SEEDS, step=1)
    scores = predict(network, held_out)
    area = area_under_curve(scores, truth)
    accuracy = float(((scores > 0.5) == (truth == 1)).mean())
    save_checkpoint(
        options.out,
        network,
        metadata(
            {
                "data": "phantoms made by code, slice labels only",
                "command": "python -m napari_refit.learn.phantom_classifier "
                f"--out FILE --epochs {options.epochs} --phantoms {options.phantoms} --seed {options.seed}",
                "seed": options.seed,
                "training_seeds": [seeds[0], seeds[-1]],
                "held_out_seeds": [HELD_OUT_SEEDS[0], HELD_OUT_SEEDS[-1]],
                "excluded_seed": DEMO_SEED,
                "slices": len(labels),
                "epochs": options.epochs,
                "held_out_auroc": round(area, 4),
                "held_out_accuracy": round(accuracy, 4),
                "torch": torch.__version__,
            }
        ),
    )
    minutes = (time.perf_counter() - started) / 60
    _say(f"held-out AUROC {area:.4f}, accuracy {accuracy:.4f}; {options.out} after {minutes:.1f} min")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
