"""What a Dask worker does: one case at a time in each process, on its share of the machine."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

from napari_refit import __version__
from napari_refit.batch.cases import Case
from napari_refit.batch.memory import worker_share
from napari_refit.batch.one import Outcome, Work, run_case
from napari_refit.batch.record import RECORDS, Record


def executing(dask_worker: Any) -> list[str]:
    """Keys of the tasks that a worker has begun."""
    return [str(state.key) for state in dask_worker.state.executing]


_one_at_a_time = threading.Lock()
_is_ready = threading.Event()


def task(case: Case, work: Work) -> Outcome:
    """Refine a case, one at a time in each process, however many threads it has."""
    from distributed import get_worker

    worker = get_worker()
    with _one_at_a_time:
        text = ""
        if work.version != __version__:
            text = (
                f"worker {worker.address} has napari-refit {__version__}, not {work.version}; use one version"
            )
        elif not (work.out.path / RECORDS).exists():
            text = f"worker {worker.address} does not see {work.out.path}; all workers need the same folders"
        if text:
            record = Record(case.name, str(case.image), str(case.output), "failed", text)
            return Outcome(record, text)
        if not _is_ready.is_set():
            _prepare(worker)
            _is_ready.set()
        if work.memory is None:
            work = replace(work, memory=worker_share(worker.memory_manager.memory_limit))
        return run_case(case, replace(work, recipe=replace(work.recipe, device=_device(work, worker))))


def _prepare(worker: Any) -> None:
    """Use as many cores as a worker was started for, unless its environment says how many."""
    if "REFIT_THREADS" in os.environ:
        return
    from napari_refit.bands import n_threads

    os.environ["REFIT_THREADS"] = str(worker.state.nthreads)
    n_threads.cache_clear()
    import torch

    torch.set_num_threads(n_threads())


def _device(work: Work, worker: Any) -> str | None:
    """A GPU of its own for each worker of this machine."""
    device = work.recipe.device
    if device != "cuda" or not isinstance(worker.name, int):
        return device
    import torch

    count = torch.cuda.device_count()
    return device if count < 2 else f"cuda:{worker.name % count}"


def deaf_plugin() -> Any:
    """Keeps an interrupt that a terminal sends to all processes from workers: the batch decides what is finished."""
    from distributed import WorkerPlugin

    class Deaf(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            del worker
            # Only the main thread may; a worker that has another one there is not interrupted either.
            with suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)

    return Deaf()
