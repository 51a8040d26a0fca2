"""Compiling the kernels before they are wanted; what was compiled once is loaded from the disk."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from napari_refit.bands import check

# What the first look at a slice needs comes first.
KERNELS = (
    "uss.colour_kernel",
    "uss.edges_kernel",
    "uss.lab_kernel",
    "uss.slic_centres_kernel",
    "uss.slic_connectivity_kernel",
    "uss.slic_kernel",
    "uss.slic_tiles_kernel",
    "uss.smoothing_kernel",
    "fit.boundary_kernel",
    "fit.flood_kernel",
    "uss.quickshift_exact_kernel",
    "uss.quickshift_kernel",
    "uss.quickshift_links_kernel",
    "uss.network_kernel",
    "uss.network_labels_kernel",
)


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
