"""Presets that were tuned on images that a study tests."""

from __future__ import annotations

import json
import shutil

import pytest

from napari_refit.cli import main
from napari_refit.cli_evaluate import tuned_notes
from napari_refit.demo import sample_classifier
from napari_refit.io.datasets import find_dataset, make_split
from napari_refit.io.sidecar import file_checksum
from napari_refit.recipe import RefitParams
from napari_refit.study.results import read_rows
from napari_refit.study.run import Study
from napari_refit.study.settings import StudySettings
from napari_refit.study.tuned import tuned_cases
from napari_refit.tune.note import read_note, write_params


@pytest.fixture
def folds(busi_root, tmp_path):
    """A split in two, as a file and as it is."""
    dataset = find_dataset(busi_root).prepared("benign-normal")
    params = dataset.default_split.model_copy(update={"method": "folds", "folds": 2})
    split = make_split(dataset.cases, params, dataset="busi")
    split.save(tmp_path / "two.json")
    return split


def tuned_on(path, *images):
    """A file of parameters with the note of a search."""
    note = {"images": [{"name": case, **image} for case, image in images], "objective": "dsc"}
    write_params(path, RefitParams(threshold=0.4), note)
    return path


def image(case, dataset="busi", checksums=()):
    return case, {"case": case, "dataset": dataset, "checksums": list(checksums)}


def evaluate(root, out, split, *more):
    command = ["evaluate", root, "--out", out, "--split", split, "--preparation", "benign-normal"]
    command += ["--model", sample_classifier(), "--methods", "gradcam", "--device", "cpu", *more]
    return main([str(part) for part in command])


def complaints(capsys):
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("napari-refit: error: ")]


def test_what_was_tuned_on_is_not_tested_unless_allowed(busi_root, folds, tmp_path, capsys) -> None:
    tested = [name for name in folds.folds[1].test if name.startswith("benign")]
    best = tuned_on(tmp_path / "best.json", *(image(name) for name in tested))
    command = (busi_root, tmp_path / "out", tmp_path / "two.json", "--preset", best)
    assert evaluate(*command) == 2
    (line,) = complaints(capsys)
    assert f"best was tuned on {len(tested)} cases that would be tested ({tested[0]}, " in line
    assert "--only-fold 1 tests none of them" in line
    assert "--allow-tuned" in line
    assert not (tmp_path / "out" / "summary.json").exists()
    assert evaluate(*command, "--only-fold", 2) == 2
    assert evaluate(*command, "--only-fold", 2, "--limit", 1, "--allow-tuned", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert {row.case for row in read_rows(summary["files"]["results.csv"])} <= set(tested)
    said = "best was tuned on 1 of the 1 tested case (--allow-tuned)"
    assert any(note.startswith(said) for note in summary["notes"])
    for name in ("summary.md", "report.html"):
        assert said in (tmp_path / "out" / name).read_text(encoding="utf-8")


def test_a_copy_under_another_name_is_known_by_its_checksum(busi_root, folds, tmp_path, capsys) -> None:
    tested = next(name for name in folds.folds[0].test if name.startswith("benign"))
    copy = tmp_path / "mine.png"
    shutil.copy(busi_root / "benign" / f"{tested}.png", copy)
    best = tuned_on(tmp_path / "best.json", image("mine.png", "", [file_checksum(copy)]))
    assert evaluate(busi_root, tmp_path / "out", tmp_path / "two.json", "--preset", best) == 2
    (line,) = complaints(capsys)
    assert f"best was tuned on 1 case that would be tested ({tested})" in line


def test_other_images_are_no_matter(busi_root, folds, tmp_path) -> None:
    dataset = find_dataset(busi_root).prepared("benign-normal")
    tested = folds.folds[1].test
    note = read_note(tuned_on(tmp_path / "best.json", *(image(name) for name in tested)))
    other = read_note(tuned_on(tmp_path / "other.json", image(tested[0], "lgg", ["sha256:0"])))
    for only_fold, expected in ((0, set(tested)), (1, set()), (2, set(tested))):
        settings = StudySettings(only_fold=only_fold)
        study = Study(dataset, settings, tmp_path / "out", folds)
        found = tuned_cases(study, {"best": note, "other": other})
        assert set(found.get("best", [])) == expected
        assert "other" not in found


def test_a_preset_without_a_note_is_let_through(tmp_path) -> None:
    plain = tmp_path / "plain.json"
    plain.write_text(RefitParams(threshold=0.5).model_dump_json())
    best = tuned_on(tmp_path / "best.json", image("a"))
    assert set(tuned_notes([str(plain), str(best), "paper"])) == {"best"}


def test_a_damaged_note_costs_one_line(busi_root, folds, tmp_path, capsys) -> None:
    del folds
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps({"tuned": {"images": 3}}))
    assert evaluate(busi_root, tmp_path / "out", tmp_path / "two.json", "--preset", damaged) in (1, 2)
    (line,) = complaints(capsys)
    assert "damaged.json: its note of what it was tuned on is damaged" in line
