from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn


def _tiny(in_channels: int = 1, classes: int = 3, inplace: bool = True) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Sequential(
                nn.Conv2d(in_channels, 6, 3, padding=1),
                nn.ReLU(inplace),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(inplace),
            ),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )


@pytest.fixture
def tiny() -> Callable[..., nn.Sequential]:
    """Makes a small convolutional classifier whose last stage is ``"0"``."""
    return _tiny


@pytest.fixture
def planes() -> np.ndarray:
    return np.random.default_rng(2).random((3, 24, 32)).astype(np.float32)
