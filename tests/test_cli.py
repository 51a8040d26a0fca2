import gzip
import json
import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from napari_refit.cli import main
from napari_refit.recipe import RefitParams


@pytest.fixture
def scan(tmp_path):
    """A small oblique volume, its truth and a response map, as NIfTI files."""
    rng = np.random.default_rng(1)
    truth = np.zeros((32, 36, 5), np.uint8)
    truth[8:20, 10:26, 1:4] = 1
    image = (100 + 300.0 * truth + rng.normal(0, 10, truth.shape)).astype(np.int16)
    from scipy.ndimage import gaussian_filter

    response = gaussian_filter(truth.astype(np.float32), (2, 2, 0))
    affine = np.array([[0.9, 0.1, 0, -12], [-0.1, 0.9, 0.2, 5], [0, -0.1, 3.0, 7], [0, 0, 0, 1]])
    paths = {}
    for name, data in (("image", image), ("truth", truth), ("response", response)):
        paths[name] = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(data, affine), paths[name])
    return paths


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refine(scan, out, *more):
    return run(
        "refine",
        scan["image"],
        "--response",
        scan["response"],
        "--out",
        out,
        "--set",
        "n_segments=60",
        "--set",
        "coverage=0.6",
        *more,
    )


def errors(capsys):
    captured = capsys.readouterr().err.strip().splitlines()
    return [line for line in captured if line.startswith("napari-refit: error: ")]


@pytest.mark.parametrize(
    ("fit", "settings"),
    [
        ("hierarchy", ["hierarchy.smoothness=0.2", "hierarchy.threshold=0.6"]),
        (
            "partition_ensemble",
            ["slic_clusters=40,90", "threshold=0.6", "with_watershed=true", "felzenszwalb.min_size=10"],
        ),
    ],
)
def test_every_fit_is_chosen_by_name(scan, tmp_path, fit, settings):
    out = tmp_path / "out"
    chosen = [part for text in (f"fit={fit}", *settings, "slic.n_segments=60") for part in ("--set", text)]
    arguments = ("--response", scan["response"], "--truth", scan["truth"], "--out", out)
    assert run("refine", scan["image"], *arguments, *chosen) == 0
    report = json.loads((out / "image_refined.refit.json").read_text())
    assert report["parameters"]["fit"] == fit
    assert report["metrics"]["refined"]["dice"] > 0.8


def test_refine_writes_labels_sidecar_report_and_picture(scan, tmp_path, capsys):
    out = tmp_path / "out"
    assert refine(scan, out, "--truth", scan["truth"], "--panels") == 0
    assert "refined" in capsys.readouterr().out
    labels = nibabel.load(out / "image_refined.nii.gz")
    source = nibabel.load(scan["image"])
    assert np.array_equal(labels.affine, source.affine)
    assert labels.get_data_dtype() == np.uint8
    data = np.asarray(labels.dataobj)
    truth = np.asarray(nibabel.load(scan["truth"]).dataobj)
    assert 2 * (data & truth).sum() / (data.sum() + truth.sum()) > 0.9
    sidecar = json.loads((out / "image_refined.refit.json").read_text())
    report = json.loads((out / "report.json").read_text())["results"][0]
    assert sidecar["parameters"] == report["parameters"]
    assert sidecar["image_checksum"].startswith("sha256:")
    assert list(report["metrics"]) == ["blank", "cam", "cam_best_threshold", "refined"]
    assert report["metrics"]["blank"]["dice"] == 0
    assert report["metrics"]["refined"]["dice"] > 0.9
    assert report["slice_axis"] == 2
    assert (out / "image_panels.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in out.iterdir() if "part" in path.name]


def test_the_sidecar_reruns_the_result(scan, tmp_path):
    assert refine(scan, tmp_path / "a") == 0
    sidecar = json.loads((tmp_path / "a" / "image_refined.refit.json").read_text())
    (tmp_path / "params.json").write_text(json.dumps(sidecar["parameters"]))
    again = ("--params", tmp_path / "params.json", "--out", tmp_path / "b")
    assert run("refine", scan["image"], "--response", scan["response"], *again) == 0
    first, second = ((tmp_path / name / "image_refined.nii.gz").read_bytes() for name in "ab")
    assert np.array_equal(
        np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(first)).dataobj),
        np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(second)).dataobj),
    )


