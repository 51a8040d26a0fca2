"""What an FSSS training starts from: random numbers, an encoder that has seen images before, or an FSSS checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_refit.cam.architectures import adapt
from napari_refit.cam.checkpoint import SUFFIXES, read_metadata
from napari_refit.cam.classifier import Classifier, load_classifier
from napari_refit.cam.efficientnet_lite import EFFICIENTNET_LITE0
from napari_refit.cam.fsss_network import FSSS, LEAKY, UNET, PixelNetwork, build_fsss
from napari_refit.errors import ReadError
from napari_refit.io.sidecar import file_checksum
from napari_refit.learn.fsss.params import FsssParams
from napari_refit.learn.weights import Start, starting_network

_ENCODER = "body.encoder."


def start_network(params: FsssParams, n_classes: int, in_channels: int) -> Start:
    """Build a segmentation network and give it its first weights.

    Parameters
    ----------
    params : FsssParams
        ``network`` and ``weights``.
    n_classes : int
        With the background.
    in_channels : int
        The encoder's first convolution is folded where its weights take another number.

    Raises
    ------
    ValueError
        If the weights are not for this network.
    ReadError
        If they cannot be had; the message names every way.
    ModuleNotFoundError
        If MONAI is not installed.
    """
    settings = {"network": params.network, "activation": LEAKY}
    network = build_fsss(n_classes, in_channels, settings)
    weights = params.weights
    if weights == "none":
        return Start(network, None, None, weights, FSSS, settings)
    if weights.lower().endswith(SUFFIXES) or Path(weights).exists():
        return _from_file(network, Path(weights), settings, n_classes, in_channels)
    if params.network == UNET:
        raise ValueError(
            f"weights {weights!r}: a {UNET} has no published weights; start from none, or from an FSSS checkpoint"
        )
    if weights != "imagenet":
        raise ValueError(
            f"weights {weights!r} are no file ({', '.join(SUFFIXES)}) and none of: imagenet, none"
        )
    found = starting_network(EFFICIENTNET_LITE0, weights, n_classes, in_channels, params.input_size)
    _fill_encoder(network, found.module)
    return Start(network, found.mean, found.std, weights, FSSS, settings)


def _from_file(
    network: PixelNetwork, path: Path, settings: dict[str, str], n_classes: int, in_channels: int
) -> Start:
    name = settings["network"]
    metadata = read_metadata(path) if path.suffix.lower() == ".safetensors" else None
    is_fsss = metadata is not None and metadata.architecture == FSSS
    if name == UNET and not is_fsss:
        raise ReadError(
            path, f"is no FSSS checkpoint, from which alone a {UNET} can start; or start from none"
        )
    found = load_classifier(path, arch=None if is_fsss else EFFICIENTNET_LITE0)
    mean, std = found.mean, found.std
    if is_fsss:
        assert isinstance(found.module, PixelNetwork)
        if found.module.network == name:
            # Its weights belong to its own activation.
            settings = {**settings, "activation": found.module.activation}
            network = build_fsss(n_classes, in_channels, settings)
        _fill_all(network, found, in_channels, path)
    else:
        adapt(found.module, n_classes, in_channels)
        _fill_encoder(network, found.module)
        if found.in_channels != in_channels:
            mean, std = ((float(np.mean(values)),) * in_channels for values in (mean, std))
    return Start(network, mean, std, f"{path.name} ({file_checksum(path)})", FSSS, settings)


def _fill_encoder(network: PixelNetwork, classifier: nn.Module) -> None:
    """Take the classifier's features; its head, and the last convolution before it, have no place here."""
    encoder = network.get_submodule(_ENCODER.rstrip("."))
    state = classifier.state_dict()
    encoder.load_state_dict({key: state[key] for key in encoder.state_dict()})


def _fill_all(network: PixelNetwork, found: Classifier, in_channels: int, path: Path) -> None:
    """Take everything; what scores the classes is left at random where there are others."""
    module = found.module
    assert isinstance(module, PixelNetwork)
    if module.network != network.network:
        raise ReadError(path, f"holds the network {module.network}, not {network.network}; choose that one")
    if found.in_channels != in_channels:
        raise ReadError(
            path,
            f"takes images of {found.in_channels} channels, not {in_channels}; set channels, or take other weights",
        )
    own = network.state_dict()
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if value.shape == own[key].shape:
                own[key].copy_(value)
