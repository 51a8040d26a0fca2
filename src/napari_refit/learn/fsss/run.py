"""An FSSS training on its way: one epoch after another, each repeatable by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_refit.cam.fsss_network import PixelNetwork
from napari_refit.errors import Cancelled
from napari_refit.learn.augment import augment_together
from napari_refit.learn.feeding import ImageStore, Progress, ahead, class_groups, epoch_batches
from napari_refit.learn.fsss.loss import dice_summary, make_loss, overlaps
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.fsss.store import Imagewise, LabelStore
from napari_refit.learn.optimising import learning_rate, make_optimiser
from napari_refit.learn.reproducible import mixed
from napari_refit.learn.samples import list_checksum
from napari_refit.learn.splits import Split
from napari_refit.learn.state import TrainingState
from napari_refit.learn.weights import Start


class FsssRun:
    """A training on its way: network, optimiser, and what was reached so far."""

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
    ) -> None:
        self.samples, self.params, self.split = samples, params, split
        self.images, self.labels, self.start = images, labels, start
        self.device, self.dtype, self.machine = device, dtype, machine
        self.shared = params.as_training()
        self.mean = start.mean or (images.mean,) * images.channels
        self.std = start.std or (max(images.deviation, 1e-3),) * images.channels
        self.format = (
            torch.channels_last if params.channels_last and device.type != "mps" else torch.contiguous_format
        )
        assert isinstance(start.module, PixelNetwork)
        self.network: PixelNetwork = start.module.to(device).to(memory_format=self.format)
        self.optimiser = make_optimiser(self.network, self.shared)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.loss = make_loss(params)
        self.groups = class_groups(labels.presence[split.training])
        self.steps = -(-len(split.training) // params.batch_size)
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        parts = [part.tolist() for part in (split.training, split.validation, split.test)]
        self.data = {
            "image list": list_checksum(samples),
            "images": images.checksum,
            "labels": labels.checksum,
            "split": sha256(repr(parts).encode()).hexdigest(),
        }

    @property
    def best_epoch(self) -> int:
        return max((row["epoch"] for row in self.history if row["best"]), default=0)

    @property
    def finished(self) -> bool:
        done, patience = len(self.history), self.params.patience
        return done >= self.params.epochs or 0 < patience <= done - self.best_epoch

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
            labels = self.labels.batch(indices).to(self.device)
            chance = torch.Generator().manual_seed(mixed(seed, epoch, number))
            images, labels = augment_together(images, labels, self.shared, chance)
            return self._normalised(images), labels.long()

        self.network.train()
        counts, losses, rate = [], [], 0.0
        for number, (images, labels) in enumerate(ahead(prepared, list(enumerate(batches)))):
            self._ask(cancelled, f"stopped in epoch {epoch}")
            if progress is not None:
                done = (epoch - 1) * self.steps + number
                progress(done, params.epochs * self.steps, f"epoch {epoch} of {params.epochs}")
            rate = learning_rate(self.shared, (epoch - 1) * self.steps + number, self.steps)
            found, loss = self._step(images, labels, rate)
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss became {loss} in epoch {epoch}; lower learning_rate ({params.learning_rate:g})"
                )
            counts.append(found)
            losses.append(loss * len(found))
        training = self._figures(np.concatenate(counts), sum(losses) / sum(map(len, counts)))
        validation = self.measure(self.split.validation, cancelled)
        row: dict[str, Any] = {
            "epoch": epoch,
            "learning_rate": rate,
            "training": training,
            "validation": self._figures(*validation),
            "best": False,
            "seconds": time.perf_counter() - began,
        }
        row["best"] = self._is_better(row["validation"])
        if row["best"]:
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.history.append(row)
        self.seconds += row["seconds"]
        return row

    def _step(self, images: Tensor, labels: Tensor, rate: float) -> tuple[NDArray[np.int64], float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            scores = self.network.pixel_logits(images)
        scores = scores.float()
        loss = self.loss(scores, labels)
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        if self.params.gradient_clip > 0:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.params.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return overlaps(scores.detach(), labels), float(loss.detach())

    def measure(
        self, indices: NDArray[np.int64], cancelled: Callable[[], bool] | None = None
    ) -> tuple[NDArray[np.int64], float]:
        """Overlaps with the labels (see `overlaps`) and loss of images as they are, in float32, at the input size."""
        batches = np.array_split(indices, max(1, -(-len(indices) // self.params.batch_size)))

        def prepared(part: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            images = self._normalised(self.images.batch(part).to(self.device))
            return images, self.labels.batch(part).to(self.device).long()

        counts: list[NDArray[np.int64]] = [np.zeros((0, len(self.samples.classes), 3), np.int64)]
        total = 0.0
        self.network.eval()
        with torch.inference_mode():
            for images, labels in ahead(prepared, [part for part in batches if len(part)]):
                self._ask(cancelled, "stopped while looking at the validation images")
                scores = self.network.pixel_logits(images).float()
                counts.append(overlaps(scores, labels))
                total += float(self.loss(scores, labels)) * len(labels)
        return np.concatenate(counts), total / len(indices) if len(indices) else math.nan

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((images - mean) / std).contiguous(memory_format=self.format)

    def _figures(self, counts: NDArray[np.int64], loss: float) -> dict[str, float]:
        found = dice_summary(counts, self.samples.classes)
        return {"loss": loss, "dice": found["dice"], "pooled_dice": found["pooled_dice"]}

    def _is_better(self, found: dict[str, float]) -> bool:
        """Whether an epoch beats the best; without validation images the last one is the best."""
        if not self.best or math.isnan(found["loss"]):
            return True
        best = self.history[self.best_epoch - 1]["validation"]
        if self.params.monitor == "dice" and not math.isnan(found["dice"]):
            # Not-a-number where all was empty before: any Dice is better.
            before = -1.0 if math.isnan(best["dice"]) else best["dice"]
            return (found["dice"], -found["loss"]) > (before, -best["loss"])
        return bool(found["loss"] < best["loss"])

    @staticmethod
    def _ask(cancelled: Callable[[], bool] | None, text: str) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled(text)

    def state(self) -> TrainingState:
        return TrainingState(
            parameters=self.params.model_dump(),
            data=self.data,
            machine=self.machine,
            epoch=len(self.history),
            history=self.history,
            seconds=self.seconds,
            network=self.network.state_dict(),
            best=self.best,
            optimiser=self.optimiser.state_dict(),
            scaler=self.scaler.state_dict(),
        )

    def restore(self, state: TrainingState) -> None:
        self.network.load_state_dict(state.network)
        self.optimiser.load_state_dict(state.optimiser)
        self.scaler.load_state_dict(state.scaler)
        self.best = {name: value.to(self.device) for name, value in state.best.items()}
        self.history, self.seconds = list(state.history), state.seconds
