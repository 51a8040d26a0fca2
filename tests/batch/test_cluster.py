"""Dask: workers that die, schedulers that are not there, cores that are shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from napari_refit.bands import n_threads
from napari_refit.batch import cluster
from napari_refit.batch.cases import find_cases
from napari_refit.batch.engine import HereEngine, engine_of
from napari_refit.batch.files import OutputFolder
from napari_refit.batch.one import Recipe, Work
from napari_refit.batch.record import Record
from napari_refit.batch.run import run_batch
from napari_refit.batch.settings import BatchParams
from napari_refit.recipe import RefitParams

PARAMS = RefitParams(n_segments=16, sigma=0)


def workers_of_this_process() -> list[psutil.Process]:
    """Processes that a local cluster started."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline()) and "resource_tracker" not in " ".join(child.cmdline())
    ]


def test_a_killed_worker_loses_nothing_and_doubles_nothing(study, tmp_path):
    pytest.importorskip("distributed")
    for k in range(16):
        study.add(f"{k:02d}")
    expected = tmp_path / "alone"
    study.run(expected)
    told: list[str] = []

    def kill(record: Record) -> None:
        told.append(record.name)
        if len(told) == 3:
            os.kill(workers_of_this_process()[0].pid, signal.SIGKILL)

    result = study.run(tmp_path / "out", workers=2, on_record=kill)
    assert result.stopped == ""
    assert len(told) == len(set(told)) == 16
    # One that its worker had just finished when it died is found to be done.
    assert set(study.states(result).values()) <= {"done", "skipped"}
    assert study.outputs(tmp_path / "out") == study.outputs(expected)
    assert workers_of_this_process() == []


def test_a_running_scheduler_that_goes_away(study, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    for k in range(12):
        study.add(f"{k:02d}")
    monkeypatch.chdir(tmp_path)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=None, silence_logs=50, host="127.0.0.1"
    ) as running:
        cases, _ = find_cases(["images/study.csv"], tmp_path / "out")
        settings = BatchParams(scheduler=running.scheduler_address)
        result = run_batch(cases[:4], Recipe(PARAMS), tmp_path / "out", settings)
        assert [record.state for record in result.records] == ["done"] * 4

        monkeypatch.setattr("napari_refit.batch.run.Work", partial(Work, version="0.0"))
        other = run_batch(cases[4:6], Recipe(PARAMS), tmp_path / "other", settings)
        assert "has napari-refit" in other.stopped
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)

        def close(record: Record) -> None:
            if record.state == "done":
                running.close()

        result = run_batch(cases, Recipe(PARAMS), tmp_path / "out", settings, on_record=close)
    assert "scheduler is lost" in result.stopped
    assert not result.is_whole
    again = run_batch(cases, Recipe(PARAMS), tmp_path / "out")
    assert all(record.state in ("done", "skipped") for record in again.records)
    assert len(again.records) == 12


def test_a_scheduler_that_is_not_there_is_one_line_soon(small_study, tmp_path):
    pytest.importorskip("distributed")
    command = [
        sys.executable,
        "-m",
        "napari_refit",
        "batch",
        str(small_study.table),
        "--out",
        str(tmp_path / "o"),
    ]
    start = time.perf_counter()
    answer = subprocess.run(
        [*command, "--scheduler", "tcp://127.0.0.1:9"], capture_output=True, text=True, timeout=60
    )
    print(f"{time.perf_counter() - start:.1f} s")
    assert answer.returncode == 1
    assert answer.stdout == ""
    (line,) = answer.stderr.strip().splitlines()
    assert line.startswith("napari-refit: error: --scheduler tcp://127.0.0.1:9: no Dask scheduler answers")


def test_a_scheduler_file_that_is_none(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "s.json").write_text("{}")
    for name in ("s.json", "none.json"):
        with pytest.raises(ConnectionError, match="is no scheduler file"):
            cluster.connect(str(tmp_path / name))


def test_workers_share_the_cores_and_none_is_used_twice(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    work = Work(Recipe(PARAMS), OutputFolder.make(tmp_path))
    engine = cluster.DaskEngine(BatchParams(workers=2), work)

    def threads() -> dict[str, int]:
        import torch

        from napari_refit.bands import n_threads

        return {
            "loops": n_threads(),
            "torch": torch.get_num_threads(),
            "blas": int(os.environ["OMP_NUM_THREADS"]),
        }

    share = max(1, n_threads() // 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = dict(os.environ)
    with engine._client(2) as client:
        found = client.run(threads)
    assert dict(os.environ) == before
    assert list(found.values()) == [{"loops": share, "torch": share, "blas": share}] * 2


def test_resources_and_models_of_workers(tmp_path):
    out = OutputFolder.make(tmp_path)
    for device, asked, expected in (
        ("cuda", "", {"GPU": 1.0}),
        ("cuda:1", "slot=2", {"slot": 2.0}),
        ("cpu", "", {}),
    ):
        engine = cluster.DaskEngine(
            BatchParams(workers=2, resources=asked), Work(Recipe(PARAMS, "m.pt", device=device), out)
        )
        assert engine.resources == expected
    with pytest.raises(ValueError, match="need the path of a checkpoint"):
        cluster.DaskEngine(BatchParams(workers=2), Work(Recipe(PARAMS, object()), out))


def test_without_dask_one_worker_does_the_work(small_study, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "is_installed", lambda: False)
    heard: list[str] = []
    result = small_study.run(tmp_path / "out", workers=2, notice=heard.append)
    assert set(small_study.states(result).values()) == {"done"}
    assert 'pip install "napari-refit[distributed]"' in heard[0]
    work = Work(Recipe(PARAMS), OutputFolder.make(tmp_path))
    with pytest.raises(ValueError, match=r"napari-refit\[distributed\]"):
        engine_of(BatchParams(scheduler="tcp://x:1"), work, heard.append)
    assert isinstance(engine_of(BatchParams(), work, heard.append), HereEngine)


def test_one_worker_imports_no_dask(small_study, tmp_path):
    program = (
        "import sys\nfrom napari_refit.cli import main\n"
        f"main(['batch', {str(small_study.table)!r}, '--out', {str(tmp_path / 'out')!r}, '--set', 'n_segments=16'])\n"
        "print([name for name in ('distributed', 'dask', 'torch') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1] == "[]", answer.stderr
