"""Forty files, twelve of them bad: 28 results and 12 named failures, however many workers there are; and kill -9."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_refit.batch.run import BatchResult

ROOT = Path(__file__).parents[2]
ODD = (
    "ünï çödé 脳",
    "<img src=x onerror=alert(1)>",
    "[bold]{{x}}%s & 'quoted'",
    " two  spaces ",
    "a.b-c;d$(e)",
)


@pytest.fixture(scope="module")
def bad_study(tmp_path_factory, request):
    """28 good files, some with odd names, and 12 bad ones with what their line must say."""
    folder = tmp_path_factory.mktemp("study") / "images"
    study = request.getfixturevalue("make_study")(folder)
    for k in range(28 - len(ODD)):
        study.add(f"site{k % 3}/good{k:02d}")
    for name in ODD:
        study.add(f"odd/{name}")
    bad: dict[str, str] = {}

    def broken(name: str, fault: str, content: bytes | None = None, **files: np.ndarray) -> None:
        image = study.add(f"bad/{name}")
        if content is not None:
            image.write_bytes(content)
        for part, values in files.items():
            target = folder if part == "image" else folder.parent / part
            np.save(target / f"bad/{name}.npy", values)
        bad[f"bad/{name}"] = fault

    whole = study.add("bad/truncated").read_bytes()
    bad["bad/truncated"] = "truncated"
    (folder / "bad/truncated.npy").write_bytes(whole[:-100])
    shape = (3, 20, 24)
    broken("empty", "is empty", b"")
    broken("NaN", "no finite value", image=np.full(shape, np.nan, np.float32))
    broken("zero slices", "axis has no voxels", image=np.zeros((0, 20, 24), np.int16))
    broken("complex", "complex64", image=np.zeros(shape, np.complex64))
    broken("response elsewhere", "the response map has shape", response=np.zeros((3, 20, 25), np.uint8))
    broken("truth elsewhere", "the ground truth has shape", truth=np.zeros((2, 20, 24), np.uint8))
    broken("ünlesbar 脳", "is not a NumPy", b"\x00\x01nothing of the kind" * 9)
    broken("<script>alert(1)</script>", "is not a NumPy", b"<html>")
    (folder / "bad/folder.npy").mkdir()
    study.row("bad/folder.npy", "", "../response/site0/good00.npy")
    bad["bad/folder.npy"] = "is a folder without DICOM images"
    study.row("bad/not there.npy", "", "../response/site0/good00.npy")
    bad["bad/not there"] = "there is no such file"
    values = np.random.default_rng(0).integers(0, 99, (24, 20, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "bad/cut.nii.gz")
    content = (folder / "bad/cut.nii.gz").read_bytes()
    (folder / "bad/cut.nii.gz").write_bytes(content[: len(content) // 2])
    study.row("bad/cut.nii.gz", "", "../response/site0/good00.npy")
    bad["bad/cut"] = "cut.nii.gz: is"
    assert len(study.rows) == 41
    assert len(bad) == 12
    return study, bad


@pytest.fixture(scope="module")
def results(bad_study, tmp_path_factory) -> dict[int, tuple[Path, BatchResult]]:
    """Where each number of workers left its results."""
    return {}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_28_results_and_12_named_failures(bad_study, results, workers, tmp_path_factory):
    study, bad = bad_study
    if workers > 1:
        pytest.importorskip("distributed")
    out = tmp_path_factory.mktemp(f"out{workers}")
    told: list[str] = []
    result = study.run(
        out, workers=workers, memory="12 GB", on_record=lambda record: told.append(record.name)
    )
    found = study.states(result)
    assert sorted(told) == sorted(found)
    assert {name for name, state in found.items() if state == "failed"} == set(bad)
    assert sum(state == "done" for state in found.values()) == 28
    for record in result.records:
        if record.state == "failed":
            assert bad[record.name] in record.error
            assert "\n" not in record.error
            assert str(study.folder) in record.error
    assert result.stopped == ""
    assert result.is_whole
    results[workers] = (out, result)
    first_out, first = results[1]
    assert study.outputs(out) == study.outputs(first_out)
    same = [{**vars(record), "seconds": 0} for record in first.records]
    assert [{**vars(record), "seconds": 0} for record in result.records] == same


def test_a_killed_batch_ends_as_an_unbroken_one():
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    command = [
        sys.executable,
        "-m",
        "benchmarks.batch",
        "kill",
        "--files",
        "12",
        "--kills",
        "4",
        "--seed",
        "1",
    ]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    figures = json.loads(answer.stdout)
    assert figures["different"] == []
    assert figures["results"] == 12
    # Labels, sidecars and pictures.
    assert figures["compared_files"] == 36
    assert min(figures["done_when_killed"]) < 12
