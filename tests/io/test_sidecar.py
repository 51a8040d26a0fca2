from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import napari_refit as refit
from napari_refit.io.sidecar import file_checksum, write_sidecar


def test_report_lies_beside_the_labels_and_is_plain_json(tmp_path):
    report = {
        "dice": np.float32(0.5),
        "hd95": float("nan"),
        "n": np.int64(3),
        "shape": (1, 2),
        "array": np.array([1.5, np.inf]),
        "path": Path("a") / "b",
        "name": "Größe",
        3: {True, False},
    }
    path = write_sidecar(tmp_path / "refined.nii.gz", report)
    assert path == tmp_path / "refined.refit.json"

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse) == {
        "dice": 0.5,
        "hd95": None,
        "n": 3,
        "shape": [1, 2],
        "array": [1.5, None],
        "path": str(Path("a/b")),
        "name": "Größe",
        "3": [False, True],
    }
    assert "Größe" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = write_sidecar(tmp_path / "a.nii", {"a": 1})
    with pytest.raises(TypeError):
        write_sidecar(tmp_path / "a.nii", {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(refit.WriteError, match="folder does not exist"):
        write_sidecar(tmp_path / "gone" / "a.nii", {})


def test_checksums(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    assert file_checksum(path) == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    folder = file_checksum(tmp_path)
    assert folder == file_checksum(f"{tmp_path}#1.2.3")
    path.rename(tmp_path / "b.bin")
    assert file_checksum(tmp_path) != folder
    with pytest.raises(refit.ReadError, match="gone"):
        file_checksum(tmp_path / "gone")


def test_a_detached_header_counts_with_its_voxels(tmp_path):
    for name, line in (("a.mhd", "ElementDataFile = a.raw"), ("a.nhdr", "data file: a.raw")):
        path, voxels = tmp_path / name, tmp_path / "a.raw"
        path.write_text(f"NDims = 2\n{line}\n")
        voxels.write_bytes(b"1")
        first = file_checksum(path)
        voxels.write_bytes(b"2")
        assert file_checksum(path) != first
        voxels.write_bytes(b"1")
        assert file_checksum(path) == first
    (tmp_path / "local.mhd").write_bytes(b"ElementDataFile = LOCAL\n\x00\xff")
    assert file_checksum(tmp_path / "local.mhd").startswith("sha256:")
