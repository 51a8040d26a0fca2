"""One process, two copies of LLVM: Mesa's and triton's."""

from __future__ import annotations

import sys
from pathlib import Path

MAPS = Path("/proc/self/maps")


def keep_triton_out() -> None:
    """Keep triton from being imported into a process that draws with Mesa's LLVM, where it crashes on import.

    torchvision pulls triton in through torch's compiler, which this program does not use; torch works without it,
    as it does on Windows and macOS. Nothing is done where the two do not meet: call it before torch is imported.
    """
    if "triton" not in sys.modules and draws_with_llvm():
        sys.modules["triton"] = None  # type: ignore[assignment]


def draws_with_llvm(maps: Path = MAPS) -> bool:
    """Whether an OpenGL driver has loaded LLVM into this process (Mesa's software and AMD drivers on Linux)."""
    try:
        text = maps.read_text(errors="replace")
    except OSError:
        return False
    return "libLLVM" in text
