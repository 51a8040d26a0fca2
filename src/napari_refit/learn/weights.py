"""What a training starts from: random numbers, ImageNet, or a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_refit.cam.architectures import PHANTOM_CNN, adapt, build
from napari_refit.cam.checkpoint import SUFFIXES
from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.loading import fixed_size, published_facts
from napari_refit.io.sidecar import file_checksum


@dataclass(frozen=True, eq=False)
class Start:
    """A network to train.

    Attributes
    ----------
    module : torch.nn.Module
    mean, std : tuple of float or None
        What it expects, one value per channel; None: whatever fits the images.
    source : str
        For reports.
    architecture : str
        As a checkpoint names it.
    settings : dict
        What else is needed to build it (see `napari_refit.cam.own_maps.build_own`).
    """

    module: nn.Module
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    source: str
    architecture: str
    settings: dict[str, Any] = field(default_factory=dict)


def starting_network(architecture: str, weights: str, n_classes: int, in_channels: int, size: int) -> Start:
    """Build a network and give it its first weights.

    Parameters
    ----------
    architecture : str
    weights : str
        ``"none"``, ``"imagenet"``, or a file that `load_classifier` reads.
    n_classes, in_channels : int
        The last layer of weights with another number of classes is replaced; the first convolution is folded.
    size : int
        Side of the images, px.

    Raises
    ------
    ValueError
        If a name is unknown, or the network does not take images of this size.
    ReadError
        If the weights cannot be had; the message names every way.
    """
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    source = weights
    if weights == "none":
        module = build(architecture, n_classes, in_channels)
    elif weights == "imagenet":
        module = build(architecture, n_classes, in_channels, weights="imagenet")
        _, mean, std = published_facts(architecture)
    elif weights.lower().endswith(SUFFIXES) or Path(weights).exists():
        found = load_classifier(Path(weights), arch=architecture)
        module, mean, std = found.module, found.mean, found.std
        adapt(module, n_classes, in_channels)
        source = f"{Path(weights).name} ({file_checksum(weights)})"
    else:
        ways = "none, imagenet" if architecture != PHANTOM_CNN else "none"
        raise ValueError(f"weights {weights!r} are no file ({', '.join(SUFFIXES)}) and none of: {ways}")
    _try(module, architecture, n_classes, in_channels, size)
    return Start(module, _fitted(mean, in_channels), _fitted(std, in_channels), source, architecture)


def _fitted(values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    if values is None or len(values) == channels:
        return values
    return (float(np.mean(values)),) * channels


def _try(module: nn.Module, architecture: str, n_classes: int, in_channels: int, size: int) -> None:
    fixed = fixed_size(module, architecture)
    if fixed is not None and fixed != size:
        raise ValueError(f"{architecture} takes images of {fixed} px only, input_size is {size}")
    module.eval()
    try:
        with torch.inference_mode():
            answer = module(torch.zeros(1, in_channels, size, size))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{architecture} does not take images of {size} px ({reason}); raise input_size"
        ) from error
    if tuple(answer.shape) != (1, n_classes):
        raise ValueError(
            f"{architecture} answers with shape {tuple(answer.shape)} instead of (1, {n_classes})"
        )
