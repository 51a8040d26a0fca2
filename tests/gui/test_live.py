"""The live loop: latest request wins, nothing stale is delivered, closing never waits."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from napari_refit.errors import Cancelled
from napari_refit.widgets.live import LiveLoop

pytestmark = pytest.mark.gui


@pytest.fixture
def loop(qapp):
    found = LiveLoop()
    yield found
    found.close()


def until(qtbot, loop):
    qtbot.waitUntil(lambda: not loop.busy, timeout=5000)


def test_reports_and_result_arrive_in_order(qtbot, loop):
    seen = []
    loop.stage.connect(lambda text: seen.append(("stage", text)))
    loop.state.connect(lambda value: seen.append(("state", value)))
    loop.part.connect(lambda value: seen.append(("part", value)))
    loop.progress.connect(lambda *values: seen.append(("progress", values)))
    loop.finished.connect(lambda value: seen.append(("finished", value)))
    loop.idle.connect(lambda: seen.append(("idle", None)))

    def job(task):
        task.stage("one")
        task.state(1)
        task.part(2)
        task.progress(3, 4, "five")
        return 6

    loop.request(job)
    until(qtbot, loop)
    assert seen == [
        ("stage", "one"),
        ("state", 1),
        ("part", 2),
        ("progress", (3, 4, "five")),
        ("finished", 6),
        ("idle", None),
    ]


def test_latest_request_wins_and_stale_results_are_dropped(qtbot, loop):
    results, started, release = [], threading.Event(), threading.Event()
    loop.finished.connect(results.append)
    told = []

    def slow(task):
        started.set()
        release.wait(5)
        told.append(task.cancelled())
        task.part("stale")
        return "stale"

    parts = []
    loop.part.connect(parts.append)
    loop.request(slow)
    assert started.wait(5)
    for k in range(50):
        loop.request(lambda task, k=k: k)
    release.set()
    until(qtbot, loop)
    assert told == [True]
    assert results == [49]
    assert parts == []


def test_an_exclusive_job_runs_to_its_end(qtbot, loop):
    results, started, release = [], threading.Event(), threading.Event()
    loop.finished.connect(results.append)

    def volume(task):
        started.set()
        release.wait(5)
        return task.cancelled()

    loop.request(volume, exclusive=True)
    assert started.wait(5)
    loop.request(lambda task: "dropped")
    loop.request(lambda task: "live")
    release.set()
    until(qtbot, loop)
    assert results == [False, "live"]


def test_cancel_tells_the_job_and_delivers_nothing_more(qtbot, loop):
    results, cancelled, started = [], [], threading.Event()
    loop.finished.connect(results.append)
    loop.cancelled.connect(lambda: cancelled.append(True))

    def job(task):
        started.set()
        while not task.cancelled():
            time.sleep(0.002)
        raise Cancelled("cancelled")

    loop.request(job, exclusive=True)
    assert started.wait(5)
    loop.cancel()
    until(qtbot, loop)
    assert (results, cancelled) == ([], [True])
    loop.cancel()
    assert cancelled == [True]


def test_failures_are_one_line_and_the_loop_goes_on(qtbot, loop):
    failures, results = [], []
    loop.failed.connect(failures.append)
    loop.finished.connect(results.append)

    def failing(error):
        def job(task):
            raise error

        return job

    for error in (ValueError("first line\n  second line"), KeyError(), MemoryError(), MemoryError("3 GiB")):
        loop.request(failing(error))
        until(qtbot, loop)
    loop.request(lambda task: "fine")
    until(qtbot, loop)
    assert failures[:2] == ["first line second line", "KeyError"]
    assert "not enough memory" in failures[2]
    assert failures[3] == "3 GiB"
    assert results == ["fine"]


def test_jobs_run_beside_the_window(qtbot, loop):
    threads = []
    loop.request(lambda task: threads.append(threading.current_thread()))
    until(qtbot, loop)
    assert threads[0] is not threading.main_thread()
    assert threads[0].daemon


def test_closing_while_a_job_runs_does_not_wait(qtbot, qapp):
    loop, started, release = LiveLoop(), threading.Event(), threading.Event()
    thread, results = [], []
    loop.finished.connect(results.append)

    def job(task):
        thread.append(threading.current_thread())
        started.set()
        release.wait(5)
        return 1

    loop.request(job)
    assert started.wait(5)
    before = time.monotonic()
    loop.close()
    assert time.monotonic() - before < 0.5
    release.set()
    thread[0].join(5)
    assert not thread[0].is_alive()
    qtbot.wait(50)
    assert results == []
    loop.request(lambda task: 1)
    qtbot.wait(30)
    assert results == []


def test_a_deleted_loop_ends_its_thread(qtbot, qapp):
    loop, thread = LiveLoop(), []
    loop.request(lambda task: thread.append(threading.current_thread()))
    until(qtbot, loop)
    loop.deleteLater()
    qtbot.waitUntil(lambda: not thread[0].is_alive(), timeout=5000)


def test_leaving_python_while_a_job_runs_is_harmless():
    code = """
import time
from qtpy.QtWidgets import QApplication
from napari_refit.widgets.live import LiveLoop
app = QApplication([])
loop = LiveLoop()
loop.request(lambda task: time.sleep(60))
time.sleep(0.2)
"""
    before = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "QThread" not in done.stderr
    assert time.monotonic() - before < 40
