"""What surrounds a training: chance that can be repeated, and what to do where memory runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from napari_refit.devices import out_of_memory


@contextmanager
def reproducible(device: torch.device, threads: int = 0) -> Iterator[int]:
    """Within: deterministic algorithms, so many threads, and random states of one's own.

    Parameters
    ----------
    device : torch.device
    threads : int
        Of the processor; 0: as many as torch takes.

    Yields
    ------
    int
        How many threads it is.
    """
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    on_cuda = device.type == "cuda"
    if on_cuda:
        # Read by cuBLAS when it starts; without it, its sums differ from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    forked = [torch.cuda.current_device() if device.index is None else device.index] if on_cuda else []
    with torch.random.fork_rng(devices=forked):
        torch.set_num_threads(threads or before)
        # Some layers have no such algorithm on accelerators: those warn instead of failing.
        torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
        torch.backends.cudnn.benchmark = False
        try:
            yield torch.get_num_threads()
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(deterministic, warn_only=warns)
            torch.backends.cudnn.benchmark = benchmark


@contextmanager
def enough_memory(device: torch.device, batch_size: int, input_size: int) -> Iterator[None]:
    """Within: where the memory of a device runs out, the error says what to lower.

    Raises
    ------
    MemoryError
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise MemoryError(
            f"the memory of {device} does not suffice for batches of {batch_size} at {input_size} px; "
            "lower batch_size or input_size"
        ) from error


def mixed(*numbers: int) -> int:
    """One seed from several numbers, such as the seed of a run and an epoch.

    Examples
    --------
    >>> mixed(0, 1) == mixed(0, 1), mixed(0, 1) == mixed(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
