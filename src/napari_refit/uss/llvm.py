"""One process, two copies of LLVM: Mesa's and triton's."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MAPS = Path("/proc/self/maps")


def draws_with_llvm(maps: Path = MAPS) -> bool:
    """Whether an OpenGL driver has loaded LLVM into this process (Mesa's software and AMD drivers on Linux)."""
    try:
        text = maps.read_text(errors="replace")
    except OSError:
        return False
    return "libLLVM" in text


def triton_runs(device: torch.device) -> bool:
    """Whether kernels written in triton can run on a device.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    bool
        False where the device is not a CUDA one, triton is not installed, or importing it would crash beside Mesa's
        LLVM; also where it cannot compile (it wants a C compiler and Python's headers), which a warning tells once.

    Examples
    --------
    >>> import torch
    >>> triton_runs(torch.device("cpu"))
    False
    """
    return device.type == "cuda" and _may_import_triton() and _triton_compiles(str(device))


def _may_import_triton() -> bool:
    if "triton" in sys.modules:
        # None where it was kept out.
        return sys.modules["triton"] is not None
    return importlib.util.find_spec("triton") is not None and not draws_with_llvm()


@cache
def _triton_compiles(device: str) -> bool:
    import torch

    try:
        from napari_refit.uss.trial_triton import trial

        return trial(torch.device(device))
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"triton cannot be used here ({reason[0]}): {device} works slower", stacklevel=4)
        return False
