"""A training on its way: one epoch after another, each repeatable by itself."""

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

from napari_refit.errors import Cancelled
from napari_refit.learn import scores
from napari_refit.learn.augment import augment
from napari_refit.learn.feeding import ImageStore, Progress, ahead, class_groups, epoch_batches
from napari_refit.learn.lessons import Lesson
from napari_refit.learn.optimising import learning_rate, make_loss, make_optimiser
from napari_refit.learn.reporting import background_of
from napari_refit.learn.reproducible import mixed
from napari_refit.learn.samples import Samples, list_checksum, presence
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split
from napari_refit.learn.state import TrainingState
from napari_refit.learn.weights import Start


class Run:
    """A training on its way: network, optimiser, and what was reached so far."""

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
        self.samples, self.params, self.split, self.store = samples, params, split, store
        self.device, self.dtype, self.machine = device, dtype, machine
        self.lesson, self.start = lesson, start
        self.exclusive = samples.labels.ndim == 1
        self.background = background_of(samples, params.background)
        self.shown = presence(samples)
        self.mean = start.mean or (store.mean,) * store.channels
        self.std = start.std or (max(store.deviation, 1e-3),) * store.channels
        self.format = (
            torch.channels_last if params.channels_last and device.type != "mps" else torch.contiguous_format
        )
        self.network: nn.Module = start.module.to(device).to(memory_format=self.format)
        self.optimiser = make_optimiser(self.network, params)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.loss = make_loss(params, self.shown[split.training], self.exclusive, device)
        self.groups = class_groups(samples.labels[split.training])
        self.steps = -(-len(split.training) // params.batch_size)
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        parts = [part.tolist() for part in (split.training, split.validation, split.test)]
        self.data = {
            "image list": list_checksum(samples),
            "images": store.checksum,
            "split": sha256(repr(parts).encode()).hexdigest(),
        }

    @property
    def best_epoch(self) -> int:
        return max((row["epoch"] for row in self.history if row["best"]), default=0)

    @property
    def finished(self) -> bool:
        done = len(self.history)
        patience = self.params.patience
        return done >= self.params.epochs or 0 < patience <= done - self.best_epoch

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
            return self._normalised(augment(images, params, chance)), indices

        self.network.train()
        answers, picked, losses = [], [], []
        for number, (images, indices) in enumerate(ahead(prepared, list(enumerate(batches)))):
            self._ask(cancelled, f"stopped in epoch {epoch}")
            if progress is not None:
                done = (epoch - 1) * self.steps + number
                progress(done, params.epochs * self.steps, f"epoch {epoch} of {params.epochs}")
            rate = learning_rate(params, (epoch - 1) * self.steps + number, self.steps)
            chance = torch.Generator().manual_seed(mixed(seed, epoch, number, 1))
            logits, loss = self._step(images, indices, rate, chance)
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss became {loss} in epoch {epoch}; lower learning_rate ({params.learning_rate:g})"
                )
            answers.append(logits)
            picked.append(indices)
            losses.append(loss * len(indices))
        indices = np.concatenate(picked)
        training = self._summary(torch.cat(answers).numpy(), indices)
        training["loss"] = sum(losses) / len(indices)
        checked = self._summary(self.answers(self.split.validation, cancelled), self.split.validation)
        row: dict[str, Any] = {
            "epoch": epoch,
            "learning_rate": rate,
            "training": training,
            "validation": checked,
            "best": self._is_better(checked),
            "seconds": time.perf_counter() - began,
        }
        if row["best"]:
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.history.append(row)
        self.seconds += row["seconds"]
        return row

    def _step(
        self, images: Tensor, indices: NDArray[np.int64], rate: float, chance: torch.Generator
    ) -> tuple[Tensor, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        targets = torch.from_numpy(self.shown[indices]).to(self.device, torch.float32)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outcome = self.lesson.forward(self.network, images, chance)
        logits, loss = self.lesson.loss(outcome, targets, self.loss)
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        if self.params.gradient_clip > 0:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.params.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return logits.detach().cpu(), float(loss.detach())

    def answers(
        self, indices: NDArray[np.int64], cancelled: Callable[[], bool] | None = None
    ) -> NDArray[np.float32]:
        """Logits of images as they are, in float32, as the finished classifier will be used."""
        batches = np.array_split(indices, max(1, -(-len(indices) // self.params.batch_size)))
        found = []
        self.network.eval()
        with torch.inference_mode():
            for images in ahead(self.store.batch, [part for part in batches if len(part)]):
                self._ask(cancelled, "stopped while looking at the validation images")
                found.append(self.network(self._normalised(images.to(self.device))).float().cpu())
        return torch.cat(found).numpy() if found else np.zeros((0, self.shown.shape[1]), np.float32)

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((images - mean) / std).contiguous(memory_format=self.format)

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

    def _is_better(self, found: dict[str, float]) -> bool:
        """Whether an epoch beats the best; without validation images the last one is the best."""
        if not self.best or math.isnan(found["loss"]):
            return True
        best = self.history[self.best_epoch - 1]["validation"]
        if self.params.monitor == "auroc" and not math.isnan(found["auroc"]):
            return (found["auroc"], -found["loss"]) > (best["auroc"], -best["loss"])
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
