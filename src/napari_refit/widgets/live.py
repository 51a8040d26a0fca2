"""Work on one thread beside the window: the latest request wins, and nothing here ever waits for it."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_refit.errors import Cancelled, one_line
from napari_refit.widgets.watching import call_when_destroyed

logger = logging.getLogger(__name__)
POLL_MILLISECONDS = 2
SECONDS_AT_EXIT = 2.0
NO_MEMORY = "not enough memory for this step; use a smaller image or close other programs"


class Task:
    """What a job sees of the loop: where to report, and whether to stop.

    Attributes
    ----------
    exclusive : bool
        Whether the job runs to its end although newer requests wait.
    background : bool
        Whether it works ahead while nothing is asked for: it reports nothing, and gives way to any request.
    """

    def __init__(
        self,
        job: Callable[[Task], Any],
        messages: SimpleQueue,
        exclusive: bool = False,
        background: bool = False,
    ) -> None:
        self.job = job
        self.exclusive = exclusive
        self.background = background
        self._messages = messages
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the job to stop; from now on nothing of it is delivered."""
        self._stop.set()

    def cancelled(self) -> bool:
        """Whether the job should stop."""
        return self._stop.is_set()

    def stage(self, text: str) -> None:
        """Say which stage runs."""
        self.say("stage", text)

    def state(self, value: object) -> None:
        """Show an intermediate state."""
        self.say("state", value)

    def part(self, value: object) -> None:
        """Deliver a part of the result."""
        self.say("part", value)

    def notice(self, text: str) -> None:
        """Say something that the user should read."""
        self.say("notice", text)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Say how far the job is."""
        self.say("progress", (done, total, text))

    def say(self, kind: str, value: object = None) -> None:
        """Put a message where the window's thread finds it."""
        if not self.background:
            self._messages.put((self, kind, value))


class _Engine:
    """The thread; it knows no Qt, so that it may outlive every window."""

    def __init__(self) -> None:
        self.messages: SimpleQueue = SimpleQueue()
        self._condition = threading.Condition()
        self._waiting: list[Task] = []
        self._running: Task | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, task: Task) -> None:
        with self._condition:
            if self._closed:
                return
            for other in [item for item in self._waiting if _gives_way(item, task)]:
                other.stop()
                self._waiting.remove(other)
            if self._running is not None and _gives_way(self._running, task):
                self._running.stop()
            self._waiting.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="napari-refit", daemon=True)
                self._thread.start()
                _ENGINES.add(self)
            self._condition.notify()

    def cancel(self) -> None:
        with self._condition:
            for task in self._waiting:
                task.stop()
            self._waiting.clear()
            if self._running is not None:
                self._running.stop()

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        self.cancel()

    def join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))

    @property
    def busy(self) -> bool:
        with self._condition:
            tasks = [*self._waiting, *([] if self._running is None else [self._running])]
            return any(not task.background for task in tasks)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._closed:
                    self._condition.wait()
                if self._closed:
                    return
                task = self._running = self._waiting.pop(0)
            self._do(task)
            with self._condition:
                self._running = None
            del task

    @staticmethod
    def _do(task: Task) -> None:
        try:
            task.say("finished", task.job(task))
        except Cancelled:
            task.say("cancelled")
        except Exception as error:  # a failing stage must never take the window with it
            logger.debug("a job failed", exc_info=True)
            wordless = isinstance(error, MemoryError) and not str(error).strip()
            task.say("failed", NO_MEMORY if wordless else one_line(error))


def _gives_way(task: Task, newer: Task) -> bool:
    return task.background or not (task.exclusive or newer.background)


_ENGINES: weakref.WeakSet[_Engine] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    engines = list(_ENGINES)
    for engine in engines:
        engine.close()
    end = monotonic() + SECONDS_AT_EXIT
    for engine in engines:
        engine.join(end - monotonic())


class LiveLoop(QObject):
    """One worker thread that always works on the latest request.

    A newer request asks the running job to stop and takes its place; what the older one still reports is
    dropped. An exclusive job (a whole volume) is not interrupted: newer requests wait for it. The thread hands
    its messages over through a queue that a timer empties, so no Qt object is ever touched outside the window's
    thread and closing while a job runs is harmless: the thread ends by itself when the job notices.

    Signals
    -------
    stage(str), state(object), progress(int, int, str), part(object), notice(str)
        What the running job reports.
    finished(object), failed(str), cancelled()
        How it ended.
    idle()
        Nothing runs and nothing waits.
    """

    stage = Signal(str)
    state = Signal(object)
    progress = Signal(int, int, str)
    part = Signal(object)
    notice = Signal(str)
    finished = Signal(object)
    failed = Signal(str)
    cancelled = Signal()
    idle = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = _Engine()
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.timeout.connect(self._deliver)
        call_when_destroyed(self, self._engine.close)

    @property
    def busy(self) -> bool:
        """Whether anything runs, waits, or has not been delivered."""
        return self._timer.isActive()

    def request(self, job: Callable[[Task], Any], *, exclusive: bool = False) -> None:
        """Run ``job(task)`` on the worker thread.

        Parameters
        ----------
        job : callable
            Called with a `Task`; it should look at ``task.cancelled()`` often.
        exclusive : bool
            Run to the end although newer requests come.
        """
        self._engine.submit(Task(job, self._engine.messages, exclusive))
        self._timer.start()

    def work_ahead(self, job: Callable[[Task], Any]) -> None:
        """Run ``job(task)`` when nothing else is asked for; it reports nothing, and any request stops it."""
        self._engine.submit(Task(job, self._engine.messages, background=True))

    def cancel(self) -> None:
        """Stop whatever runs or waits; nothing more of it is delivered but `cancelled`."""
        if self.busy:
            self._engine.cancel()
            self.cancelled.emit()

    def close(self) -> None:
        """Stop for good, without waiting."""
        self._timer.stop()
        self._engine.close()

    def _deliver(self) -> None:
        engine = self._engine
        was_busy = engine.busy
        while self._timer.isActive():
            try:
                task, kind, value = engine.messages.get_nowait()
            except Empty:
                break
            if not task.cancelled():
                self._emit(kind, value)
        if not was_busy and self._timer.isActive() and engine.messages.empty() and not engine.busy:
            self._timer.stop()
            self.idle.emit()

    def _emit(self, kind: str, value: Any) -> None:
        if kind == "progress":
            self.progress.emit(*value)
        elif kind == "cancelled":
            self.cancelled.emit()
        else:
            getattr(self, kind).emit(value)
