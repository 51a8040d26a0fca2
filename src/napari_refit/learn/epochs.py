"""What trainings of every kind share on their way: network, optimiser, best weights, what a stop must keep."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_refit.errors import Cancelled
from napari_refit.learn.feeding import ImageStore, Progress
from napari_refit.learn.optimising import make_optimiser
from napari_refit.learn.samples import Samples, list_checksum
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.splits import Split
from napari_refit.learn.state import TrainingState, check_fits, save_state
from napari_refit.learn.weights import Start


class EpochRun:
    """A training, epoch by epoch; a subclass says what an epoch is.

    Parameters
    ----------
    samples : Samples
    params : Parameters
        Kept in the state.
    shared : TrainingParams
        The same as far as optimising goes.
    split : Split
    store : ImageStore
    start : Start
    device : torch.device
    dtype : torch.dtype
        That layers compute in.
    machine : dict
        What weights depend on besides.
    """

    params: Any

    def __init__(
        self,
        samples: Samples,
        params: Any,
        shared: TrainingParams,
        split: Split,
        store: ImageStore,
        start: Start,
        device: torch.device,
        dtype: torch.dtype,
        machine: dict[str, Any],
    ) -> None:
        self.params, self.shared, self.split = params, shared, split
        self.device, self.dtype, self.machine, self.start = device, dtype, machine, start
        self.channels = store.channels
        self.mean = start.mean or (store.mean,) * store.channels
        self.std = start.std or (max(store.deviation, 1e-3),) * store.channels
        self.format = (
            torch.channels_last if params.channels_last and device.type != "mps" else torch.contiguous_format
        )
        self.network: nn.Module = start.module.to(device).to(memory_format=self.format)
        self.optimiser = make_optimiser(self.network, shared)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.steps = -(-len(split.training) // params.batch_size)
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        parts = [part.tolist() for part in split.parts.values()]
        self.data = {
            "image list": list_checksum(samples),
            "images": store.checksum,
            "split": sha256(repr(parts).encode()).hexdigest(),
        }

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far; 0 before the first."""
        return max((row["epoch"] for row in self.history if row["best"]), default=0)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many since the best one."""
        done, patience = len(self.history), self.params.patience
        return done >= self.params.epochs or 0 < patience <= done - self.best_epoch

    def autocast(self) -> torch.autocast:
        """The training's precision."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def descend(self, loss: Tensor, rate: float) -> float:
        """One step of the optimiser at a learning rate; the loss as a number."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        if self.params.gradient_clip > 0:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.params.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return float(loss.detach())

    def check_loss(self, loss: float, epoch: int) -> None:
        """Stop a training that went astray.

        Raises
        ------
        FloatingPointError
            If the loss is no number any more.
        """
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} in epoch {epoch}; lower learning_rate ({self.params.learning_rate:g})"
            )

    def record(
        self, rate: float, training: dict[str, float], validation: dict[str, float], began: float
    ) -> dict[str, Any]:
        """Note an epoch that began at ``began`` (of `time.perf_counter`), and keep its weights if it is the best."""
        row: dict[str, Any] = {
            "epoch": len(self.history) + 1,
            "learning_rate": rate,
            "training": training,
            "validation": validation,
            "best": self.is_better(validation),
            "seconds": time.perf_counter() - began,
        }
        if row["best"]:
            self.best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.history.append(row)
        self.seconds += row["seconds"]
        return row

    def train_epoch(self, progress: Progress | None, cancelled: Callable[[], bool] | None) -> dict[str, Any]:
        """One epoch, noted by `record`; its row of the history."""
        raise NotImplementedError

    def is_better(self, found: dict[str, float]) -> bool:
        """Whether an epoch's figures on the validation images beat the best so far."""
        raise NotImplementedError

    def normalised(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the network expects them."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((images - mean) / std).contiguous(memory_format=self.format)

    @staticmethod
    def ask(cancelled: Callable[[], bool] | None, text: str) -> None:
        """Stop if asked to.

        Raises
        ------
        Cancelled
            With the text.
        """
        if cancelled is not None and cancelled():
            raise Cancelled(text)

    def state(self) -> TrainingState:
        """What is needed to go on from here."""
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
        """Go on from a state."""
        self.network.load_state_dict(state.network)
        self.optimiser.load_state_dict(state.optimiser)
        self.scaler.load_state_dict(state.scaler)
        self.best = {name: value.to(self.device) for name, value in state.best.items()}
        self.history, self.seconds = list(state.history), state.seconds


def describe_machine(device: torch.device, threads: int, dtype: torch.dtype) -> dict[str, Any]:
    """What weights depend on besides images, labels and parameters."""
    return {
        "device": str(device),
        "threads": threads,
        "precision": str(dtype).removeprefix("torch."),
        "torch": str(torch.__version__),
    }


def run_epochs(
    run: EpochRun,
    before: TrainingState | None,
    resume_from: str | Path | None,
    state: str | Path | None,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
    on_epoch: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Go on from an earlier state, if there is one, until a training is finished.

    Parameters
    ----------
    run : EpochRun
    before : TrainingState or None
        Read from ``resume_from``.
    resume_from, state, progress, cancelled, on_epoch
        As of `napari_refit.learn.training.train`.

    Raises
    ------
    ReadError
        If the state belongs to another training.
    """
    if before is not None:
        check_fits(Path(str(resume_from)), before, run.params, run.data, run.machine)
        run.restore(before)
    while not run.finished:
        row = run.train_epoch(progress, cancelled)
        if state is not None:
            save_state(Path(state), run.state())
        if on_epoch is not None:
            on_epoch(row)
