"""Segmentation networks in a study, trained on pseudo-labels of the fold's own classifier."""

from __future__ import annotations

import pytest

from napari_refit.io.datasets import SplitParams, find_dataset
from napari_refit.learn.settings import TrainingParams
from napari_refit.study.methods import choose_methods
from napari_refit.study.run import Study
from napari_refit.study.settings import StudySettings

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
    again = Study(dataset, settings, tmp_path / "out", split)
    again.run()
    assert again.counts()["made"] == 0
