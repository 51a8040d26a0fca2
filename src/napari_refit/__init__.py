"""Fine-grained segmentation masks from image-level labels only.

Names are imported at first use, so that ``import napari_refit`` loads neither torch nor Qt nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "slic": "uss.slic",
    "quickshift": "uss.quickshift",
    "uss_network": "uss.network",
    "edge_map": "uss.edges",
    "clusters_from_edges": "uss.edges",
    "simplify": "uss.edges",
    "response_maps": "cam.response",
    "boundary_fit": "fit.boundary",
    "train": "learn.training",
    "TrainingParams": "learn.settings",
    "RefitParams": "recipe",
    "Refit": "pipeline",
    "SliceResult": "pipeline",
    "VolumeResult": "pipeline",
    "Volume": "io.volume",
    "load": "io.read",
    "save": "io.write",
    "ReadError": "errors",
    "WriteError": "errors",
    "Cancelled": "errors",
    "register_segmenter": "registry",
    "register_fit": "registry",
}
_MODULES = ("metrics", "params", "registry")

__all__ = ["__version__", *_MODULES, *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-refit")
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _PUBLIC:
        value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
