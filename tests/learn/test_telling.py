"""What is told while a training runs and when it is done."""

from __future__ import annotations

import math

import pytest

from napari_refit.errors import Cancelled
from napari_refit.learn.files import Callbacks, train_to_file
from napari_refit.learn.places import fold_path, in_the_way, state_path, unfinished
from napari_refit.learn.telling import Curves, TimeLeft, duration, scores_line, so_far, summary


def row(epoch, auroc=0.5, best=True):
    part = {"loss": 1.0, "accuracy": 0.5, "auroc": auroc}
    return {"epoch": epoch, "training": part, "validation": part, "best": best}


def test_time_left_follows_the_pace_over_all_folds():
    left = TimeLeft(folds=3)
    assert left.seconds is None
    left.begin(1)
    left.note(0, 10, 100.0)
    assert left.seconds is None
    left.note(5, 10, 110.0)
    assert left.seconds == pytest.approx(2.0 * (5 + 20))
    left.begin(3)
    left.note(4, 10, 200.0)
    left.note(8, 10, 204.0)
    assert left.seconds == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "1 s"), (59, "59 s"), (59.5, "1 min"), (61, "2 min"), (3600, "1 h 0 min")]
)
def test_durations_are_never_short(seconds, text):
    assert duration(seconds) == text


def test_curves_replace_what_is_done_again():
    curves = Curves()
    for epoch in (1, 2, 3):
        curves.add(0, row(epoch, 0.1 * epoch))
    curves.add(0, row(2, 0.9, best=False))
    epochs, values = curves.line(0, "validation", "auroc")
    assert epochs == [1, 2]
    assert values == pytest.approx([0.1, 0.9])
    assert curves.best(0) == 1
    curves.add(1, {**row(1), "validation": {"loss": None, "accuracy": None, "auroc": None}})
    assert math.isnan(curves.line(1, "validation", "loss")[1][0])
    assert curves.epochs == 2


def test_what_was_stopped_is_found_again(blobs, quick, tmp_path):
    out = tmp_path / "blob.safetensors"
    rows = []
    assert not unfinished(out)
    with pytest.raises(Cancelled):
        train_to_file(
            blobs(),
            quick(epochs=4),
            out,
            device="cpu",
            callbacks=Callbacks(
                cancelled=lambda: len(rows) >= 2, on_epoch=lambda fold, one: rows.append(one)
            ),
        )
    assert unfinished(out)
    assert in_the_way(out, 1) == []
    curves = so_far(out)
    assert curves.rows[0] == rows
    report = train_to_file(blobs(), quick(epochs=4), out, device="cpu", resume=True)
    assert not unfinished(out)
    assert in_the_way(out, 1) == [out]
    lines = summary(report)
    assert lines[0].startswith(f"Best epoch {report['best_epoch']} of 4, in ")
    assert lines[1] == f"Validation: {scores_line(report['validation'])}."
    assert f"AUROC {report['validation']['auroc']:.3f} (95 %: " in lines[1]


def test_damaged_state_shows_no_curves(tmp_path):
    out = tmp_path / "x.safetensors"
    state_path(out).write_bytes(b"no state")
    assert unfinished(out)
    assert so_far(out).epochs == 0


def test_a_stop_between_two_folds_is_unfinished(tmp_path):
    out = tmp_path / "x.safetensors"
    fold_path(out, 1).touch()
    assert unfinished(out)
    assert in_the_way(out, 3) == [fold_path(out, 1)]
    (tmp_path / "x.refit.json").touch()
    assert not unfinished(out)


def test_without_scores_the_summary_says_why():
    report = {"best_epoch": 2, "epochs": 2, "seconds": 3.0, "validation": None, "test": None}
    assert summary(report)[1].startswith("No image was kept for validation")
