"""Changes that a medical image may undergo without changing its label; no hue, since grey values carry meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from napari_refit.learn.settings import TrainingParams

_LEAST_BLUR = 0.2


def augment(images: Tensor, params: TrainingParams, draw: torch.Generator) -> Tensor:
    """Mirror, move, blur and re-light images, each in its own way.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Floats in [0, 1].
    params : TrainingParams
        The strengths; at 0 nothing is changed.
    draw : torch.Generator
        On the processor. All chance comes from it, so that what an image undergoes depends on neither threads nor
        device.

    Returns
    -------
    Tensor
        Of the same shape, in [0, 1].
    """
    moved = torch.stack([_Move.drawn(params, draw).of_image(image) for image in images])
    return _relit(moved, params, draw)


def augment_together(
    images: Tensor, labels: Tensor, params: TrainingParams, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Change images as `augment` does, and move their label maps along.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Floats in [0, 1].
    labels : Tensor of uint8, shape (N, H, W) or (N, K, H, W)
        The class of each pixel, 0 background; or something of each pixel and class.
    params : TrainingParams
    draw : torch.Generator

    Returns
    -------
    images, labels : Tensor
        The images that `augment` gives for the same ``draw``; labels are taken from the nearest pixel, and what comes
        in from outside is background: 0.
    """
    moves = [_Move.drawn(params, draw) for _ in images]
    moved = torch.stack([move.of_image(image) for move, image in zip(moves, images, strict=True)])
    followed = torch.stack([move.of_labels(label) for move, label in zip(moves, labels, strict=True)])
    return _relit(moved, params, draw), followed


@dataclass(frozen=True)
class _Move:
    """What one image undergoes before it is re-lit; shift in fractions of a side."""

    mirrored: bool
    upside_down: bool
    angle: float
    shift: tuple[float, float]
    scale: float
    blur: float

    @classmethod
    def drawn(cls, params: TrainingParams, draw: torch.Generator) -> _Move:
        chance = torch.rand(8, generator=draw).tolist()
        sides = [2 * value - 1 for value in chance]
        return cls(
            mirrored=chance[0] < params.flip_horizontal,
            upside_down=chance[1] < params.flip_vertical,
            angle=sides[2] * params.rotation,
            shift=(sides[3] * params.translation, sides[4] * params.translation),
            scale=(1 + params.scaling) ** sides[5],
            blur=chance[6] * params.blur,
        )

    def of_image(self, image: Tensor) -> Tensor:
        image = self._placed(image, InterpolationMode.BILINEAR)
        if self.blur < _LEAST_BLUR:
            return image
        kernel = 2 * math.ceil(3 * self.blur) + 1
        return functional.gaussian_blur(image, [kernel, kernel], [self.blur, self.blur])

    def of_labels(self, labels: Tensor) -> Tensor:
        if labels.ndim == 3:
            return self._placed(labels, InterpolationMode.NEAREST)
        return self._placed(labels[None], InterpolationMode.NEAREST)[0]

    def _placed(self, image: Tensor, interpolation: InterpolationMode) -> Tensor:
        if self.mirrored:
            image = functional.horizontal_flip(image)
        if self.upside_down:
            image = functional.vertical_flip(image)
        if (self.angle, self.shift, self.scale) == (0, (0, 0), 1):
            return image
        height, width = image.shape[-2:]
        return functional.affine(
            image,
            angle=self.angle,
            translate=[round(self.shift[0] * width), round(self.shift[1] * height)],
            scale=self.scale,
            shear=[0.0, 0.0],
            interpolation=interpolation,
        )


def _relit(images: Tensor, params: TrainingParams, draw: torch.Generator) -> Tensor:
    def between(low: float, high: float) -> Tensor:
        values = low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=draw)
        return values.to(images.device)

    if params.contrast > 0:
        middle = images.mean((1, 2, 3), keepdim=True)
        images = middle + (images - middle) * between(1 - params.contrast, 1 + params.contrast)
    if params.brightness > 0:
        images = images * between(1 - params.brightness, 1 + params.brightness)
    if params.gamma > 0:
        bend = math.log1p(params.gamma)
        images = images.clamp(0, 1) ** between(-bend, bend).exp()
    if params.noise > 0:
        strength = between(0, params.noise)
        images = images + strength * torch.randn(images.shape, generator=draw).to(images.device)
    return images.clamp(0, 1)
