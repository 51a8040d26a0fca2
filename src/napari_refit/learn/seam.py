"""How SEAM is trained: each image also as a small copy, whose maps have to agree with those of the image.

Wang, Zhang, Kan, Shan and Chen (2020), Self-supervised equivariant attention mechanism for weakly supervised semantic
segmentation, CVPR. The network: `napari_refit.cam.seam_network`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_refit.cam.layers import evaluating
from napari_refit.cam.seam_network import SCALES, SeamMaps, SeamNetwork, normalised, with_background
from napari_refit.learn.optimising import Loss
from napari_refit.learn.reporting import background_of
from napari_refit.learn.samples import Samples
from napari_refit.learn.settings import TrainingParams
from napari_refit.learn.weights import Start, starting_network


class Pair(NamedTuple):
    """What the network says of images and of their small copies.

    Attributes
    ----------
    whole, small : SeamMaps
    logits : two Tensors, each (N, K)
    size : tuple of int
        Of the small copies, px.
    """

    whole: SeamMaps
    small: SeamMaps
    logits: tuple[Tensor, Tensor]
    size: tuple[int, int]


class SeamLesson:
    """Classification of both copies, equivariance, and equivariant cross regularisation."""

    def start(self, samples: Samples, params: TrainingParams, channels: int) -> Start:
        """SEAM around the stages of an architecture.

        Raises
        ------
        ValueError
            Besides what `starting_network` raises: if the architecture has no stages, or the images are too small.
        """
        self.options, self.smoothing = params.seam, params.label_smoothing
        exclusive = samples.labels.ndim == 1
        background = background_of(samples, params.background)
        classes, stride = len(samples.classes), int(self.options.stride)
        base = starting_network(params.architecture, params.weights, classes, channels, params.input_size)
        try:
            network = SeamNetwork(
                base.module, classes, channels, background, exclusive, stride, self.options.dropout
            )
        except ValueError as error:
            raise ValueError(f"seam cannot use {params.architecture}: {error}") from error
        self.foreground = network.foreground
        # With one class beside the background, or classes that go together, cross-entropy is the same.
        self.scored_apart = exclusive and (background is None or len(self.foreground) > 1)
        if self.scored_apart and params.balance == "weights":
            raise ValueError(
                "balance = weights is not for seam with these classes, which it scores one by one although they "
                "exclude each other; take balance = batches"
            )
        check_size(network, channels, params.input_size, min(self.options.scale, *SCALES))
        if self.options.norms == "frozen":
            network.freeze_norms()
        network.rate_factors = dict.fromkeys(network.fresh_layers, self.options.fresh_rate)
        settings = {
            "backbone": base.architecture,
            "background": background,
            "exclusive": exclusive,
            "stride": stride,
        }
        return Start(network, base.mean, base.std, base.source, "seam", settings)

    def forward(self, network: nn.Module, images: Tensor, chance: torch.Generator) -> Pair:
        """Maps of the images and of their small copies."""
        assert isinstance(network, SeamNetwork)
        side = round(int(images.shape[2]) * self.options.scale)
        copies = functional.interpolate(
            images, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
        whole = network.maps(images)
        with _averages_kept(network):
            small = network.maps(copies)
        return Pair(whole, small, (network.logits(whole.cam), network.logits(small.cam)), (side, side))

    def loss(self, outcome: Pair, targets: Tensor, plain: Loss) -> tuple[Tensor, Tensor]:
        """The sum of the terms, each with its weight."""
        whole, small, logits, size = outcome
        options, shown = self.options, targets[:, self.foreground]
        surprise = (self._surprise(logits[0], targets, plain) + self._surprise(logits[1], targets, plain)) / 2
        cams = [comparable(maps.cam.float(), shown, size) for maps in (whole, small)]
        with_nothing = functional.pad(shown, (1, 0), value=1.0)
        refined = [comparable(maps.refined, with_nothing, size) for maps in (whole, small)]
        return logits[0], (
            surprise
            + options.equivariance_weight * equivariance(cams[0], cams[1], shown)
            + options.cross_weight * cross(cams[1], refined[0], shown, options.hardest_share)
            + options.cross_weight * cross(cams[0], refined[1], shown, options.hardest_share)
            + options.quiet_weight * (quiet(whole.refined, shown) + quiet(small.refined, shown)) / 2
        )

    def _surprise(self, logits: Tensor, targets: Tensor, plain: Loss) -> Tensor:
        if not self.scored_apart:
            return plain(logits, targets)
        soft = targets[:, self.foreground] * (1 - self.smoothing) + self.smoothing / 2
        return functional.multilabel_soft_margin_loss(logits[:, self.foreground], soft)


def comparable(maps: Tensor, shown: Tensor, size: tuple[int, int]) -> Tensor:
    """Normalise maps, resize them, and blank those of classes that an image does not show.

    Parameters
    ----------
    maps : Tensor, shape (N, K, h, w)
    shown : Tensor, shape (N, K)
        Zeros and ones.
    size : tuple of int

    Returns
    -------
    Tensor, shape (N, K, *size)
        In [0, 1].
    """
    scaled = functional.interpolate(normalised(maps), size, mode="bilinear", align_corners=False)
    return scaled * shown[:, :, None, None]


def equivariance(one: Tensor, other: Tensor, shown: Tensor) -> Tensor:
    """Mean absolute difference of two comparable maps (N, F, h, w), over the images that show any of the classes."""
    return _over_images((one - other).abs().mean((1, 2, 3)), shown)


def cross(cam: Tensor, refined: Tensor, shown: Tensor, share: float) -> Tensor:
    """How far the refined maps of one copy are from the class activation maps of the other, where it is hardest.

    Parameters
    ----------
    cam : Tensor, shape (N, F, h, w)
        Comparable; it is a target, and given no gradient. Only the highest class of a place counts.
    refined : Tensor, shape (N, 1 + F, h, w)
        Comparable, the background's first.
    shown : Tensor, shape (N, F)
    share : float
        Of the values of an image, the largest differences, which are averaged.
    """
    target = with_background(cam.detach(), strongest_only=True)
    differences = (target - refined).abs().flatten(1)
    count = max(int(differences.shape[1] * share), 1)
    return _over_images(differences.topk(count, 1).values.mean(1), shown)


def quiet(refined: Tensor, shown: Tensor) -> Tensor:
    """The mean of the lowest quarter of an image's refined foreground: some of every image is background.

    Not in the article, but in its authors' program.
    """
    highest = (refined[:, 1:] * shown[:, :, None, None]).amax(1).flatten(1)
    count = max(highest.shape[1] // 4, 1)
    return _over_images(highest.topk(count, 1, largest=False).values.mean(1), shown)


def _over_images(values: Tensor, shown: Tensor) -> Tensor:
    """Mean over the images that show a class: those of the others have nothing to agree on."""
    counts = (shown.amax(1) > 0).float()
    return (values * counts).sum() / counts.sum().clamp_min(1)


def check_size(network: SeamNetwork, channels: int, size: int, scale: float) -> None:
    """Check that the maps of the smallest copy of an image have at least two places a side.

    Raises
    ------
    ValueError
        With the smallest size that will do.
    """
    grid = _grid(network, channels, round(size * scale))
    if grid >= 2:
        return
    enough = next(
        (side for side in range(size, 8 * size, 8) if _grid(network, channels, round(side * scale)) >= 2),
        None,
    )
    raise ValueError(
        f"seam looks at images also at {scale:g} of their size; of {size} px that is {round(size * scale)} px, which "
        f"leaves {grid} x {grid} places to compare: raise input_size"
        + (f" to {enough} or more" if enough else "")
        + ", or seam.scale"
    )


def _grid(network: SeamNetwork, channels: int, size: int) -> int:
    with torch.no_grad(), evaluating(network):
        try:
            return int(network.trunk(torch.zeros(1, channels, size, size))[-1].shape[-1])
        except RuntimeError:
            # Smaller than a kernel.
            return 0


@contextmanager
def _averages_kept(network: nn.Module) -> Iterator[None]:
    """Within, batch norms do not learn what is usual: small copies are not what the classifier will be shown."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d) and part.training]
    momenta = [part.momentum for part in norms]
    for part in norms:
        part.momentum = 0.0
    try:
        yield
    finally:
        for part, momentum in zip(norms, momenta, strict=True):
            part.momentum = momentum
