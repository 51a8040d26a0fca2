"""Segmentation networks in a study, trained on pseudo-labels of the fold's own classifier."""

from __future__ import annotations

import pytest

from napari_refit.errors import Cancelled
from napari_refit.io.datasets import SplitParams, find_dataset
from napari_refit.learn.settings import TrainingParams
from napari_refit.recipe import RefitParams
from napari_refit.study.methods import choose_methods
from napari_refit.study.run import Study
from napari_refit.study.settings import Listener, StudySettings

pytest.importorskip("monai")


def test_segmentation_networks_are_trained_on_each_folds_labels(busi_root, quick, tmp_path) -> None:
    settings = StudySettings(
        methods=choose_methods(["gradcam", "fsss", "fsss-cam", "fsss-truth"]),
        preparation="benign-normal",
        training=TrainingParams().with_texts(quick),
        fsss={"weights": "none", "input_size": "64", "epochs": "2"},
        device="cpu",
        only_fold=1,
    )
    dataset = find_dataset(busi_root).prepared("benign-normal")
    split = SplitParams(folds=2, validation_fraction=0.25)
    study = Study(dataset, settings, tmp_path / "out", split)
    results = study.run()
    assert study.failed == {}
    pieces = study.pieces[0]
    for key in ("fsss", "fsss-cam", "fsss-truth"):
        method = next(m for m in settings.methods if m.key == key)
        report = pieces.fsss_training(method).report()
        assert report["data"]["labels"]["labels"] == method.labels
        named = {row["name"] for part in report["predictions"].values() for row in part}
        assert named
        assert named <= set(pieces.parts.validation)
        assert {row.case for row in results.rows if row.method == key} == set(pieces.tested)
    fsss = next(m for m in study.results().methods if m.key == "fsss")
    assert (fsss.settings["labels"], fsss.settings["preset"]) == ("refit", "default")
    again = Study(dataset, settings, tmp_path / "out", split)
    again.run()
    assert again.counts()["made"] == 0


def test_a_preset_and_rounds_make_other_labels_and_a_stop_between_rounds_costs_nothing(
    busi_root, quick, tmp_path
) -> None:
    cut = RefitParams(fit="appearance", **{"slic.n_segments": 60, "appearance.start": 0.4})
    methods = choose_methods(["fsss-cut"], {"cut": cut})
    assert [method.key for method in methods] == ["blank", "best-threshold", "refit-cut", "fsss-cut"]
    (method,) = (m for m in methods if m.key == "fsss-cut")
    settings = StudySettings(
        methods=methods,
        preparation="benign-normal",
        training=TrainingParams().with_texts(quick),
        fsss={"weights": "none", "input_size": "32", "epochs": "1", "rounds": "2", "doubtful_share": "0.1"},
        device="cpu",
        only_fold=1,
    )
    dataset = find_dataset(busi_root).prepared("benign-normal")
    split = SplitParams(folds=2, validation_fraction=0.25)

    lines: list[str] = []
    stopped = Study(
        dataset,
        settings,
        tmp_path / "out",
        split,
        listener=Listener(say=lines.append, cancelled=lambda: any("round 1 of 2" in line for line in lines)),
    )
    with pytest.raises(Cancelled):
        stopped.run()
    lines.clear()
    study = Study(dataset, settings, tmp_path / "out", split, listener=Listener(say=lines.append))
    results = study.run()
    assert study.failed == {}
    stage = study.pieces[0].fsss_training(method)
    assert stage.there()
    assert stage.refit.fit == "appearance"
    report = stage.report()
    assert report["data"]["labels"]["parameters"]["fit"] == "appearance"
    assert report["data"]["labels"]["model"] == "checkpoint-round1"
    assert [row["round"] for row in stage.content()["rounds"]] == [1, 2]
    named = {row["name"] for part in report["predictions"].values() for row in part}
    assert named <= set(study.pieces[0].parts.validation)
    described = next(m for m in results.methods if m.key == "fsss-cut")
    assert (described.settings["preset"], described.settings["fit"]) == ("cut", "appearance")
    assert any("round 1: " in note and "round 2: " in note for note in described.notes)
    assert any("checkpoint" not in line and "round 2 of 2" in line for line in lines)
    again = Study(dataset, settings, tmp_path / "out", split)
    again.run()
    assert again.counts()["made"] == 0
