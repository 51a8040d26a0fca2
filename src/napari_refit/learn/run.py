"""A training on its way: one epoch after another, each repeatable by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_refit.learn import scores
from napari_refit.learn.augment import augment
from napari_refit.learn.epochs import EpochRun
from napari_refit.learn.feeding import ImageStore, Progress, ahead, class_groups, epoch_batches
from napari_refit.learn.lessons import Lesson
from napari_refit.learn.optimising import learning_rate, make_loss
from napari_refit.learn.reporting import background_of
from napari_refit.learn.reproducible import mixed
from napari_refit.learn.samples import Samples, presence
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split
from napari_refit.learn.weights import Start


class Run(EpochRun):
    """A training on its way: network, optimiser, and what was reached so far."""

    params: TrainingParams

    def __init__(
        self,
        samples: Samples,
        params: TrainingParams,
        split: Split,
        store: ImageStore,
        lesson: Lesson,
        start: Start,
        device: torch.device,
        dtype: torch.dtype,
        machine: dict[str, Any],
    ) -> None:
        super().__init__(samples, params, params, split, store, start, device, dtype, machine)
        self.samples, self.store, self.lesson = samples, store, lesson
        self.exclusive = samples.labels.ndim == 1
        self.background = background_of(samples, params.background)
        self.shown = presence(samples)
        self.loss = make_loss(params, self.shown[split.training], self.exclusive, device)
        self.groups = class_groups(samples.labels[split.training])

    def train_epoch(self, progress: Progress | None, cancelled: Callable[[], bool] | None) -> dict[str, Any]:
        began, epoch = time.perf_counter(), len(self.history) + 1
        seed, params = self.params.seed, self.params
        # For what layers draw themselves (dropout); what the batches draw is seeded batch by batch.
        torch.manual_seed(mixed(seed, epoch))
        order = np.random.default_rng([seed, 4, epoch])
        batches = epoch_batches(self.groups, params.batch_size, params.balance == "batches", order)

        def prepared(item: tuple[int, NDArray[np.int64]]) -> tuple[Tensor, NDArray[np.int64]]:
            number, positions = item
            indices = self.split.training[positions]
            images = self.store.batch(indices).to(self.device)
            chance = torch.Generator().manual_seed(mixed(seed, epoch, number))
            return self.normalised(augment(images, params, chance)), indices

        self.network.train()
        answers, picked, losses = [], [], []
        for number, (images, indices) in enumerate(ahead(prepared, list(enumerate(batches)))):
            self.ask(cancelled, f"stopped in epoch {epoch}")
            if progress is not None:
                done = (epoch - 1) * self.steps + number
                progress(done, params.epochs * self.steps, f"epoch {epoch} of {params.epochs}")
            rate = learning_rate(params, (epoch - 1) * self.steps + number, self.steps)
            chance = torch.Generator().manual_seed(mixed(seed, epoch, number, 1))
            logits, loss = self._step(images, indices, rate, chance)
            self.check_loss(loss, epoch)
            answers.append(logits)
            picked.append(indices)
            losses.append(loss * len(indices))
        indices = np.concatenate(picked)
        training = self._summary(torch.cat(answers).numpy(), indices)
        training["loss"] = sum(losses) / len(indices)
        checked = self._summary(self.answers(self.split.validation, cancelled), self.split.validation)
        return self.record(rate, training, checked, began)

    def _step(
        self, images: Tensor, indices: NDArray[np.int64], rate: float, chance: torch.Generator
    ) -> tuple[Tensor, float]:
        targets = torch.from_numpy(self.shown[indices]).to(self.device, torch.float32)
        with self.autocast():
            outcome = self.lesson.forward(self.network, images, chance)
        logits, loss = self.lesson.loss(outcome, targets, self.loss)
        return logits.detach().cpu(), self.descend(loss, rate)

    def answers(
        self, indices: NDArray[np.int64], cancelled: Callable[[], bool] | None = None
    ) -> NDArray[np.float32]:
        """Logits of images as they are, in float32, as the finished classifier will be used."""
        batches = np.array_split(indices, max(1, -(-len(indices) // self.params.batch_size)))
        found = []
        self.network.eval()
        with torch.inference_mode():
            for images in ahead(self.store.batch, [part for part in batches if len(part)]):
                self.ask(cancelled, "stopped while looking at the validation images")
                found.append(self.network(self.normalised(images.to(self.device))).float().cpu())
        return torch.cat(found).numpy() if found else np.zeros((0, self.shown.shape[1]), np.float32)

    def _summary(self, logits: NDArray[np.float32], indices: NDArray[np.int64]) -> dict[str, float]:
        shown = self.shown[indices]
        if not len(shown):
            return {"loss": math.nan, "accuracy": math.nan, "auroc": math.nan}
        chances = scores.probabilities_of(logits, self.exclusive)
        return {
            "loss": scores.mean_surprise(logits, shown, self.exclusive),
            "accuracy": scores.accuracy(chances, shown, self.exclusive),
            "auroc": scores.mean_area(chances, shown, self.background),
        }

    def is_better(self, found: dict[str, float]) -> bool:
        """Whether an epoch beats the best; without validation images the last one is the best."""
        if not self.best or math.isnan(found["loss"]):
            return True
        best = self.history[self.best_epoch - 1]["validation"]
        if self.params.monitor == "last":
            return True
        if self.params.monitor == "auroc" and not math.isnan(found["auroc"]):
            return (found["auroc"], -found["loss"]) > (best["auroc"], -best["loss"])
        return bool(found["loss"] < best["loss"])
