"""The parameters of the response maps (see `napari_refit.params`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import field_validator

from napari_refit.declare import Parameters, number, numbers, option, within

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
