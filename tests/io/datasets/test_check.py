"""Every fault that a dataset can have is found, named with its file, and nothing is found in a clean one."""

import json
import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_refit.cli import main
from napari_refit.errors import Cancelled
from napari_refit.io.datasets import Split, find_dataset, make_split
from napari_refit.io.datasets.check import check_dataset
from napari_refit.io.datasets.groups import read_groups, thumbnail


def rewrite(path, change, affine=None):
    """Change a NIfTI file's values in place."""
    image = nibabel.load(path)
    data = change(np.asarray(image.dataobj))
    nibabel.save(nibabel.Nifti1Image(data, image.affine if affine is None else affine), path)


def found(dataset, severity="error", **options):
    report = check_dataset(dataset, **options)
    return {(item.kind, item.case): item for item in report.findings if item.severity == severity}


@pytest.mark.parametrize("layout", ["busi", "lgg_slices", "lgg_nifti", "prostate158"])
def test_a_clean_dataset_has_no_errors(request, layout):
    report = check_dataset(find_dataset(request.getfixturevalue(layout)))
    assert report.count("error") == report.count("warning") == 0
    assert report.n_slices > 0
    assert sum(report.positives.values()) > 0


def test_brats_of_every_year_is_clean(make_brats):
    for year in (2020, 2021, 2023):
        report = check_dataset(find_dataset(make_brats(year)))
        assert report.count("error") == report.count("warning") == 0
        assert report.positives == {"whole tumour": 9}


def plus(value):
    return lambda data: data.astype(np.float32) + value


def with_nan(data):
    data = data.astype(np.float32)
    data[0, 0, :2] = np.nan, np.inf
    return data


@pytest.mark.parametrize(
    ("file", "change", "kind", "words"),
    [
        ("flair", with_nan, "not finite", "FLAIR: 2 of 960 values are NaN or infinite"),
        ("flair", lambda data: data * 0 + 5, "empty image", "FLAIR: every value is 5"),
        (
            "t1",
            lambda data: data[:-1],
            "shape",
            r"T1: its shape is \(11, 10, 8\), not \(12, 10, 8\)",
        ),
        ("seg", lambda data: data[:, :-1], "shape", "the mask does not fit the image: its shape"),
        (
            "seg",
            lambda data: np.where(data == 1, 9, data),
            "unexpected label",
            "the mask holds 9; expected are 0, 1",
        ),
        ("seg", plus(0.5), "unexpected label", "holds 0.5; a mask needs whole numbers"),
        ("seg", with_nan, "not finite", "the mask holds NaN"),
    ],
)
def test_values_and_shapes(make_brats, file, change, kind, words):
    import re

    root = make_brats(2021)
    path = root / "BraTS2021_00002" / f"BraTS2021_00002_{file}.nii.gz"
    rewrite(path, change)
    findings = found(find_dataset(root))
    assert set(findings) == {(kind, "BraTS2021_00002")}
    item = findings[kind, "BraTS2021_00002"]
    assert re.search(words, item.message)
    assert item.files == (path,)
    assert item.advice or kind == "unexpected label"


@pytest.mark.parametrize("file", ["t2", "seg"])
def test_geometry(make_brats, file):
    root = make_brats(2021)
    path = root / "BraTS2021_00002" / f"BraTS2021_00002_{file}.nii.gz"
    affine = nibabel.load(path).affine.copy()
    affine[2, 3] += 1
    rewrite(path, lambda data: data, affine)
    findings = found(find_dataset(root))
    assert set(findings) == {("geometry", "BraTS2021_00002")}
    assert findings["geometry", "BraTS2021_00002"].files == (path,)


def test_damaged_and_truncated_files_do_not_stop_the_others(make_brats):
    root = make_brats(2021)
    first, second = (root / f"BraTS2021_0000{k}" for k in (1, 2))
    flair = first / f"{first.name}_flair.nii.gz"
    flair.write_bytes(flair.read_bytes()[:-400])
    (second / f"{second.name}_seg.nii.gz").write_bytes(b"")
    findings = found(find_dataset(root))
    assert {kind for kind, _ in findings} == {"unreadable"}
    assert {item.files[0].name for item in findings.values()} == {flair.name, f"{second.name}_seg.nii.gz"}
    assert check_dataset(find_dataset(root)).positives == {"whole tumour": 3}


