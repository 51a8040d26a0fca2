from __future__ import annotations

import pytest

from napari_refit.learn.settings import TrainingParams
from napari_refit.params import declarations


def test_everything_is_declared_with_title_help_and_bounds() -> None:
    items = list(declarations(TrainingParams))
    assert len(items) > 30
    for item in items:
        assert item.title
        assert item.help.endswith((".", ")"))
        if item.kind in ("int", "float"):
            assert item.low is not None
            assert item.high is not None
            assert item.low <= item.default <= item.high


def test_texts_become_values() -> None:
    params = TrainingParams().with_texts(
        {"epochs": "3", "learning_rate": "1e-3", "channels_last": "false", "optimiser": "sgd"}
    )
    assert (params.epochs, params.learning_rate, params.channels_last, params.optimiser) == (
        3,
        1e-3,
        False,
        "sgd",
    )
    assert params.changed() == {
        "epochs": 3,
        "optimiser": "sgd",
        "learning_rate": 1e-3,
        "channels_last": False,
    }


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("epoch", "3", "epochs"),
        ("epochs", "0", "epochs = '0'"),
        ("epochs", "many", "epochs = 'many'"),
        ("learning_rate", "nan", "learning_rate"),
        ("balance", "fair", "batches"),
        ("qqq", "1", "there are: learner, architecture"),
    ],
)
def test_wrong_texts_are_named(key: str, value: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainingParams().with_texts({key: value})
