"""An FSSS training on its way: one epoch after another, each repeatable by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_refit.cam.fsss_network import PixelNetwork
from napari_refit.learn.augment import augment_together
from napari_refit.learn.epochs import EpochRun
from napari_refit.learn.feeding import ImageStore, Progress, ahead, class_groups, epoch_batches
from napari_refit.learn.fsss.loss import dice_summary, make_loss, make_soft_loss, overlaps, with_background
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.store import Imagewise, LabelStore, SoftStore
from napari_refit.learn.optimising import learning_rate
from napari_refit.learn.reproducible import mixed
from napari_refit.learn.splits import Split
from napari_refit.learn.weights import Start


class FsssRun(EpochRun):
    """A training on its way: network, optimiser, and what was reached so far.

    With ``soft`` labels these are what is learned; a Dice is always one with ``labels``.
    """

    params: FsssParams
    network: PixelNetwork

    def __init__(
        self,
        samples: Imagewise,
        params: FsssParams,
        split: Split,
        images: ImageStore,
        labels: LabelStore,
        start: Start,
        device: torch.device,
        dtype: torch.dtype,
        machine: dict[str, Any],
        soft: SoftStore | None = None,
    ) -> None:
        shared = params.as_training()
        super().__init__(samples, params, shared, split, images, start, device, dtype, machine)
        self.samples, self.images, self.labels = samples, images, labels
        assert isinstance(start.module, PixelNetwork)
        self.targets: LabelStore | SoftStore = labels if soft is None else soft
        self.loss = make_loss(params) if soft is None else make_soft_loss(params)
        self.groups = class_groups(labels.presence[split.training])
        self.data["labels"] = labels.checksum
        if soft is not None:
            self.data["soft labels"] = soft.checksum

    def train_epoch(self, progress: Progress | None, cancelled: Callable[[], bool] | None) -> dict[str, Any]:
        began, epoch = time.perf_counter(), len(self.history) + 1
        seed, params = self.params.seed, self.params
        # For what layers draw themselves (skipped blocks); what the batches draw is seeded batch by batch.
        torch.manual_seed(mixed(seed, epoch))
        order = np.random.default_rng([seed, 4, epoch])
        batches = epoch_batches(self.groups, params.batch_size, params.balance == "batches", order)

        def prepared(item: tuple[int, NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
            number, positions = item
            indices = self.split.training[positions]
            images = self.images.batch(indices).to(self.device)
            targets = self.targets.batch(indices).to(self.device)
            chance = torch.Generator().manual_seed(mixed(seed, epoch, number))
            images, targets = augment_together(images, targets, self.shared, chance)
            return self.normalised(images), targets

        self.network.train()
        counts, losses, rate = [], [], 0.0
        for number, (images, targets) in enumerate(ahead(prepared, list(enumerate(batches)))):
            self.ask(cancelled, f"stopped in epoch {epoch}")
            if progress is not None:
                done = (epoch - 1) * self.steps + number
                progress(done, params.epochs * self.steps, f"epoch {epoch} of {params.epochs}")
            rate = learning_rate(self.shared, (epoch - 1) * self.steps + number, self.steps)
            found, loss = self._step(images, targets, rate)
            self.check_loss(loss, epoch)
            counts.append(found)
            losses.append(loss * len(found))
        training = self._figures(np.concatenate(counts), sum(losses) / sum(map(len, counts)))
        validation = self.measure(self.split.validation, cancelled)
        return self.record(rate, training, self._figures(*validation), began)

    def _step(self, images: Tensor, targets: Tensor, rate: float) -> tuple[NDArray[np.int64], float]:
        with self.autocast():
            scores = self.network.pixel_logits(images)
        scores = scores.float()
        loss = self._loss(scores, targets)
        number = self.descend(loss, rate)
        labels = targets if targets.ndim == 3 else with_background(targets).argmax(1)
        return overlaps(scores.detach(), labels), number

    def _loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return self.loss(scores, targets.long() if targets.ndim == 3 else targets)

    def measure(
        self, indices: NDArray[np.int64], cancelled: Callable[[], bool] | None = None
    ) -> tuple[NDArray[np.int64], float]:
        """Overlaps with the labels (see `overlaps`) and loss of images as they are, in float32, at the input size."""
        batches = np.array_split(indices, max(1, -(-len(indices) // self.params.batch_size)))

        def prepared(part: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
            images = self.normalised(self.images.batch(part).to(self.device))
            return images, self.labels.batch(part).to(self.device), self.targets.batch(part).to(self.device)

        counts: list[NDArray[np.int64]] = [np.zeros((0, len(self.samples.classes), 3), np.int64)]
        total = 0.0
        self.network.eval()
        with torch.inference_mode():
            for images, labels, targets in ahead(prepared, [part for part in batches if len(part)]):
                self.ask(cancelled, "stopped while looking at the validation images")
                scores = self.network.pixel_logits(images).float()
                counts.append(overlaps(scores, labels))
                total += float(self._loss(scores, targets)) * len(labels)
        return np.concatenate(counts), total / len(indices) if len(indices) else math.nan

    def _figures(self, counts: NDArray[np.int64], loss: float) -> dict[str, float]:
        found = dice_summary(counts, self.samples.classes)
        return {"loss": loss, "dice": found["dice"], "pooled_dice": found["pooled_dice"]}

    def is_better(self, found: dict[str, float]) -> bool:
        """Whether an epoch beats the best; without validation images the last one is the best."""
        if not self.best or math.isnan(found["loss"]):
            return True
        best = self.history[self.best_epoch - 1]["validation"]
        if self.params.monitor == "dice" and not math.isnan(found["dice"]):
            # Not-a-number where all was empty before: any Dice is better.
            before = -1.0 if math.isnan(best["dice"]) else best["dice"]
            return (found["dice"], -found["loss"]) > (before, -best["loss"])
        return bool(found["loss"] < best["loss"])
