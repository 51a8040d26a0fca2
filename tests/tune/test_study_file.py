"""Studies as files: killed, gone on with, joined, damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made import BASE, made_images
from optuna.distributions import FloatDistribution
from worker import SPACE, settings

import napari_refit
from napari_refit.errors import ReadError
from napari_refit.tune.run import importances, read_trials, tune
from napari_refit.tune.settings import TuneParams
from napari_refit.tune.study_file import open_study, read_about

WORKER = Path(__file__).with_name("worker.py")
KINDS = ["study.db", "study.journal"]


def start(study, sampler, trials, slow=0.0):
    environment = {**os.environ, "PYTHONPATH": str(Path(napari_refit.__file__).parents[1])}
    command = [sys.executable, str(WORKER), str(study), sampler, str(trials), str(slow)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def finish(process):
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()


def seen(trials):
    return [(trial.values, trial.score, trial.state, trial.n_images) for trial in trials]


def go_on(study, sampler, trials, **options):
    return tune(made_images(6), BASE, SPACE, settings(sampler, trials), study=study, **options)


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_killed_search_goes_on_as_if_nothing_had_been(tmp_path, sampler):
    study = tmp_path / "study.journal"
    unbroken = go_on(None, sampler, 12)
    process = start(study, sampler, 12, slow=0.02)
    deadline = time.time() + 60
    while time.time() < deadline and (not study.exists() or len(_trials(study)) < 4):
        assert process.poll() is None
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    there = [trial for trial in read_trials(study) if trial.state != "running"]
    assert 3 <= len(there) < 12
    result = go_on(study, sampler, 12)
    assert seen(result.trials) == seen(unbroken.trials)
    assert result.params == unbroken.params
    assert len(read_trials(study)) == 12


def test_a_trial_that_was_killed_while_it_was_drawn_is_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_refit.tune.study_file.SIGNING", 0.5)
    study, unbroken = tmp_path / "study.journal", go_on(None, "tpe", 6)
    go_on(study, "tpe", 3)
    # As ask() leaves it that did not come to its end: running, unsigned, with some of its values.
    begun = open_study(study).ask({"boundary.threshold": FloatDistribution(0.1, 0.9)})
    assert begun.number == 3
    assert seen(go_on(study, "tpe", 6).trials) == seen(unbroken.trials)


def _trials(study):
    try:
        return read_trials(study)
    except ReadError:
        # It is being made.
        return []


def test_two_processes_share_the_work(tmp_path):
    study = tmp_path / "study.db"
    processes = [start(study, "grid", 12, slow=0.002) for _ in range(2)]
    for process in processes:
        finish(process)
    trials = read_trials(study)
    points = [tuple(trial.values.items()) for trial in trials]
    assert len(points) == len(set(points)) == 12
    assert {trial.state for trial in trials} <= {"done", "pruned"}
    assert max(trial.score for trial in trials if trial.score is not None) > 0


@pytest.mark.parametrize("name", KINDS)
def test_stopped_and_gone_on_with(tmp_path, name):
    unbroken = go_on(None, "tpe", 12)
    finished, asked = [], 0

    def stop_in_the_seventh():
        nonlocal asked
        asked += len(finished) == 6
        return asked > 4

    first = go_on(tmp_path / name, "tpe", 12, cancelled=stop_in_the_seventh, on_trial=finished.append)
    assert first.stopped == "stopped"
    assert len(first.trials) == 6
    second = go_on(tmp_path / name, "tpe", 12)
    assert second.stopped == ""
    assert seen(second.trials) == seen(unbroken.trials)
    # More trials later, and nothing to do where all are done.
    third = go_on(tmp_path / name, "tpe", 14)
    assert seen(third.trials)[:12] == seen(unbroken.trials)
    fourth = go_on(tmp_path / name, "tpe", 14)
    assert seen(fourth.trials) == seen(third.trials)
    assert fourth.stage_runs["clusters"] == (0, 0)
    assert importances(tmp_path / name) == fourth.importances
    assert read_about(tmp_path / name)["objective"] == "dsc"


def test_a_study_about_something_else_is_not_mixed_up(tmp_path):
    study = tmp_path / "study.journal"
    go_on(study, "grid", 12)
    options = {"study": study}
    images, grid = made_images(6), settings("grid", 12)
    with pytest.raises(ValueError, match=r"study\.journal: the images differ"):
        tune(images[:5], BASE, SPACE, grid, **options)
    with pytest.raises(ValueError, match="the ranges differ"):
        tune(images, BASE, SPACE[:1], grid, **options)
    with pytest.raises(ValueError, match="the other parameters differ"):
        tune(images, BASE.replace(spread=1), SPACE, grid, **options)
    with pytest.raises(ValueError, match=r"the objective differ.*dsc there"):
        tune(images, BASE, SPACE, grid.model_copy(update={"objective": "miou"}), **options)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_no_study(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ReadError, match="there is no such study"):
        read_trials(path)
    path.write_text("no study at all\n" * 20)
    with pytest.raises(ReadError, match="is no study that can be opened"):
        read_trials(path)
    with pytest.raises(ReadError, match=name):
        go_on(path, "grid", 12)
    assert path.read_text().startswith("no study at all")


@pytest.mark.parametrize("name", ["study", "study.json", "what?.db"])
def test_names_of_studies(tmp_path, name):
    with pytest.raises(ValueError, match="the name of a study"):
        go_on(tmp_path / name, "grid", 12)


def test_without_optuna_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RuntimeError, match=r'optuna: pip install "napari-refit\[tune\]"'):
        tune(made_images(2), BASE, SPACE, TuneParams())


def test_optuna_is_imported_only_when_asked_for():
    code = (
        "import sys, napari_refit.cli, napari_refit.tune.run, napari_refit.tune.space, napari_refit.tune.images\n"
        "import napari_refit.tune.note, napari_refit.tune.study_file\n"
        "assert not {'optuna', 'torch', 'sqlalchemy'} & set(sys.modules), 'too much'"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(napari_refit.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
