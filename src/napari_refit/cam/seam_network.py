"""The network of SEAM: a class activation map, and a module that refines it by how alike the pixels are.

Wang, Zhang, Kan, Shan and Chen (2020), Self-supervised equivariant attention mechanism for weakly supervised semantic
segmentation, CVPR. How it is trained: `napari_refit.learn.seam`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_refit.cam.architectures import build
from napari_refit.cam.trunk import Trunk

SCALES = (0.5, 1.0, 1.5, 2.0)
"""Sizes that an image is looked at for its maps, each as it is and mirrored."""
_TINY = 1e-5
_WIDTHS = (64, 128)


class SeamMaps(NamedTuple):
    """What the network says of a batch.

    Attributes
    ----------
    cam : Tensor, shape (N, F, h, w)
        Class activation maps of the F foreground classes: scores, of either sign.
    refined : Tensor, shape (N, 1 + F, h, w)
        Background and foreground maps in [0, 1], refined. Gradients reach the correlation module alone.
    """

    cam: Tensor
    refined: Tensor


class PixelCorrelation(nn.Module):
    """Gives every place the mean of the maps at the places that look like it.

    Parameters
    ----------
    in_channels : int
        Of the image.
    widths : tuple of int
        Channels of the two feature levels.

    Notes
    -----
    Features of the two levels pass a 1x1 convolution and a ReLU each; joined with the image, they pass one more.
    The affinity of two places is the cosine of what comes out, 0 where that is negative. Nothing before the
    convolutions is given a gradient.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.shallow = nn.Conv2d(widths[0], _WIDTHS[0], 1, bias=False)
        self.deep = nn.Conv2d(widths[1], _WIDTHS[1], 1, bias=False)
        self.join = nn.Conv2d(in_channels + sum(_WIDTHS), sum(_WIDTHS), 1, bias=False)
        nn.init.kaiming_normal_(self.shallow.weight)
        nn.init.kaiming_normal_(self.deep.weight)
        nn.init.xavier_uniform_(self.join.weight, gain=4)

    def affinity(self, image: Tensor, levels: tuple[Tensor, Tensor], size: tuple[int, int]) -> Tensor:
        """How alike the places of a grid are.

        Parameters
        ----------
        image : Tensor, shape (N, in_channels, H, W)
        levels : two Tensors, each (N, C, h, w)
        size : tuple of int
            The grid, (h, w); all three are resized to it.

        Returns
        -------
        Tensor, shape (N, h * w, h * w)
            0 or more; every row sums to 1.
        """
        shallow, deep = (_resized(level.detach().float(), size) for level in levels)
        seen = [
            _resized(image, size),
            functional.relu(self.shallow(shallow)),
            functional.relu(self.deep(deep)),
        ]
        joined = self.join(torch.cat([part.float() for part in seen], 1))
        # Sums over many places are beyond 16 bits.
        with torch.autocast(joined.device.type, enabled=False):
            places = functional.normalize(joined.float().flatten(2), dim=1, eps=_TINY)
            alike = functional.relu(places.transpose(1, 2) @ places)
            return alike / alike.sum(2, keepdim=True).clamp_min(_TINY)

    def forward(self, maps: Tensor, image: Tensor, levels: tuple[Tensor, Tensor]) -> Tensor:
        """Refined maps, of the shape of ``maps`` (N, K, h, w)."""
        size = (int(maps.shape[2]), int(maps.shape[3]))
        affinity = self.affinity(image, levels, size)
        with torch.autocast(maps.device.type, enabled=False):
            refined = maps.float().flatten(2) @ affinity.transpose(1, 2)
        return refined.unflatten(2, size)


