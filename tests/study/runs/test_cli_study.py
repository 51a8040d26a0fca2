"""``napari-refit evaluate`` and ``napari-refit reproduce`` as a user calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_refit.cli import main
from napari_refit.study.job import Stopped
from napari_refit.study.results import read_rows


@pytest.fixture
def flags(quick):
    """Options of a training that takes a second."""
    return [part for key, value in quick.items() for part in ("--train", f"{key}={value}")]


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *(str(argument) for argument in arguments)])


def complaints(capsys) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("napari-refit: error: ")]


def test_evaluate_plans_works_and_reports(busi_root, tmp_path, flags, capsys) -> None:
    out = tmp_path / "out"
    common = (busi_root, "--out", out, "--preparation", "benign-normal", "--device", "cpu", *flags)
    assert evaluate(*common, "--dry-run") == 0
    plan = capsys.readouterr().out.splitlines()
    assert any(line.startswith("fold 1, refit: training 0 of 1; masks 0 of") for line in plan)
    assert not (out / "results.csv").exists()
    assert evaluate(*common, "--json") == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["pieces"]["made"] > 0
    assert summary["failed"] == {}
    rows = read_rows(summary["files"]["results.csv"])
    assert {row.method for row in rows} == {"blank", "gradcam", "best-threshold", "refit", "refit-tuned"}
    for name in ("results.csv", "summary.md", "summary.json", "report.html"):
        assert (out / name).stat().st_size > 100
    assert evaluate(*common) == 0
    printed = capsys.readouterr().out
    assert "0 pieces made" in printed
    assert "Blank mask" in printed
    assert evaluate(*common, "--dry-run", "--json") == 0
    steps = [item["steps"] for item in json.loads(capsys.readouterr().out)["plan"]]
    assert all(there == count for found in steps for there, count in found.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "grad-cam"], "unknown method 'grad-cam'; did you mean gradcam?"),
        (["--preparation", "nothing"], "has no preparation 'nothing'"),
        (["--gate", "truth"], "--gate truth: there are: preset, label"),
        (["--train", "epoch=3"], "unknown training parameter 'epoch'; did you mean epochs?"),
        (["--train", "epochs"], "write key=value"),
        (["--preset", "nothing"], "unknown preset 'nothing'"),
        (["--preset", "nothing.json"], "nothing.json: cannot read the parameters"),
        (["--folds", "1"], "folds: "),
        (["--folds", "3", "--split", "split.json"], "split.json"),
        (["--only-fold", "4", "--folds", "2"], "there is no fold 4, the split has 2"),
        (["--evaluate", "cyst"], "no test case is labelled cyst"),
    ],
)
def test_wrong_options_cost_one_line(busi_root, tmp_path, options, words, capsys) -> None:
    assert evaluate(busi_root, "--out", tmp_path / "out", *options) in (1, 2)
    (line,) = complaints(capsys)
    assert words in line


def test_a_folder_that_is_no_dataset(tmp_path, capsys) -> None:
    assert evaluate(tmp_path, "--out", tmp_path / "out") == 2
    (line,) = complaints(capsys)
    assert str(tmp_path) in line


def test_errors_in_the_dataset_stop_it_or_cost_the_case(busi_root, tmp_path, flags, capsys) -> None:
    root = tmp_path / "Dataset_BUSI_with_GT"
    shutil.copytree(busi_root, root)
    damaged = root / "benign" / "benign (5).png"
    damaged.write_bytes(damaged.read_bytes()[:150])
    common = (
        root,
        "--out",
        tmp_path / "out",
        "--preparation",
        "benign-normal",
        "--methods",
        "gradcam",
        *flags,
    )
    assert evaluate(*common) == 1
    lines = complaints(capsys)
    assert any("benign (5).png" in line for line in lines)
    assert "1 error in the dataset" in lines[-1]
    assert evaluate(*common, "--force", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert list(summary["broken"]) == ["benign (5)"]
    assert "benign (5)" not in {row.case for row in read_rows(tmp_path / "out" / "results.csv")}


def test_a_trained_method_that_fails_is_named_and_the_rest_reported(
    busi_root, tmp_path, flags, capsys
) -> None:
    out = tmp_path / "out"
    common = (busi_root, "--out", out, "--preparation", "benign-normal", "--methods", "gradcam")
    code = evaluate(*common, *flags, "--train", "background=gone")
    assert code == 1
    lines = complaints(capsys)
    (line,) = lines
    assert "gradcam, best-threshold could not be run: background = 'gone' is none of the classes" in line
    assert {row.method for row in read_rows(out / "results.csv")} == {"blank"}


def test_stopping_says_how_to_go_on(busi_root, tmp_path, flags, capsys, monkeypatch) -> None:
    from napari_refit.study.fold import FoldRun

    def stop(self) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FoldRun, "mask", stop)
    assert evaluate(busi_root, "--out", tmp_path / "out", "--preparation", "benign-normal", *flags) == 1
    assert complaints(capsys) == ["napari-refit: error: stopped; the same command goes on from here"]
    monkeypatch.undo()
    code = evaluate(busi_root, "--out", tmp_path / "out", "--preparation", "benign-normal", *flags, "--json")
    assert code == 0
    assert json.loads(capsys.readouterr().out)["pieces"]["reused"] > 0


def make_decathlon(root: Path, cases: int = 6) -> Path:
    """A task with one modality, small enough for the paper's network."""
    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    listed = []
    for number in range(cases):
        draw = np.random.default_rng([5, number])
        mask = np.zeros((20, 24, 3), np.uint8)
        row, column = draw.integers(3, 10, 2)
        mask[row : row + 7, column : column + 8, 1:2] = 1
        image = (100 + 80 * mask + draw.normal(0, 8, mask.shape)).astype(np.float32)
        affine = np.diag([1.5, 1.0, 3.0, 1.0])
        name = f"hippocampus_{number:03}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(image, affine), root / "imagesTr" / name)
        nibabel.save(nibabel.Nifti1Image(mask, affine), root / "labelsTr" / name)
        listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    index = {
        "name": "made",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "part"},
        "training": listed,
    }
    (root / "dataset.json").write_text(json.dumps(index))
    return root


