"""A window drawn with Mesa's LLVM, and triton's beside it."""

from __future__ import annotations

import sys

from napari_refit.uss.llvm import draws_with_llvm


def keep_triton_out() -> None:
    """Keep triton from being imported into a process that draws with Mesa's LLVM, where it crashes on import.

    torchvision pulls triton in through torch's compiler, which this program does not use; torch works without it,
    as it does on Windows and macOS. Nothing is done where the two do not meet: call it before torch is imported.
    """
    if "triton" not in sys.modules and draws_with_llvm():
        sys.modules["triton"] = None  # type: ignore[assignment]
