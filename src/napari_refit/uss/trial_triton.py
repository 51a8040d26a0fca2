"""The least kernel there is, to see whether triton works on a device.

Like all modules that import triton, it is to be imported only where `napari_refit.uss.llvm` has nothing against it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl


@triton.jit
def _write_one(target):
    tl.store(target, 1)


def trial(device: torch.device) -> bool:
    """Compile a kernel and run it."""
    target = torch.zeros(1, dtype=torch.int32, device=device)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        _write_one[(1,)](target)
    return bool(target.item() == 1)