def reproduce(*arguments: object) -> int:
    return main(["reproduce", *(str(argument) for argument in arguments)])


def test_reproduce_prints_ours_beside_the_printed_and_every_difference(tmp_path, capsys) -> None:
    root = make_decathlon(tmp_path / "Task04_Hippocampus")
    small = ("--train", "epochs=1", "--train", "input_size=32", "--train", "batch_size=8")
    common = (
        "decathlon",
        "--root",
        root,
        "--out",
        tmp_path / "out",
        "--arch",
        "phantom-cnn",
        "--weights",
        "none",
        *small,
    )
    assert reproduce(*common, "--methods", "gradcam", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    for words in (
        "64.6 / 47.7",
        "79.4 / 65.8",
        "Task04_Hippocampus, merged to one class, in the place of Decathlon Task05, prostate on ADC.",
        "Architecture phantom-cnn instead of resnet34.",
        "Weights start from none instead of imagenet.",
        "epochs = 1 instead of 5.",
    ):
        assert words in printed
    rows = read_rows(tmp_path / "out" / "results.csv")
    assert {row.method for row in rows} == {"blank", "gradcam", "best-threshold", "refit-paper"}
    assert {row.unit for row in rows} == {"mm"}
    assert reproduce(*common, "--methods", "gradcam", "--json", "--device", "cpu") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pieces"]["made"] == 0
    blank = found["beside_printed"][0]
    pixels = sum(row.pixels for row in rows if row.method == "blank" and row.level == "image")
    background = sum(row.both_background for row in rows if row.method == "blank" and row.level == "image")
    # A blank mask: the background's IoU is its share, the object's 0.
    assert blank["miou"] == pytest.approx(50 * background / pixels)
    assert blank["dsc"] == pytest.approx(100 * 2 * (blank["miou"] / 100) / (1 + blank["miou"] / 100))
    assert (blank["printed_dsc"], blank["printed_miou"], blank["dice"]) == (64.6, 47.7, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mnist"], "unknown experiment 'mnist'; there are: busi, brats, decathlon"),
        (["brats"], "brats wants brats or lgg"),
        (["busi", "--train", "epochs=3"], "the classifier of busi is not trained"),
    ],
)
def test_reproduce_says_what_is_wrong(busi_root, tmp_path, arguments, words, capsys) -> None:
    assert reproduce(*arguments, "--root", busi_root, "--out", tmp_path / "out") == 2
    (line,) = complaints(capsys)
    assert words in line


def test_weights_that_cannot_be_had_name_all_ways(busi_root, tmp_path, capsys, monkeypatch) -> None:
    from napari_refit.cam import architectures

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(architectures.models, "get_model", no_network)
    assert (
        reproduce(
            "busi", "--root", busi_root, "--out", tmp_path / "out", "--methods", "gradcam", "--device", "cpu"
        )
        == 1
    )
    (line,) = complaints(capsys)
    assert "gradcam, best-threshold, refit-paper could not be run" in line
    assert architectures.WAYS_TO_WEIGHTS in line


def test_stopped_names_the_first_error() -> None:
    assert str(Stopped(["a", "b"])) == "a"
