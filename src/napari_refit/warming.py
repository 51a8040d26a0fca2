"""Compiling the kernels before they are wanted; what was compiled once is loaded from the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib import import_module

from napari_refit.bands import Stop, check

# What the first look at a slice needs comes first.
ALWAYS = (
    "uss.colour_kernel",
    "uss.edges_kernel",
    "uss.lab_kernel",
    "uss.smoothing_kernel",
    "fit.boundary_kernel",
    "fit.flood_kernel",
    "fit.graph_kernel",
    "fit.cut_kernel",
    "fit.regions_kernel",
    "fit.hierarchy_kernel",
)
OF_SEGMENTER = {
    "slic": (
        "uss.slic_centres_kernel",
        "uss.slic_connectivity_kernel",
        "uss.slic_kernel",
        "uss.slic_tiles_kernel",
    ),
    "quickshift": (
        "uss.quickshift_exact_kernel",
        "uss.quickshift_kernel",
        "uss.quickshift_links_kernel",
    ),
    "network": (
        "uss.network_kernel",
        "uss.network_labels_kernel",
        "uss.network_pixels_kernel",
        "uss.network_product_kernel",
    ),
}
KERNELS = (*ALWAYS, *(name for names in OF_SEGMENTER.values() for name in names))

COMPILING = "Compiling for this machine, the first time only…"
# Loading from the disk is faster than this.
_SLOW = 0.5

_ready: set[str] = set()


def all_ready() -> bool:
    """Whether every kernel is ready to run."""
    return _ready.issuperset(KERNELS)


def warm_up(cancelled: Stop | None = None) -> None:
    """Make every kernel ready to run.

    Parameters
    ----------
    cancelled : callable, optional
        Asked before each module; True raises `napari_refit.errors.Cancelled`.
    """
    _warm_up(KERNELS, None, cancelled)


def prepare(segmenter: str, say: Callable[[str], None] | None = None, cancelled: Stop | None = None) -> None:
    """Make ready what a look at a slice needs, and say so where it takes long.

    Parameters
    ----------
    segmenter : str
        One that has no kernels is fine.
    say : callable, optional
        Given a sentence for the status line.
    cancelled : callable, optional
        As in `warm_up`; what is ready by then stays so.

    Examples
    --------
    >>> prepare("slic")
    """
    _warm_up((*ALWAYS, *OF_SEGMENTER.get(segmenter, ())), say, cancelled)


def _warm_up(names: Iterable[str], say: Callable[[str], None] | None, cancelled: Stop | None) -> None:
    start, said = time.monotonic(), False
    for name in names:
        check(cancelled)
        if name in _ready:
            continue
        import_module(f"napari_refit.{name}").warm_up()
        _ready.add(name)
        if say is not None and not said and time.monotonic() - start > _SLOW:
            said = True
            say(COMPILING)
