"""CAM methods that need only layers' outputs and their gradients: one run of the network, all on its device.

Each follows its authors' definition as the grad-cam package spells it out, small constants included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from napari_refit.cam.classifier import PREDICTED
from napari_refit.cam.tap import Tap

Combine = Callable[[Tensor, Tensor], Tensor]


def _grad_cam(features: Tensor, slope: Tensor) -> Tensor:
    return _weighted(slope.mean((2, 3), keepdim=True), features)


def _grad_cam_plus_plus(features: Tensor, slope: Tensor) -> Tensor:
    square = slope * slope
    total = features.sum((2, 3), keepdim=True)
    share = square / (2 * square + total * square * slope + 1e-6)
    share = torch.where(slope != 0, share, 0)
    return _weighted((slope.clamp_min(0) * share).sum((2, 3), keepdim=True), features)


def _x_grad_cam(features: Tensor, slope: Tensor) -> Tensor:
    total = features.sum((2, 3), keepdim=True)
    return _weighted((slope * features / (total + 1e-7)).sum((2, 3), keepdim=True), features)


def _hi_res_cam(features: Tensor, slope: Tensor) -> Tensor:
    return (slope * features).sum(1)


def _grad_cam_elementwise(features: Tensor, slope: Tensor) -> Tensor:
    return (slope * features).clamp_min(0).sum(1)


def _layer_cam(features: Tensor, slope: Tensor) -> Tensor:
    return (slope.clamp_min(0) * features).sum(1)


def _weighted(weights: Tensor, features: Tensor) -> Tensor:
    # Not a matrix product: on some devices those round to fewer bits.
    return (weights * features).sum(1)


COMBINE: dict[str, Combine] = {
    "gradcam": _grad_cam,
    "gradcamplusplus": _grad_cam_plus_plus,
    "gradcamelementwise": _grad_cam_elementwise,
    "hirescam": _hi_res_cam,
    "xgradcam": _x_grad_cam,
    "layercam": _layer_cam,
}
"""From a layer's output and gradient, both ``(N, C, h, w)``, to its map ``(N, h, w)``, by method."""


def gradient_maps(
    tap: Tap, x: Tensor, targets: Sequence[int], combine: Combine, believed: Tensor | None = None
) -> tuple[list[Tensor], Tensor] | None:
    """Read the maps of several classes at one or several layers from one run of a network.

    Nothing before the first layer is differentiated, and no parameter: the gradient's graph begins there and is used
    once per class.

    Parameters
    ----------
    tap : Tap
        The network in evaluation mode, and its layers.
    x : Tensor, shape (N, C, H, W)
        Its input, on its device.
    targets : sequence of int
        Class indices; `PREDICTED` is the most likely class of each image.
    combine : callable
        One of `COMBINE`.
    believed : Tensor, shape (N, n_all), optional
        The logits that tell the most likely class; by default those of this run.

    Returns
    -------
    tuple, or None
        Maps of each layer, float32, ``(N, n, h, w)``, negative values and NaN as 0, and logits ``(N, n_all)``. None
        where the network switches gradients off behind the layers.

    Raises
    ------
    ValueError
        If a layer takes no part, or gives no map.
    Cancelled
        If the tap's ``cancelled()`` answered True.
    """
    with torch.no_grad(), tap.attached(graph=True):
        output = tap(x)
        read = tap.read()
    if not output.requires_grad:
        return None
    features = [each for each, _ in read]
    seen = [_exact(passed.detach()) for _, passed in read]
    logits = output.detach()
    best = (logits if believed is None else believed).argmax(1)
    rows = torch.arange(len(logits), device=logits.device)
    maps: list[list[Tensor]] = [[] for _ in read]
    for left, target in enumerate(targets, start=1 - len(targets)):
        with torch.enable_grad():
            score = output[rows, best if target == PREDICTED else target].sum()
        slopes = torch.autograd.grad(score, features, retain_graph=left < 0, allow_unused=True)
        for found, values, slope in zip(maps, seen, slopes, strict=True):
            found.append(combine(values, torch.zeros_like(values) if slope is None else _exact(slope)))
    return [_positive(torch.stack(found, dim=1)) for found in maps], logits


def _exact(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _positive(maps: Tensor) -> Tensor:
    return torch.nan_to_num(maps.float(), nan=0.0, posinf=0.0, neginf=0.0).clamp_min_(0)