def test_missing_pairs_and_modalities(make_brats):
    root = make_brats(2021)
    (root / "BraTS2021_00001" / "BraTS2021_00001_flair.nii.gz").unlink()
    (root / "BraTS2021_00002" / "BraTS2021_00002_seg.nii.gz").unlink()
    report = check_dataset(find_dataset(root))
    assert [(item.severity, item.kind, item.case) for item in report.findings if item.case] == [
        ("error", "missing modality", "BraTS2021_00001"),
        ("warning", "missing modality", "BraTS2021_00001"),
        ("note", "missing mask", "BraTS2021_00002"),
    ]
    assert any(item.kind == "no label" for item in report.findings)


def test_a_modality_that_is_a_copy_of_another(lgg_nifti):
    name = "TCGA_DU_5849_19950405"

    def copy(data):
        data = data.copy()
        data[..., 2] = data[..., 1]
        return data

    rewrite(lgg_nifti / f"{name}.nii.gz", copy)
    item = found(find_dataset(lgg_nifti), "warning")["copy", name]
    assert item.message == "FLAIR, post-contrast hold the same values"


def test_the_preparation_is_looked_at_too(make_brats):
    findings = found(find_dataset(make_brats(2021)).prepared("paper"))
    assert {kind for kind, _ in findings} == {"crop"}
    assert len(findings) == 3


def test_masks_that_contradict_their_folder(busi):
    Image.fromarray(np.zeros((40, 48), bool)).save(busi / "benign" / "benign (1)_mask.png")
    Image.fromarray(np.eye(40, 48) > 0).save(busi / "normal" / "normal (1)_mask.png")
    grey = np.zeros((40, 48), np.uint8)
    grey[5:9, 5:9] = np.arange(100, 116).reshape(4, 4)
    Image.fromarray(grey).save(busi / "malignant" / "malignant (1)_mask.png")
    dataset = find_dataset(busi)
    assert set(found(dataset)) == {("contradiction", "benign (1)"), ("contradiction", "normal (1)")}
    assert set(found(dataset, "warning")) == {("unexpected label", "malignant (1)")}


def test_exact_duplicates_are_found_by_their_pixels(busi):
    image = np.asarray(Image.open(busi / "benign" / "benign (1).png"))
    # Another compression: other bytes, the same pixels.
    Image.fromarray(image).save(busi / "malignant" / "malignant (1).png", compress_level=1)
    item = found(find_dataset(busi))["duplicate", "benign (1)"]
    assert "benign (1) and malignant (1) hold the same pixels" in item.message
    assert "labelled benign and malignant" in item.message
    assert [path.name for path in item.files] == ["benign (1).png", "malignant (1).png"]


def test_volumes_that_are_there_twice(make_brats):
    root = make_brats(2021, numbers=range(1, 7))
    for name in ("flair", "t1", "t1ce", "t2"):
        source = root / "BraTS2021_00001" / f"BraTS2021_00001_{name}.nii.gz"
        shutil.copy(source, root / "BraTS2021_00005" / f"BraTS2021_00005_{name}.nii.gz")
    dataset = find_dataset(root)
    findings = {
        **found(dataset),
        **found(dataset, "warning"),
    }
    assert set(findings) == {("duplicate", "BraTS2021_00001")}


def near_copy(busi):
    """Make benign (10) a marked and brightened benign (1)."""
    image = np.asarray(Image.open(busi / "benign" / "benign (1).png")).astype(int)
    image = np.clip(image + 5, 0, 255)
    image[20:22, 20:26] = 255
    Image.fromarray(image.astype(np.uint8)).save(busi / "benign" / "benign (10).png")


