"""From where on a class is there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_refit.learn.margins import f1_scores, presence_margins


def slow_f1(values: np.ndarray, there: np.ndarray, margin: float) -> float:
    said = [value > margin for value in values]
    tp = sum(s and t for s, t in zip(said, there, strict=True))
    fp = sum(s and not t for s, t in zip(said, there, strict=True))
    fn = sum(not s and t for s, t in zip(said, there, strict=True))
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else np.nan


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_scores_are_those_of_counting(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    values, there = generator.normal(size=count).round(1), generator.random(count) < 0.5
    margins, weights = generator.normal(size=4).round(1), generator.integers(0, 3, (3, count))
    found = f1_scores(values, there, margins, weights)
    for row, repeats in zip(found, weights, strict=True):
        drawn = np.repeat(np.arange(count), repeats)
        expected = [slow_f1(values[drawn], there[drawn], margin) for margin in margins]
        np.testing.assert_allclose(row, expected)


def answers(shift: float, noise: float, count: int = 200) -> tuple[np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(0)
    shown = np.eye(2, dtype=np.int64)[generator.integers(0, 2, count)]
    logits = np.zeros((count, 2))
    logits[:, 1] = np.where(shown[:, 1] == 1, 1.0, -1.0) + generator.normal(0, noise, count) + shift
    return logits, shown, [f"p{k % 20}" for k in range(count)]


@pytest.mark.parametrize("shift", [-4.0, 4.0])
def test_answers_that_lie_on_one_side_of_0_are_told_apart(shift: float) -> None:
    logits, shown, patients = answers(shift, 0.4)
    nothing, margin = presence_margins(logits, shown, patients, background=0, exclusive=True)
    assert nothing == 0
    assert abs(margin - shift) < 0.9
    assert f1_scores(logits[:, 1], shown[:, 1] > 0, np.array([margin]), np.ones((1, 200), int)) > 0.95


@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_a_good_0_is_kept(noise: float) -> None:
    logits, shown, patients = answers(0.0, noise)
    assert presence_margins(logits, shown, patients, background=0, exclusive=True) == (0, 0)


def test_it_is_the_difference_to_the_background_that_counts() -> None:
    logits, shown, patients = answers(-4.0, 0.4)
    moved = logits + np.random.default_rng(1).normal(0, 3, (len(logits), 1))
    one = presence_margins(logits, shown, patients, background=0, exclusive=True)
    other = presence_margins(moved, shown, patients, background=0, exclusive=True)
    assert one == pytest.approx(other)


@pytest.mark.parametrize("value", [0, 1])
def test_nothing_is_learned_of_a_class_that_all_or_none_show(value: int) -> None:
    shown = np.full((6, 1), value)
    logits = np.linspace(-3, -1, 6)[:, None]
    assert presence_margins(logits, shown, "abcdef", background=None, exclusive=False) == (0,)


def test_the_highest_decides_where_there_is_no_background() -> None:
    logits, shown, patients = answers(-4.0, 0.4)
    assert presence_margins(logits, shown, patients, background=None, exclusive=True) == (0, 0)
