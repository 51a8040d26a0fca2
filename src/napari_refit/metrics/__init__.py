"""How well a mask matches the truth: overlap, the paper's convention, and boundary quality.

A class absent from both the mask and the truth has no score: it is NaN, left out of means, and counted.
Background is 0. Masks and truths may be 2-D or 3-D arrays of whole numbers of any type.
"""

from __future__ import annotations

from napari_refit.metrics.evaluation import evaluate
from napari_refit.metrics.overlap import PooledScores, dice, iou, mean_iou, paper_dsc
from napari_refit.metrics.surface import hd95, surface_dice

__all__ = ["PooledScores", "dice", "evaluate", "hd95", "iou", "mean_iou", "paper_dsc", "surface_dice"]
