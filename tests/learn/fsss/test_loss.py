"""Dice as a loss and as a figure, against sums written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_refit.learn.fsss.loss import dice_summary, make_loss, overlaps
from napari_refit.learn.fsss.params import FsssParams


@pytest.mark.parametrize("classes", [1, 3])
def test_the_loss_is_batch_dice_of_the_foreground_and_cross_entropy(classes: int) -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(4, classes + 1, 6, 5))
    labels = draw.integers(0, classes + 1, (4, 6, 5))
    labels[2] = 0
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    surprise = -np.log(np.take_along_axis(chances, labels[:, None], 1)).mean()
    dices = []
    for number in range(1, classes + 1):
        there = labels == number
        dices.append(2 * chances[:, number][there].sum() / (chances[:, number].sum() + there.sum()))
    for weight in (0.0, 2.0):
        loss = make_loss(FsssParams(dice_weight=weight))
        found = float(loss(torch.from_numpy(scores), torch.from_numpy(labels)))
        assert found == pytest.approx(surprise + weight * (1 - np.mean(dices)), rel=1e-5)


def test_overlaps_and_their_summary() -> None:
    labels = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]])
    answers = torch.tensor([[[1, 1, 0, 2]], [[0, 0, 0, 0]], [[0, 0, 2, 0]]])
    scores = torch.nn.functional.one_hot(answers, 3).permute(0, 3, 1, 2).float()
    counts = overlaps(scores, labels)
    assert counts.tolist() == [[[1, 2, 2], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0]]]
    found = dice_summary(counts, ["a", "b"])
    assert found["dice_by_class"] == {"a": 0.5, "b": 0.5}
    assert found["dice"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["pooled_dice"] == pytest.approx(2 * 2 / 7)
    assert (found["images"], found["empty_in_both"]) == (3, 1)
    assert math.isnan(dice_summary(counts[1:2], ["a", "b"])["dice"])
