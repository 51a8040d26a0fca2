"""Dice: as a loss to train by, and as a figure to report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_refit.learn.fsss.params import FsssParams

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(params: FsssParams) -> Loss:
    """Dice of the foreground over the whole batch, so that images without any count rightly, and cross-entropy.

    Parameters
    ----------
    params : FsssParams

    Returns
    -------
    callable
        Takes scores (N, K + 1, H, W) and labels (N, H, W).
    """
    from monai.losses.dice import DiceCELoss

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
