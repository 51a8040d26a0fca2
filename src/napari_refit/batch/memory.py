"""How much memory a batch may take, and whether a volume fits into it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_refit.batch.settings import BatchParams, bytes_of
from napari_refit.job import Job
from napari_refit.pipeline import CACHE_BYTES
from napari_refit.recipe import RefitParams


@dataclass(frozen=True)
class Plan:
    """How a volume is refined within its memory.

    Attributes
    ----------
    cache_bytes : int
        For `napari_refit.pipeline.Refit`.
    streamed : bool
        Whether it is read and written slab by slab.
    text : str
        What a user should know of it.
    """

    cache_bytes: int = CACHE_BYTES
    streamed: bool = False
    text: str = ""


def free_memory() -> int:
    """Bytes of memory that are free on this machine, or in this container."""
    import psutil

    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return max(0, free)


def own_memory() -> int:
    """Bytes of memory that this process has now."""
    import psutil

    return int(psutil.Process(os.getpid()).memory_info().rss)


def share_of(params: BatchParams) -> int | None:
    """The most bytes that each process of a batch may have; None where a scheduler's workers decide for themselves."""
    if params.memory:
        return bytes_of(params.memory) // (1 if params.scheduler else params.workers)
    if params.scheduler:
        return None
    return own_memory() + free_memory() // 2 // params.workers


def worker_share(limit: int | None) -> int:
    """The most bytes of a Dask worker's process: what it was started with, else half of what is free."""
    return limit or own_memory() + free_memory() // 2


def plan_of(job: Job, params: RefitParams, budget: int | None) -> Plan:
    """How a volume is refined within a budget."""
    del job, params, budget
    return Plan()
