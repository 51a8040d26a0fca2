"""Dice: as a loss to train by, and as a figure to report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_refit.learn.fsss.certainty import EVERYTHING
from napari_refit.learn.fsss.params import FsssParams

Loss = Callable[[Tensor, Tensor], Tensor]
# As MONAI's Dice has it, so that both losses agree where labels are certain.
_SMOOTH = 1e-5
# An image shows a class that has a pixel of at least an even chance.
_SHOWN = 0.5


def make_loss(params: FsssParams) -> Loss:
    """Dice of the foreground, and cross-entropy.

    Over the whole batch, images without any foreground count in the Dice too; over images they do not.

    Parameters
    ----------
    params : FsssParams

    Returns
    -------
    callable
        Takes scores (N, K + 1, H, W) and labels (N, H, W).
    """
    from monai.losses.dice import DiceCELoss

    if params.dice_over == "image":
        return _of_certain(make_soft_loss(params))
    both = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        lambda_dice=params.dice_weight,
        lambda_ce=1.0,
    )

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = both(scores, labels[:, None])
        return value

    return loss


def make_soft_loss(params: FsssParams) -> Loss:
    """The same with labels that are probabilities, each pixel weighted by how certain it is.

    The Dice is the semimetric of Wang et al.: that of `make_loss` where labels are certain, and else least where the
    network's probabilities are the labels', which the usual product is not.

    Parameters
    ----------
    params : FsssParams
        ``certainty_weight`` says how much less an uncertain pixel counts.

    Returns
    -------
    callable
        Takes scores (N, K + 1, H, W) and probabilities (N, K, H, W) in 255ths, of the classes without the background
        (see `napari_refit.learn.fsss.certainty.soft_labels`).

    References
    ----------
    Wang, Popordanoska, Bertels, Lemmens, Blaschko, "Dice semimetric losses: optimizing the Dice score with soft
    labels", MICCAI 2023, arXiv:2303.16296.
    """

    def loss(scores: Tensor, soft: Tensor) -> Tensor:
        wanted = with_background(soft)
        leading = wanted.topk(2, dim=1).values
        weights = 1 - params.certainty_weight * (1 - (leading[:, 0] - leading[:, 1]))
        found = scores.log_softmax(1)
        surprise = -(wanted * found).sum(1)
        entropy = (weights * surprise).sum() / weights.sum().clamp_min(_SMOOTH)
        chances, wanted, shares = found.exp()[:, 1:], wanted[:, 1:], weights[:, None]
        axes = (0, 2, 3) if params.dice_over == "batch" else (2, 3)
        both = (shares * (chances + wanted - (chances - wanted).abs())).sum(axes)
        total = (shares * (chances + wanted)).sum(axes)
        lost = 1 - (both + _SMOOTH) / (total + _SMOOTH)
        if params.dice_over == "image":
            shown = (wanted.amax((2, 3)) >= _SHOWN).to(lost.dtype)
            lost = (lost * shown).sum() / shown.sum().clamp_min(1)
        value: Tensor = entropy + params.dice_weight * lost.mean()
        return value

    return loss


def _of_certain(soft_loss: Loss) -> Loss:
    """A loss of soft labels as one of labels (N, H, W)."""

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        classes = torch.arange(1, scores.shape[1], device=labels.device)[:, None, None]
        return soft_loss(scores, EVERYTHING * (labels[:, None] == classes).byte())

    return loss


def with_background(soft: Tensor) -> Tensor:
    """Probabilities (N, K + 1, H, W) of background and classes, from those of the classes in 255ths.

    Examples
    --------
    >>> with_background(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8))[0, :, 0].tolist()
    [[1.0, 0.8..., 0.0], [0.0, 0.2..., 1.0]]
    """
    chances = soft.float() / EVERYTHING
    return torch.cat([1 - chances.sum(1, keepdim=True), chances], dim=1)


def overlaps(scores: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """Pixels of each class in both, in the answer, and in the labels.

    Parameters
    ----------
    scores : Tensor, shape (N, K + 1, H, W)
    labels : Tensor, shape (N, H, W)

    Returns
    -------
    ndarray of int64, shape (N, K, 3)
    """
    answer = scores.argmax(1)
    counts = []
    for number in range(1, scores.shape[1]):
        found, there = answer == number, labels == number
        counts.append(torch.stack([part.sum((1, 2)) for part in (found & there, found, there)], dim=1))
    table: NDArray[np.int64] = torch.stack(counts, dim=1).cpu().numpy()
    return table


def dice_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Dice of each image and class; NaN where answer and labels are both empty.

    Examples
    --------
    >>> dice_of(np.array([[[2, 4, 4]], [[0, 0, 0]]])).tolist()
    [[0.5], [nan]]
    """
    both, total = counts[..., 0], counts[..., 1] + counts[..., 2]
    return np.divide(2.0 * both, total, out=np.full(both.shape, np.nan), where=total > 0)


def dice_summary(counts: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Dice over images.

    Parameters
    ----------
    counts : ndarray of int64, shape (N, K, 3)
        From `overlaps`.
    classes : sequence of str

    Returns
    -------
    dict
        ``dice``: the mean over images and classes that either side shows, NaN without any; ``dice_by_class``;
        ``pooled_dice``: of all pixels together; ``images``; ``empty_in_both``: images that count in no mean.
    """
    values = dice_of(counts)
    return {
        "images": len(counts),
        "empty_in_both": int(np.isnan(values).all(axis=1).sum()),
        "dice": _mean(values),
        "dice_by_class": {name: _mean(values[:, k]) for k, name in enumerate(classes)},
        "pooled_dice": float(dice_of(counts.sum(axis=(0, 1)))),
    }


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
