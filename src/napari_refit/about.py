"""What this installation can do: versions, devices, segmenters, CAM methods, fits."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from napari_refit.registry import FITS, SEGMENTERS

PACKAGES = (
    "napari",
    "torch",
    "torchvision",
    "grad-cam",
    "scikit-image",
    "nibabel",
    "SimpleITK",
    "numpy",
    "numba",
    "pydantic",
)


def about() -> dict[str, Any]:
    """Facts for a bug report or a methods section.

    Returns
    -------
    dict
        ``version``, ``python``, ``platform``, ``packages`` (name to version), ``devices``, ``segmenters``,
        ``cam_methods``, ``fits``, ``presets``.
    """
    from napari_refit import __version__
    from napari_refit.cam.methods import available_methods
    from napari_refit.presets import PRESETS

    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": devices(),
        "segmenters": list(SEGMENTERS.names),
        "cam_methods": sorted(available_methods()),
        "fits": list(FITS.names),
        "presets": list(PRESETS),
    }


def devices() -> list[str]:
    """Names of the torch devices of this machine, the CPU first."""
    import torch

    found = ["cpu"]
    found += [f"cuda:{k}" for k in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