def test_near_duplicates_within_across_and_kept_together(busi, tmp_path):
    near_copy(busi)
    dataset = find_dataset(busi)
    split = make_split(dataset.cases, dataset.default_split)

    def with_test(*names):
        rest = tuple(case.name for case in dataset.cases if case.name not in names)
        return Split("busi", split.params, (type(split.folds[0])(rest, (), names),))

    across = found(dataset, split=with_test("benign (1)"))
    assert set(across) == {("near duplicate", "benign (1)")}
    assert "on two sides of the split (fold 1)" in across["near duplicate", "benign (1)"].message
    same_side = with_test("benign (2)")
    assert not found(dataset, split=same_side)
    assert set(found(dataset, "warning", split=same_side)) == {("near duplicate", "benign (1)")}
    # The groups that a check finds can be put beside the folders; then every split keeps them together.
    report = check_dataset(dataset)
    assert report.groups.keys() == {"benign (1)", "benign (10)"}
    code = main(["evaluate", str(busi), "--check", "--groups", str(busi / "near_duplicate_groups.csv")])
    assert read_groups(busi / "near_duplicate_groups.csv") == report.groups
    assert code in (0, 1)
    grouped = find_dataset(busi)
    assert not found(grouped)
    assert not found(grouped, "warning")
    assert any("1 group, which splits keep together" in i.message for i in check_dataset(grouped).findings)


def test_groups_given_in_python_keep_near_duplicates_together(busi):
    near_copy(busi)
    dataset = find_dataset(busi)
    grouped = dataset.with_groups(check_dataset(dataset).groups)
    for seed in range(6):
        params = dataset.default_split.model_copy(update={"seed": seed, "validation_fraction": 0.0})
        sides = make_split(grouped.cases, params).folds[0].sides
        assert sides["benign (1)"] == sides["benign (10)"]


def test_pictures_that_look_alike_and_are_labelled_differently(busi):
    near_copy(busi)
    for name in (".png", "_mask.png"):
        shutil.move(busi / "benign" / f"benign (10){name}", busi / "malignant" / f"malignant (10){name}")
    warnings = found(find_dataset(busi), "warning")
    assert "labelled benign and malignant" in warnings["contradiction", "benign (1)"].message


def test_a_split_that_does_not_suit(make_brats):
    root = make_brats(2023, numbers=range(1, 7))
    dataset = find_dataset(root)
    names = tuple(case.name for case in dataset.cases)
    grouped = dataset.with_groups({names[0]: "g", names[1]: "g"})
    fold = make_split(dataset.cases).folds[0]
    split = Split("brats", dataset.default_split, (type(fold)(names[1:4], (), (names[0], "gone")),))
    report = check_dataset(grouped, split)
    messages = {(item.severity, item.message) for item in report.findings if item.kind == "split"}
    assert messages == {
        ("error", "fold 1 names 1 case not in the dataset: gone"),
        ("error", f"fold 1 has one patient or group on two sides: {names[0]}, {names[1]}"),
        ("warning", f"fold 1 leaves out 2 cases: {names[4]}, {names[5]}"),
    }
    again = Split("brats", dataset.default_split, (split.folds[0], split.folds[0]))
    assert any("tested in two folds" in item.message for item in check_dataset(dataset, again).findings)


def test_what_reading_warns_of_is_reported_with_its_file(make_brats):
    root = make_brats(2021)
    path = root / "BraTS2021_00001" / "BraTS2021_00001_t1.nii.gz"
    image = nibabel.load(path)
    image.header["srow_x"] = 0
    image.header["sform_code"] = 1
    image.header["qform_code"] = 1
    raw = nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    raw.header["srow_x"], raw.header["srow_y"], raw.header["srow_z"] = 0, 0, 0
    nibabel.save(raw, path)
    findings = found(find_dataset(root), "warning")
    assert findings["geometry", "BraTS2021_00001"].files == (path,)


