"""Every parameter of the program, declared once.

The docks, the command line, the JSON presets, the search space and the reference pages are generated from these
declarations.
"""

from __future__ import annotations

from typing import Literal

from napari_refit.cam_params import BOTH, CAM_INPUTS, FINER, GATES, CamParams
from napari_refit.declare import Declaration, Parameters, declarations, number, numbers, option, within
from napari_refit.fit_params import (
    AppearanceParams,
    BoundaryParams,
    FinishParams,
    HierarchyParams,
    HintParams,
    PartitionEnsembleParams,
    PropagationParams,
)

__all__ = [
    "BOTH",
    "CAM_INPUTS",
    "FINER",
    "GATES",
    "AppearanceParams",
    "BoundaryParams",
    "CamParams",
    "Declaration",
    "FelzenszwalbParams",
    "FinishParams",
    "HierarchyParams",
    "HintParams",
    "IntensityParams",
    "NetworkParams",
    "Parameters",
    "PartitionEnsembleParams",
    "PropagationParams",
    "QuickshiftParams",
    "SlicParams",
    "WatershedParams",
    "declarations",
    "number",
    "numbers",
    "option",
    "within",
]


class IntensityParams(Parameters):
    """How a volume's grey values become the [0, 1] that every stage works on."""

    mode: Literal["percentile", "window"] = option(
        "percentile",
        title="Range from",
        help="Take the grey-value range from percentiles of the volume, or from a window that you set.",
    )
    low_percentile: float = number(
        0.5, 0.0, 50.0, unit="%", step=0.1, title="Low percentile", help="This percentile becomes black."
    )
    high_percentile: float = number(
        99.5, 50.0, 100.0, unit="%", step=0.1, title="High percentile", help="This percentile becomes white."
    )
    window_level: float = number(
        40.0, -1e7, 1e7, unit="grey values", step=1, title="Window level", help="Centre of the window."
    )
    window_width: float = number(
        400.0, 1e-6, 1e7, unit="grey values", step=1, title="Window width", help="Width of the window."
    )
    scope: Literal["volume", "slice"] = option(
        "volume",
        title="Measured on",
        help="Measure percentiles once per volume, so that a parameter means the same on every slice, "
        "or on each slice by itself.",
        advanced=True,
    )
    floor: float = number(
        0.0,
        0.0,
        1.0,
        step=0.01,
        title="Black below",
        help="Values below this fraction of the range are set to black before clustering.",
        advanced=True,
    )


class SlicParams(Parameters):
    """SLIC superpixels (Achanta et al. 2012)."""

    n_segments: int = number(
        200,
        2,
        20000,
        step=10,
        log=True,
        title="Clusters",
        help="About how many clusters a slice is cut into.",
        search=(20, 1000),
    )
    compactness: float = number(
        20.0,
        0.01,
        1000.0,
        step=0.5,
        log=True,
        title="Compactness",
        help="High: square clusters. Low: clusters that follow grey values. "
        "In units of the grey range 0..100 (the L of Lab colour).",
        search=(1.0, 200.0),
    )
    sigma: float = number(
        1.0,
        0.0,
        10.0,
        unit="px",
        step=0.1,
        title="Smoothing",
        help="Gaussian smoothing before clustering.",
        pixel_power=1,
        search=(0.0, 3.0),
    )
    max_num_iter: int = number(
        10, 1, 100, step=1, title="Iterations", help="How often the clusters are re-estimated.", advanced=True
    )
    slic_zero: bool = option(
        False, title="SLICO", help="Adapt compactness to each cluster by itself.", advanced=True
    )
    supervoxels: bool = option(
        False,
        title="Supervoxels",
        help="Let clusters reach across slices, with the spacing respected; as wide as in a slice, and as deep.",
    )


class QuickshiftParams(Parameters):
    """Quickshift mode seeking (Vedaldi & Soatto 2008)."""

    kernel_size: float = number(
        3.0,
        1.0,
        20.0,
        unit="px",
        step=0.5,
        title="Kernel size",
        help="Width of the density estimate.",
        pixel_power=1,
        search=(1.0, 8.0),
    )
    max_dist: float = number(
        8.0,
        0.5,
        200.0,
        step=0.5,
        log=True,
        title="Maximum distance",
        help="Links longer than this are cut: higher means fewer, larger clusters.",
        pixel_power=1,
        search=(2.0, 50.0),
    )
    ratio: float = number(
        0.5,
        0.0,
        1.0,
        step=0.05,
        title="Colour weight",
        help="Weight of grey values against position.",
        pixel_power=1,
    )
    sigma: float = number(
        0.0,
        0.0,
        10.0,
        unit="px",
        step=0.1,
        title="Smoothing",
        help="Gaussian smoothing before clustering.",
        pixel_power=1,
        search=(0.0, 3.0),
    )
    seed: int = number(42, 0, 2**31 - 1, step=1, title="Seed", help="Breaks ties.", advanced=True)