def test_json_is_one_object_on_stdout(scan, tmp_path, capsys):
    assert refine(scan, tmp_path / "out", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["failures"] == []


def test_nothing_is_overwritten_silently(scan, tmp_path, capsys):
    out = tmp_path / "out"
    assert refine(scan, out) == 0
    before = (out / "image_refined.nii.gz").read_bytes()
    assert refine(scan, out) == 1
    assert "--overwrite" in errors(capsys)[0]
    assert (out / "image_refined.nii.gz").read_bytes() == before
    assert refine(scan, out, "--overwrite") == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--set", "thresold=0.5"], 2, ["thresold", "threshold"]),
        (["--set", "threshold=2"], 2, ["boundary.threshold", "2", "less than or equal to 1"]),
        (["--set", "threshold"], 2, ["key=value"]),
        (["--preset", "nonsense"], 2, ["nonsense", "paper-brats"]),
        (["--model", "x.safetensors"], 2, ["either --model or --response"]),
        (["--nonsense"], 2, ["--nonsense"]),
        (["--params", "missing.json"], 1, ["missing.json"]),
        (["--truth", "missing.nii.gz"], 1, ["missing.nii.gz"]),
    ],
)
def test_bad_usage_is_one_line(scan, tmp_path, capsys, options, code, words):
    assert refine(scan, tmp_path / "out", *options) == code
    lines = errors(capsys)
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


def test_a_truth_on_another_grid_is_named(scan, tmp_path, capsys):
    other = tmp_path / "other.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((32, 36, 6), np.uint8), np.eye(4)), other)
    assert refine(scan, tmp_path / "out", "--truth", other) == 1
    assert "other.nii.gz" in errors(capsys)[0]
    shifted = nibabel.load(scan["truth"])
    affine = shifted.affine.copy()
    affine[0, 3] += 4
    nibabel.save(nibabel.Nifti1Image(np.asarray(shifted.dataobj), affine), other)
    assert refine(scan, tmp_path / "out", "--truth", other, "--overwrite") == 1
    message = errors(capsys)[0]
    assert "other.nii.gz" in message
    assert "4 mm" in message
    assert not (tmp_path / "out" / "image_refined.nii.gz").exists()


def test_one_bad_image_does_not_stop_the_others(scan, tmp_path, capsys):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(scan["image"].read_bytes()[:100])
    from napari_refit.demo import sample_classifier

    if not sample_classifier().exists():
        pytest.fail("the sample classifier is missing from the package")
    out = tmp_path / "out"
    assert run("refine", bad, scan["image"], "--model", sample_classifier(), "--out", out) == 1
    assert "bad.nii.gz" in errors(capsys)[0]
    assert (out / "image_refined.nii.gz").exists()
    summary = json.loads((out / "report.json").read_text())
    assert [len(summary[key]) for key in ("results", "failures")] == [1, 1]


def test_two_images_of_one_name_are_refused(scan, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "image.nii.gz"
    twin.write_bytes(scan["image"].read_bytes())
    assert run("refine", scan["image"], twin, "--model", "resnet18:none", "--out", tmp_path / "out") == 1
    assert "would both write" in errors(capsys)[0]


def test_a_read_only_output_folder_is_named(scan, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert refine(scan, tmp_path / "file" / "out") == 1
    assert str(tmp_path / "file" / "out") in errors(capsys)[0]


def test_presets_lists_every_preset_and_parameter(capsys):
    assert run("presets", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed["presets"]) == set(RefitParams.presets())
    assert listed["parameters"]["boundary.threshold"]["high"] == 1
    assert run("presets") == 0
    assert "paper-brats" in capsys.readouterr().out


def test_info_names_versions_and_choices(capsys):
    assert run("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert "slic" in facts["segmenters"]
    assert "gradcam" in facts["cam_methods"]
    assert facts["devices"][0] == "cpu"
    assert run("info") == 0


def test_python_dash_m_and_exit_codes(tmp_path):
    environment = {**os.environ, "COLUMNS": "100"}
    for arguments, code in (
        (["--help"], 0),
        (["presets", "--json"], 0),
        (["refine"], 2),
        ([], 2),
        (["nonsense"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "napari_refit", *arguments],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == code, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        if code == 2 and arguments:
            assert done.stderr.strip().splitlines()[-1].startswith("napari-refit: error: ")


def test_debug_shows_the_traceback(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "napari_refit",
            "--debug",
            "refine",
            "missing.nii",
            "--model",
            "no-such.safetensors",
            "--out",
            tmp_path,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