def test_checking_can_be_watched_and_stopped(make_brats):
    dataset = find_dataset(make_brats(2021))
    seen = []
    check_dataset(dataset, progress=lambda done, total, text: seen.append((done, total, text)))
    assert [done for done, _, _ in seen] == [1, 2, 3]
    assert seen[-1] == (3, 3, "checking BraTS2021_00003")
    with pytest.raises(Cancelled):
        check_dataset(dataset, cancelled=lambda: True)


def test_thumbnails_see_what_colour_does_not():
    grey = np.random.default_rng(0).integers(0, 256, (60, 90)).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert np.allclose(thumbnail(grey), thumbnail(colour))
    assert thumbnail(grey).shape == (32, 32)


def evaluate(capsys, *arguments):
    code = main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_on_clean_and_on_faulty_data(make_brats, capsys):
    root = make_brats(2021)
    code, out, err = evaluate(capsys, root, "--check")
    assert code == 0
    assert "3 cases, 24 images or slices: 9 with whole tumour" in out
    assert "clean" in out
    assert not err
    path = root / "BraTS2021_00002" / "BraTS2021_00002_seg.nii.gz"
    rewrite(path, lambda data: data + np.uint8(7))
    code, out, err = evaluate(capsys, root, "--check")
    assert code == 1
    assert f"error: unexpected label: {path}: the mask holds" in out
    assert "1 error, 0 warnings" in out
    assert "napari-refit: error" not in err


def test_the_command_prints_one_json_object(make_brats, capsys):
    root = make_brats(2021)
    rewrite(root / "BraTS2021_00002" / "BraTS2021_00002_flair.nii.gz", with_nan)
    code, out, err = evaluate(capsys, root, "--check", "--json")
    assert code == 1
    assert not err
    report = json.loads(out)
    assert report["dataset"] == "brats"
    assert report["n_errors"] == 1
    assert report["findings"][0]["kind"] == "not finite"
    assert report["findings"][0]["files"] == [str(root / "BraTS2021_00002" / "BraTS2021_00002_flair.nii.gz")]


def test_the_command_draws_a_table_on_a_terminal(make_brats, capsys, monkeypatch):
    root = make_brats(2021)
    rewrite(root / "BraTS2021_00002" / "BraTS2021_00002_flair.nii.gz", with_nan)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = evaluate(capsys, root, "--check")
    assert code == 1
    assert "what to do" in out
    assert "not finite" in out
    assert str(root / "BraTS2021_00002") not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["."], "no known dataset"),
        (["missing", "--check"], "missing: there is no such file or folder"),
        (["--check"], "dataset"),
        ([".", "--check"], "no known dataset"),
        ([".", "--check", "--layout", "bsui"], "unknown dataset 'bsui'"),
        (["busi", "--check", "--preparation", "nope"], "no preparation 'nope'"),
        (["busi", "--check", "--split", "missing.json"], "missing.json"),
        (["busi", "--check", "--masks", "{case}.png"], "needs a pattern of images"),
    ],
)
def test_bad_usage_is_one_line(busi, tmp_path, capsys, monkeypatch, arguments, words):
    (tmp_path / "empty").mkdir()
    busi.rename(tmp_path / "busi")
    monkeypatch.chdir(tmp_path / "empty" if arguments[0] == "." else tmp_path)
    code, out, err = evaluate(capsys, *arguments)
    assert code == 2
    assert not out
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("napari-refit: error: ")
    assert words in lines[0].replace("DATASET", "dataset")


def test_patterns_and_preparations_on_the_command_line(prostate158, capsys):
    patterns = ("--images", "train/{case}/t2.nii.gz", "--masks", "train/{case}/t2_tumor_reader1.nii.gz")
    code, out, _ = evaluate(capsys, prostate158, "--check", *patterns)
    assert code == 0
    assert "2 cases, 8 images or slices: 2 with foreground" in out
    code, out, _ = evaluate(
        capsys, prostate158, "--check", "--preparation", "merged", "--layout", "prostate158"
    )
    assert code == 0
    assert "4 with prostate" in out
