"""The demo on the sample volume: what it leaves, and that it shows what it promises."""

import json

import nibabel
import numpy as np
import pytest

from napari_refit.cli import main
from napari_refit.demo import sample_classifier
from napari_refit.recipe import RefitParams


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--headless", "--out", str(folder)]) == 0
    return folder


def test_it_leaves_labels_report_and_picture(demo):
    report = json.loads((demo / "report.json").read_text())
    assert (demo / "panels.png").read_bytes().startswith(b"\x89PNG")
    labels, image = nibabel.load(demo / "refined.nii.gz"), nibabel.load(demo / "phantom-0.nii.gz")
    assert np.array_equal(labels.affine, image.affine)
    assert labels.shape == image.shape == (192, 192, 64)
    assert list(report["metrics"]) == ["blank", "cam", "cam_best_threshold", "refined"]
    assert report["parameters"] == RefitParams.preset("phantom").model_dump(mode="json")
    assert report["model_checksum"].startswith("sha256:")


def test_the_report_is_of_the_files(demo):
    from napari_refit.metrics import dice

    report = json.loads((demo / "report.json").read_text())
    mask = np.asarray(nibabel.load(demo / "refined.nii.gz").dataobj)
    truth = np.asarray(nibabel.load(demo / "phantom-0-truth.nii.gz").dataobj)
    assert report["metrics"]["refined"]["dice"] == pytest.approx(dice(mask, truth))
    assert report["metrics"]["blank"]["dice"] == 0


def test_refined_beats_the_best_single_threshold_by_ten_points(demo):
    metrics = json.loads((demo / "report.json").read_text())["metrics"]
    assert metrics["refined"]["dice"] - metrics["cam_best_threshold"]["dice"] >= 0.10
    assert metrics["cam_best_threshold"]["dice"] >= metrics["cam"]["dice"]


def test_the_same_demo_twice_is_the_same(demo, tmp_path):
    assert main(["demo", "--headless", "--out", str(tmp_path)]) == 0
    first, second = (
        np.asarray(nibabel.load(folder / "refined.nii.gz").dataobj) for folder in (demo, tmp_path)
    )
    assert np.array_equal(first, second)


def test_the_shipped_classifier_is_small():
    assert sample_classifier().stat().st_size <= 3_000_000
