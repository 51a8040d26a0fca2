"""``napari-refit batch``: options, exit status, what is printed where."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from napari_refit import cli_batch
from napari_refit.batch.record import Record
from napari_refit.batch.settings import BatchParams
from napari_refit.cli import main
from napari_refit.declare import declarations

FAST = ("--set", "n_segments=16", "--set", "sigma=0")


def test_every_declared_setting_is_an_option(capsys):
    assert main(["batch", "--help"]) == 0
    shown = capsys.readouterr().out
    for item in declarations(BatchParams):
        assert f"--{item.name.replace('_', '-')}" in shown


def test_exit_status_lines_and_json(small_study, tmp_path, capsys):
    out = str(tmp_path / "out")
    words = ["batch", str(small_study.table), "--out", out, *FAST]
    assert main(words) == 0
    answer = capsys.readouterr()
    assert answer.out.splitlines()[0] == f"{out}: 4 done, 0 failed"
    lines = answer.err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("1/4 a/one: done, ")
    assert "DSC" in lines[0]
    (small_study.folder / "b/one.npy").write_bytes(b"")
    assert main([*words, "--json"]) == 1
    answer = capsys.readouterr()
    found = json.loads(answer.out)
    assert found["counts"] == {"done": 0, "skipped": 3, "failed": 1, "cancelled": 0}
    assert "skipped, done before" in answer.err
    (fault,) = [line for line in answer.err.splitlines() if line.startswith("napari-refit: error:")]
    assert "b/one" in fault
    assert "is empty" in fault


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--memory", "lots"], 2, "--memory lots: 'lots' is no size"),
        (["--workers", "0"], 2, "--workers 0"),
        (["--layout", "zip"], 2, "--layout zip"),
        (["--resources", "GPU"], 2, "NAME=AMOUNT"),
        (["--set", "nothing=1"], 2, "nothing"),
        (["--model", "no.pt"], 1, "no.pt: there is no such file"),
    ],
)
def test_bad_usage_is_one_line(small_study, tmp_path, capsys, words, status, text):
    assert main(["batch", str(small_study.table), "--out", str(tmp_path / "out"), *words]) == status
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert text in line


def test_nothing_to_refine_and_nothing_to_refine_with(tmp_path, small_study, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["batch", str(tmp_path / "empty"), "--out", str(tmp_path / "o"), "--model", "x"]) == 1
    assert "holds no image" in capsys.readouterr().err
    assert main(["batch", str(small_study.folder), "--out", str(tmp_path / "o")]) == 2
    assert "--model" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_dry_run_lists_all_and_writes_nothing(small_study, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["batch", str(small_study.table), "--out", str(out), *FAST]
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"a/one: would be refined -> {out / 'a/one_refined.npy'}" in shown
    assert shown.splitlines()[-1] == "4 would be refined, nothing is wrong"
    assert not out.exists()
    assert main([*words, "--limit", "1"]) == 0
    np.save(small_study.folder.parent / "truth/a/two.npy", np.zeros((3, 20, 25), np.uint8))
    (small_study.folder / "b/one.npy").write_bytes(b"x")
    small_study.row("a/one.npy", "", "../response/a/two.npy")
    capsys.readouterr()
    before = small_study.outputs(out)
    assert main([*words, "--dry-run", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    actions = {case["name"]: case["action"] for case in found["cases"]}
    assert actions == {"a/one": "skip", "a/two": "fail", "b/one": "fail", "b/two": "refine"}
    assert "ground truth has shape" in found["cases"][1]["text"]
    assert "named before with another" in found["problems"][0]["text"]
    assert small_study.outputs(out) == before
    assert main([*words, "--set", "threshold=0.9", "--dry-run"]) == 1
    assert "a/one: would be made again" in capsys.readouterr().out


def test_names_are_printed_as_they_are_on_a_terminal():
    from rich.console import Console
    from rich.progress import Progress

    target = io.StringIO()
    with Progress(console=Console(file=target, force_terminal=True, width=200)) as bar:
        shown = cli_batch._Shown(2, bar)
        shown.progress(0, 2, "[red]a[/nothing]: refining 1/3")
        shown.record(Record("[bold]x[/bold]\x1b[2J", "i", "o", "failed", error="[link=x] is empty"))
        bar.refresh()
    text = target.getvalue()
    assert "[bold]x[/bold]\\x1b[2J: [link=x] is empty" in text
    assert "[red]a[/nothing]: refining 1/3" in text
    assert "\x1b[2J" not in text


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_finishes_the_files_at_hand(study, tmp_path, workers):
    if workers > 1:
        pytest.importorskip("distributed")
    for k in range(40):
        study.add(f"{k:02d}")
    words = ["batch", str(study.table), "--out", str(tmp_path / "out"), *FAST]
    command = [sys.executable, "-m", "napari_refit", *words, "--workers", str(workers)]
    run = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stderr is not None
    first = run.stderr.readline()
    # As a terminal does it: to every process of the group.
    os.killpg(run.pid, signal.SIGINT)
    rest, _ = run.stderr.read(), run.wait()
    assert first.startswith("1/40 ")
    assert run.returncode == 1, rest
    assert "stopping after the files at hand" in rest
    assert "left; the same command goes on there" in rest.splitlines()[-1]
    assert rest.count("napari-refit: error:") == 1
    done = rest.count(": done, ") + 1
    assert 1 <= done < 40
    # A worker may just have begun one more when it was taken back: that one is whole as well.
    assert done <= len(list((tmp_path / "out").glob("*.refit.json"))) <= done + workers - 1
    study.run(tmp_path / "unbroken")
    assert main(words) == 0
    assert study.outputs(tmp_path / "out") == study.outputs(tmp_path / "unbroken")