class FelzenszwalbParams(Parameters):
    """Graph-based segmentation (Felzenszwalb & Huttenlocher 2004)."""

    scale: float = number(
        50.0,
        1.0,
        5000.0,
        step=5,
        log=True,
        title="Scale",
        help="Higher means larger clusters.",
        pixel_power=2,
        search=(5.0, 1000.0),
    )
    sigma: float = number(
        0.8,
        0.0,
        10.0,
        unit="px",
        step=0.1,
        title="Smoothing",
        help="Gaussian smoothing before clustering.",
        pixel_power=1,
        search=(0.0, 3.0),
    )
    min_size: int = number(
        20,
        1,
        10000,
        unit="px",
        step=5,
        log=True,
        title="Smallest cluster",
        help="Smaller ones are merged.",
        pixel_power=2,
        search=(5, 500),
    )


class WatershedParams(Parameters):
    """Compact watershed of the gradient image (Neubert & Protzel 2014)."""

    markers: int = number(
        250,
        2,
        20000,
        step=10,
        log=True,
        title="Clusters",
        help="How many seeds are laid on a grid.",
        search=(20, 1000),
    )
    compactness: float = number(
        0.001,
        0.0,
        1.0,
        step=0.0005,
        title="Compactness",
        help="High: square clusters. Low: clusters that follow edges.",
        search=(0.0, 0.05),
    )
    sigma: float = number(
        1.0,
        0.0,
        10.0,
        unit="px",
        step=0.1,
        title="Smoothing",
        help="Gaussian smoothing before the gradient.",
        pixel_power=1,
        search=(0.0, 3.0),
    )


class NetworkParams(Parameters):
    """The per-image USS network of the paper (after Kanezaki 2018 and Kim, Kanezaki, Tanaka 2020)."""

    guide: Literal["slic", "quickshift", "continuity"] = option(
        "slic",
        title="Continuity from",
        help="Superpixels whose pixels are pulled to their majority label, or the spatial-continuity loss.",
    )
    max_labels: int = number(
        32,
        2,
        256,
        step=1,
        title="Most labels (q)",
        help="Channels of the response: the most labels there can be.",
        search=(8, 100),
    )
    min_labels: int = number(
        4,
        2,
        256,
        step=1,
        title="Stop at labels",
        help="Training stops once fewer labels than this are left.",
        search=(2, 40),
    )
    steps: int = number(
        64,
        1,
        1000,
        step=8,
        title="Steps",
        help="Most training steps.",
        search=(8, 128),
    )
    learning_rate: float = number(
        0.05, 0.0001, 1.0, step=0.01, log=True, title="Learning rate", help="Of SGD.", advanced=True
    )
    momentum: float = number(0.9, 0.0, 0.999, step=0.05, title="Momentum", help="Of SGD.", advanced=True)
    continuity_weight: float = number(
        1.0,
        0.0,
        50.0,
        step=0.5,
        title="Continuity weight",
        help="Weight of the spatial-continuity loss (only without superpixels).",
        search=(0.0, 10.0),
    )
    guide_n_segments: int = number(
        300,
        2,
        20000,
        step=10,
        log=True,
        title="Guide clusters",
        help="Superpixels of the SLIC guide.",
        search=(20, 1000),
    )
    guide_compactness: float = number(
        20.0,
        0.01,
        1000.0,
        step=0.5,
        log=True,
        title="Guide compactness",
        help="Of the SLIC guide, in units of the grey range 0..100.",
        search=(1.0, 200.0),
    )
    guide_sigma: float = number(
        1.0,
        0.0,
        10.0,
        unit="px",
        step=0.1,
        title="Guide smoothing",
        help="Of the SLIC guide.",
        pixel_power=1,
        search=(0.0, 3.0),
    )
    guide_kernel_size: float = number(
        1.0,
        1.0,
        20.0,
        unit="px",
        step=0.5,
        title="Guide kernel size",
        help="Of the Quickshift guide.",
        pixel_power=1,
        search=(1.0, 8.0),
    )
    guide_max_dist: float = number(
        4.0,
        0.5,
        200.0,
        step=0.5,
        log=True,
        title="Guide maximum distance",
        help="Of the Quickshift guide.",
        pixel_power=1,
        search=(2.0, 50.0),
    )
    guide_ratio: float = number(
        1.0, 0.0, 1.0, step=0.05, title="Guide colour weight", help="Of the Quickshift guide.", pixel_power=1
    )
    seed: int = number(
        43, 0, 2**31 - 1, step=1, title="Seed", help="Of the network's weights.", advanced=True
    )
