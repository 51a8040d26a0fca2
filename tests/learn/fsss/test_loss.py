"""Dice as a loss and as a figure, against sums written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_refit.learn.fsss.loss import dice_summary, make_loss, make_soft_loss, overlaps, with_background
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


def slow_soft_loss(
    scores: np.ndarray, soft: np.ndarray, dice_weight: float, certainty_weight: float
) -> float:
    """Pixel by pixel."""
    n_images, n_scores, height, width = scores.shape
    surprise = weights = 0.0
    both, total = np.zeros(n_scores - 1), np.zeros(n_scores - 1)
    for image in range(n_images):
        for row in range(height):
            for column in range(width):
                logits = scores[image, :, row, column]
                chances = [math.exp(value) / sum(map(math.exp, logits)) for value in logits]
                classes = [int(value) / 255 for value in soft[image, :, row, column]]
                wanted = [1 - sum(classes), *classes]
                first, second = sorted(wanted)[:-3:-1]
                weight = 1 - certainty_weight * (1 - (first - second))
                weights += weight
                surprise += weight * sum(-w * math.log(c) for w, c in zip(wanted, chances, strict=True))
                for k, (w, c) in enumerate(zip(wanted[1:], chances[1:], strict=True)):
                    both[k] += weight * (w + c - abs(w - c))
                    total[k] += weight * (w + c)
    return surprise / weights + dice_weight * float(np.mean(1 - both / total))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(("dice_weight", "certainty_weight"), [(0.0, 0.0), (2.0, 1.0), (1.0, 0.3)])
def test_the_soft_loss_is_the_weighted_sum_written_out(
    classes: int, dice_weight: float, certainty_weight: float
) -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(3, classes + 1, 4, 5))
    soft = (draw.dirichlet(np.ones(classes + 1), (3, 4, 5)).transpose(0, 3, 1, 2)[:, 1:] * 255).astype(
        np.uint8
    )
    soft[2] = 0
    loss = make_soft_loss(FsssParams(dice_weight=dice_weight, certainty_weight=certainty_weight))
    found = float(loss(torch.from_numpy(scores), torch.from_numpy(soft)))
    assert found == pytest.approx(slow_soft_loss(scores, soft, dice_weight, certainty_weight), rel=1e-4)


@pytest.mark.parametrize("certainty_weight", [0.0, 1.0])
def test_certain_labels_are_the_hard_loss(certainty_weight: float) -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3, 6, 5, generator=draw)
    labels = torch.randint(0, 3, (4, 6, 5), generator=draw)
    soft = 255 * torch.stack([labels == 1, labels == 2], 1).byte()
    params = FsssParams(certainty_weight=certainty_weight)
    torch.testing.assert_close(make_soft_loss(params)(scores, soft), make_loss(params)(scores, labels))


def test_the_soft_loss_is_least_where_the_network_gives_the_labels_chances() -> None:
    soft = torch.tensor([[[[0, 40, 128, 200, 255]]]], dtype=torch.uint8)
    wanted = with_background(soft).clamp(1e-6, 1 - 1e-6)
    loss = make_soft_loss(FsssParams(certainty_weight=0.0))
    best = float(loss(wanted.log(), soft))
    draw = torch.Generator().manual_seed(0)
    for size in (0.05, 0.5, 3.0):
        for _ in range(20):
            other = wanted.log() + size * torch.randn(wanted.shape, generator=draw)
            assert float(loss(other, soft)) > best


def test_an_even_chance_does_not_count_and_gives_no_gradient() -> None:
    soft = torch.tensor([[[[0, 255, 255, 0]], [[0, 0, 0, 0]]]], dtype=torch.uint8)
    scores = torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    soft[0, 0, 0, 2] = 128
    soft[0, 1, 0, 2] = 127
    make_soft_loss(FsssParams())(scores, soft).backward()
    assert scores.grad is not None
    strengths = scores.grad.abs().sum(1)[0, 0]
    assert strengths[2] < 0.02 * strengths[1]


@pytest.mark.parametrize("classes", [1, 2])
def test_a_dice_over_images_is_the_mean_of_those_that_show_something(classes: int) -> None:
    draw = np.random.default_rng(1)
    scores = draw.normal(size=(4, classes + 1, 6, 5))
    labels = draw.integers(0, classes + 1, (4, 6, 5))
    labels[1] = 0
    labels[3, labels[3] == classes] = 0
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    surprise = -np.log(np.take_along_axis(chances, labels[:, None], 1)).mean()
    dices = [
        2
        * chances[k, number][labels[k] == number].sum()
        / (chances[k, number].sum() + (labels[k] == number).sum())
        for k in range(4)
        for number in range(1, classes + 1)
        if (labels[k] == number).any()
    ]
    loss = make_loss(FsssParams(dice_over="image"))
    found = float(loss(torch.from_numpy(scores), torch.from_numpy(labels)))
    assert found == pytest.approx(surprise + 1 - np.mean(dices), rel=1e-4)
    nothing = torch.zeros(2, 6, 5, dtype=torch.int64)
    assert float(loss(torch.from_numpy(scores[:2]), nothing)) == pytest.approx(
        -np.log(chances[:2, 0]).mean(), rel=1e-4
    )
