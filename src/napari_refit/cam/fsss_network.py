"""The networks of fully supervised semantic segmentation (FSSS): MONAI's U-Nets, which give a score to every pixel.

MONAI is imported when a network is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_refit.cam.efficientnet_lite import EFFICIENTNET_LITE0, EfficientNetLite0

FSSS = "fsss"
UNET = "unet"
NETWORKS = Literal["efficientnet-lite0", "unet"]
RELU = "relu"
LEAKY = "leaky"
# In the last layers there are few channels: where all of them speak for the background, plain rectification leaves
# nothing that could speak for the object with more than the bias of the scores, and no gradient to change that.
_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    RELU: ("relu", {"inplace": True}),
    LEAKY: ("leakyrelu", {"inplace": True, "negative_slope": 0.1}),
}
EXTRA = 'pip install "napari-refit[fsss]"'

# Both networks halve the image so often that its sides must be multiples of this.
_MULTIPLE = 32
_UNET_CHANNELS = (16, 32, 64, 128, 256)
# Of EfficientNet-Lite0: after which part of its features a map of half the size of the one before is complete, and
# how many channels it has.
_LEVELS = {1: 16, 2: 24, 3: 40, 5: 112, 7: 320}
_DECODER_CHANNELS = (128, 64, 32, 16, 8)


class PixelNetwork(nn.Module):
    """A segmentation network that answers as a classifier too, so that it goes wherever a classifier goes.

    Parameters
    ----------
    body : torch.nn.Module
        Takes (N, C, H, W) with sides that are multiples of 32, returns scores (N, K + 1, H, W); 0 is background.
    network : str
        Its name, one of `NETWORKS`.
    activation : str
        Of its decoder, see `build_fsss`.

    Attributes
    ----------
    maps_are_scaled : bool
        Its maps are probabilities.
    """

    maps_are_scaled = True

    def __init__(self, body: nn.Module, network: str, activation: str = RELU) -> None:
        super().__init__()
        self.body = body
        self.network, self.activation = network, activation

    def pixel_logits(self, x: Tensor) -> Tensor:
        """Scores (N, K + 1, H, W) of images (N, C, H, W) of any size."""
        height, width = x.shape[-2:]
        missing = (-height % _MULTIPLE, -width % _MULTIPLE)
        if any(missing):
            x = functional.pad(x, (0, missing[1], 0, missing[0]), mode="replicate")
        scores: Tensor = self.body(x)
        return scores[..., :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K + 1) of images (N, C, H, W), see `image_logits`."""
        return image_logits(self.pixel_logits(x))

    def own_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of each class at each pixel (N, K + 1, H, W), and `forward`'s logits."""
        scores = self.pixel_logits(x)
        return scores.softmax(1), image_logits(scores)


def image_logits(scores: Tensor) -> Tensor:
    """What scores of pixels say of the image: a class is there if it wins any pixel.

    Parameters
    ----------
    scores : Tensor, shape (N, K + 1, H, W)
        0 is background.

    Returns
    -------
    Tensor, shape (N, K + 1)
        Of a class, by how much it leads the best of the others at the pixel where it leads most (of a single class:
        the background); of the background 0.

    Examples
    --------
    >>> scores = torch.zeros(1, 3, 2, 2); scores[0, 1, 0, 0], scores[0, 2, 0, 0] = 2.0, 3.0
    >>> image_logits(scores).tolist()
    [[0.0, 0.0, 1.0]]
    """
    best = scores.topk(2, dim=1)
    classes = torch.arange(scores.shape[1], device=scores.device)[:, None, None]
    rivals = torch.where(classes == best.indices[:, :1], best.values[:, 1:], best.values[:, :1])
    leads = (scores - rivals).amax((2, 3))
    return torch.cat([torch.zeros_like(leads[:, :1]), leads[:, 1:]], dim=1)


def build_fsss(n_classes: int, in_channels: int, settings: Mapping[str, Any]) -> PixelNetwork:
    """Make a network with random weights.

    Parameters
    ----------
    n_classes : int
        With the background; 2 or more.
    in_channels : int
    settings : mapping
        ``network``: one of `NETWORKS`. ``activation``: of the decoder of efficientnet-lite0, ``"leaky"``, or
        ``"relu"`` as without a word.

    Raises
    ------
    ValueError
        For an unknown network or activation, or too few classes.
    ModuleNotFoundError
        If MONAI is not installed; the message says how to get it.

    Examples
    --------
    >>> network = build_fsss(2, 1, {"network": "unet"})
    >>> network(torch.zeros(1, 1, 40, 48)).shape, network.pixel_logits(torch.zeros(1, 1, 40, 48)).shape
    (torch.Size([1, 2]), torch.Size([1, 2, 40, 48]))
    """
    name = settings.get("network", EFFICIENTNET_LITE0)
    if name not in get_args(NETWORKS):
        raise ValueError(f"unknown FSSS network {name!r}; there are: {', '.join(get_args(NETWORKS))}")
    activation = settings.get("activation", RELU)
    if activation not in _ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are: {', '.join(_ACTIVATIONS)}")
    if n_classes < 2 or in_channels < 1:
        raise ValueError(
            f"an FSSS network needs the background and a class, and a channel; got {n_classes} classes, "
            f"{in_channels} channels"
        )
    try:
        if name == UNET:
            return PixelNetwork(_unet(n_classes, in_channels), name)
        return PixelNetwork(_efficientnet(n_classes, in_channels, activation), name, activation)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "monai":
            raise
        raise ModuleNotFoundError(
            f"FSSS networks are made with MONAI, which is not installed: {EXTRA}", name="monai"
        ) from None


def _unet(n_classes: int, in_channels: int) -> nn.Module:
    from monai.networks.nets.unet import UNet

    # Instance norm, as statistics of small batches of medical images vary.
    network: nn.Module = UNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=n_classes,
        channels=_UNET_CHANNELS,
        strides=(2,) * (len(_UNET_CHANNELS) - 1),
        num_res_units=2,
        norm=("instance", {"affine": True}),
    )
    return network


def _efficientnet(n_classes: int, in_channels: int, activation: str) -> nn.Module:
    from monai.networks.nets.flexible_unet import SegmentationHead, UNetDecoder

    # Not FlexibleUNet itself: its backbones are kept in one table of the process, with the parameters of the last
    # network that was built.
    decoder = UNetDecoder(
        spatial_dims=2,
        encoder_channels=(in_channels, *_LEVELS.values()),
        decoder_channels=_DECODER_CHANNELS,
        act=_ACTIVATIONS[activation],
        norm=("batch", {"eps": 1e-3}),
        dropout=0.0,
        bias=False,
        upsample="nontrainable",
        pre_conv="default",
        interp_mode="nearest",
        align_corners=None,
        is_pad=False,
    )
    return _EncoderDecoder(
        LiteEncoder(in_channels), decoder, SegmentationHead(2, _DECODER_CHANNELS[-1], n_classes)
    )


class LiteEncoder(nn.Module):
    """EfficientNet-Lite0 up to its last stage, its tensors called as in the classifier.

    Parameters
    ----------
    in_channels : int
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*list(EfficientNetLite0(2, in_channels).features)[: max(_LEVELS) + 1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image, and its feature maps, each half the size of the one before."""
        found = [x]
        for number, part in enumerate(self.features):
            x = part(x)
            if number in _LEVELS:
                found.append(x)
        return found


class _EncoderDecoder(nn.Module):
    def __init__(self, encoder: LiteEncoder, decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.decoder(self.encoder(x)))
        return scores