class SeamNetwork(nn.Module):
    """SEAM around a classifier's stages.

    Parameters
    ----------
    backbone : torch.nn.Module
        A convolutional classifier; taken over, its head is removed.
    n_classes, in_channels : int
    background : int, optional
        The class that means that nothing is there. It has no score of its own: its logit is 0 where classes exclude
        each other, so that a class is predicted where its score is positive; else it contradicts the highest score.
    exclusive : bool
        Whether an image shows exactly one class.
    stride : int
        Pixels per place of the maps (see `napari_refit.cam.trunk.Trunk`).
    dropout : float
        How often a feature is left out in training.
    """

    maps_are_scaled = False

    def __init__(
        self,
        backbone: nn.Module,
        n_classes: int,
        in_channels: int,
        background: int | None = None,
        exclusive: bool = True,
        stride: int = 16,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.foreground = [index for index in range(n_classes) if index != background]
        if not self.foreground:
            raise ValueError("SEAM needs a class that is not the background")
        self.background, self.exclusive = background, exclusive
        self.trunk = Trunk(backbone, in_channels, stride)
        first, second, last = (level.channels for level in self.trunk.levels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(last, len(self.foreground), 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)
        self.correlation = PixelCorrelation(in_channels, (first, second))
        self.norms_are_frozen = False
        self.rate_factors: dict[str, float] = {}

    @property
    def fresh_layers(self) -> tuple[str, ...]:
        """Names of the layers that the backbone did not have."""
        return ("classifier", "correlation")

    def train(self, mode: bool = True) -> SeamNetwork:
        """As of any module; frozen norms stay as they are."""
        super().train(mode)
        if mode and self.norms_are_frozen:
            for part in _norms(self):
                part.eval()
        return self

    def freeze_norms(self) -> None:
        """Keep the averages, weights and biases of batch norms as they are, for good."""
        self.norms_are_frozen = True
        for part in _norms(self):
            part.eval().requires_grad_(False)

    def maps(self, x: Tensor) -> SeamMaps:
        """Class activation maps and refined maps of images (N, in_channels, H, W)."""
        first, second, last = self.trunk(x)
        cam = self.classifier(self.dropout(last))
        refined = self.correlation(competing(cam.detach().float()), x, (first, second))
        return SeamMaps(cam, refined)

    def logits(self, cam: Tensor) -> Tensor:
        """Logits (N, n_classes) from class activation maps: their means, and the background's."""
        scores = cam.float().mean((2, 3))
        if self.background is None:
            return scores
        nothing = torch.zeros_like(scores[:, :1]) if self.exclusive else -scores.amax(1, keepdim=True)
        return self._with_background(scores, nothing)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, n_classes) of images (N, in_channels, H, W)."""
        return self.logits(self.classifier(self.dropout(self.trunk(x)[-1])))

    def own_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Refined maps (N, n_classes, H, W), summed over `SCALES` and mirror images, and logits (N, n_classes)."""
        height, width = int(x.shape[2]), int(x.shape[3])
        total = x.new_zeros(())
        logits = x.new_zeros(())
        for scale in SCALES:
            view = _resized(x, (max(round(height * scale), 1), max(round(width * scale), 1)))
            for mirrored in (False, True):
                found = self.maps(view.flip(3) if mirrored else view)
                if scale == 1 and not mirrored:
                    logits = self.logits(found.cam)
                refined = found.refined[:, 1:]
                total = total + _resized(refined.flip(3) if mirrored else refined, (height, width))
        shown = functional.relu(total)
        if self.background is None:
            return shown, logits
        nothing = 1 - normalised(shown).amax(1, keepdim=True)
        return self._with_background(shown, nothing), logits

    def _with_background(self, foreground: Tensor, nothing: Tensor) -> Tensor:
        assert self.background is not None
        before, after = foreground[:, : self.background], foreground[:, self.background :]
        return torch.cat([before, nothing, after], 1)


def normalised(maps: Tensor) -> Tensor:
    """The positive part of maps (N, K, h, w), each brought to [0, 1] from its smallest to its largest value."""
    positive = functional.relu(maps)
    low, high = positive.amin((2, 3), keepdim=True), positive.amax((2, 3), keepdim=True)
    return functional.relu(positive - low - _TINY) / (high - low + _TINY)


def competing(cam: Tensor) -> Tensor:
    """Maps as the correlation module is given them.

    Parameters
    ----------
    cam : Tensor, shape (N, F, h, w)

    Returns
    -------
    Tensor, shape (N, 1 + F, h, w)
        In [0, 1]. First the background, 1 less the highest class; then the classes, each divided by its maximum and
        0 wherever another one is higher.
    """
    positive = functional.relu(cam)
    scaled = functional.relu(positive - _TINY) / (positive.amax((2, 3), keepdim=True) + _TINY)
    return with_background(scaled, strongest_only=True)


def with_background(maps: Tensor, strongest_only: bool = False) -> Tensor:
    """Put 1 less the highest of maps (N, F, h, w) before them, and, if asked, 0 wherever another one is higher."""
    highest = maps.amax(1, keepdim=True)
    kept = torch.where(maps == highest, maps, 0) if strongest_only else maps
    return torch.cat([1 - highest, kept], 1)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == size:
        return maps
    coarser = maps.shape[2] > size[0] or maps.shape[3] > size[1]
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=coarser)


def _norms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def build_seam(n_classes: int, in_channels: int, settings: dict[str, Any]) -> SeamNetwork:
    """Build the network as a checkpoint describes it.

    Parameters
    ----------
    n_classes, in_channels : int
    settings : dict
        ``backbone`` (an architecture's name), ``background``, ``exclusive`` and ``stride``.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the settings do not fit.

    Examples
    --------
    >>> network = build_seam(2, 1, {"backbone": "phantom-cnn", "background": 0, "exclusive": True, "stride": 16})
    >>> network(torch.zeros(1, 1, 64, 64)).shape
    torch.Size([1, 2])
    """
    backbone = build(settings["backbone"], n_classes, in_channels)
    return SeamNetwork(
        backbone,
        n_classes,
        in_channels,
        background=settings["background"],
        exclusive=settings["exclusive"],
        stride=settings["stride"],
    )
