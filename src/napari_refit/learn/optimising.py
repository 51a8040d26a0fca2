"""The parts of a training step that parameters choose: loss, optimiser, learning rate, precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_refit.learn.settings import TrainingParams

Loss = Callable[[Tensor, Tensor], Tensor]


def make_optimiser(network: nn.Module, params: TrainingParams) -> torch.optim.Optimizer:
    """AdamW or SGD; biases and norms do not decay.

    Every parameter group says by which ``factor`` it learns faster than the learning rate: 1, but for parts that the
    network names in a dict ``rate_factors``.
    """
    factors: dict[str, float] = getattr(network, "rate_factors", {})
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, value in network.named_parameters():
        if value.requires_grad:
            factor = next((found for part, found in factors.items() if name.startswith(f"{part}.")), 1.0)
            groups.setdefault((factor, value.ndim > 1), []).append(value)
    made: list[dict[str, Any]] = [
        {"params": values, "weight_decay": params.weight_decay if decays else 0.0, "factor": factor}
        for (factor, decays), values in sorted(groups.items(), key=lambda item: (item[0][0], not item[0][1]))
    ]
    if params.optimiser == "sgd":
        return torch.optim.SGD(
            made, params.learning_rate, momentum=params.momentum, nesterov=params.momentum > 0
        )
    return torch.optim.AdamW(made, params.learning_rate)


def learning_rate(params: TrainingParams, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step: a function of its number alone, so that a resumed training needs no memory.

    Parameters
    ----------
    params : TrainingParams
    step : int
        Counted from 0 over the whole training.
    steps_per_epoch : int

    Examples
    --------
    >>> params = TrainingParams(epochs=10, warm_up=1, learning_rate=1.0, schedule="linear")
    >>> [round(learning_rate(params, step, 4), 3) for step in (0, 3, 4, 22, 39)]
    [0.2, 0.8, 1.0, 0.5, 0.028]
    """
    total = params.epochs * steps_per_epoch
    rising = min(round(params.warm_up * steps_per_epoch), total // 2)
    if step < rising:
        return params.learning_rate * (step + 1) / (rising + 1)
    done = (step - rising) / max(total - rising, 1)
    if params.schedule == "cosine":
        return params.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    return params.learning_rate * (1 - done if params.schedule == "linear" else 1)


def make_loss(
    params: TrainingParams, shown: NDArray[np.int64], exclusive: bool, device: torch.device
) -> Loss:
    """Cross-entropy over classes that exclude each other, else of every class by itself.

    Parameters
    ----------
    params : TrainingParams
    shown : ndarray of int64, shape (N, K)
        Of the training images; rare classes weigh more where ``params.balance`` is "weights".
    exclusive : bool
    device : torch.device

    Returns
    -------
    callable
        Takes logits and zeros and ones, both (N, K).
    """
    count, classes = shown.shape
    positives = shown.sum(0)
    smoothing = params.label_smoothing
    weights = None
    if params.balance == "weights":
        rarity = count / (classes * positives) if exclusive else (count - positives) / positives
        weights = torch.tensor(rarity, dtype=torch.float32, device=device)

    def exclusive_loss(logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits, targets.argmax(1), weight=weights, label_smoothing=smoothing)

    def several_loss(logits: Tensor, targets: Tensor) -> Tensor:
        soft = targets * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, soft, pos_weight=weights)

    return exclusive_loss if exclusive else several_loss


def precision(params: TrainingParams, device: torch.device) -> torch.dtype:
    """The type that layers compute in (see `TrainingParams.precision`).

    Raises
    ------
    ValueError
        For float16 on anything but CUDA.
    """
    if params.precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision float16 is for CUDA, not {device.type}; take auto, float32 or bfloat16")
    if params.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
            params.precision
        ]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _processor_computes_bfloat16() else torch.float32


def _processor_computes_bfloat16() -> bool:
    # Where the processor has no such instructions, bfloat16 is emulated and slower than float32. Older torch
    # does not tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
