"""How much memory a batch may take, and whether a volume fits into it."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_refit.batch.settings import BatchParams, bytes_of
from napari_refit.io.volume import Volume
from napari_refit.job import Job
from napari_refit.pipeline import CACHE_BYTES
from napari_refit.recipe import RefitParams

BYTES_PER_SCORED_VOXEL = 40
"""What measuring the distance between two boundaries takes for each voxel of the box around them."""


# Measured on 256 x 256 and 512 x 512 slices, and rounded up.
_LEAST = 40 << 20
_BYTES_PER_PIXEL = 300
_BYTES_PER_FED_PIXEL = 1000
_BYTES_PER_SLAB_VOXEL = 100
_BYTES_PER_COUNTED_VOXEL = 20
_STREAM_BYTES = 32 << 20


@dataclass(frozen=True)
class Plan:
    """How a volume is refined within its memory.

    Attributes
    ----------
    cache_bytes : int
        For `napari_refit.pipeline.Refit`.
    streamed : bool
        Whether it is read and written slab by slab.
    room : int
        Bytes for what a streamed volume needs besides.
    text : str
        What a user should know of it.
    """

    cache_bytes: int = CACHE_BYTES
    streamed: bool = False
    room: int = 0
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
    """How a volume is refined within a budget, going by the headers of its files.

    Parameters
    ----------
    job : Job
        With the loaded classifier, if that is known.
    params : RefitParams
    budget : int or None
        Bytes that this process may have in all; None: whatever it takes.

    Raises
    ------
    ReadError
        If a file cannot be opened.
    MemoryError
        If the volume cannot be refined within the budget.
    """
    from napari_refit.io._guard import human
    from napari_refit.io.streaming import can_stream

    if budget is None:
        return Plan()
    need = needs_of(job, params)
    room = budget - own_memory()
    if need.whole + need.cache <= room:
        return Plan(cache_bytes=min(CACHE_BYTES, room - need.whole))
    limit = (
        f"the {human(budget)} that --memory allows, of which the program itself takes {human(own_memory())}"
    )
    if need.streamed + need.cache <= room and all(can_stream(volume) for volume in need.volumes):
        text = (
            f"is refined slab by slab: as a whole it would take about {human(need.whole)}, more than {limit}"
        )
        cache = min(CACHE_BYTES, room - need.streamed)
        return Plan(cache_bytes=cache, streamed=True, room=room - cache, text=text)
    if need.streamed + need.cache <= room:
        fixed = [str(volume.path) for volume in need.volumes if not can_stream(volume)]
        raise MemoryError(
            f"{job.image}: takes about {human(need.whole)}, more than {limit}; raise it, or convert "
            f"{' and '.join(fixed)} to .nii.gz, .npy or plain .tif, which can be refined slab by slab"
        )
    raise MemoryError(
        f"{job.image}: takes about {human(need.streamed + need.cache)} even slab by slab, more than {limit}; raise it"
    )


@dataclass(frozen=True)
class Needs:
    """Bytes that a case takes, estimated from above.

    Attributes
    ----------
    whole, streamed : int
        With all voxels in memory, and slab by slab.
    cache : int
        For the stages between the slices, at least.
    volumes : tuple of Volume
        The image, the truth and the response map.
    """

    whole: int
    streamed: int
    cache: int
    volumes: tuple[Volume, ...]


def needs_of(job: Job, params: RefitParams) -> Needs:
    """What a case takes, going by the headers of its files."""
    from napari_refit.image_grid import ImageGrid
    from napari_refit.intensity import SAMPLE_VOXELS
    from napari_refit.io.pieces import BLOCK_BYTES
    from napari_refit.io.read import load
    from napari_refit.slabs import MOST_VOXELS, reaches_across

    image = load(job.image)
    truth = None if job.truth is None else load(job.truth)
    response = None if job.response is None else load(job.response)
    volumes = tuple(volume for volume in (image, truth, response) if volume is not None)
    grid = ImageGrid(image)
    n_voxels = math.prod(grid.shape)
    axis = grid.coarsest_axis() if params.axis == "auto" else min(int(params.axis), grid.n_axes - 1)
    shown = [own for own in grid.order if own != axis][-2:] if grid.n_axes > 2 else list(grid.order)
    n_pixels = math.prod(grid.shape[own] for own in shown)
    n_maps = _n_maps(job, params, response, n_voxels)
    batch = params.cam.batch_size
    sample = 0
    if params.intensity.mode == "percentile":
        most = max(SAMPLE_VOXELS, n_voxels // grid.shape[grid.order[0]])
        sample = min(n_voxels, most) * (image.dtype.itemsize + 1)
    working = _LEAST + sample + n_pixels * (_BYTES_PER_PIXEL + 8 * batch * n_maps)
    if job.response is None:
        side = getattr(job.model, "input_size", None)
        working += batch * (side * side if side else n_pixels) * _BYTES_PER_FED_PIXEL
    if grid.n_axes > 2 and any(reaches_across(each) for each in params.partitions() or (params,)):
        working += min(n_voxels, MOST_VOXELS) * _BYTES_PER_SLAB_VOXEL
    whole = working + sum(_read_bytes(volume) for volume in volumes) + 2 * n_voxels
    if truth is not None:
        whole += n_voxels * (2 * n_maps + _BYTES_PER_COUNTED_VOXEL)
    # Planes that are strewn over the file are read some at a time.
    along = image.axes.index("x") if "x" in image.axes else 0
    slowest = image.ndim - 1 if along == 0 else 0
    blocks = 0 if axis == slowest else len(volumes)
    streamed = working + blocks * BLOCK_BYTES + _STREAM_BYTES
    return Needs(whole, streamed, n_pixels * batch * (8 + 4 * n_maps), volumes)


def _n_maps(job: Job, params: RefitParams, response: Volume | None, n_voxels: int) -> int:
    if response is not None:
        return max(1, response.size // n_voxels)
    return len(params.cam.classes or getattr(job.model, "foreground", ()) or (1,))


def _read_bytes(volume: Volume) -> int:
    """What the voxels take, and while they are scaled the stored ones beside them."""
    stored = getattr(volume.header, "get_data_dtype", lambda: volume.dtype)()
    scaled = stored.itemsize if stored != volume.dtype and not stored.names else 0
    return volume.size * (volume.dtype.itemsize + scaled)
