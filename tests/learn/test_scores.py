from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from napari_refit.learn import scores


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 8))
def test_area_agrees_with_scikit_learn(seed: int, count: int, levels: int) -> None:
    draw = np.random.default_rng(seed)
    labels = np.r_[0, 1, draw.integers(0, 2, count - 2)]
    values = draw.integers(0, levels, count) / levels
    assert scores.area_under_curve(values, labels) == pytest.approx(metrics.roc_auc_score(labels, values))


@given(st.integers(0, 10_000), st.integers(2, 5), st.booleans())
def test_surprise_confusion_and_mean_area_agree_with_other_libraries(
    seed: int, classes: int, exclusive: bool
) -> None:
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, (40, classes))
    numbers = np.r_[np.arange(classes), draw.integers(0, classes, 40 - classes)]
    shown = np.eye(classes, dtype=np.int64)[numbers]
    if not exclusive:
        shown = np.maximum(shown, draw.integers(0, 2, shown.shape))
        shown[0] = 0
    chances = scores.probabilities_of(logits, exclusive)
    values, targets = torch.from_numpy(logits), torch.from_numpy(shown).double()
    loss = (
        torch.nn.functional.cross_entropy(values, targets)
        if exclusive
        else torch.nn.functional.binary_cross_entropy_with_logits(values, targets)
    )
    assert scores.mean_surprise(logits, shown, exclusive) == pytest.approx(float(loss))
    answered = chances.argmax(1)
    if exclusive:
        expected = metrics.confusion_matrix(numbers, answered, labels=range(classes)).tolist()
        assert scores.accuracy(chances, shown, True) == pytest.approx(
            metrics.accuracy_score(numbers, answered)
        )
    else:
        expected = metrics.multilabel_confusion_matrix(shown, chances > 0.5).reshape(classes, 4).tolist()
    assert scores.confusion(chances, shown, exclusive) == expected
    if (shown.sum(0) < len(shown)).all():
        area = metrics.roc_auc_score(shown, chances, average="macro")
        assert scores.mean_area(chances, shown) == pytest.approx(area)


def test_the_background_is_left_out_of_the_mean_and_an_absent_class_too() -> None:
    shown = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
    chances = np.array([[0.9, 0.1, 0], [0.1, 0.2, 0], [0.8, 0.3, 0], [0.2, 0.8, 0]])
    assert scores.mean_area(chances, shown, background=0) == 0.75
    assert scores.mean_area(chances, shown) == (1.0 + 0.75) / 2
    assert math.isnan(scores.mean_area(chances[:1], shown[:1]))


def test_calibration_of_a_worked_example() -> None:
    chances = np.array([[0.95, 0.05], [0.92, 0.08], [0.3, 0.7], [0.25, 0.75]])
    shown = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    found = scores.calibration(chances, shown, True)
    assert [(row["low"], row["count"], row["frequency"]) for row in found["bins"]] == [
        (0.7, 2, 1.0),
        (0.9, 2, 0.5),
    ]
    assert found["ece"] == pytest.approx(0.5 * abs(0.725 - 1) + 0.5 * abs(0.935 - 0.5))
    squares = ((chances[:, 1] - shown[:, 1]) ** 2).mean()
    assert found["brier"] == pytest.approx(2 * squares)
    assert squares == pytest.approx(metrics.brier_score_loss(shown[:, 1], chances[:, 1]))


def test_probabilities_of_1_and_0_have_a_bin() -> None:
    found = scores.calibration(np.array([[1.0, 0.0]]), np.array([[1, 0]]), False)
    assert [row["count"] for row in found["bins"]] == [1, 1]
    assert found["ece"] == 0


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_that_was_put_in_is_found(exclusive: bool, temperature: float) -> None:
    draw = np.random.default_rng(1)
    logits = draw.normal(0, 1.5, (20_000, 3))
    chances = scores.probabilities_of(logits, exclusive)
    if exclusive:
        picked = (chances.cumsum(1) > draw.random((len(chances), 1))).argmax(1)
        shown = np.eye(3, dtype=np.int64)[picked]
    else:
        shown = (draw.random(chances.shape) < chances).astype(np.int64)
    assert scores.best_temperature(logits * temperature, shown, exclusive) == pytest.approx(
        temperature, rel=0.05
    )


def test_nothing_is_scaled_where_every_answer_is_right() -> None:
    assert scores.best_temperature(np.array([[2.0, 0.0], [0.0, 2.0]]), np.eye(2, dtype=np.int64), True) == 1


def test_the_interval_holds_the_area_and_widens_with_fewer_patients() -> None:
    draw = np.random.default_rng(2)
    labels = np.tile([0, 1], 60)
    values = np.clip(labels * 0.25 + draw.normal(0.4, 0.25, 120), 0, 1)
    chances, shown = np.stack([1 - values, values], 1), np.eye(2, dtype=np.int64)[labels]
    alone = scores.area_interval(chances, shown, [str(k) for k in range(120)])
    assert alone[0] < scores.mean_area(chances, shown) < alone[1]
    assert alone == scores.area_interval(chances, shown, [str(k) for k in range(120)])
    # Every image four times over, as slices of one patient: no more is known than before.
    again = np.repeat(np.arange(120), 4)
    copies = scores.area_interval(chances[again], shown[again], [str(k) for k in again])
    naive = scores.area_interval(chances[again], shown[again], [str(k) for k in range(480)])
    assert copies[1] - copies[0] == pytest.approx(alone[1] - alone[0], rel=1e-9)
    assert naive[1] - naive[0] < 0.7 * (copies[1] - copies[0])


def test_a_report_without_both_classes_has_no_area() -> None:
    found = scores.report(
        np.array([[2.0, 0.0], [0.0, 1.0]]),
        np.array([[1, 0], [1, 0]]),
        ["p", "q"],
        ["a", "b"],
        background=0,
        exclusive=True,
    )
    assert math.isnan(found["auroc"])
    assert all(map(math.isnan, found["auroc_95"]))
    assert found["accuracy"] == found["balanced_accuracy"] == 0.5
    assert found["confusion"] == [[1, 1], [0, 0]]
