"""Which images a batch finds, and where their results go."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_refit.batch.bids import describe_derivative
from napari_refit.batch.cases import Case, find_cases
from napari_refit.errors import ReadError
from napari_refit.io.sidecar import sidecar_path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(cases: list[Case], out: Path) -> dict[str, str]:
    return {case.name: case.output.relative_to(out).as_posix() for case in cases}


def test_a_folder_is_mirrored(tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    touch(
        scans / "b/two.NII.gz",
        scans / "one.png",
        scans / "a/x.1.tif",
        scans / "notes.txt",
        scans / ".hidden.png",
    )
    touch(scans / ".git/a.png", scans / "a/.refit-0123456789ab.tif")
    cases, problems = find_cases([scans], out)
    assert problems == []
    assert found(cases, out) == {
        "a/x.1": "a/x.1_refined.tif",
        "b/two": "b/two_refined.nii.gz",
        "one": "one_refined.png",
    }


def test_results_are_no_input_wherever_they_lie(tmp_path):
    touch(tmp_path / "one.png", tmp_path / "results/one_refined.png", tmp_path / "elsewhere/two_refined.png")
    touch(sidecar_path(tmp_path / "elsewhere/two_refined.png"))
    for out in (tmp_path / "results", tmp_path):
        cases, _ = find_cases([tmp_path], out)
        names = ["one"] if out.name == "results" else ["one", "results/one_refined"]
        assert sorted(case.name for case in cases) == names


def test_patterns_and_several_inputs_share_their_common_folder(tmp_path):
    touch(*(tmp_path / name for name in ("s1/a.png", "s1/deep/b.png", "s2/a.png", "s2/c.tif")))
    cases, problems = find_cases([str(tmp_path / "**" / "*.png")], tmp_path / "out")
    assert ([case.name for case in cases], problems) == (["s1/a", "s1/deep/b", "s2/a"], [])
    cases, _ = find_cases([tmp_path / "s1", tmp_path / "s2", tmp_path / "s2/a.png"], tmp_path / "out")
    assert [case.name for case in cases] == ["s1/a", "s1/deep/b", "s2/a", "s2/c"]
    cases, problems = find_cases([str(tmp_path / "s3" / "*.png")], tmp_path / "out")
    assert cases == []
    assert "matches no image" in str(problems[0])


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path):
    touch(tmp_path / "a[1].png", tmp_path / "a1.png")
    cases, _ = find_cases([tmp_path / "a[1].png"], tmp_path / "out")
    assert [case.image.name for case in cases] == ["a[1].png"]


def test_two_images_of_one_result_are_named(tmp_path):
    touch(tmp_path / "scans/a.nii", tmp_path / "scans/a.nii.gz", tmp_path / "scans/b.png")
    cases, problems = find_cases([tmp_path / "scans"], tmp_path / "out")
    assert [case.image.name for case in cases] == ["a.nii", "b.png"]
    assert problems[0].path.name == "a.nii.gz"
    assert "a.nii gives a result of the same name" in str(problems[0])


def test_dicom_folders_are_one_image_each(tmp_path):
    touch(*(tmp_path / f"in/p{k}/series/{z}.dcm" for k in range(2) for z in range(3)), tmp_path / "in/c.png")
    cases, _ = find_cases([tmp_path / "in"], tmp_path / "out")
    assert found(cases, tmp_path / "out") == {
        "c": "c_refined.png",
        "p0/series": "p0/series_refined.nii.gz",
        "p1/series": "p1/series_refined.nii.gz",
    }
    cases, _ = find_cases([tmp_path / "in/p0/series"], tmp_path / "out")
    assert found(cases, tmp_path / "out") == {"series": "series_refined.nii.gz"}


def test_an_empty_folder_and_a_missing_file(tmp_path):
    (tmp_path / "empty").mkdir()
    cases, problems = find_cases([tmp_path / "empty", tmp_path / "no.png"], tmp_path / "out")
    assert [case.image.name for case in cases] == ["no.png"]
    assert "holds no image" in str(problems[0])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_names_what_belongs_together(tmp_path, separator):
    lines = [
        ["Image", "other", "class", "response", "truth"],
        ["s/a.nii.gz", "1", "tumour|oedema", "", "masks/a.nii.gz"],
        ["s/b.nii.gz", "2", "", "maps/b.nii.gz", ""],
    ]
    text = "\n".join(separator.join(line) for line in lines)
    (tmp_path / "table.csv").write_text(text, encoding="utf-8-sig")
    cases, problems = find_cases([tmp_path / "table.csv"], tmp_path / "out")
    assert problems == []
    first, second = cases
    assert (first.name, first.classes, first.response) == ("s/a", ("tumour", "oedema"), None)
    assert first.truth == tmp_path / "masks/a.nii.gz"
    assert (second.response, second.truth) == (tmp_path / "maps/b.nii.gz", None)
    assert first.output == tmp_path / "out/s/a_refined.nii.gz"


def test_a_table_of_images_elsewhere(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/t.csv").write_text("image\n../scans/x/a.png\n../scans/y/a.png\n", encoding="utf-8")
    cases, _ = find_cases([tmp_path / "lists/t.csv"], tmp_path / "out")
    assert [case.name for case in cases] == ["x/a", "y/a"]


def test_faults_of_a_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("image,truth\na.png,\na.png,b.png\n,x\na.png,b,c\n", encoding="utf-8")
    cases, problems = find_cases([table], tmp_path / "out")
    assert [case.name for case in cases] == ["a"]
    texts = " / ".join(map(str, problems))
    for part in ("line 4 names no image", "line 5 has more or fewer", "named before with another truth"):
        assert part in texts
    for text, fault in (("picture\na\n", "no column image"), ("image\n", "no rows")):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(ReadError, match=fault):
            find_cases([table], tmp_path / "out")
    table.write_bytes("image\nü.png\n".encode("latin-1"))
    with pytest.raises(ReadError, match="UTF-8"):
        find_cases([table], tmp_path / "out")
    with pytest.raises(ReadError, match=r"t2\.csv"):
        find_cases([tmp_path / "t2.csv"], tmp_path / "out")


def bids(root: Path) -> Path:
    touch(
        *(
            root / name
            for name in (
                "sub-01/anat/sub-01_T1w.nii.gz",
                "sub-01/anat/sub-01_T1w.json",
                "sub-01/func/sub-01_task-rest_bold.nii.gz",
                "sub-02/ses-a/anat/sub-02_ses-a_run-1_T1w.nii",
                "sub-02/ses-a/anat/sub-02_ses-a_run-1_T2w.nii",
                "sub-02/ses-b/pet/sub-02_ses-b_trc-FDG_pet.nii.gz",
                "sub-02/ses-b/anat/sub-02_ses-b_mod-T1w_defacemask.nii.gz",
                "derivatives/x/sub-01/anat/sub-01_desc-x_T1w.nii.gz",
                "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
            )
        )
    )
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    return root


def test_a_bids_dataset_becomes_a_derivative(tmp_path):
    root = bids(tmp_path / "study")
    out = root / "derivatives" / "napari-refit"
    cases, problems = find_cases([root], out)
    assert problems == []
    assert found(cases, out) == {
        "sub-01/anat/sub-01_T1w": "sub-01/anat/sub-01_desc-refit_dseg.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_T1w": (
            "sub-02/ses-a/anat/sub-02_ses-a_run-1_mod-T1w_desc-refit_dseg.nii.gz"
        ),
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_T2w": (
            "sub-02/ses-a/anat/sub-02_ses-a_run-1_mod-T2w_desc-refit_dseg.nii.gz"
        ),
        "sub-02/ses-b/pet/sub-02_ses-b_trc-FDG_pet": (
            "sub-02/ses-b/pet/sub-02_ses-b_trc-FDG_desc-refit_dseg.nii.gz"
        ),
    }
    only, _ = find_cases([root / "sub-02"], out, layout="bids")
    assert [case.name for case in only] == [case.name for case in cases if case.name.startswith("sub-02")]
    out.mkdir(parents=True)
    describe_derivative(out, cases, "9.9")
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"] == [{"Name": "napari-refit", "Version": "9.9"}]
    assert os.path.normpath(out / described["SourceDatasets"][0]["URL"]) == str(root)
    assert "*.refit.json" in (out / ".bidsignore").read_text()


def test_bids_without_a_dataset_and_a_single_subject(tmp_path):
    root = bids(tmp_path / "study")
    _, problems = find_cases([tmp_path], tmp_path / "out", layout="bids")
    assert "lies in no BIDS dataset" in str(problems[0])
    (cases, _) = find_cases([root / "sub-01/anat/sub-01_T1w.nii.gz"], tmp_path / "out", layout="bids")
    assert [case.name for case in cases] == ["sub-01/anat/sub-01_T1w"]
    cases, problems = find_cases([str(root / "sub-*/*/anat/*_T2w*")], tmp_path / "out", layout="bids")
    assert ([case.name[-3:] for case in cases], problems) == (["T2w"], [])


def test_a_bids_run_writes_the_description(tmp_path, study):
    root = bids(tmp_path / "set")
    for path in root.rglob("sub-*_T?w.nii*"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)
    from napari_refit.batch.run import Recipe, run_batch

    out = tmp_path / "out"
    cases, _ = find_cases([root / "sub-01"], out, layout="bids")
    result = run_batch(cases, Recipe(), out)
    assert [record.state for record in result.records] == ["failed"]
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
