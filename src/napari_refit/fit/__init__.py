"""From response maps and clusters to a mask: BoundaryFit, and whatever else the fit registry holds."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {"FitInput": "types", "FitResult": "types", "boundary_fit": "boundary"}

__all__ = ["FitInput", "FitResult", "boundary_fit"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
