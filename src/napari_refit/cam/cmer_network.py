"""The network of WSS-CMER: for each modality a small U-Net that ends in class maps, whose means are its logits.

Gaurav Patel and Jose Dolz, "Weakly supervised segmentation with cross-modality equivariant constraints", Medical
Image Analysis 77:102374, 2022, arXiv:2104.02488.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CMER = "cmer"
MODALITIES = ("average", "first", "second", "third", "fourth")
"""Whose maps and logits a network gives: the mean over its modalities, or those of one of them."""

LEAST_SIZE = 8
_FAINT = 1e-6


class CmerNetwork(nn.Module):
    """One class-map network per modality; they share no weights and no input.

    Parameters
    ----------
    n_classes : int
    modalities : int
        Channels of the images.
    width : int
        Channels of the finest level; published: 64 for BraTS, 16 for the prostate.
    modality : str
        One of `MODALITIES`.

    Attributes
    ----------
    maps_are_scaled : bool
        False: the maps are rectified logits.

    Raises
    ------
    ValueError
        If there are fewer than two modalities, or not the one that is asked for.
    """

    def __init__(self, n_classes: int, modalities: int, width: int = 16, modality: str = "average") -> None:
        super().__init__()
        if modalities < 2:
            raise ValueError(
                "WSS-CMER compares two modalities; these images have one: take images of two channels or more, "
                "such as a dataset's preparation of two modalities"
            )
        if modality not in MODALITIES:
            raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}")
        if MODALITIES.index(modality) > modalities:
            raise ValueError(f"modality = {modality!r}, but the images have {modalities} channels")
        self.maps_are_scaled = False
        self.modality = modality
        self.networks = nn.ModuleList(ClassMapUNet(n_classes, width) for _ in range(modalities))

    def class_maps(self, x: Tensor) -> Tensor:
        """Class maps of every modality, before any rectifying.

        Parameters
        ----------
        x : Tensor, shape (N, M, H, W)
            H and W at least 8. Each image's modality is brought to mean 0 and deviation 1 here.

        Returns
        -------
        Tensor, shape (M, N, K, H, W)
        """
        deviation, mean = torch.std_mean(x, dim=(2, 3), keepdim=True, correction=0)
        x = (x - mean) / deviation.clamp(min=_FAINT)
        return torch.stack([network(x[:, k : k + 1]) for k, network in enumerate(self.networks)])

    def chosen(self, values: Tensor) -> Tensor:
        """The mean over the first axis, modalities, or the one that was asked for."""
        return (
            values.mean(0) if self.modality == MODALITIES[0] else values[MODALITIES.index(self.modality) - 1]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K): the class maps' means (see `class_maps` for ``x``)."""
        return self.chosen(pooled(self.class_maps(x)))

    def own_maps(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """Rectified class maps (N, K, H, W), and logits (N, K)."""
        maps = self.class_maps(x).float()
        return self.chosen(maps.relu()), self.chosen(pooled(maps))


class ClassMapUNet(nn.Module):
    """Three levels down and up; a 1x1 convolution without bias turns the finest features into one map per class.

    Parameters
    ----------
    n_classes, width : int
    """

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        wide, wider = 2 * width, 4 * width
        self.down = nn.ModuleList(
            [_pair(1, width), _pair(width, wide), _pair(wide, wider), _pair(wider, wider)]
        )
        self.up = nn.ModuleList([_pair(2 * wider, wide), _pair(2 * wide, width), _pair(2 * width, width)])
        self.last = nn.Sequential(*_convolution(width, width))
        self.classifier = nn.Conv2d(width, n_classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Class maps (N, K, H, W) of one channel (N, 1, H, W)."""
        levels: list[Tensor] = []
        for part in self.down:
            x = part(functional.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for part, skipped in zip(self.up, reversed(levels[:-1]), strict=True):
            x = functional.interpolate(x, skipped.shape[-2:], mode="nearest")
            x = part(torch.cat([skipped, x], 1))
        maps: Tensor = self.classifier(self.last(x))
        return maps


def pooled(maps: Tensor) -> Tensor:
    """The mean over a map's pixels, in float32: (..., H, W) to (...)."""
    return maps.float().mean((-2, -1))


def build_cmer(n_classes: int, in_channels: int, settings: dict[str, Any]) -> CmerNetwork:
    """Build the network from what its checkpoint says.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the settings do not fit.
    """
    return CmerNetwork(n_classes, in_channels, int(settings["width"]), str(settings["modality"]))


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(inputs, outputs), *_convolution(outputs, outputs))


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    # The norm has a bias of its own.
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
