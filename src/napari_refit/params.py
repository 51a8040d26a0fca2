"""Every parameter of the program, declared once.

The docks, the command line, the JSON presets, the search space and the reference pages are generated from these
declarations.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import field_validator

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
    )


class WatershedParams(Parameters):
    """Compact watershed of the gradient image (Neubert & Protzel 2014)."""

    markers: int = number(
        250, 2, 20000, step=10, log=True, title="Clusters", help="How many seeds are laid on a grid."
    )
    compactness: float = number(
        0.001,
        0.0,
        1.0,
        step=0.0005,
        title="Compactness",
        help="High: square clusters. Low: clusters that follow edges.",
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
    )
    min_labels: int = number(
        4, 2, 256, step=1, title="Stop at labels", help="Training stops once fewer labels than this are left."
    )
    steps: int = number(64, 1, 1000, step=8, title="Steps", help="Most training steps.")
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
    )
    guide_n_segments: int = number(
        300, 2, 20000, step=10, log=True, title="Guide clusters", help="Superpixels of the SLIC guide."
    )
    guide_compactness: float = number(
        20.0,
        0.01,
        1000.0,
        step=0.5,
        log=True,
        title="Guide compactness",
        help="Of the SLIC guide, in units of the grey range 0..100.",
    )
    guide_sigma: float = number(
        1.0, 0.0, 10.0, unit="px", step=0.1, title="Guide smoothing", help="Of the SLIC guide.", pixel_power=1
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
    )
    guide_ratio: float = number(
        1.0, 0.0, 1.0, step=0.05, title="Guide colour weight", help="Of the Quickshift guide.", pixel_power=1
    )
    seed: int = number(
        43, 0, 2**31 - 1, step=1, title="Seed", help="Of the network's weights.", advanced=True
    )


CAM_INPUTS = Literal["image", "simplified"]
GATES = Literal["off", "positive"]
FINER = "stride 16"
"""Names the layer that `napari_refit.cam.layers.finer_stage` finds."""
BOTH = "last x stride 16"
"""Names the last stage and that one: the geometric mean of their maps."""


class CamParams(Parameters):
    """From the classifier to response maps."""

    method: str = option(
        "gradcam",
        title="CAM method",
        help="Any method of the installed grad-cam package that returns a map. "
        "Networks with response maps of their own (SEAM, WSS-CMER, FSSS) show those instead.",
    )
    layer: str = option(
        "",
        title="Layer",
        help="Module whose activations are mapped, by its dotted name; empty: the last convolutional stage. "
        "stride 16: the last stage of about one place per 16 x 16 pixels, mostly the one before. "
        "last x stride 16: the geometric mean of both maps. The latter two are for HiResCAM and LayerCAM.",
    )
    cam_input: CAM_INPUTS = option(
        "image",
        title="Classifier sees",
        help="The image, or its simplified version (mean colour per cluster).",
    )
    gate: GATES = option(
        "positive",
        title="Gate",
        help="off: every slice may yield a mask. positive: only slices that are predicted positive.",
    )
    classes: tuple[str, ...] = option(
        (),
        title="Target classes",
        help="Names of the classes to segment; empty: all but the background. "
        "predicted: whichever the classifier believes in most.",
    )
    scales: tuple[Annotated[float, within(0.25, 4.0)], ...] = numbers(
        (1.0,),
        title="Scales",
        help="Sizes at which the classifier sees the slice, relative to its usual one; the maps are averaged. "
        "0.5, 1, 2 finds more of an object than 1, at ten times the cost with mirrored copies: "
        "each scale is a run of the classifier, whose cost grows with the square of the scale.",
    )
    smoothing: Literal["none", "mirror", "flips", "eigen"] = option(
        "none",
        title="Smoothing of the map",
        help="mirror: average with the copy mirrored left to right, two runs of the classifier at each scale. "
        "flips: average over the four copies mirrored both ways, four runs. "
        "eigen: first principal component of the activations.",
        advanced=True,
    )
    batch_size: int = number(
        8, 1, 512, step=1, unit="slices", title="Batch", help="Slices per classifier run.", advanced=True
    )

    @field_validator("scales")
    @classmethod
    def _in_order(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(scales)))
