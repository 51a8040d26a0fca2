"""Changes that a medical image may undergo without changing its label; no hue, since grey values carry meaning."""

from __future__ import annotations

import math

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
    moved = torch.stack([_moved(image, params, draw) for image in images])
    return _relit(moved, params, draw)


def _moved(image: Tensor, params: TrainingParams, draw: torch.Generator) -> Tensor:
    chance = torch.rand(8, generator=draw).tolist()
    sides = [2 * value - 1 for value in chance]
    if chance[0] < params.flip_horizontal:
        image = functional.horizontal_flip(image)
    if chance[1] < params.flip_vertical:
        image = functional.vertical_flip(image)
    if max(params.rotation, params.translation, params.scaling) > 0:
        height, width = image.shape[-2:]
        image = functional.affine(
            image,
            angle=sides[2] * params.rotation,
            translate=[
                round(sides[3] * params.translation * width),
                round(sides[4] * params.translation * height),
            ],
            scale=(1 + params.scaling) ** sides[5],
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
    sigma = chance[6] * params.blur
    if sigma >= _LEAST_BLUR:
        kernel = 2 * math.ceil(3 * sigma) + 1
        image = functional.gaussian_blur(image, [kernel, kernel], [sigma, sigma])
    return image


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
