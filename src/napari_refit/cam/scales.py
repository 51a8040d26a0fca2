"""Raw maps of a batch of planes, averaged over the sizes at which the network sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from napari_refit.cam.classifier import Classifier
from napari_refit.cam.explain import Explanation, explain
from napari_refit.cam.methods import SHARES, find_key
from napari_refit.cam.own_maps import MapsItself, own_explanation
from napari_refit.cam.runs import in_order
from napari_refit.devices import out_of_memory
from napari_refit.params import CamParams

Cancel = Callable[[], bool]


@dataclass(frozen=True)
class Averaged:
    """Raw maps ``(N, n, H, W)`` on the planes' grid and logits ``(N, n_all)``, float32; the layers they were read at.

    The logits are those of the scale nearest to 1 alone.
    """

    raw: Tensor
    logits: Tensor
    layers: tuple[str, ...]


def averaged_maps(
    classifier: Classifier,
    planes: np.ndarray,
    targets: Sequence[int],
    params: CamParams,
    cancelled: Cancel | None = None,
) -> Averaged:
    """Run the classifier on a batch at every scale, and average the raw maps on the grid of the planes.

    A map that shares a logit out over the places of a layer has smaller values the more places there are; it is
    brought to those of the first scale, so that all scales count alike. Of several layers, the geometric mean: a place
    counts where all of them respond.

    Parameters
    ----------
    classifier : Classifier
    planes : array, shape (N, H, W) or (N, H, W, C)
    targets : sequence of int
        Class indices; `napari_refit.cam.classifier.PREDICTED` is what the first scale's logits say.
    params : CamParams
        ``method``, ``layer``, ``scales`` and ``smoothing`` are used.
    cancelled : callable, optional
        Asked before every run of the network.

    Raises
    ------
    ValueError
        If a layer or a method does not exist, or the network does not run at one of the scales.
    Cancelled
        If ``cancelled()`` answered True.
    """
    size = (planes.shape[1], planes.shape[2])
    first, *others = in_order(params.scales)
    x = classifier.prepare(planes, classifier.device, scale=first)
    own = isinstance(classifier.module, MapsItself)
    layers = () if own else classifier.layers(x, params.layer)
    found = _explained(classifier, x, targets, params, layers, None, cancelled)
    totals = [resized(raw, size) for raw in found.raw]
    shared = not own and find_key(params.method) in SHARES
    for scale in others if targets else ():
        x = classifier.prepare(planes, classifier.device, scale=scale)
        try:
            more = _explained(classifier, x, targets, params, layers, found.logits, cancelled)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, NotImplementedError) or out_of_memory(error):
                raise
            raise ValueError(_refusal(classifier, scale, x, error)) from error
        for total, raw, reference in zip(totals, more.raw, found.raw, strict=True):
            total += resized(raw, size) * (_places(raw) / _places(reference) if shared else 1.0)
    means = totals if len(params.scales) == 1 else [total / len(params.scales) for total in totals]
    return Averaged(_geometric_mean(means), found.logits, layers)


def _geometric_mean(maps: Sequence[Tensor]) -> Tensor:
    if len(maps) == 1:
        return maps[0]
    return torch.stack([*maps]).double().prod(0).pow(1 / len(maps)).float()


def _refusal(classifier: Classifier, scale: float, x: Tensor, error: Exception) -> str:
    sides = " x ".join(str(length) for length in x.shape[2:])
    reason = str(error).splitlines()[0]
    return (
        f"{classifier.name} does not run at scale {scale:g}, on {sides} pixels: {reason}; "
        "leave that scale out of cam.scales"
    )


def _explained(
    classifier: Classifier,
    x: Tensor,
    targets: Sequence[int],
    params: CamParams,
    layers: Sequence[str],
    believed: Tensor | None,
    cancelled: Cancel | None,
) -> Explanation:
    if isinstance(classifier.module, MapsItself):
        return own_explanation(classifier.module, x, targets, params.smoothing, cancelled, believed)
    return explain(
        classifier.module,
        x,
        targets,
        method=params.method,
        layers=layers,
        smoothing=params.smoothing,
        activation=classifier.activation,
        believed=believed,
        cancelled=cancelled,
    )


def _places(raw: Tensor) -> int:
    return raw.shape[2] * raw.shape[3]


def resized(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """Raw maps ``(N, n, h, w)`` on another grid; a flat one stays flat."""
    if 0 in raw.shape[:2]:
        return raw.new_zeros(*raw.shape[:2], *size)
    # Averaging over several pixels is for maps that are finer than the plane; enlarging is faster without.
    finer = raw.shape[2] > size[0] or raw.shape[3] > size[1]
    found = nn.functional.interpolate(raw, size, mode="bilinear", align_corners=False, antialias=finer)
    # Interpolating a flat map leaves rounding noise, which normalisation would blow up to full range.
    low, high = raw.amin((2, 3), keepdim=True), raw.amax((2, 3), keepdim=True)
    return torch.where(high - low <= 1e-6 * high, high, found)
