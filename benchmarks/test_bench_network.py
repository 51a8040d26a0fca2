"""The USS network beside the least that it could cost: its convolutions, forward and backward, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from benchmarks.pictures import photograph

import napari_refit as refit

STAGE = "USS network"
SIDE, STEPS, MAX_LABELS = 240, 64, 32
OURS = "napari-refit"
PLAIN, LAST = "torch: its convolutions", "torch: its convolutions, channels last"
WITHIN = 1.15


@cache
def picture_and_guide() -> tuple[np.ndarray, np.ndarray]:
    image = photograph(512, colour=True)[:SIDE, 100 : 100 + SIDE]
    return image, refit.slic(image, n_segments=300)


def train(steps: int) -> np.ndarray:
    """Train until a single label is left, which this picture does not come to: all steps are done."""
    image, guide = picture_and_guide()
    return refit.uss_network(image, guide, steps=steps, min_labels=2, max_labels=MAX_LABELS, device="cpu")


def convolutions(channels_last: bool, steps: int = STEPS, device: str = "cpu") -> Callable[[], None]:
    """The network's four convolutions on tensors of the same shapes; the last step has no backward pass."""
    import torch

    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    widths = (3, 64, 32, 64, MAX_LABELS)
    layers = [
        torch.nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False).to(device, memory_format=layout)
        for inputs, outputs, size in zip(widths[:-1], widths[1:], (3, 1, 3, 1), strict=True)
    ]
    chain = torch.nn.Sequential(*layers)
    image = torch.rand(1, 3, SIDE, SIDE).to(device, memory_format=layout)
    slope = torch.rand(1, MAX_LABELS, SIDE, SIDE).to(device, memory_format=layout)

    def run() -> None:
        for step in range(1, steps + 1):
            response = chain(image)
            if step < steps:
                response.backward(slope)
                chain.zero_grad()

    return run


def warm_up() -> None:
    train(2)
    for channels_last in (False, True):
        convolutions(channels_last, steps=2)()


@pytest.mark.parametrize(
    ("what", "way"), product([f"USS network, {SIDE} x {SIDE} RGB, {STEPS} steps"], [OURS, PLAIN, LAST])
)
def test_network(benchmark: Any, races: Any, what: str, way: str) -> None:
    ways = {
        OURS: partial(train, STEPS),
        PLAIN: convolutions(channels_last=False),
        LAST: convolutions(channels_last=True),
    }
    reach = {PLAIN: {"within": WITHIN}, LAST: {"within": WITHIN}}
    lap = races.measure(benchmark, what, way, lambda: ways, stage=STAGE, reach=reach, warm_up=warm_up)
    if way == OURS:
        # A single cluster would mean that training ended early.
        assert lap.result.max() > 1
