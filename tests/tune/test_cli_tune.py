"""``napari-refit tune`` as a user calls it, and what it leaves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from made import made_picture
from PIL import Image

from napari_refit.cli import main
from napari_refit.demo import sample_classifier
from napari_refit.io.sidecar import file_checksum
from napari_refit.recipe import RefitParams
from napari_refit.tune.note import Note, read_note
from napari_refit.tune.run import read_trials


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures, one of masks, and a response map of the first picture."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(3):
        image, truth, response = made_picture(number)
        grey = ((image - image.min()) * 120).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / "pictures" / f"p{number}.png")
        Image.fromarray(truth).save(tmp_path / "masks" / f"p{number}.png")
        if not number:
            np.save(tmp_path / "response.npy", response)
    return tmp_path


def tune(*arguments: object) -> int:
    return main(["tune", *(str(argument) for argument in arguments)])


def one_picture(folder: Path) -> list[object]:
    return [
        folder / "pictures" / "p0.png",
        "--response",
        folder / "response.npy",
        "--truth",
        folder / "masks" / "p0.png",
        "--out",
        folder / "study.journal",
    ]


GRID = ["--sampler", "grid", "--range", "threshold=0.2:0.8:0.2", "--range", "n_segments=20:40:20"]


def complaints(capsys) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("napari-refit: error: ")]


def test_it_tunes_and_leaves_what_refine_takes(pictures, capsys):
    command = [*one_picture(pictures), *GRID, "--set", "spread=0"]
    assert tune(*command) == 0
    captured = capsys.readouterr()
    assert "the best so far; slic.n_segments=" in captured.err
    assert "Best: " in captured.out
    assert "Stage runs: clusters 2 (6 saved), response 1 (8 saved), fit 8 (0 saved)" in captured.out
    best = json.loads((pictures / "study.best.json").read_text())
    with (pictures / "study.trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    top = max(rows, key=lambda row: float(row["score"]))
    assert float(top["score"]) == best["tuned"]["score"]
    assert float(top["boundary.threshold"]) == best["boundary"]["threshold"]
    assert int(top["slic.n_segments"]) == best["slic"]["n_segments"]
    assert best["boundary"]["spread"] == 0
    note = best["tuned"]
    checksum = file_checksum(pictures / "pictures" / "p0.png")
    assert [image["checksums"] for image in note["images"]] == [[checksum]]
    assert note["objective"] == "dsc"
    assert note["seed"] == 0
    assert note["stage_runs"]["clusters"] == {"run": 2, "saved": 6}
    assert "numpy" in note["versions"]
    assert read_note(pictures / "study.best.json").checksums == {checksum}
    refined = ["refine", *map(str, command[:5]), "--out", str(pictures / "refined")]
    assert main([*refined, "--params", str(pictures / "study.best.json")]) == 0
    report = json.loads((pictures / "refined" / "p0_refined.refit.json").read_text())
    assert report["metrics"]["refined"]["dice"] == pytest.approx(note["score"])


def test_the_same_command_goes_on_and_prints_json(pictures, capsys):
    command = [*one_picture(pictures), *GRID]
    assert tune(*command) == 0
    capsys.readouterr()
    assert tune(*command, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["trials"] == {"done": 8, "pruned": 0, "failed": 0, "running": 0}
    assert summary["stage_runs"]["fit"] == {"run": 0, "saved": 0}
    assert summary["best"]["score"] == max(trial.score for trial in read_trials(pictures / "study.journal"))
    assert Path(summary["files"]["best"]).name == "study.best.json"
    assert tune(*one_picture(pictures), *GRID, "--set", "spread=3") == 2
    (line,) = complaints(capsys)
    assert "the other parameters differ" in line


def test_a_folder_with_a_classifier_and_without_masks(pictures, capsys):
    command = ["--model", sample_classifier(), "--out", pictures / "a.journal", "--param", "threshold"]
    assert tune(pictures / "pictures", *command, "--trials", 3, "--set", "gate=off", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["objective"] == "label-free"
    assert sorted(summary["images"]) == ["p0.png", "p1.png", "p2.png"]
    command[3] = pictures / "b.journal"
    masked = [*command, "--masks", pictures / "masks", "--images", 2, "--set", "gate=off", "--json"]
    assert tune(pictures / "pictures", *masked, "--trials", 3) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["objective"] == "dsc"
    assert len(summary["images"]) == 2


def test_the_score_that_it_began_with(pictures, capsys):
    assert tune(*one_picture(pictures), "--param", "threshold", "--trials", 4, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    first = read_trials(pictures / "study.journal")[0]
    assert first.values == {"boundary.threshold": RefitParams().of("boundary").threshold}
    assert summary["score_at_start"] == first.score <= summary["best"]["score"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--range", "treshold=0:1"], "unknown parameter 'treshold'"),
        (["--range", "threshold=0.5:0.4"], "is empty"),
        (["--range", "threshold"], "write key=low:high"),
        (["--param", "threshold=0:1"], "a key alone"),
        (["--param", "quickshift.ratio"], "not in use"),
        (["--param", "threshold", "--range", "threshold=0:1"], "two ranges"),
        (["--sampler", "random"], "sampler"),
        (["--trials", "0"], "trials"),
        (["--preset", "nothing"], "unknown preset 'nothing'"),
        (["--set", "nothing=1"], "unknown parameter 'nothing'"),
        (["--sampler", "grid", "--trials", "3"], "more than the 3 trials"),
        (["--model", "x.safetensors"], "either --model or --response"),
        (["--masks", "m"], "either --truth"),
        (["--split", "s.json"], "are for a dataset"),
        (["--out", "study.txt"], "the name of a study ends in"),
    ],
)
def test_wrong_options_cost_one_line_and_leave_nothing(pictures, options, words, capsys, monkeypatch):
    monkeypatch.chdir(pictures)
    before = sorted(pictures.iterdir())
    assert tune(*one_picture(pictures), *options) == 2
    (line,) = complaints(capsys)
    assert words in line
    assert sorted(pictures.iterdir()) == before


def test_an_objective_without_masks(pictures, capsys):
    command = one_picture(pictures)
    del command[3:5]
    assert tune(*command, "--objective", "nsd") == 2
    (line,) = complaints(capsys)
    assert "nsd needs reference masks, and p0.png has none" in line


def test_ctrl_c_says_how_to_go_on(pictures, capsys, monkeypatch):
    from napari_refit.tune.evaluating import Evaluator

    made, calls = Evaluator.made, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return made(self, *arguments)

    monkeypatch.setattr(Evaluator, "made", interrupted)
    assert tune(*one_picture(pictures), *GRID, "--no-pruning") == 1
    assert complaints(capsys) == ["napari-refit: error: stopped; the same command goes on from here"]
    assert len(read_trials(pictures / "study.journal")) == 3
    assert (pictures / "study.best.json").exists()
    assert tune(*one_picture(pictures), *GRID, "--no-pruning") == 0
    assert len(read_trials(pictures / "study.journal")) == 8


def test_notes_that_are_not_there_or_damaged(tmp_path):
    path = tmp_path / "params.json"
    path.write_text(RefitParams().model_dump_json())
    assert read_note(path) is None
    path.write_text(json.dumps({"tuned": {"images": [{"case": "a"}]}}))
    with pytest.raises(OSError, match="note of what it was tuned on is damaged"):
        read_note(path)
    assert RefitParams.model_validate_json(path.read_text()) == RefitParams()
    note = Note(frozenset({("busi", "a")}), frozenset({"sha256:1"}))
    assert note.knows("other", "b", ["sha256:1"])
    assert not note.knows("other", "a", ["sha256:2"])
    assert not Note(frozenset({("", "a")}), frozenset()).knows("", "a", [])
