"""The lesson of WSS-CMER: maps that move with the image, and modalities that look at the same place.

Gaurav Patel and Jose Dolz, "Weakly supervised segmentation with cross-modality equivariant constraints", Medical
Image Analysis 77:102374, 2022, arXiv:2104.02488.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.cmer_network import CMER, LEAST_SIZE, CmerNetwork, pooled
from napari_refit.io.sidecar import file_checksum
from napari_refit.learn.optimising import Loss
from napari_refit.learn.reporting import background_of
from napari_refit.learn.samples import Samples
from napari_refit.learn.settings import CmerParams, TrainingParams
from napari_refit.learn.weights import Start

_KINDS: tuple[Literal["mirror", "turn", "shift", "rescale"], ...] = ("mirror", "turn", "shift", "rescale")
_FAINT = 1e-8


@dataclass(frozen=True)
class Change:
    """A change of place that is made to images, and to maps of the same size.

    Attributes
    ----------
    kind : {"mirror", "turn", "shift", "rescale"}
    amounts : tuple of tuple of float
        Per image. mirror: the axis, 0 for top and bottom, 1 for left and right. turn: quarter turns. shift: rows and
        columns, as fractions of the height and the width; what comes in is 0. rescale: the new height and width, as
        fractions, the same for all images.
    """

    kind: Literal["mirror", "turn", "shift", "rescale"]
    amounts: tuple[tuple[float, ...], ...]

    def __call__(self, planes: Tensor) -> Tensor:
        """Change square planes (N, C, H, W)."""
        if self.kind == "rescale":
            height, width = (
                _rounded(length * amount)
                for length, amount in zip(planes.shape[-2:], self.amounts[0], strict=True)
            )
            return functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
        return torch.stack(
            [self._changed(plane, amount) for plane, amount in zip(planes, self.amounts, strict=True)]
        )

    def _changed(self, plane: Tensor, amount: tuple[float, ...]) -> Tensor:
        if self.kind == "mirror":
            return plane.flip(1 + int(amount[0]))
        if self.kind == "turn":
            return plane.rot90(int(amount[0]), (1, 2))
        height, width = plane.shape[-2:]
        down, right = round(amount[0] * height), round(amount[1] * width)
        # A negative margin cuts off.
        return functional.pad(plane, (right, -right, down, -down))


def draw_change(count: int, params: CmerParams, chance: torch.Generator) -> Change:
    """Draw the kind of change for a batch, and how much for each image."""
    kind = _KINDS[int(torch.randint(len(_KINDS), (1,), generator=chance))]
    if kind == "mirror":
        amounts = torch.randint(2, (1, 1), generator=chance).expand(count, 1)
    elif kind == "turn":
        amounts = torch.randint(1, 4, (count, 1), generator=chance)
    elif kind == "shift":
        amounts = params.shift * (2 * torch.rand(count, 2, generator=chance) - 1)
    else:
        amounts = 1 + params.rescaling * (2 * torch.rand(1, 1, generator=chance) - 1).expand(1, 2)
    return Change(kind, tuple(tuple(float(value) for value in row) for row in amounts))


@dataclass(frozen=True, eq=False)
class Views:
    """What M modality networks say to a batch as it is (view 0) and changed (view 1).

    Attributes
    ----------
    logits : Tensor, shape (2, M, N, K)
    maps : Tensor, shape (2, M, N, K, h, w)
        In [0, 1] (see `scaled`); those of view 0 were changed afterwards, so that both fit on each other.
    answer : Tensor, shape (N, K)
        The network's logits to the batch as it is.
    """

    logits: Tensor
    maps: Tensor
    answer: Tensor


class CmerLesson:
    """WSS-CMER: cross-entropy, agreement of the modalities, and maps that do not depend on view or modality."""

    def start(self, samples: Samples, params: TrainingParams, channels: int) -> Start:
        """Build the network: random numbers, or a file of the same modalities and width.

        Raises
        ------
        ValueError
            If the images have one channel, or the weights are of another network.
        ReadError
            If the weights cannot be read.
        """
        self._params = params.cmer
        background = background_of(samples, params.background)
        self._foreground = [k for k in range(len(samples.classes)) if k != background]
        self._exclusive = samples.labels.ndim == 1
        settings = {"width": params.cmer.width, "modality": params.cmer.modality}
        network = CmerNetwork(len(samples.classes), channels, params.cmer.width, params.cmer.modality)
        source = "none"
        # Nobody publishes weights for this network, whatever the weights of classifiers are.
        if params.weights not in ("none", "imagenet"):
            _fill(network, params.weights)
            source = f"{Path(params.weights).name} ({file_checksum(params.weights)})"
        # Images stay in [0, 1], so that what a shift brings in is black; the network normalises them itself.
        return Start(network, (0.0,) * channels, (1.0,) * channels, source, CMER, settings)

    def forward(self, network: nn.Module, images: Tensor, chance: torch.Generator) -> Views:
        """Class maps of the batch and of its changed copy."""
        assert isinstance(network, CmerNetwork)
        change = draw_change(len(images), self._params, chance)
        changed = change(images)
        first, second = network.class_maps(images), network.class_maps(changed)
        moved = torch.stack([change(maps) for maps in scaled(first)])
        logits = torch.stack([pooled(first), pooled(second)])
        return Views(logits, torch.stack([moved, scaled(second)]), network.chosen(logits[0]))

    def loss(self, outcome: Views, targets: Tensor, plain: Loss) -> tuple[Tensor, Tensor]:
        """The sum of the four terms, each a mean over the modalities."""
        params, logits = self._params, outcome.logits
        shown = targets[:, self._foreground]
        maps = outcome.maps[:, :, :, self._foreground]
        believed = _believed(logits, self._exclusive)[..., self._foreground]
        entropy = torch.stack([plain(one, targets) for one in logits.flatten(0, 1)]).mean()
        agreement = torch.stack(
            [agreement_loss(one, params.temperature, self._exclusive) for one in logits]
        ).mean()
        return outcome.answer, (
            entropy
            + params.agreement_weight * agreement
            + params.equivariance_weight * equivariance_loss(maps[0], maps[1], shown)
            + params.cross_weight * cross_modality_loss(maps, shown * believed)
        )


def scaled(maps: Tensor) -> Tensor:
    """Rectify class maps (..., H, W) and bring each to [0, 1], in float32; a flat one becomes 0."""
    maps = maps.float().relu()
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    # Rectified once more: no slope where the map is flat, which the division would blow up.
    return (maps - low - _FAINT).relu() / (high - low + _FAINT)


def agreement_loss(logits: Tensor, temperature: float, exclusive: bool) -> Tensor:
    """How far each modality is from what each other one believes (Kullback-Leibler).

    Parameters
    ----------
    logits : Tensor, shape (M, N, K)
        The one that is learnt from is taken as given.
    temperature : float
        Logits are divided by it; the result is multiplied by its square, to keep the size of the slopes.
    exclusive : bool
        Whether the classes exclude each other.

    Returns
    -------
    Tensor
        Mean over pairs and images, of the sum over classes.
    """
    softened = logits / temperature
    if exclusive:
        surprise = functional.log_softmax(softened, -1)[..., None]
    else:
        surprise = torch.stack([functional.logsigmoid(softened), functional.logsigmoid(-softened)], -1)
    believed = surprise.detach()
    distances = [
        (believed[other].exp() * (believed[other] - surprise[own])).sum((-2, -1))
        for own, other in _pairs(logits)
    ]
    return temperature**2 * torch.stack(distances).mean()


def equivariance_loss(first: Tensor, second: Tensor, shown: Tensor) -> Tensor:
    """Mean squared difference of two views' maps, of classes that an image shows.

    Parameters
    ----------
    first, second : Tensor, shape (M, N, K, h, w)
    shown : Tensor, shape (N, K)
    """
    return ((first - second).square().mean((-2, -1)) * shown).mean()


def cross_modality_loss(maps: Tensor, trusted: Tensor) -> Tensor:
    """Squared distance of each modality's map in one view to each other modality's in the other view.

    Parameters
    ----------
    maps : Tensor, shape (2, M, N, K, h, w)
        Each is given the length 1 first. The one that is learnt from is taken as given.
    trusted : Tensor, shape (2, M, N, K)
        1 where the image shows the class and the modality, in that view, says so: only then is it learnt from.

    Returns
    -------
    Tensor
        Mean over views, pairs, images and classes. The authors' program divides it by the number of pixels besides.
    """
    directions = maps / torch.linalg.vector_norm(maps, dim=(-2, -1), keepdim=True).clamp(min=_FAINT)
    given = directions.detach()
    distances = [
        (directions[view, own] - given[1 - view, other]).square().sum((-2, -1)) * trusted[1 - view, other]
        for view in (0, 1)
        for own, other in _pairs(maps[view])
    ]
    return torch.stack(distances).mean()


def _believed(logits: Tensor, exclusive: bool) -> Tensor:
    """Ones where a class is said to be there, of the shape of ``logits`` (..., K)."""
    if exclusive:
        return functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return (logits > 0).to(logits.dtype)


def _pairs(modalities: Tensor) -> Iterator[tuple[int, int]]:
    return permutations(range(len(modalities)), 2)


def _rounded(length: float) -> int:
    """A length that the network's three poolings divide."""
    return max(LEAST_SIZE, round(length / LEAST_SIZE) * LEAST_SIZE)


def _fill(network: CmerNetwork, weights: str) -> None:
    """Take a file's weights; the last layer stays as it is where the classes are others."""
    found = load_classifier(Path(weights)).module.state_dict()
    own = network.state_dict()
    wrong = [
        name
        for name, value in own.items()
        if name not in found or (found[name].shape != value.shape and "classifier" not in name)
    ]
    if wrong or len(found) != len(own):
        raise ValueError(
            f"weights {weights!r} are not of WSS-CMER with {len(network.networks)} modalities and this width; "
            "take weights=none, or a checkpoint that was made with the same"
        )
    network.load_state_dict(
        {name: found[name] if found[name].shape == own[name].shape else own[name] for name in own}
    )
