from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_refit.cam.classifier import load_classifier
from napari_refit.errors import Cancelled, ReadError, WriteError
from napari_refit.learn.files import Callbacks, fold_path, resumed_params, state_path, train_to_file
from napari_refit.learn.samples import ArraySamples
from napari_refit.learn.settings import TrainingParams

Blobs = Callable[..., ArraySamples]
Quick = Callable[..., TrainingParams]


def stopping(rows: list[Any], after: int) -> Callbacks:
    return Callbacks(
        on_epoch=lambda fold, row: rows.append((fold, row["epoch"])), cancelled=lambda: len(rows) >= after
    )


def test_a_training_leaves_checkpoint_and_report_and_no_state(
    blobs: Blobs, quick: Quick, tmp_path: Path
) -> None:
    out = tmp_path / "blobs.safetensors"
    report = train_to_file(blobs(48), quick(test_share=0.2), out, device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs.refit.json", "blobs.safetensors"]
    written = json.loads((tmp_path / "blobs.refit.json").read_text())
    assert written["checksum"] == report["checksum"] == load_classifier(out).checksum
    assert {"validation", "test"} == set(written["predictions"])
    rows = written["predictions"]["test"]
    assert len(rows) == written["test"]["images"]
    right = np.mean([np.argmax(row["logits"]) == row["label"] for row in rows])
    assert right == pytest.approx(written["test"]["accuracy"])
    with pytest.raises(WriteError, match=r"blobs.safetensors: is there already"):
        train_to_file(blobs(48), quick(), out, device="cpu")
    assert train_to_file(blobs(48), quick(epochs=1), out, device="cpu", overwrite=True)["epochs"] == 1


def test_a_stopped_training_is_gone_on_with_or_begun_anew(blobs: Blobs, quick: Quick, tmp_path: Path) -> None:
    samples, params, out = blobs(32), quick(epochs=3), tmp_path / "a.safetensors"
    rows: list[Any] = []
    with pytest.raises(Cancelled):
        train_to_file(samples, params, out, device="cpu", callbacks=stopping(rows, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["a.training.pt"]
    with pytest.raises(WriteError, match=r"was stopped .*--resume.*--overwrite"):
        train_to_file(samples, params, out, device="cpu")
    assert resumed_params(out, TrainingParams(), []) == params
    with pytest.raises(ReadError, match=r"epochs = 3, not 5"):
        resumed_params(out, quick(epochs=5), ["epochs"])
    train_to_file(samples, params, out, device="cpu", resume=True, callbacks=stopping(rows, 99))
    assert rows == [(0, 1), (0, 2), (0, 3)]
    train_to_file(samples, params, tmp_path / "b.safetensors", device="cpu")
    assert (
        load_classifier(out)
        .module.state_dict()["head.weight"]
        .equal(load_classifier(tmp_path / "b.safetensors").module.state_dict()["head.weight"])
    )
    assert not state_path(out).exists()


def test_resume_without_a_stopped_training_begins_one(blobs: Blobs, quick: Quick, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    assert resumed_params(out, quick(), ["epochs"]) == quick()
    train_to_file(blobs(16), quick(epochs=1), out, device="cpu", resume=True)
    with pytest.raises(WriteError, match="is there already"):
        train_to_file(blobs(16), quick(epochs=1), out, device="cpu", resume=True)


def test_folds_test_every_patient_once_and_resume_where_they_stopped(
    blobs: Blobs, quick: Quick, tmp_path: Path
) -> None:
    samples, params, out = blobs(72), quick(folds=3, epochs=3), tmp_path / "m.safetensors"
    rows: list[Any] = []
    with pytest.raises(Cancelled):
        train_to_file(samples, params, out, device="cpu", callbacks=stopping(rows, 4))
    assert rows == [(1, 1), (1, 2), (1, 3), (2, 1)]
    first = fold_path(out, 1).read_bytes()
    # As if it had stopped between the folds.
    state_path(fold_path(out, 2)).rename(tmp_path / "aside.pt")
    assert resumed_params(out, TrainingParams(), []) == params
    (tmp_path / "aside.pt").rename(state_path(fold_path(out, 2)))
    report = train_to_file(samples, params, out, device="cpu", resume=True, callbacks=stopping(rows, 99))
    assert rows[4:] == [(2, 2), (2, 3), (3, 1), (3, 2), (3, 3)]
    assert fold_path(out, 1).read_bytes() == first
    assert report["test"]["images"] == 72
    assert report["test"]["auroc"] > 0.95
    assert len(report["auroc_by_fold"]) == 3
    people = []
    for fold in (1, 2, 3):
        written = json.loads((tmp_path / f"m-fold{fold}.refit.json").read_text())
        tested = {row["patient"] for row in written["predictions"]["test"]}
        checked = {row["patient"] for row in written["predictions"]["validation"]}
        assert not tested & checked
        assert written["data"]["training"]["patients"] == 18 - len(tested) - len(checked)
        people.append(tested)
    assert sum(map(len, people)) == len(set.union(*people)) == 18
    assert json.loads((tmp_path / "m.refit.json").read_text())["test"] == report["test"]
    with pytest.raises(WriteError, match=r"m-fold1.safetensors: is there already"):
        train_to_file(samples, params, out, device="cpu")
    with pytest.raises(WriteError, match=r"m-fold1.safetensors: was made with other .*--overwrite"):
        train_to_file(samples, quick(folds=3, epochs=2), out, device="cpu", resume=True)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("a.pt", ValueError, "must end in .safetensors"),
        ("no/a.safetensors", WriteError, "folder does not exist"),
    ],
)
def test_a_bad_target_is_refused_before_any_work(
    blobs: Blobs, quick: Quick, tmp_path: Path, name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        train_to_file(blobs(16), quick(), tmp_path / name, device="cpu")
    assert not list(tmp_path.iterdir())
