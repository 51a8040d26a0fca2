"""A batch in one process: what is done once is not done twice, and nothing that goes wrong costs what is done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_refit.batch import one
from napari_refit.batch.cases import find_cases
from napari_refit.batch.files import OutputFolder
from napari_refit.batch.record import Record, read_records, write_records
from napari_refit.batch.run import Recipe, run_batch
from napari_refit.batch.settings import BatchParams, amounts_of, bytes_of
from napari_refit.errors import ReadError, WriteError
from napari_refit.io import _atomic
from napari_refit.io.read import load
from napari_refit.io.sidecar import file_checksum, sidecar_path
from napari_refit.recipe import RefitParams
from napari_refit.refining import Job, refine_file

PARAMS = RefitParams(n_segments=16, sigma=0)


def test_results_are_those_of_refine(small_study, tmp_path, report_page):
    out = tmp_path / "out"
    result = small_study.run(out)
    assert small_study.states(result) == dict.fromkeys(("a/one", "a/two", "b/one", "b/two"), "done")
    cases, _ = find_cases([small_study.table], out)
    for case, record in zip(cases, result.records, strict=True):
        target = tmp_path / "alone" / case.output.name
        target.parent.mkdir(exist_ok=True)
        job = Job(case.image, target, response=case.response, truth=case.truth)
        report = refine_file(job, PARAMS, overwrite=True)
        np.testing.assert_array_equal(load(case.output).data, load(target).data)
        sidecar = json.loads(sidecar_path(case.output).read_text())
        assert record.metrics["refined"]["dice"] == sidecar["metrics"]["refined"]["dice"]
        assert sidecar["metrics"]["refined"]["dice"] == report["metrics"]["refined"]["dice"] > 0.8
        assert sidecar["labels_checksum"] == file_checksum(case.output)
        assert sidecar["image_checksum"] == record.checksums["image"] == file_checksum(case.image)
        assert "seconds" not in sidecar
        assert record.seconds > 0
        assert (out / record.thumbnail).is_file()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["counts"] == {"done": 4, "skipped": 0, "failed": 0, "cancelled": 0}
    mean = np.mean([record.metrics["refined"]["dice"] for record in result.records])
    assert summary["metrics"]["refined"]["dice"] == pytest.approx(mean)
    assert (out / report_page).is_file()
    assert read_records(out) == result.records


def test_a_rerun_goes_by_content_not_by_dates(small_study, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = small_study.run(out)
    before = small_study.outputs(out)
    for path in small_study.folder.rglob("*.npy"):
        os.utime(path, (time.time() + 5000, time.time() + 5000))
    monkeypatch.setattr("napari_refit.batch.refine.refine_job", None)
    again = small_study.run(out)
    assert set(small_study.states(again).values()) == {"skipped"}
    assert small_study.outputs(out) == before
    for old, new in zip(first.records, again.records, strict=True):
        assert replace(new, state="done") == old


@pytest.mark.parametrize("what", ["image", "truth", "response", "parameters", "version"])
def test_whatever_a_result_depends_on_makes_it_anew(small_study, tmp_path, what, monkeypatch):
    out = tmp_path / "out"
    small_study.run(out)
    params, changed = PARAMS, {"a/one"}
    if what == "parameters":
        params, changed = PARAMS.replace(threshold=0.7), {"a/one", "a/two", "b/one", "b/two"}
    elif what == "version":
        monkeypatch.setattr("napari_refit.__version__", "99.0")
        changed = {"a/one", "a/two", "b/one", "b/two"}
    else:
        folder = small_study.folder if what == "image" else tmp_path / what
        stat = (folder / "a/one.npy").stat()
        values = np.load(folder / "a/one.npy")
        values[0, 0, 0] += 1
        np.save(folder / "a/one.npy", values)
        os.utime(folder / "a/one.npy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = small_study.run(out, params)
    assert {name for name, state in small_study.states(result).items() if state == "done"} == changed


def test_parameters_that_are_not_read_change_nothing(small_study, tmp_path):
    small_study.run(tmp_path / "out")
    result = small_study.run(tmp_path / "out", PARAMS.replace(**{"quickshift.ratio": 0.3}))
    assert set(small_study.states(result).values()) == {"skipped"}


def test_overwrite_makes_everything_again(small_study, tmp_path):
    small_study.run(tmp_path / "out")
    before = small_study.outputs(tmp_path / "out")
    result = small_study.run(tmp_path / "out", overwrite=True)
    assert set(small_study.states(result).values()) == {"done"}
    assert small_study.outputs(tmp_path / "out") == before


def test_half_a_result_is_none(small_study, tmp_path):
    out = tmp_path / "out"
    small_study.run(out)
    before = small_study.outputs(out)
    (out / "a/one_refined.refit.json").unlink()
    (out / "a/two_refined.npy").unlink()
    labels = out / "b/one_refined.npy"
    labels.write_bytes(labels.read_bytes()[:-50])
    (out / "b/two_refined.refit.json").write_text('{"program": "napari-re')
    for name in (".refit-0123456789ab.npy", "a/.refit-ba9876543210.json", "b/.refit-aaaaaaaaaaaa.raw"):
        (out / name).write_bytes(b"half")
    (out / "a/.refit-notes.txt").write_text("the user's own")
    result = small_study.run(out)
    assert set(small_study.states(result).values()) == {"done"}
    assert (out / "a/.refit-notes.txt").exists()
    (out / "a/.refit-notes.txt").unlink()
    assert small_study.outputs(out) == before


def test_labels_changed_by_hand_are_kept(small_study, tmp_path):
    out = tmp_path / "out"
    small_study.run(out)
    labels = np.load(out / "a/one_refined.npy")
    labels[0] = 1
    np.save(out / "a/one_refined.npy", labels)
    report = json.loads((out / "a/two_refined.refit.json").read_text())
    (out / "a/two_refined.refit.json").write_text(json.dumps({**report, "hints_checksum": "sha256:1"}))
    result = small_study.run(out, PARAMS.replace(threshold=0.7))
    assert small_study.states(result) == {
        "a/one": "skipped",
        "a/two": "skipped",
        "b/one": "done",
        "b/two": "done",
    }
    assert "changed since" in result.records[0].messages[0]
    np.testing.assert_array_equal(np.load(out / "a/one_refined.npy"), labels)
    small_study.run(out, PARAMS.replace(threshold=0.7), overwrite=True)
    assert not (np.load(out / "a/one_refined.npy")[0] == 1).all()


def test_an_old_sidecar_never_stands_beside_new_labels(small_study, tmp_path, monkeypatch):
    """A run that breaks between labels and sidecar, then the old parameters again: what is there is not theirs."""
    out = tmp_path / "out"
    small_study.run(out)
    before = small_study.outputs(out)

    class Broken(BaseException):
        pass

    def no_sidecar(*_: object) -> None:
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr("napari_refit.batch.refine.write_sidecar", no_sidecar)
        with pytest.raises(Broken):
            small_study.run(out, PARAMS.replace(threshold=0.95))
    assert not (out / "a/one_refined.refit.json").exists()
    assert small_study.states(small_study.run(out))["a/one"] == "done"
    assert small_study.outputs(out) == before


def test_limit_counts_what_is_left_to_do(small_study, tmp_path):
    out = tmp_path / "out"
    first = small_study.run(out, limit=1)
    assert small_study.states(first) == {"a/one": "done"}
    assert "limit" in first.stopped
    assert first.is_whole
    second = small_study.run(out, limit=2)
    assert small_study.states(second) == {"a/one": "skipped", "a/two": "done", "b/one": "done"}
    assert [record.name for record in read_records(out)] == ["a/one", "a/two", "b/one"]
    assert small_study.run(out, limit=9).stopped == ""


def test_fail_fast_stops_at_the_first_failure(small_study, tmp_path):
    (small_study.folder / "a/two.npy").write_bytes(b"")
    result = small_study.run(tmp_path / "out", fail_fast=True)
    assert small_study.states(result) == {"a/one": "done", "a/two": "failed"}
    assert "a/two failed" in result.stopped
    assert not result.is_whole


def test_a_run_can_be_stopped_after_a_file_and_within_one(small_study, tmp_path):
    seen: list[Record] = []
    result = small_study.run(tmp_path / "out", on_record=seen.append, finishing=lambda: len(seen) == 2)
    assert small_study.states(result) == {"a/one": "done", "a/two": "done"}
    assert "2 of 4 left" in result.stopped
    told: list[tuple[int, int, str]] = []
    result = small_study.run(
        tmp_path / "out",
        progress=lambda *news: told.append(news),
        cancelled=lambda: any(name.startswith("b/one: ") for _, _, name in told),
    )
    assert small_study.states(result) == {"a/one": "skipped", "a/two": "skipped", "b/one": "cancelled"}
    assert not (tmp_path / "out/b").exists() or not list((tmp_path / "out/b").iterdir())
    assert [record.name for record in read_records(tmp_path / "out")] == ["a/one", "a/two"]
    assert told[-1][:2] == (3, 4)


def test_a_full_disk_stops_the_run_and_it_goes_on_later(small_study, tmp_path, monkeypatch):
    out = tmp_path / "out"
    replaced = os.replace

    def full(source: object, target: object) -> None:
        if Path(str(target)).name == "two_refined.npy":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replaced(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(_atomic.os, "replace", full)
        result = small_study.run(out)
    assert small_study.states(result) == {"a/one": "done", "a/two": "failed"}
    assert "the disk is full" in result.stopped
    assert not result.is_whole
    again = small_study.run(out)
    assert small_study.states(again) == {
        "a/one": "skipped",
        "a/two": "done",
        "b/one": "done",
        "b/two": "done",
    }


FULL = """
import sys
from pathlib import Path
from napari_refit.cli import main
status = main(sys.argv[1:])
print(sorted(path.name for path in Path(sys.argv[-1]).rglob("*") if path.name.startswith(".refit")))
sys.exit(status)
"""


def test_a_disk_that_is_really_full(small_study, tmp_path):
    """On a file system of a few pages, where user namespaces allow to mount one."""
    for k in range(30):
        small_study.add(f"c/{k:02d}")
    out = tmp_path / "small"
    out.mkdir()
    mount = f'mount -t tmpfs -o size=160k none "{out}" && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("a file system of one's own cannot be mounted here")
    words = ["batch", str(small_study.table), "--set", "n_segments=16", "--no-thumbnails", "--out", str(out)]
    answer = subprocess.run([*command, sys.executable, "-c", FULL, *words], capture_output=True, text=True)
    lines = [line for line in answer.stderr.splitlines() if line.startswith("napari-refit: error:")]
    assert answer.returncode == 1, answer.stderr
    assert "disk is full" in lines[-1] or "No space left" in lines[-1]
    assert "Traceback" not in answer.stderr
    assert answer.stdout.strip().endswith("[]")


def test_a_lost_folder_stops_the_run(small_study, tmp_path):
    out = tmp_path / "out"

    def lose(record: Record) -> None:
        if record.name == "a/two":
            out.rename(tmp_path / "unplugged")
            out.mkdir()

    result = small_study.run(out, on_record=lose)
    assert "the output folder is gone" in result.stopped
    assert list(out.iterdir()) == []
    out.rmdir()
    (tmp_path / "unplugged").rename(out)
    assert list(small_study.states(small_study.run(out)).values()) == ["skipped", "skipped", "done", "done"]


def test_one_batch_at_a_time(small_study, tmp_path):
    folder = OutputFolder.make(tmp_path / "out")
    with folder.held(), pytest.raises(WriteError, match="another batch"):
        small_study.run(tmp_path / "out")
    assert len(small_study.run(tmp_path / "out").records) == 4


def test_no_folder_and_no_model_are_errors_of_the_run(small_study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot make the folder"):
        small_study.run(tmp_path / "file" / "out")
    cases, _ = find_cases([small_study.folder], tmp_path / "out")
    with pytest.raises(ReadError, match="there is no such file"):
        run_batch(cases, Recipe(model="no.safetensors"), tmp_path / "out")
    (tmp_path / "bad.safetensors").write_bytes(b"none")
    result = run_batch(cases, Recipe(model=tmp_path / "bad.safetensors"), tmp_path / "out")
    assert "bad.safetensors" in result.stopped
    assert len(result.records) == 1
    result = run_batch(cases, Recipe(), tmp_path / "out")
    assert [record.error.endswith("(in a table: response)") for record in result.records] == [True] * 4


def test_a_classifier_is_loaded_once_and_not_for_what_is_done(tmp_path, monkeypatch):
    from napari_refit.cam import classifier
    from napari_refit.demo import sample_classifier

    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for k in range(3):
        np.save(tmp_path / f"in/{k}.npy", rng.random((2, 48, 48), np.float32))
    cases, _ = find_cases([tmp_path / "in"], tmp_path / "out")
    loaded = []
    load_classifier = classifier.load_classifier

    def counted(source, **keywords):
        if isinstance(source, str):
            loaded.append(source)
        return load_classifier(source, **keywords)

    monkeypatch.setattr(classifier, "load_classifier", counted)
    recipe = Recipe(PARAMS, model=str(sample_classifier()), device="cpu")
    result = run_batch(cases, recipe, tmp_path / "out")
    assert [record.state for record in result.records] == ["done"] * 3
    assert result.records[0].checksums["model"] == file_checksum(sample_classifier())
    assert len(loaded) == 1
    again = run_batch(cases, recipe, tmp_path / "out")
    assert [record.state for record in again.records] == ["skipped"] * 3
    assert len(loaded) == 1
    assert not one._loaded
    wrong = [replace(case, classes=("nothing of the kind",)) for case in cases]
    failed = run_batch(wrong, recipe, tmp_path / "out")
    assert all("no class 'nothing of the kind'" in record.error for record in failed.records)


def test_other_cases_keep_their_records(small_study, tmp_path):
    out = tmp_path / "out"
    small_study.run(out)
    (out / "b/two_refined.npy").unlink()
    cases, _ = find_cases([small_study.table], out)
    run_batch(cases[:1], Recipe(PARAMS), out)
    assert [record.name for record in read_records(out)] == ["a/one", "a/two", "b/one"]


def test_records_survive_a_torn_line_and_odd_names(tmp_path):
    names = ["a", "<b>&\"'", "ünï/ço\ndé", "\udcff"]
    records = [
        Record(name, "i", "o", "failed", error=name, metrics={"cam": {"hd95": None}}) for name in names
    ]
    write_records(tmp_path, records)
    newer = replace(records[0], state="done", messages=("x",))
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write(newer.to_json() + "\n" + newer.to_json()[:30])
    assert read_records(tmp_path) == [newer, *records[1:]]
    (tmp_path / "records.jsonl").write_text("what?\n" + newer.to_json() + "\n")
    with pytest.raises(ReadError, match="line 1"):
        read_records(tmp_path)
    assert read_records(tmp_path / "none") == []


def test_settings_say_what_is_wrong():
    assert bytes_of("2 GiB") == 2 << 30
    for text in ("0 GB", "lots", "-1", "8 XB", "nan"):
        with pytest.raises(ValueError, match="is no size"):
            bytes_of(text)
    for text in ("GPU", "GPU=0", "=1", "GPU=x"):
        with pytest.raises(ValueError, match="NAME=AMOUNT"):
            amounts_of(text)
    with pytest.raises(ValueError, match="8 GB or 500 MiB"):
        BatchParams(memory="plenty")
