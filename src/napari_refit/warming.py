"""Compiling the kernels before they are wanted; what was compiled once is loaded from the disk."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from napari_refit.bands import check

KERNELS: tuple[str, ...] = ()


def warm_up(cancelled: Callable[[], bool] | None = None) -> None:
    """Make every kernel ready to run.

    Parameters
    ----------
    cancelled : callable, optional
        Asked before each module; True raises `napari_refit.errors.Cancelled`.
    """
    for name in KERNELS:
        check(cancelled)
        import_module(f"napari_refit.{name}").warm_up()
