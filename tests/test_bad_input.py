"""Bad files on the command line: one line that names the file, exit status 1, nothing lost."""

import errno
import gzip
import os
import pickle
import shutil

import nibabel
import numpy as np
import pytest
import torch

from napari_refit.cli import main
from napari_refit.demo import sample_classifier


@pytest.fixture
def good(tmp_path):
    image = np.random.default_rng(0).integers(0, 900, (24, 26, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / "good.nii.gz")
    return tmp_path / "good.nii.gz"


def refine(capsys, image, out, *more, model=None):
    arguments = ["refine", str(image), "--out", str(out), *map(str, more)]
    if "--response" not in arguments:
        arguments += ["--model", str(model or sample_classifier())]
    code = main(arguments)
    lines = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("napari-refit: error: ")
    ]
    return code, lines


def truncated(path, good):
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


def not_gzip(path, good):
    path.write_bytes(gzip.decompress(good.read_bytes()))


def wrong_magic(path, good):
    data = bytearray(gzip.decompress(good.read_bytes()))
    data[344:348] = b"XXXX"
    path.write_bytes(gzip.compress(bytes(data)))


def nan_only(path, good):
    nibabel.save(nibabel.Nifti1Image(np.full((8, 9, 3), np.nan, np.float32), np.eye(4)), path)


def empty(path, good):
    path.write_bytes(b"")


def zero_size_axis(path, good):
    header = with_shape(good, (24, 0, 3))
    path.write_bytes(gzip.compress(header))


def a_trillion_voxels(path, good):
    path.write_bytes(gzip.compress(with_shape(good, (10_000, 10_000, 10_000))))


def with_shape(good, shape):
    data = bytearray(gzip.decompress(good.read_bytes()))
    for k, length in enumerate(shape):
        data[42 + 2 * k : 44 + 2 * k] = int(length).to_bytes(2, "little")
    return bytes(data)


FAULTS = [truncated, not_gzip, wrong_magic, nan_only, empty, zero_size_axis, a_trillion_voxels]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", ["scan.nii.gz", "Größe 脳 🧠.nii.gz"])
def test_a_damaged_image_is_named_in_one_line(capsys, tmp_path, good, fault, name):
    bad = tmp_path / name
    fault(bad, good)
    code, lines = refine(capsys, bad, tmp_path / "out")
    assert code == 1
    assert len(lines) == 1
    assert name in lines[0]
    assert not list((tmp_path / "out").glob("*_refined*"))


def test_a_name_beyond_ascii_works(capsys, tmp_path, good):
    folder = tmp_path / "Größe 脳 🧠"
    folder.mkdir()
    shutil.copy(good, folder / "스캔.nii.gz")
    code, lines = refine(capsys, folder / "스캔.nii.gz", folder / "结果")
    assert (code, lines) == (0, [])
    assert (folder / "结果" / "스캔_refined.nii.gz").exists()


def test_a_constant_image_is_refined_to_nothing_with_a_warning(capsys, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((24, 26, 3), 7, np.int16), np.eye(4)), tmp_path / "flat.nii")
    assert (
        main(
            [
                "refine",
                str(tmp_path / "flat.nii"),
                "--out",
                str(tmp_path),
                "--model",
                str(sample_classifier()),
            ]
        )
        == 0
    )
    assert "warning" in capsys.readouterr().err
    assert not np.asarray(nibabel.load(tmp_path / "flat_refined.nii").dataobj).any()


@pytest.mark.parametrize("fault", ["other architecture", "pickled", "truncated", "text", "missing"])
def test_a_bad_checkpoint_is_named_in_one_line(capsys, tmp_path, good, fault):
    bad = tmp_path / ("model.pt" if fault == "pickled" else "model.safetensors")
    if fault == "other architecture":
        from napari_refit.cam.checkpoint import read_metadata, save_checkpoint

        metadata = read_metadata(sample_classifier())
        save_checkpoint(bad, torch.nn.Linear(3, 2), metadata)
    elif fault == "pickled":
        bad.write_bytes(pickle.dumps({"weights": os.getcwd}))
    elif fault == "truncated":
        bad.write_bytes(sample_classifier().read_bytes()[:5000])
    elif fault == "text":
        bad.write_text("not a checkpoint")
    more = ("--arch", "resnet18") if fault == "pickled" else ()
    code, lines = refine(capsys, good, tmp_path / "out", *more, model=bad)
    assert code == 1
    assert len(lines) == 1
    assert bad.name in lines[0]


def test_a_full_disk_loses_nothing(capsys, tmp_path, good, monkeypatch):
    out = tmp_path / "out"
    assert refine(capsys, good, out)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    code, lines = refine(capsys, good, out, "--overwrite")
    assert code == 1
    assert "good_refined.nii.gz" in lines[0]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="folder permissions are a POSIX matter")
def test_a_read_only_folder_is_named(capsys, tmp_path, good):
    out = tmp_path / "closed"
    out.mkdir()
    if os.geteuid() == 0:
        # Root may write anywhere, but not below a file.
        out.rmdir()
        out.write_text("")
    else:
        out.chmod(0o500)
    code, lines = refine(capsys, good, out)
    assert code == 1
    assert str(out) in lines[0]
